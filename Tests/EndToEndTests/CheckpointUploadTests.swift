import BllarseCore
import BllarseTestSupport
import Foundation
import Testing

@Suite("bllarse-finetune --log-checkpoints")
struct CheckpointUploadTests {
  /// The artifacts of the only run in a directory, by their paths.
  private func artifacts(_ scratch: TemporaryDirectory) throws -> [String: String] {
    let root = scratch.file("mlartifacts")
    var found: [String: String] = [:]
    for case let path as String in try #require(FileManager.default.enumerator(atPath: root)) {
      guard let range = path.range(of: "/artifacts/"), path.hasSuffix(".safetensors") else {
        continue
      }
      found[String(path[range.upperBound...])] = root + "/" + path
    }
    return found
  }

  @Test(
    "keeps the state every so many epochs, with or without --output, and a run goes on from it",
    arguments: [true, false])
  func uploads(hasOutput: Bool) throws {
    let scratch = try TemporaryDirectory()
    let fixture = try SplitFixture(["train": 150, "test": 60])
    let method = [
      "--features", fixture.path, "--threads", "1", "--loss-fn", "CrossEntropy", "-o", "ivon",
      "-bs",
      "32", "-e", "5", "--save-every", "2",
    ]
    let program = Program("bllarse-finetune")
    let run = try program.run(
      method + ["--enable-mlflow", "--log-checkpoints"] + (hasOutput ? ["--output", "out"] : []),
      in: scratch.path, environment: ["HOME": scratch.path])
    #expect(run.status == 0, "\(run.error)")
    let artifacts = try artifacts(scratch)
    let states = ["2", "4", "5"].map { "checkpoints/epoch_0000\($0).safetensors" }
    #expect(Set(artifacts.keys) == Set(states + ["head.safetensors"]))
    let state = try #require(artifacts[states[1]])
    #expect(try SafetensorsFile(path: state).tensors.contains { $0.name.hasPrefix("optimizer.") })

    let resumed = scratch.file("resumed")
    try FileManager.default.createDirectory(atPath: resumed, withIntermediateDirectories: true)
    try FileManager.default.copyItem(atPath: state, toPath: resumed + "/checkpoint.safetensors")
    let rest = try program.run(
      method + ["--resume", resumed], in: scratch.path, environment: ["HOME": scratch.path])
    #expect(rest.status == 0, "\(rest.error)")
    #expect(rest.error.contains("epoch 5 ") && !rest.error.contains("epoch 4 "))
    #expect(
      try Data(contentsOf: URL(fileURLWithPath: resumed + "/head.safetensors"))
        == Data(contentsOf: URL(fileURLWithPath: try #require(artifacts["head.safetensors"]))))
  }

  @Test("has nothing but the head of a fit to all rows")
  func converged() throws {
    let scratch = try TemporaryDirectory()
    let fixture = try SplitFixture(["train": 60, "test": 40])
    let run = try Program("bllarse-finetune").run(
      [
        "--features", fixture.path, "--loss-fn", "MSE", "-o", "newton", "--enable-mlflow",
        "--log-checkpoints",
      ], in: scratch.path, environment: ["HOME": scratch.path])
    #expect(run.status == 0, "\(run.error)")
    #expect(try artifacts(scratch).keys.sorted() == ["head.safetensors"])
  }
}
