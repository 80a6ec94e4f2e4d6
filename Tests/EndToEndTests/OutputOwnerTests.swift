import BllarseTestSupport
import Foundation
import Testing

@Suite("Output directories that hold a run already")
struct OutputOwnerTests {
  private let fixture: ResumeFixture
  private let output: String

  init() throws {
    fixture = try ResumeFixture(rows: 120)
    output = fixture.directory.file("out")
  }

  /// The files of the output directory and what is in them, without the seconds that a run took.
  private func content() throws -> [String: Data] {
    var content: [String: Data] = [:]
    for name in try fixture.names(output) {
      content[name] = try Data(contentsOf: URL(fileURLWithPath: output + "/" + name))
    }
    return content
  }

  private func run(_ method: [String]) throws -> BuiltExecutable.Outcome {
    try finetune.run(fixture.arguments(method, output: output))
  }

  static let adam = ["--loss-fn", "CrossEntropy", "-o", "adam", "-e", "3", "-bs", "32"]

  @Test(
    "another run is refused and touches nothing; with --overwrite it leaves none of the old files")
  func others() throws {
    #expect(try run(Self.adam).status == 0)
    // A score of the head that will be replaced.
    try fixture.directory.write("out/evaluation.json", Array("{}".utf8))
    let before = try content()
    #expect(before["best.safetensors"] != nil && before["checkpoint.safetensors"] != nil)
    for other in [["--loss-fn", "MSE"], Self.adam + ["--seed", "5"]] {
      let refused = try run(other)
      #expect(refused.status == 65)
      #expect(refused.errorLines.count == 1 && refused.errors.contains("--overwrite"))
      #expect(try content() == before)
    }
    #expect(try run(["--loss-fn", "MSE", "--check"]).status == 65)
    // Data that cannot be read are found before anything is replaced.
    let missing = try finetune.run([
      "--features", fixture.directory.file("nothing.npz"), "--output", output, "--overwrite",
    ])
    #expect(missing.status == 65)
    #expect(try content() == before)

    let replaced = try run(["--loss-fn", "MSE", "--overwrite"])
    #expect(replaced.status == 0, "\(replaced.errors)")
    #expect(
      try fixture.names(output) == [
        "best.safetensors", "head.safetensors", "metrics.jsonl", "result.json",
      ])
  }

  @Test("the same run again is taken, on other rows it is refused")
  func again() throws {
    #expect(try run(Self.adam).status == 0)
    let first = try fixture.outcome(output)
    #expect(try run(Self.adam).status == 0)
    #expect(try fixture.outcome(output) == first)
    let other = try ResumeFixture(seed: 5, rows: 120)
    try FileManager.default.removeItem(atPath: fixture.features)
    try FileManager.default.copyItem(atPath: other.features, toPath: fixture.features)
    let refused = try run(Self.adam)
    #expect(refused.status == 65 && refused.errors.contains("other training rows"))
    #expect(try fixture.outcome(output) == first)
  }

  @Test("a run that goes on where a finished one of something else is, is refused, too")
  func resumed() throws {
    #expect(try run(["--loss-fn", "MSE"]).status == 0)
    let before = try content()
    let refused = try run(["--loss-fn", "CrossEntropy", "--resume", output])
    #expect(refused.status == 65, "\(refused.errors)")
    #expect(try content() == before)
    #expect(try run(["--loss-fn", "MSE", "--resume", output]).status == 0)
  }

  @Test("a refused run leaves the record of the tracked one as it is")
  func tracked() throws {
    let track = ["--enable-mlflow", "--mlflow-tracking-uri", "sqlite:///runs.db"]
    func run(_ words: [String]) throws -> Int32 {
      try finetune.run(
        fixture.arguments(words + track, output: output),
        environment: ["HOME": fixture.directory.path], directory: fixture.directory.path
      ).status
    }
    #expect(try run(["--loss-fn", "MSE"]) == 0)
    let before = try content()
    #expect(before["mlflow_run_id"] != nil)
    #expect(try run(["--loss-fn", "CrossEntropy"]) == 65)
    #expect(try content() == before)
    #expect(try run(["--loss-fn", "CrossEntropy", "--overwrite"]) == 0)
    #expect(try content()["mlflow_run_id"] != before["mlflow_run_id"])
  }

  @Test("a fault in the scores after the fit leaves the head and what the epochs measured")
  func faultAfterFit() throws {
    // Rows that are no numbers, which only their scores read.
    let foreign = fixture.directory.file("foreign.npy")
    var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 12), }"
    header += String(repeating: " ", count: 128 - 11 - header.utf8.count) + "\n"
    var bytes = Array("\u{93}NUMPY".unicodeScalars.map { UInt8($0.value) }) + [1, 0, 118, 0]
    bytes += Array(header.utf8) + [UInt8](repeating: 0xFF, count: 96)
    try fixture.directory.write("foreign.npy", bytes)
    let failed = try run(["--ood", foreign])
    #expect(failed.status == 65, "\(failed.errors)")
    if failed.errors.contains("epoch 1") {
      #expect(try fixture.names(output).contains("head.safetensors"))
      let result = try String(contentsOfFile: output + "/result.json", encoding: .utf8)
      #expect(result.contains("\"metrics\" : null"))
      let head = output + "/head.safetensors"
      let evaluated = try finetune.run(["evaluate", "--head", head, "--features", fixture.features])
      #expect(evaluated.status == 0, "\(evaluated.errors)")
    }
  }

  @Test(
    "predictions never replace a file that is something else",
    arguments: ["head.safetensors", "notes.csv"])
  func predictions(name: String) throws {
    #expect(try run(["--loss-fn", "MSE"]).status == 0)
    try fixture.directory.write("out/notes.csv", Array("a,b\n1,2\n".utf8))
    let before = try content()
    func predict(_ out: String) throws -> BuiltExecutable.Outcome {
      try finetune.run([
        "predict", "--head", output + "/head.safetensors", "--features", fixture.features,
        "--out", out,
      ])
    }
    let refused = try predict(output + "/" + name)
    #expect(refused.status == 65 && refused.errors.contains(name), "\(refused.errors)")
    #expect(try content() == before)
    // Predictions are replaced by others.
    for ending in ["safetensors", "csv"] {
      let out = fixture.directory.file("predictions." + ending)
      #expect(try predict(out).status == 0)
      #expect(try predict(out).status == 0)
    }
  }
}
