import Foundation

extension Synchronizer.Outcome {
  /// What became of the journal, in one line.
  package var line: String {
    let title = name.isEmpty ? directory.name : "\(name) (\(directory.name))"
    var parts: [String] = []
    switch result {
    case .delivered: parts.append("delivered \(deliveredRecords) events")
    case .unchanged: parts.append(isRunning ? "nothing new so far" : "nothing to deliver")
    case .busy(let reason): parts.append(reason)
    case .failed(let reason): parts.append("not delivered: \(reason)")
    }
    if isClosed { parts.append("ended KILLED, its process is gone") }
    if refusedItems > 0 { parts.append("\(refusedItems) items refused, kept in \(directory.path)") }
    if tornBytes > 0 { parts.append("\(tornBytes) bytes of an unfinished last event cut off") }
    if damagedLines > 0 { parts.append("\(damagedLines) damaged events skipped") }
    if missingRecords > 0 { parts.append("\(missingRecords) events are missing") }
    return "\(title): \(parts.joined(separator: "; "))".printable
  }

  /// Whether nothing would be lost with the journal.
  fileprivate var isPrunable: Bool {
    isComplete && !isRunning && refusedItems == 0 && damagedLines == 0 && missingRecords == 0
  }
}

extension Synchronizer {
  /// The journals of runs that are delivered whole, in all their parts.
  package static func prunable(_ outcomes: [Outcome]) -> [RunDirectory] {
    Dictionary(grouping: outcomes, by: \.firstPart).values
      .filter { $0.allSatisfy(\.isPrunable) }.flatMap { $0.map(\.directory) }
  }

  /// One line for all journals.
  package static func summary(_ outcomes: [Outcome], destination: String) -> String {
    let left = outcomes.count { !$0.isComplete }
    let events = outcomes.reduce(0) { $0 + $1.deliveredRecords }
    let end = left == 0 ? "nothing is left" : "\(left) not complete"
    return "\(outcomes.count) runs, \(events) events delivered to \(destination); \(end)"
  }
}

extension TrackingSettings {
  /// The store these settings name; `patience` is as in ``makeClient(patience:)``.
  package func makeStore(
    patience: Double = 30
  ) throws(TrackingError) -> any TrackingStore & RunLister {
    switch destination {
    case .file(let path): SQLiteStore(path: path)
    default: RESTStore(client: try makeClient(patience: patience))
    }
  }
}
