/// The next records of a journal that are sent together: values up to the limits of one batch, or
/// one record that is sent by itself.
struct DeliveryWindow {
  /// Limits of MLflow's log-batch: 1000 metrics, 100 parameters, 100 tags, and 1 MB on some servers.
  static let maxMetrics = 1000
  static let maxPairs = 100
  static let maxBytes = 800_000

  /// A value and the record it came with.
  struct Item<Value: Deliverable> {
    var sequence: Int
    /// `metric`, `parameter`, `tag` or `artifact`.
    var kind: String
    var value: Value

    var label: String { "\(sequence)/\(value.key)" }
  }

  var metrics: [Item<MetricPoint>] = []
  var parameters: [Item<KeyValue>] = []
  var tags: [Item<KeyValue>] = []
  /// A record that is not values.
  var single: Record?
  private(set) var endOffset = 0
  private(set) var nextSequence = 0
  private(set) var lastTime = 0
  private(set) var isEmpty = true
  private var byteCount = 0

  /// Adds a record if it fits; a record larger than the limits fits an empty window.
  mutating func add(_ entry: JournalReader.Entry) -> Bool {
    let record = entry.record
    guard single == nil else { return false }
    switch record.event {
    case .metrics(let values, let step):
      let size = values.reduce(0) { $0 + $1.key.utf8.count + 80 }
      guard isEmpty || (metrics.count + values.count <= Self.maxMetrics && fits(size)) else {
        return false
      }
      byteCount += size
      for metric in values {
        metrics.append(
          Item(
            sequence: record.sequence, kind: "metric",
            value: MetricPoint(
              key: metric.key, value: metric.value, time: record.time, step: step)))
      }
    case .parameters(let values):
      // A key stands once in a batch; a later value has to be refused by itself.
      guard
        isEmpty
          || (parameters.count + values.count <= Self.maxPairs && fits(Self.size(values))
            && !parameters.contains { values[$0.value.key] != nil })
      else { return false }
      byteCount += Self.size(values)
      parameters += Self.items(values, kind: "parameter", of: record)
    case .tags(let values):
      guard
        isEmpty || (tags.count + values.count <= Self.maxPairs && fits(Self.size(values)))
      else { return false }
      byteCount += Self.size(values)
      tags.removeAll { values[$0.value.key] != nil }  // the last value of a tag counts
      tags += Self.items(values, kind: "tag", of: record)
    case .start: break  // the run itself, which is made before anything is sent
    case .artifact, .end, .detached:
      guard isEmpty else { return false }
      single = record
    }
    isEmpty = false
    endOffset = entry.endOffset
    nextSequence = record.sequence + 1
    lastTime = record.time
    return true
  }

  /// Whether the values may travel in one request.
  var isOneBatch: Bool {
    metrics.count + parameters.count + tags.count <= Self.maxMetrics
      && parameters.count <= Self.maxPairs && tags.count <= Self.maxPairs
      && byteCount <= Self.maxBytes
  }

  private func fits(_ size: Int) -> Bool { byteCount + size <= Self.maxBytes }

  private static func size(_ values: [String: String]) -> Int {
    values.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count + 40 }
  }

  private static func items(_ values: [String: String], kind: String, of record: Record) -> [Item<
    KeyValue
  >] {
    values.sorted { $0.key < $1.key }.map {
      Item(sequence: record.sequence, kind: kind, value: KeyValue(key: $0.key, value: $0.value))
    }
  }
}
