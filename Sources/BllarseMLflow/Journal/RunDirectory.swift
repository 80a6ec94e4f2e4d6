import Foundation

/// The folder of one run in a journal: the journal itself, staged artifacts, and how far delivery
/// to each destination has come.
package struct RunDirectory: Sendable, Hashable {
  package let path: String

  package init(path: String) { self.path = path }

  package static let journalName = "journal.jsonl"

  package var journal: String { path + "/" + Self.journalName }
  package var artifacts: String { path + "/artifacts" }
  /// Held by the process that writes the journal.
  package var writerLease: String { path + "/writer.lease" }

  /// The last part of the path: the run's local id, unless the user has renamed the folder.
  package var name: String { URL(fileURLWithPath: path).lastPathComponent }

  /// What was known of the run when it started; nil where that cannot be read.
  package var header: RunHeader? {
    guard var reader = try? JournalReader(path: journal),
      case .start(let header)? = reader.next(isFinal: true)?.record.event
    else { return nil }
    return header
  }

  package func deliveryState(to destination: Destination) -> String {
    path + "/delivery-\(destination.fingerprint).json"
  }

  package func deliveryLease(to destination: Destination) -> String {
    path + "/delivery-\(destination.fingerprint).lease"
  }

  package func refusals(by destination: Destination) -> String {
    path + "/refused-\(destination.fingerprint).jsonl"
  }

  /// All run folders at and below `root`, in the order of their paths.
  package static func find(below root: String, depth: Int = 6) -> [RunDirectory] {
    if Files.exists(root + "/" + journalName) { return [RunDirectory(path: root)] }
    guard depth > 0, let entries = try? FileManager.default.contentsOfDirectory(atPath: root)
    else { return [] }
    return entries.sorted().flatMap { name -> [RunDirectory] in
      let path = root + "/" + name
      return Files.isDirectory(path) ? find(below: path, depth: depth - 1) : []
    }
  }
}
