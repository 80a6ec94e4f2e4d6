/// The next records of a journal that are sent together: values up to the limits of one batch, or
/// one record that is sent by itself.
struct DeliveryWindow {
  /// Limits of MLflow's log-batch: 1000 metrics, 100 parameters, 100 tags, and 1 MB on some servers.
  static let maxMetrics = 1000
  static let maxPairs = 100
  static let maxBytes = 800_000

  /// What is sent with others and may be refused alone, and the number of the record it came with.
  struct Item: Sendable {
    /// As the file of refused ones and warnings say it.
    enum Kind: String { case metric, parameter, tag, artifact }

    let sequence: Int
    let kind: Kind
    let key: String
    /// A parameter's or tag's value, or an artifact's file.
    var text = ""
    var point: MetricPoint?

    var label: String { "\(sequence)/\(key)" }

    /// What a store would refuse it for; nil if nothing is known.
    var fault: String? { kind == .artifact ? Naming.artifactFault(key) : Naming.keyFault(key) }
  }

  private(set) var metrics: [Item] = []
  private(set) var parameters: [Item] = []
  private(set) var tags: [Item] = []
  /// A record that is not values.
  private(set) var single: Record?
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
      guard takes(size, metrics.count + values.count, of: Self.maxMetrics) else { return false }
      metrics += values.map { metric in
        Item(
          sequence: record.sequence, kind: .metric, key: metric.key,
          point: MetricPoint(key: metric.key, value: metric.value, time: record.time, step: step))
      }
    case .parameters(let values):
      // A key stands once in a batch; a later value has to be refused by itself.
      guard isEmpty || !parameters.contains(where: { values[$0.key] != nil }),
        takes(Self.size(values), parameters.count + values.count, of: Self.maxPairs)
      else { return false }
      parameters += Self.items(values, .parameter, record)
    case .tags(let values):
      guard takes(Self.size(values), tags.count + values.count, of: Self.maxPairs) else {
        return false
      }
      tags.removeAll { values[$0.key] != nil }  // the last value of a tag counts
      tags += Self.items(values, .tag, record)
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

  private mutating func takes(_ size: Int, _ count: Int, of limit: Int) -> Bool {
    guard isEmpty || count <= limit && byteCount + size <= Self.maxBytes else { return false }
    byteCount += size
    return true
  }

  private static func items(
    _ values: [String: String], _ kind: Item.Kind, _ record: Record
  ) -> [Item] {
    KeyValue.sorted(values).map {
      Item(sequence: record.sequence, kind: kind, key: $0.key, text: $0.value)
    }
  }

  private static func size(_ values: [String: String]) -> Int {
    values.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count + 40 }
  }

  var isOneBatch: Bool {
    metrics.count + parameters.count + tags.count <= Self.maxMetrics
      && parameters.count <= Self.maxPairs && tags.count <= Self.maxPairs
      && byteCount <= Self.maxBytes
  }
}

extension ValueBatch {
  init(_ items: some Sequence<DeliveryWindow.Item>) {
    for item in items {
      let pair = KeyValue(key: item.key, value: item.text)
      if let point = item.point { metrics.append(point) }
      if item.kind == .parameter { parameters.append(pair) }
      if item.kind == .tag { tags.append(pair) }
    }
  }
}
