import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("Limits of the machine", .serialized)
struct MachineLimitTests {
  private let fixture: ResumeFixture

  init() throws { fixture = try ResumeFixture(rows: 200) }

  /// Runs the program in a shell of its own under a limit, for thirty seconds at most.
  private func run(_ limit: String, _ arguments: [String]) throws -> BuiltExecutable.Outcome {
    try BuiltExecutable(path: "/bin/bash").run(
      ["-c", "\(limit) && exec timeout -k 1 30 \"$0\" \"$@\"", finetune.path] + arguments)
  }

  /// A short fit.
  private func fit(threads: String) -> [String] {
    [
      "--features", fixture.features, "--threads", threads, "--loss-fn", "CrossEntropy",
      "--output", fixture.directory.file("out-\(UUID().uuidString)"),
    ]
  }

  @Test(
    "the program starts and ends whatever address space it has", .timeLimit(.minutes(2)),
    arguments: ["ulimit -v 200000", "ulimit -v 300000", "ulimit -v 450000", "ulimit -d 120000"])
  func addressSpace(limit: String) throws {
    #expect(try run(limit, ["--version"]).status == 0)
    for threads in ["1", "1000"] {
      let outcome = try run(limit, fit(threads: threads))
      if outcome.status == 0 {
        #expect(outcome.errors.contains("epoch 1"))
      } else {
        #expect(outcome.status == 1, "\(limit), \(threads) threads: \(outcome.errors)")
        #expect(outcome.errorLines.count == 1, "\(outcome.errors)")
        #expect(outcome.errors.contains("out of memory: "), "\(outcome.errors)")
        #expect(outcome.errors.contains(limit.contains("-v") ? "(ulimit -v)" : "(ulimit -d)"))
      }
    }
  }

  @Test("a thousand threads are lowered, and the run says so and records how many it had")
  func manyThreads() throws {
    let arguments = fit(threads: "1000")
    let outcome = try run("ulimit -v 8000000", arguments)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(
      outcome.errors.contains("note: 1000 threads are more than this machine's processors can use"))
    let output = try #require(arguments.last)
    let result = try String(contentsOfFile: output + "/result.json", encoding: .utf8)
    #expect(result.contains("\"threads\" : \(Execution.available.threadCount)"))
  }

  #if arch(x86_64)
    @Test("OpenBLAS has kernels that fit the processor, unless the user chose others")
    func kernels() throws {
      for choice in [nil, "Prescott"] {
        let arguments = fit(threads: "2")
        let outcome = try finetune.run(
          arguments, environment: choice.map { ["OPENBLAS_CORETYPE": $0] } ?? [:])
        #expect(outcome.status == 0, "\(outcome.errors)")
        let output = try #require(arguments.last)
        let result = try String(contentsOfFile: output + "/result.json", encoding: .utf8)
        let blas = try #require(result.split(separator: "\n").first { $0.contains("\"blas\"") })
        // Built for one processor, it has no choice.
        guard blas.contains("DYNAMIC_ARCH") else { return }
        if let choice {
          #expect(blas.contains(choice))
        } else {
          let processor = try String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)
          #expect(!processor.contains(" avx2 ") || !blas.contains("Prescott"))
        }
      }
    }
  #endif

  @Test(
    "memory that cannot be had for large features is an error with a line, and no trap",
    arguments: [500_000, 700_000, 800_000, 1_000_000])
  func features(limit: Int) throws {
    // 160 MB of zeros that take no room on the disk, and as much again in single precision.
    let (rows, columns) = (100, 200_000)
    var header = "{"
    var offset = 0
    for (name, type, shape, count) in [
      ("y_train", "I32", "[\(rows)]", 4 * rows), ("y_test", "I32", "[\(rows)]", 4 * rows),
      ("X_train", "F64", "[\(rows),\(columns)]", 8 * rows * columns),
      ("X_test", "F64", "[\(rows),\(columns)]", 8 * rows * columns),
    ] {
      header +=
        "\"\(name)\":{\"dtype\":\"\(type)\",\"shape\":\(shape),\"data_offsets\":[\(offset),\(offset + count)]},"
      offset += count
    }
    header = header.dropLast() + "}"
    header += String(repeating: " ", count: (8 - header.utf8.count % 8) % 8)
    var bytes = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Data($0) }
    bytes += Data(header.utf8)
    for _ in 0..<2 {
      for row in 0..<rows { bytes += withUnsafeBytes(of: Int32(row % 2).littleEndian) { Data($0) } }
    }
    let path = fixture.directory.file("wide.safetensors")
    try bytes.write(to: URL(fileURLWithPath: path))
    let handle = try #require(FileHandle(forUpdatingAtPath: path))
    try handle.truncate(atOffset: UInt64(8 + header.utf8.count + offset))
    try handle.close()

    let outcome = try run("ulimit -v \(limit)", ["--features", path, "--threads", "1"])
    #expect([0, 1, 65].contains(outcome.status), "\(outcome.status): \(outcome.errors)")
    if outcome.status != 0 { #expect(outcome.errorLines.count == 1, "\(outcome.errors)") }
  }

  @Test(
    "a working directory that was removed is an error with a line",
    arguments: [
      ("bllarse-finetune", ["--enable-mlflow"]), ("bllarse-mlflow", ["check"]),
      ("bllarse-sweep", ["run", "sweep.yaml"]),
    ])
  func removedDirectory(program: String, words: [String]) throws {
    let script = """
      place=$(mktemp -d) && cd "$place" && rmdir "$place" && exec timeout -k 1 30 "$0" "$@"
      """
    let outcome = try BuiltExecutable(path: "/bin/bash").run(
      ["-c", script, BuiltExecutable(program).path] + words)
    #expect(outcome.status == 1, "\(outcome.status): \(outcome.errors)")
    #expect(outcome.errors.contains("the working directory cannot be used"), "\(outcome.errors)")
  }
}
