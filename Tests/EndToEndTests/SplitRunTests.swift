import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// What `result.json` says about splits.
struct SplitResult: Decodable {
  typealias Scores = [String: Double]
  struct Best: Decodable {
    let epoch: Int
    let validation: Scores
    let splits: [String: Scores]
  }
  let train, test: Scores
  let splits: [String: Scores]
  let roles: [String: String?]
  let best: Best?
}

/// Features in any splits, of classes around centres that differ a little from split to split.
struct SplitFixture {
  let directory: TemporaryDirectory
  let path: String

  init(_ splits: [String: Int], columns: Int = 8, classes: Int = 3) throws {
    directory = try TemporaryDirectory()
    path = directory.file("features.safetensors")
    var generator = SplitMix64(seed: 11)
    let centres = (0..<classes).map { _ in (0..<columns).map { _ in generator.normal() } }
    var writer = SafetensorsWriter()
    for (name, count) in splits.sorted(by: { $0.key < $1.key }) {
      var elements: [Float] = []
      let labels = (0..<count).map { _ in Int32(generator.next() % UInt64(classes)) }
      for label in labels {
        elements += centres[Int(label)].map { Float($0 + 1.2 * generator.normal()) }
      }
      writer.add("X_" + name, Matrix<Float>(rows: count, columns: columns, elements: elements))
      writer.add("y_" + name, labels)
    }
    try writer.write(to: path)
  }

  /// Runs with one thread and `--output`.
  func run(_ arguments: [String], output: String = "out") throws -> BuiltExecutable.Outcome {
    try finetune.run(
      ["--features", path, "--threads", "1", "--output", directory.file(output)] + arguments)
  }

  /// What a run wrote.
  func decode<Value: Decodable>(
    _ type: Value.Type = SplitResult.self, from name: String = "result.json", output: String = "out"
  ) throws -> Value {
    let data = try Data(
      contentsOf: URL(fileURLWithPath: directory.file("\(output)/\(name)")))
    return try JSONDecoder().decode(type, from: data)
  }

  /// The lines of `metrics.jsonl`.
  func metrics(output: String = "out") throws -> [[String: Double]] {
    try String(contentsOfFile: directory.file("\(output)/metrics.jsonl"), encoding: .utf8)
      .split(separator: "\n")
      .map { try JSONDecoder().decode([String: Double].self, from: Data($0.utf8)) }
  }
}

@Suite("bllarse-finetune: splits")
struct SplitRunTests {
  private static let steps = ["--loss-fn", "CrossEntropy", "-o", "adam", "-bs", "32"]

