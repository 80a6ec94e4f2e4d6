import Foundation

/// The folder of one run: its journal, staged artifacts, and how far delivery to each destination has come.
package struct RunDirectory: Sendable, Hashable {
  package let path: String

  package static let journalName = "journal.jsonl"

  package var journal: String { path + "/" + Self.journalName }
  package var artifacts: String { path + "/artifacts" }
  /// Held by the process that writes the journal.
  package var writerLease: String { path + "/writer.lease" }

  /// The last part of the path: the run's local id, unless the user has renamed the folder.
  package var name: String { URL(fileURLWithPath: path).lastPathComponent }

  /// What was known of the run when it started, and when that was; nil where that cannot be read.
  var start: (header: RunHeader, time: Int)? {
    guard var reader = try? JournalReader(path: journal),
      let record = reader.next(isFinal: true)?.record, case .start(let header) = record.event
    else { return nil }
    return (header, record.time)
  }

  var deliveryStates: [DeliveryState] {
    Files.names(in: path).filter { $0.hasPrefix("delivery-") && $0.hasSuffix(".json") }
      .compactMap { DeliveryState(path: path + "/" + $0) }
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

/// The journals that together hold one run.
///
/// A journal has one writer, so a process that goes on with a run writes another one beside the
/// first, and leaves a note of it there: `continued-TIME-ID`, an empty file.
struct RunParts {
  private static let prefix = "continued-"

  /// The folder of the first part; there may be none, where the run was begun elsewhere.
  let first: RunDirectory

  init(of directory: RunDirectory, header: RunHeader) {
    first = header.resumedID.flatMap { directory.sibling($0) } ?? directory
  }

  /// The parts of the run with this local id, if its journal is in `root`.
  init?(runID: String, in root: String) {
    guard let first = RunDirectory(path: root + "/.").sibling(runID), Files.exists(first.journal)
    else { return nil }
    self.first = first
  }

  /// Notes that another journal goes on with the run, if the first part is here.
  func add(_ part: RunDirectory, time: Int) throws(TrackingError) {
    guard Files.exists(first.journal), part != first else { return }
    try Files.write(
      [], to: first.path + "/\(Self.prefix)\(String.digits(time, width: 15))-\(part.name)")
  }

  /// The later parts and when they began, in milliseconds since 1970, the earliest first.
  private var later: [(time: Int, directory: RunDirectory)] {
    Files.names(in: first.path).compactMap { name in
      let fields = name.split(separator: "-")
      guard name.hasPrefix(Self.prefix), fields.count == 3, let time = Int(fields[1]),
        let directory = first.sibling(String(fields[2])), Files.exists(directory.journal)
      else { return nil }
      return (time, directory)
    }
  }

  var all: [RunDirectory] { (Files.exists(first.journal) ? [first] : []) + later.map(\.directory) }

  func before(_ part: RunDirectory) -> [RunDirectory] { Array(all.prefix { $0 != part }) }

  /// Whether another process than a part's went on with the run at that time or later.
  func isContinued(_ part: RunDirectory, after time: Int) -> Bool {
    later.contains { $0.time >= time && $0.directory != part }
  }
}

extension RunDirectory {
  /// The folder of that name beside this one; nil if it is no plain name, or this folder's own.
  func sibling(_ name: String) -> RunDirectory? {
    guard Naming.artifactFault(name) == nil, !name.utf8.contains(UInt8(ascii: "/")),
      name != self.name
    else { return nil }
    let root = URL(fileURLWithPath: path).deletingLastPathComponent().path
    return RunDirectory(path: root + "/" + name)
  }
}

// Files are put beside the journal until they are delivered, each under a number of its own.
extension RunDirectory {
  /// A file, or all files of a folder, as artifacts at and below `artifactPath`.
  func stage(
    _ path: String, as artifactPath: String?, staging: ArtifactStaging
  ) throws(TrackingError) -> [StagedArtifact] {
    let name = artifactPath ?? URL(fileURLWithPath: path).lastPathComponent
    guard Files.exists(path) else {
      throw TrackingError(.notFound, "the artifact \(path) does not exist")
    }
    guard Files.isDirectory(path) else { return [try stageFile(path, as: name, staging: staging)] }
    let below = FileManager.default.enumerator(atPath: path)?.compactMap { $0 as? String } ?? []
    var staged: [StagedArtifact] = []
    for file in below.sorted() where !Files.isDirectory(path + "/" + file) {
      staged.append(try stageFile(path + "/" + file, as: name + "/" + file, staging: staging))
    }
    return staged
  }

  func stage(text: String, as artifactPath: String) throws(TrackingError) -> StagedArtifact {
    let file = try freshName(for: artifactPath)
    try Files.write(text, to: artifacts + "/" + file)
    return StagedArtifact(path: artifactPath, file: file, size: text.utf8.count)
  }

  private func stageFile(
    _ path: String, as artifactPath: String, staging: ArtifactStaging
  ) throws(TrackingError) -> StagedArtifact {
    let file = try freshName(for: artifactPath)
    let target = artifacts + "/" + file
    let size =
      switch staging {
      case .copy: try Files.copy(path, to: target)
      case .link: try Files.linkOrCopy(path, to: target)
      }
    return StagedArtifact(path: artifactPath, file: file, size: size)
  }

  /// A random prefix keeps files apart that are logged twice under one path.
  private func freshName(for artifactPath: String) throws(TrackingError) -> String {
    if let fault = Naming.artifactFault(artifactPath) {
      throw TrackingError(
        .settings, "the artifact path '\(artifactPath)' \(fault); expected 'folder/file'")
    }
    try Files.makeDirectory(artifacts)
    let last = artifactPath.split(separator: "/").last.map(String.init) ?? "artifact"
    let prefix = String(UInt64.random(in: 0...UInt64.max), radix: 16)
    return "\(prefix)-\(last.utf8.count > 150 ? "artifact" : last)"
  }
}
