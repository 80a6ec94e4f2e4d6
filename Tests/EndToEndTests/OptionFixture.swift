import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// Features so small that a run takes no time.
enum OptionFixture {
  /// Writes a feature file with a validation split, and weights and groups of the training rows.
  ///
  /// - Returns: its path.
  static func features(
    in directory: TemporaryDirectory, name: String = "features.safetensors", seed: Int = 3,
    rows: Int = 40, columns: Int = 5, classes: Int = 3
  ) throws -> String {
    let path = directory.file(name)
    var generator = SplitMix64(seed: seed)
    let centres = (0..<classes).map { _ in (0..<columns).map { _ in 1.2 * generator.normal() } }
    var writer = SafetensorsWriter()
    for (name, count) in [("train", rows), ("val", 20), ("test", 20)] {
      let labels = (0..<count).map { Int32($0 % classes) }
      let elements = labels.flatMap { label in
        centres[Int(label)].map { Float($0 + generator.normal()) }
      }
      writer.add("X_\(name)", Matrix<Float>(rows: count, columns: columns, elements: elements))
      writer.add("y_\(name)", labels)
    }
    writer.add("times_train", (0..<Int32(rows)).map { $0 % 4 })
    // Five rows that follow one another are left out together.
    writer.add("family_train", (0..<Int32(rows)).map { $0 / 5 })
    try writer.write(to: path)
    return path
  }
}

/// Weights of softmax layers of the features and of the images that options are tried on.
struct LayerFile {
  private let directory: TemporaryDirectory
  let seed: Int
  /// The file, which is there as long as this is.
  var path: String { directory.file("layer\(seed).safetensors") }

  init(seed: Int) {
    self.seed = seed
    do {
      directory = try TemporaryDirectory()
      try write(to: path)
    } catch { preconditionFailure("\(error)") }
  }

  /// The same file in a directory of the caller.
  func path(in other: TemporaryDirectory) throws -> String {
    let path = other.file("layer\(seed).safetensors")
    try write(to: path)
    return path
  }

  private func write(to path: String) throws {
    var generator = SplitMix64(seed: seed)
    var writer = SafetensorsWriter()
    for (name, classes, features) in [("features", 3, 5), ("images", 10, 16)] {
      writer.add(
        name + ".weight",
        Matrix<Float>(
          rows: classes, columns: features,
          elements: (0..<classes * features).map { _ in Float(generator.normal()) }))
      writer.add(name + ".bias", (0..<classes).map { _ in Float(generator.normal()) })
    }
    try writer.write(to: path)
  }
}

extension BuiltExecutable {
  /// Runs it, and gives the peak of its resident memory in bytes, as the kernel counted it.
  func peakMemory(_ words: [String], directory: TemporaryDirectory) throws -> Int {
    // A process of its own sees one child, and is small itself: a child begins with its parent's peak.
    let script = """
      import resource, subprocess, sys
      subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
      print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
      """
    let output = directory.file("peak")
    try directory.write("peak", [])
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", script, path] + words
    process.standardOutput = FileHandle(forWritingAtPath: output)
    try process.run()
    process.waitUntilExit()
    let text = String(decoding: try directory.read("peak"), as: UTF8.self)
    return 1024 * (Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0)
  }
}

// MARK: - What a run shows

extension OptionEffectTests {
  /// A run that did not end as it should.
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// The options of a run, as the program describes them itself.
  static func options() throws -> [String] {
    struct Dump: Decodable {
      struct Name: Decodable { let kind, name: String }
      struct Argument: Decodable { let names: [Name]? }
      struct Command: Decodable {
        let commandName: String
        let arguments: [Argument]?
        let subcommands: [Command]?
      }
      let command: Command
    }
    let dump = try JSONDecoder().decode(
      Dump.self, from: Data(try finetune.run(["--experimental-dump-help"]).output.utf8))
    let train = dump.command.subcommands?.first { $0.commandName == "train" }
    return (train?.arguments ?? []).compactMap { argument in
      argument.names?.first { $0.kind == "long" }?.name
    }
  }

  /// Runs in a directory, away from the user's credentials.
  static func run(_ words: [String], in place: TemporaryDirectory) throws {
    let outcome = try finetune.run(
      words,
      environment: ["HOME": place.path], directory: place.path)
    guard outcome.status == 0 else { throw Failure(description: outcome.errors) }
  }

  /// The scores, and everything else that a run finds, without what it was asked and how long it took;
  /// and the bytes of the head's tensors.
  static func result(_ words: [String]) throws -> Data {
    let place = try TemporaryDirectory()
    try run(words, in: place)
    guard
      var result = try JSONSerialization.jsonObject(with: Data(place.read("out/result.json")))
        as? [String: Any]
    else { throw Failure(description: "result.json is no object") }
    // Notes say what has no effect.
    for key in ["seconds", "memory", "arguments", "versions", "notes"] { result[key] = nil }
    let scored = String(decoding: try place.read("out/metrics.jsonl"), as: UTF8.self)
    result["records"] = scored.split(separator: "\n").count
    let head = try place.read("out/head.safetensors")
    let headerSize = head.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    return try JSONSerialization.data(withJSONObject: result, options: [.sortedKeys])
      + Data(head.dropFirst(8 + headerSize))
  }

  /// The epochs that the first checkpoint of a run without end holds.
  static func epochOfCheckpoint(_ words: [String], in place: TemporaryDirectory) throws -> Int {
    var words = words
    guard let epochs = words.firstIndex(of: "-e") else {
      throw Failure(description: "a run of one epoch has no checkpoints")
    }
    words[epochs + 1] = "1000000"
    let process = Process()
    process.executableURL = URL(fileURLWithPath: finetune.path)
    process.arguments = words
    process.currentDirectoryURL = URL(fileURLWithPath: place.path)
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    defer {
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
    let path = place.file("out/checkpoint.safetensors")
    for _ in 0..<12_000 where !FileManager.default.fileExists(atPath: path) {
      Thread.sleep(forTimeInterval: 0.005)
    }
    struct Progress: Decodable { let epoch: Int }
    let text = try SafetensorsFile(path: path).metadata("progress")
    return try JSONDecoder().decode(Progress.self, from: Data(text.utf8)).epoch - 1
  }

  /// Whether an option shows in the record of a tracked run.
  static func isTracked(
    _ name: String, _ words: [String], in place: TemporaryDirectory
  ) throws -> Bool {
    try run(words, in: place)
    let store = name == "mlflow-tracking-uri" ? "store.db" : "mlflow.db"
    // The database, and what was not moved into it yet.
    let content = try place.contents.filter { $0.hasPrefix(store) }.flatMap { try place.read($0) }
    guard !content.isEmpty else { return false }
    let text = String(decoding: content, as: UTF8.self)
    switch name {
    case "mlflow-experiment": return text.contains("effects")
    case "group-id": return text.contains("grid") && !text.contains("finetuning_test")
    case "uid": return text.contains("mine")
    case "log-checkpoints":
      let files = FileManager.default.enumerator(atPath: place.path)?.compactMap { $0 as? String }
      return (files ?? []).contains { $0.hasSuffix("head.safetensors") && !$0.hasPrefix("out/") }
    default: return true
    }
  }
}
