import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// Features so small that a run takes no time.
enum OptionFixture {
  /// Writes a feature file with a validation split.
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
    try writer.write(to: path)
    return path
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
