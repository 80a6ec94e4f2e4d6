import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("bllarse-finetune: the pretrained classifier")
struct BaselineTests {
  private struct Result: Decodable {
    let test: [String: Double]
    let baseline: [String: [String: Double]]?
  }
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func run(_ arguments: [String]) throws -> BuiltExecutable.Outcome {
    try finetune.run(
      arguments + ["--threads", "1", "--output", directory.file("out")],
      directory: directory.path)
  }

  private func result() throws -> Result {
    try JSONDecoder().decode(
      Result.self, from: Data(contentsOf: URL(fileURLWithPath: directory.file("out/result.json"))))
  }

  /// Accuracy, likelihood and calibration error of the digits' classifier, computed row by row.
  private func expected() throws -> (acc: Double, nll: Double, ece: Double) {
    let backbone = try DigitsDataset.backbone()
    let images = try #require(DigitsDataset.images()["test"])
    let logits = try #require(backbone.logits(of: backbone.features(of: images.images)))
    var (correct, loss) = (0.0, 0.0)
    var bins = [(confidence: Double, correct: Double)](repeating: (0, 0), count: 20)
    for (row, label) in images.labels.enumerated() {
      let values = logits.row(row).map(Double.init)
      let top = try #require(values.max())
      let sum = values.reduce(0) { $0 + exp($1 - top) }
      loss += log(sum) - (values[Int(label)] - top)
      let isRight = values.firstIndex(of: top) == Int(label)
      correct += isRight ? 1 : 0
      let bin = min(Int(20 / sum), 19)
      bins[bin].confidence += 1 / sum
      bins[bin].correct += isRight ? 1 : 0
    }
    let count = Double(images.labels.count)
    let ece = bins.reduce(0) { $0 + abs($1.confidence - $1.correct) } / count
    return (correct / count, loss / count, ece)
  }

  @Test("is scored before a head is fitted; -e 0 gives its scores alone", arguments: [0, 1])
  func digits(epochs: Int) throws {
    let outcome = try run(["-e", "\(epochs)", "--loss-fn", "MSE"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let (acc, nll, ece) = try expected()
    let result = try result()
    let baseline = try #require(result.baseline?["test"])
    #expect(baseline["acc"] == acc)
    #expect(try #require(baseline["nll"]).isClose(to: nll, relative: 1e-5))
    #expect(try #require(baseline["ece"]).isClose(to: ece, relative: 1e-5))
    #expect(
      outcome.errors.contains(String(format: "pretrained classifier: acc %.4f  nll %.4f", acc, nll))
    )
    #expect((result.test == baseline) == (epochs == 0))
    #expect(
      FileManager.default.fileExists(atPath: directory.file("out/head.safetensors"))
        == (epochs == 1))
    #expect(outcome.output.contains("test before") == (epochs == 1))
    #expect(outcome.errors.contains("no head is fitted") == (epochs == 0))
  }

  @Test("-e 0 is refused where there is no classifier of these classes")
  func none() throws {
    let other = directory.file("other.safetensors")
    try BackboneFixture(channels: 1, classes: 7).write(to: other)
    let bare = directory.file("bare.safetensors")
    try BackboneFixture(channels: 1).write(to: bare)
    let features = try SplitFixture(["train": 30, "test": 30])
    for (arguments, text) in [
      (["--backbone", other], "it has 7 classes, expected a classifier of 10 classes"),
      (["--backbone", bare], "the backbone has none"),
      (["--features", features.path], "stored features have none"),
    ] {
      let outcome = try run(arguments + ["-e", "0"])
      #expect(outcome.status == 65)
      #expect(outcome.errorLines.count == 1 && outcome.errors.contains(text), "\(outcome.errors)")
    }
    // Without a classifier there is nothing to score beforehand, and nothing is said of it.
    let outcome = try run(["--backbone", bare, "--loss-fn", "MSE", "--l2", "1"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(try result().baseline == nil)
    #expect(!outcome.errors.contains("pretrained classifier"))
  }
}