  @Test("every split is scored in every epoch, on every road by which scores leave a run")
  func everySplit() throws {
    let fixture = try SplitFixture([
      "train": 150, "val": 60, "test": 70, "dev": 50, "holdout": 40,
    ])
    let outcome = try fixture.run(Self.steps + ["-e", "3"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let names = ["train", "validation", "test", "dev", "holdout"]
    let result = try fixture.decode()
    let splits = result.splits
    #expect(Set(splits.keys) == Set(names))
    #expect(splits["test"] == result.test)
    #expect(result.roles == ["train": "train", "test": "test", "validation": "validation"])
    #expect(outcome.errors.contains("test split: test; validation split: validation\n"))
    for name in names {
      #expect(
        outcome.output.contains("\n" + name.padding(toLength: 12, withPad: " ", startingAt: 0)))
    }
    let lines = try fixture.metrics()
    #expect(lines.count == 3)
    for (name, prefix) in zip(names, ["train", "val", "test", "dev", "holdout"]) {
      for score in ["acc", "nll", "ece", "brier"] {
        #expect(lines.allSatisfy { $0["\(prefix)_\(score)"] != nil })
        #expect(lines[2]["\(prefix)_\(score)"] == splits[name]?[score])
      }
    }
    // The scores are those of the stored head on these very rows.
    let evaluated = try finetune.run([
      "evaluate", "--head", fixture.directory.file("out/head.safetensors"), "--features",
      fixture.path, "--threads", "1", "--output", fixture.directory.file("again"),
    ])
    #expect(evaluated.status == 0, "\(evaluated.errors)")
    let again = try fixture.decode(
      [String: SplitResult.Scores].self, from: "evaluation.json", output: "again")
    #expect(again == splits)
  }

  @Test(
    "a text cache reports the matched rows under the original's names, and says what they serve for"
  )
  func textCache() throws {
    let fixture = try SplitFixture(["train": 150, "val_m": 60, "val_mm": 61])
    let outcome = try fixture.run(Self.steps + ["-e", "4", "-lr", "0.2"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.errors.contains("note: val_m chooses the best epoch and is reported as test"))
    let lines = try fixture.metrics()
    for line in lines {
      for score in ["acc", "nll", "ece"] {
        #expect(line[score] == line["val_matched_\(score)"])
        #expect(line[score] == line["val_m_\(score)"])
        #expect(line["val_mismatched_\(score)"] == line["val_mm_\(score)"])
      }
    }
    let result = try fixture.decode()
    let splits = result.splits
    #expect(splits["val_m"] == result.test)
    #expect(splits["val_mm"] != splits["val_m"])
    let best = try #require(result.best)
    let expected = try #require(
      lines.min { a, b in
        (-a["acc"]!, a["nll"]!, a["ece"]!) < (-b["acc"]!, b["nll"]!, b["ece"]!)
      })
    #expect(expected["epoch"] == Double(best.epoch))
    // The other splits' scores in that epoch are kept with it.
    #expect(best.splits["val_mm"]?["acc"] == lines[best.epoch - 1]["val_mismatched_acc"])
  }

  @Test("the options choose the splits, and names that are not there are refused")
  func options() throws {
    let fixture = try SplitFixture(["train": 150, "val_m": 60, "val_mm": 61])
    let outcome = try fixture.run(Self.steps + ["-e", "3", "--test-split", "val_mm"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(!outcome.errors.contains("note:"))
    let result = try fixture.decode()
    let splits = result.splits
    #expect(splits["val_mm"] == result.test)
    let lines = try fixture.metrics()
    #expect(lines[2]["acc"] == splits["val_mm"]?["acc"])
    #expect(lines.map { $0["val_m_acc"]! }.max() == result.best?.validation["acc"])

    let wrong = try fixture.run(["--validation-split", "dev"], output: "wrong")
    #expect(wrong.status == 65)
    #expect(
      wrong.errorLines == [
        "bllarse-finetune: error: \(fixture.path): dev split: there is no such split, expected one of "
          + "val_m, val_mm; correct --validation-split"
      ])
    let calibrated = try fixture.run(["--calibration", "validation"], output: "wrong")
    #expect(calibrated.status == 65)
    #expect(calibrated.errors.contains("val_m split: its rows are the test split too"))
  }

  @Test("fewer training and validation rows: the first, or random ones of every class")
  func subsets() throws {
    let fixture = try SplitFixture(["train": 150, "val_m": 60, "val_mm": 61])
    func run(_ arguments: [String], _ output: String) throws -> SplitResult {
      let outcome = try fixture.run(
        ["--loss-fn", "MSE", "-o", "newton", "--l2", "1"] + arguments, output: output)
      #expect(outcome.status == 0, "\(outcome.errors)")
      return try fixture.decode(output: output)
    }
    let outcome = try fixture.run(
      Self.steps + ["-e", "1", "--max-train-samples", "40", "--max-val-samples", "25"])
    #expect(outcome.errors.contains("40 train, 25 val_m, 25 val_mm rows"), "\(outcome.errors)")

    // The first rows are those of a file that holds no others.
    let file = try FeatureFile(path: fixture.path).dataset()
    var writer = SafetensorsWriter(metadata: ["num_classes": "3"])
    for (name, count) in [("train", 40), ("val_m", 25), ("val_mm", 25)] {
      let rows = try file.split(name).rows(0..<count)
      writer.add("X_" + name, rows.features.converted(to: Float.self))
      writer.add("y_" + name, rows.labels)
    }
    let short = fixture.directory.file("short.safetensors")
    try writer.write(to: short)
    let first = try run(["--max-train-samples", "40", "--max-val-samples", "25"], "first")
    #expect(
      try finetune.run(
        [
          "--features", short, "--threads", "1", "--loss-fn", "MSE", "-o", "newton", "--l2", "1",
          "--output", fixture.directory.file("short"),
        ]
      ).status == 0)
    #expect(try fixture.decode(output: "short").splits == first.splits)

    let seeded = ["--max-train-samples", "40", "--train-subset-seed"]
    let random = try run(seeded + ["1"], "random")
    #expect(random.train != first.train)
    #expect(try run(seeded + ["1"], "again").splits == random.splits)
    #expect(try run(seeded + ["2"], "other").splits != random.splits)

    let notes = try fixture.run(
      ["--max-train-samples", "400", "--train-subset-seed", "1", "--max-val-samples", "99"],
      output: "all"
    ).errors
    for text in [
      "note: --max-train-samples 400: there are 150 rows, all are taken",
      "note: --max-val-samples 99: there are 60 rows of val_m, all are taken",
    ] {
      #expect(notes.contains(text), "\(notes)")
    }
    #expect(try fixture.run(["--max-train-samples", "0"], output: "zero").status == 64)
    let alone = try fixture.run(["--train-subset-seed", "3"], output: "alone").errors
    #expect(alone.contains("--train-subset-seed has no effect here"), "\(alone)")
  }

  @Test("scores within an epoch are printed and kept by the rows seen; a fit to all rows has none")
  func withinEpochs() throws {
    let fixture = try SplitFixture(["train": 150, "val_m": 60, "val_mm": 61])
    let outcome = try fixture.run(
      ["--num-update-iters", "4", "-bs", "32", "-e", "1", "--eval-every-batches", "2"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = try fixture.metrics()
    #expect(lines.map { $0["seen_examples"] } == [64, 128, 150])
    #expect(lines.map { $0["step"] } == [64, 128, 150])
    #expect(lines.allSatisfy { $0["val_mismatched_acc"] != nil && $0["epoch"] == 1 })
    #expect(outcome.errors.contains("epoch 1, 64 rows seen"))
    let converged = try fixture.run(["--eval-every-batches", "2"], output: "converged")
    #expect(converged.errors.contains("--eval-every-batches has no effect here"))
    #expect(try fixture.metrics(output: "converged").map { $0["step"] } == [1])
  }
}
