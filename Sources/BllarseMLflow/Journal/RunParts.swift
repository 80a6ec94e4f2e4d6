import Foundation

/// The journals that together hold one run: the one it began with, and those of processes that went
/// on with it.
///
/// A journal has one writer, so a process that goes on with a run writes another one beside the
/// first, and leaves a note of it there: `continued-TIME-ID`, an empty file.
struct RunParts {
  private static let prefix = "continued-"

  /// The folder of the first part; there may be none, where the run was begun elsewhere.
  let first: RunDirectory

  /// The parts of the run that this journal belongs to.
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
    let digits = String(time)
    let padded = String(repeating: "0", count: max(0, 15 - digits.count)) + digits
    try Files.write([], to: first.path + "/\(Self.prefix)\(padded)-\(part.name)")
  }

  /// The later parts and when they began, in milliseconds since 1970, the earliest first.
  private var later: [(time: Int, directory: RunDirectory)] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: first.path)) ?? []
    return names.sorted().compactMap { name in
      let fields = name.split(separator: "-")
      guard name.hasPrefix(Self.prefix), fields.count == 3, let time = Int(fields[1]),
        let directory = first.sibling(String(fields[2])), Files.exists(directory.journal)
      else { return nil }
      return (time, directory)
    }
  }

  /// All parts that are here, the earliest first.
  var all: [RunDirectory] {
    (Files.exists(first.journal) ? [first] : []) + later.map(\.directory)
  }

  /// The parts before one of them.
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
