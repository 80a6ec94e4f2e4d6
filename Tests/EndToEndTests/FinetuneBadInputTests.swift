import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// A small feature file whose parts a test can spoil.
private struct FeatureFixture {
  var trainFeatures = Matrix<Float>(
    rows: 6, columns: 3, elements: (0..<18).map { Float($0 * 7 % 5) - 2 })
  var trainLabels: [Int32] = [0, 1, 2, 0, 1, 2]
  var testFeatures = Matrix<Float>(rows: 2, columns: 3, elements: [1, 2, 3, 3, 2, 1])
  var testLabels: [Int32] = [0, 2]

  func write(to path: String) throws {
    var writer = SafetensorsWriter()
    writer.add("X_train", trainFeatures)
    writer.add("y_train", trainLabels)
    writer.add("X_test", testFeatures)
    writer.add("y_test", testLabels)
    try writer.write(to: path)
  }
}

@Suite("bllarse-finetune with bad data")
struct FinetuneBadInputTests {
  let directory: TemporaryDirectory
  let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = directory.file("features.safetensors")
  }

  /// Runs on the file and expects exit status 65 and one line that holds all the given texts.
  private func expectError(
    _ texts: [String], _ arguments: [String]? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try finetune.run(arguments ?? ["--features", path])
    #expect(outcome.status == 65, "\(outcome.errors)", sourceLocation: sourceLocation)
    #expect(outcome.errorLines.count == 1, "\(outcome.errors)", sourceLocation: sourceLocation)
    for text in texts {
      #expect(outcome.errors.contains(text), "\(outcome.errors)", sourceLocation: sourceLocation)
    }
    #expect(!outcome.errors.contains("Fatal error"), sourceLocation: sourceLocation)
  }

  private func spoil(_ change: (inout FeatureFixture) -> Void) throws {
    var fixture = FeatureFixture()
    change(&fixture)
    try fixture.write(to: path)
  }

  @Test(
    "numbers beyond all sense are a wrong command line, not a crash",
    arguments: [
      ["--epochs", "9223372036854775807"], ["-bs", "9223372036854775807"],
      ["--num-update-iters", "9223372036854775807"], ["--threads", "9223372036854775807"],
      ["--threads", "0"], ["--enable-mlflow", "--mlflow-drain-seconds", "1e300"],
      ["--mlflow-drain-seconds", "nan"], ["--save-every", "0"],
    ])
  func nonsense(arguments: [String]) throws {
    let outcome = try finetune.run(["--features", path] + arguments)
    #expect(outcome.status == 64, "\(outcome.errors)")
    let name = try #require(arguments.last { $0.hasPrefix("--") || $0 == "-bs" })
    #expect(outcome.errors.contains(name == "-bs" ? "--batch-size" : name), "\(outcome.errors)")
  }

  @Test(
    "a value out of its range is told with the option and the range",
    arguments: [
      ("--learning-rate", "0", "a number above 0"), ("--dropout", "1", "a number from 0 to 0.99"),
      ("--label-smooth", "1.0", "a number from 0 to below 1"),
      ("--weight-decay", "-0.5", "a number from 0"), ("--l2", "inf", "a number above 0"),
      ("--mc-samples", "0", "a number from 1 to 65536"),
      ("--ivon-b2", "1.0", "a number from 0 to below 1"),
      ("--tolerance", "1.0", "a number above 0 and below 1"),
      ("--forgetting-rate", "1.5", "a number from 0 to 1"),
      ("--epochs", "-1", "a number from 0 to 1000000000"),
      ("--max-val-samples", "0", "a number from 1 to 1000000000"),
    ])
  func ranges(name: String, value: String, range: String) throws {
    let outcome = try finetune.run(["--features", path, "\(name)=\(value)"])
    #expect(outcome.status == 64, "\(outcome.errors)")
    #expect(outcome.errors.contains("\(name) is "), "\(outcome.errors)")
    #expect(outcome.errors.contains("; expected \(range)"), "\(outcome.errors)")
  }

  @Test("steps that diverge are told once, with what to do")
  func divergence() throws {
    try spoil { _ in }
    let outcome = try finetune.run(
      ["--features", path, "--loss-fn", "CrossEntropy", "-o", "adam", "-lr", "1e300", "-e", "3"])
    let notes = outcome.errors.split(separator: "\n").filter { $0.contains("not finite") }
    #expect(
      notes == [
        "note: the loss is not finite from epoch 1 on: the steps diverge, lower the learning rate"
      ], "\(outcome.errors)")
    #expect(outcome.status == 1)
    #expect(
      outcome.errorLines.count == 1 && outcome.errors.contains("the score train.brier is NaN: "))
  }

  @Test("a fit that diverged fails, keeps what it wrote, and its head is refused by tensor")
  func divergedHead() throws {
    try spoil { _ in }
    let output = directory.file("out")
    let arguments = ["--loss-fn", "MSE", "-o", "lion", "-lr", "1e38", "--output", output]
    let outcome = try finetune.run(["--features", path] + arguments)
    #expect(outcome.status == 1, "\(outcome.errors)")
    let result = try JSONSerialization.jsonObject(
      with: Data(contentsOf: URL(fileURLWithPath: output + "/result.json")))
    #expect(
      ((result as? [String: Any])?["failure"] as? String)?.hasPrefix("the score train.") == true)
    let head = output + "/head.safetensors"
    for command in [["evaluate"], ["predict", "--out", directory.file("p.csv")]] {
      try expectError(
        [head + ": weights, row 0, column 0 (from 0): the value is ", "expected a finite number"],
        command + ["--head", head, "--features", path])
    }
  }

  @Test(
    "a feature whose square overflows is refused by its place, in whatever split and command",
    arguments: ["train", "test"])
  func overflow(split: String) throws {
    try spoil { _ in }
    let output = directory.file("out")
    #expect(try finetune.run(["--features", path, "--output", output]).status == 0)
    try spoil {
      if split == "train" {
        $0.trainFeatures[4, 1] = -1e20
      } else {
        $0.testFeatures[1, 2] = 3e38
      }
    }
    let place =
      split == "train"
      ? [
        "train split features, row 4, column 1 (from 0): the value is -1e+20",
        "at most 1e+18 in magnitude",
      ]
      : [
        "test split features, row 1, column 2 (from 0): the value is 3e+38",
        "at most 1e+19 in magnitude",
      ]
    for loss in ["IBProbit", "CrossEntropy", "MSE"] {
      try expectError([path] + place, ["--features", path, "--loss-fn", loss])
    }
    let head = ["--head", output + "/head.safetensors", "--features", path]
    try expectError([path] + place, ["evaluate"] + head)
    let out = directory.file("p.csv")
    if split == "test" {
      try expectError(
        [path + ": X_test, row 1, column 2 (from 0): the value is 3e+38"],
        ["predict", "--out", out] + head)
      #expect(!FileManager.default.fileExists(atPath: out))
    }
  }

  @Test("the fixture itself is good")
  func good() throws {
    try spoil { _ in }
    let outcome = try finetune.run(["--features", path])
    #expect(outcome.status == 0, "\(outcome.errors)")
  }

  @Test("a missing file")
  func missing() throws { try expectError([path]) }

  @Test("a truncated header")
  func truncated() throws {
    try spoil { _ in }
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path)).prefix(40)
    try bytes.write(to: URL(fileURLWithPath: path))
    try expectError([path, "header"])
  }

  @Test("an offset outside the file")
  func offset() throws {
    try spoil { _ in }
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path)).dropLast(8)
    try bytes.write(to: URL(fileURLWithPath: path))
    try expectError([path])
  }

  @Test("a NaN in the features: row and column are named")
  func nan() throws {
    try spoil { $0.trainFeatures[4, 1] = .nan }
    try expectError([path, "row 4", "column 1", "nan"])
  }

  @Test("a label out of range")
  func label() throws {
    try spoil { $0.trainLabels[3] = -1 }
    try expectError([path, "row 3", "-1"])
    try spoil { $0.testLabels[1] = 9 }
    try expectError([path, "row 1", "9"])
  }

  @Test("splits whose widths differ")
  func widths() throws {
    try spoil { $0.testFeatures = Matrix(rows: 2, columns: 4, repeating: 1) }
    try expectError([path, "4", "3"])
  }

  @Test("one class only")
  func oneClass() throws {
    try spoil {
      $0.trainLabels = [0, 0, 0, 0, 0, 0]
      $0.testLabels = [0, 0]
    }
    try expectError([path, "class"])
  }

  @Test("zero rows")
  func noRows() throws {
    try spoil {
      $0.trainFeatures = Matrix(rows: 0, columns: 3, repeating: 0)
      $0.trainLabels = []
    }
    try expectError([path, "row"])
  }

  @Test("more labels than rows")
  func counts() throws {
    try spoil { $0.trainLabels.append(1) }
    try expectError([path, "7", "6"])
  }

  @Test("a backbone whose shapes contradict its metadata")
  func backbone() throws {
    let original = try SafetensorsFile(
      path: Fixtures.packageRoot
        + "/Sources/BllarseCore/Resources/digits/scaling_mlp_mnist5k.safetensors")
    var writer = SafetensorsWriter(metadata: original.metadata)
    writer.metadata["embed_dim"] = "64"
    for tensor in original.tensors {
      writer.add(
        tensor.name, try original.array(tensor.name, as: Float.self), shape: tensor.shape)
    }
    let changed = directory.file("backbone.safetensors")
    try writer.write(to: changed)
    try expectError([changed, "64"], ["--dataset", "digits", "--backbone", changed])
  }

  @Test("an output directory that cannot be written")
  func output() throws {
    try directory.write("file", [])
    let impossible = directory.file("file/out")
    try expectError([impossible], ["--dataset", "digits", "--output", impossible])
  }

  @Test("a head that is no head, and features that do not fit it")
  func head() throws {
    try spoil { _ in }
    try expectError([path, "format"], ["evaluate", "--head", path, "--features", path])
    let trained = try finetune.run(["--dataset", "digits", "--output", directory.file("out")])
    #expect(trained.status == 0)
    try expectError(
      ["128", "3"],
      ["evaluate", "--head", directory.file("out/head.safetensors"), "--features", path])
  }
}
