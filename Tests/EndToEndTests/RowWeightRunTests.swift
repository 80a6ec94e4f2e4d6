import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// A feature file with weights and groups, and the same rows repeated.
private struct WeightedFixture {
  let directory: TemporaryDirectory
  let weighted, repeated: String

  init() throws {
    directory = try TemporaryDirectory()
    weighted = directory.file("weighted.safetensors")
    repeated = directory.file("repeated.safetensors")
    var generator = SplitMix64(seed: 5)
    let centres = (0..<3).map { _ in (0..<4).map { _ in 1.5 * generator.normal() } }
    func split(_ count: Int) -> (Matrix<Float>, [Int32]) {
      let labels = (0..<count).map { Int32($0 % 3) }
      let elements = labels.flatMap { label in
        centres[Int(label)].map { Float($0 + generator.normal()) }
      }
      return (Matrix(rows: count, columns: 4, elements: elements), labels)
    }
    let (train, test) = (split(60), split(90))
    let weights = (0..<60).map { $0 % 3 == 0 ? $0 % 2 : $0 % 4 }
    let rows = weights.enumerated().flatMap { [Int](repeating: $0, count: $1) }
    for (path, rows) in [(weighted, nil), (repeated, rows)] as [(String, [Int]?)] {
      var writer = SafetensorsWriter()
      writer.add("X_train", rows.map(train.0.gatheringRows) ?? train.0)
      writer.add("y_train", rows?.map { train.1[$0] } ?? train.1)
      writer.add("X_test", test.0)
      writer.add("y_test", test.1)
      if rows == nil {
        writer.add("times_train", weights.map { Float($0) })
        writer.add("broken", weights.map { $0 == 3 ? -1 : Float($0) })
        writer.add("family", (0..<60).map { Int32($0 / 6) })
      }
      try writer.write(to: path)
    }
  }

  func run(_ words: [String]) throws -> [String: Any] {
    let output = directory.file("out")
    let outcome = try finetune.run(words + ["--output", output, "--overwrite"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let data = try Data(contentsOf: URL(fileURLWithPath: output + "/result.json"))
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }

  func nll(_ words: [String]) throws -> Double {
    let test = try #require(try run(words)["test"] as? [String: Any])
    return try #require(test["nll"] as? Double)
  }
}

@Suite("bllarse-finetune: weights and groups of training rows")
struct RowWeightRunTests {
  @Test("whole weights are repeated rows", arguments: ["softmax", "IBProbit"])
  func weights(head: String) throws {
    let fixture = try WeightedFixture()
    // Nothing is chosen, so that both fits are of one model.
    let rest = [
      "--head", head, "--prior", "2.5", "--calibration", "none", "--scaling", "columns",
    ]
    let weighted = ["--features", fixture.weighted, "--sample-weight", "times"]
    let found = try fixture.nll(weighted + rest)
    let expected = try fixture.nll(["--features", fixture.repeated] + rest)
    let plain = try fixture.nll(["--features", fixture.weighted] + rest)
    // Both fits end within 1e-5 nats of one optimum, which moves predictions by some 1e-4.
    #expect(found.isClose(to: expected, relative: 5e-4))
    #expect(!found.isClose(to: plain, relative: 1e-3))
  }

  @Test("weights and groups are recorded, and rows of weight 0 are noted")
  func record() throws {
    let fixture = try WeightedFixture()
    let words = [
      "--features", fixture.weighted, "--sample-weight", "times", "--group", "family",
    ]
    let result = try fixture.run(words)
    let arguments = try #require(result["arguments"] as? [String: Any])
    #expect(arguments["sample_weight"] as? String == "times")
    #expect(arguments["group"] as? String == "family")
    let outcome = try finetune.run(words)
    #expect(outcome.errors.contains("20 training rows have the weight 0 and count for nothing"))
  }

  @Test("other weights are other rows: the output directory is not shared")
  func fingerprint() throws {
    let fixture = try WeightedFixture()
    let words = ["--features", fixture.weighted, "--sample-weight", "times", "--output"]
    let output = fixture.directory.file("owned")
    #expect(try finetune.run(words + [output]).status == 0)
    var writer = SafetensorsWriter()
    let file = try SafetensorsFile(path: fixture.weighted)
    for name in ["X_train", "X_test"] { writer.add(name, try file.matrix(name, as: Float.self)) }
    for name in ["y_train", "y_test"] { writer.add(name, try file.labels(name)) }
    writer.add("times_train", (0..<60).map { Float($0 % 2 + 1) })
    try writer.write(to: fixture.weighted)
    let outcome = try finetune.run(words + [output])
    #expect(outcome.status == 65)
    #expect(outcome.errors.contains("a run on other training rows"), "\(outcome.errors)")
  }

  @Test("a bad array ends a run and its check with status 65, a head without weights with 64")
  func faults() throws {
    let fixture = try WeightedFixture()
    let features = ["--features", fixture.weighted]
    for rest in [[], ["--check"]] {
      let broken = try finetune.run(features + ["--sample-weight", "broken"] + rest)
      #expect(broken.status == 65)
      #expect(
        broken.errors.contains(
          "\(fixture.weighted): broken, row 7 (from 0): the weight is -1.0, expected a number from "
            + "0 to 1000000000000; correct it, or give 0 for a row that is not to count"),
        "\(broken.errors)")
      let absent = try finetune.run(features + ["--group", "patient"] + rest)
      #expect(absent.status == 65)
      #expect(
        absent.errors.contains("patient_train: there is no such array among "),
        "\(absent.errors)")
    }
    for head in [["--head", "CrossEntropy"], ["--head", "IBPolyaGamma"], ["--update", "merge"]] {
      let refused = try finetune.run(features + ["--sample-weight", "times"] + head)
      #expect(refused.status == 64)
      #expect(refused.errors.contains("--sample-weight does not go with"), "\(refused.errors)")
    }
    let images = try finetune.run(["--group", "family"])
    #expect(images.status == 64)
    let empty = try finetune.run(features + ["--group", ""])
    let message = "--group is ''; expected the name of an array"
    #expect(empty.status == 64 && empty.errors.contains(message), "\(empty.errors)")
  }
}
