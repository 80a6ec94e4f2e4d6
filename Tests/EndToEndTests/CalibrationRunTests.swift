import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("bllarse-finetune: --calibration and --temperature-scaling")
struct CalibrationRunTests {
  private let fixture: ResumeFixture

  init() throws { fixture = try ResumeFixture(rows: 120, columns: 6) }

  private func result(_ output: String) throws -> [String: Any] {
    try object(output + "/result.json")
  }

  private func object(_ path: String) throws -> [String: Any] {
    let data = try Data(contentsOf: URL(fileURLWithPath: path))
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }

  private func scores(_ value: Any?) throws -> [String: Double] {
    try #require(value as? [String: Double])
  }

  @Test(
    "scores before and after; evaluate and predict give the calibrated ones",
    arguments: [
      ["--loss-fn", "CrossEntropy", "-o", "adamw", "-e", "2", "--calibration", "validation"],
      ["--loss-fn", "MSE", "--calibration", "validation-vector"],
      [
        "--loss-fn", "IBPolyaGamma", "--batch-size", "30", "-e", "1", "--calibration",
        "validation-isotonic",
      ],
      ["--parity", "-e", "1", "--calibration", "validation"],
    ])
  func beforeAndAfter(arguments: [String]) throws {
    let output = fixture.directory.file("out")
    let outcome = try finetune.run(fixture.arguments(arguments, output: output))
    #expect(outcome.status == 0, "\(outcome.errors)")
    let result = try result(output)
    let test = try scores(result["test"])
    let before = try scores((result["uncalibrated"] as? [String: Any])?["test"])
    #expect(test["nll"] != before["nll"])
    let calibration = try #require(result["calibration"] as? [String: Any])
    #expect(calibration["rows"] as? Int == 80)
    // What was asked for, what stands and why.
    let option = arguments.last ?? ""
    let requested = option == "validation" ? "temperature" : String(option.dropFirst(11))
    #expect(calibration["requested"] as? String == requested)
    let method = try #require(calibration["method"] as? String)
    #expect([requested, "temperature"].contains(method))
    let leftOut = calibration["left_out"] as? [String: Double]
    #expect((leftOut != nil) == (requested != "temperature"))
    if let leftOut {
      let reason = try #require(calibration["reason"] as? String)
      let line = "calibration: \(requested) was asked for, \(method) stands: \(reason)"
      #expect(outcome.output.contains(line), "\(outcome.output)")
      for key in ["requested", "temperature", "difference_se"] {
        #expect(outcome.output.contains(String(format: "%.4f", leftOut[key] ?? .nan)))
      }
    }
    #expect((result["arguments"] as? [String: Any])?["calibration"] as? String == arguments.last)

    // 1. The table has both.
    let table = outcome.output.split(separator: "\n").map(String.init)
    for (name, figures) in [("test  ", test), ("test (uncalibrated)", before)] {
      let line = try #require(table.first { $0.hasPrefix(name) }, "\(outcome.output)")
      for key in ["acc", "nll", "ece", "brier"] {
        #expect(line.contains(String(format: "%.4f", figures[key] ?? .nan)), "\(line)")
      }
    }
    #expect(outcome.output.contains("fitted to 80 rows of the validation split"))

    // 2. Without the option the scores are those of before.
    let plain = fixture.directory.file("plain")
    let other = try finetune.run(
      fixture.arguments(Array(arguments.dropLast(2)), output: plain))
    #expect(other.status == 0, "\(other.errors)")
    #expect(try scores(self.result(plain)["test"]) == before)

    // 3. The stored head.
    let head = output + "/head.safetensors"
    let evaluated = try finetune.run(
      [
        "evaluate", "--head", head, "--features", fixture.features, "--threads", "1", "--output",
        fixture.directory.file("again"),
      ])
    #expect(evaluated.status == 0, "\(evaluated.errors)")
    let again = try object(fixture.directory.file("again/evaluation.json"))
    #expect(try scores(again["test"]) == test)
    let predictions = fixture.directory.file("p.safetensors")
    let predicted = try finetune.run(
      ["predict", "--head", head, "--features", fixture.features, "--out", predictions])
    #expect(predicted.status == 0, "\(predicted.errors)")
    let labels = try SafetensorsFile(path: fixture.features).labels("y_test")
    let probabilities = try SafetensorsFile(path: predictions)
      .matrix("probabilities", as: Float.self)
    var brier = 0.0
    for (row, label) in labels.enumerated() {
      for (k, p) in probabilities.row(row).enumerated() {
        brier += (Double(p) - (k == Int(label) ? 1 : 0)) * (Double(p) - (k == Int(label) ? 1 : 0))
      }
    }
    #expect((brier / 80).isClose(to: test["brier"] ?? .nan, relative: 1e-5))
  }

  @Test(
    "temperatures on parts of the test split are reported as such, however the parts are written")
  func temperatureScaling() throws {
    var rows: [NSArray] = []
    for (index, fractions) in [
      ["--ts-test-fractions", "0.1", "0.25"],
      ["--ts-test-fractions", "0.1", "--ts-test-fractions", "0.25"],
      ["--ts-test-fractions", "[0.1, 0.25]"],
    ].enumerated() {
      let output = fixture.directory.file("out\(index)")
      let outcome = try finetune.run(
        fixture.arguments(
          ["--temperature-scaling", "--ts-iters", "8", "--loss-fn", "CrossEntropy"] + fractions,
          output: output))
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.errors.contains("rows of the test split"))
      #expect(outcome.errors.contains("there is no pretrained classifier"))
      #expect(outcome.output.contains("TEST split"))
      #expect(outcome.output.contains("head      0.25"))
      rows.append(try #require(try result(output)["temperature_scaling"] as? NSArray))
    }
    #expect(rows[0].count == 50)
    #expect(rows[0] == rows[1] && rows[0] == rows[2])
    let row = try #require(rows[0][0] as? [String: Any])
    #expect(
      Set(row.keys) == [
        "source", "test_fraction", "repeat_idx", "temperature", "acc", "ece", "nll",
      ])
  }

  @Test("the pretrained classifier has its own rows, and -e 0 has no others", arguments: [0, 1])
  func baseline(epochs: Int) throws {
    let output = fixture.directory.file("digits")
    let outcome = try finetune.run([
      "--loss-fn", "MSE", "-e", "\(epochs)", "--temperature-scaling", "--threads", "1", "--output",
      output,
    ])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let result = try result(output)
    let rows = try #require(result["temperature_scaling"] as? [[String: Any]])
    #expect(rows.count == 25 * (1 + epochs))
    #expect(
      Set(rows.map { $0["source"] as? String })
        == (epochs == 0 ? ["baseline"] : ["baseline", "head"]))
    // A temperature changes the likelihood and leaves the classes: on nine tenths of the rows, again and again.
    let own = try scores((result["baseline"] as? [String: Any])?["test"])
    let accuracies = rows.prefix(25).compactMap { $0["acc"] as? Double }
    #expect((accuracies.reduce(0, +) / 25).isClose(to: own["acc"] ?? .nan, relative: 0.01))
    #expect(outcome.output.contains("baseline  0.1"))
  }

  @Test("a tracked run has the scores before, the temperature, and those of the parts", .withMLflow)
  func tracked() throws {
    let runs = TrackedRuns(server: try EndToEndServer.plain())
    let outcome = try finetune.run(
      fixture.arguments(
        [
          "--loss-fn", "CrossEntropy", "--calibration", "validation", "--temperature-scaling",
          "--enable-mlflow", "--mlflow-tracking-uri", runs.server.address, "--uid", "calibrated",
        ], output: fixture.directory.file("out")), directory: fixture.directory.path)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let run = try #require(try runs.all().first { $0.info.run_name == "calibrated" })
    let result = try result(fixture.directory.file("out"))
    let before = try scores((result["uncalibrated"] as? [String: Any])?["test"])
    #expect(
      run.values["uncalibrated.test.nll"]?.isClose(to: before["nll"] ?? .nan, ulps: 4) == true)
    let calibration = try #require(result["calibration"] as? [String: Any])
    let beta = try #require(calibration["inverse_temperature"] as? Double)
    #expect(run.values["calibration.inverse_temperature"]?.isClose(to: beta, ulps: 4) == true)
    #expect(run.values["temperature_scaling.head.0.1.nll_std"] != nil)
    #expect(run.parameters["calibration"] == "validation")
    #expect(run.parameters["ts_test_fractions"] == "0.1")
  }

  @Test(
    "what cannot be is refused",
    arguments: [
      (["--loss-fn", "MSE", "--calibration", "folds"], "--calibration folds goes with softmax"),
      (["--update", "merge", "--calibration", "loo"], "--calibration folds goes with softmax"),
      (["--temperature-scaling", "--ts-test-fractions", "1.5"], "1.5"),
      (["--temperature-scaling", "--ts-test-fractions", "0.1", "0.1"], "twice"),
      (["--temperature-scaling", "--ts-iters=-1"], "--ts-iters"),
      (["--ts-iters", "4"], "--temperature-scaling"),
      (["--ts-test-fractions", "0.1"], "--temperature-scaling"),
      (["-e", "0", "--calibration", "validation"], "--epochs 0"),
    ])
  func refused(arguments: [String], text: String) throws {
    let outcome = try finetune.run(["--features", fixture.features] + arguments)
    #expect(outcome.status == 64, "\(outcome.errors)")
    #expect(outcome.errors.contains(text), "\(outcome.errors)")
  }

  @Test("a validation split that is not there, and rows that are all right: 65, and a note")
  func data() throws {
    let directory = try TemporaryDirectory()
    var (without, easy) = (SafetensorsWriter(), SafetensorsWriter())
    var generator = SplitMix64(seed: 3)
    for name in ["train", "test", "val"] {
      let elements = (0..<60).flatMap { row in
        (0..<3).map { Float(0.1 * generator.normal() + ($0 == row % 3 ? 5 : 0)) }
      }
      let labels = (0..<60).map { Int32($0 % 3) }
      easy.add("X_" + name, Matrix<Float>(rows: 60, columns: 3, elements: elements))
      easy.add("y_" + name, labels)
      guard name != "val" else { continue }
      without.add("X_" + name, Matrix<Float>(rows: 60, columns: 3, elements: elements))
      without.add("y_" + name, labels)
    }
    try without.write(to: directory.file("without.safetensors"))
    try easy.write(to: directory.file("easy.safetensors"))
    let arguments = ["--loss-fn", "CrossEntropy", "--calibration", "validation", "--features"]
    let missing = try finetune.run(arguments + [directory.file("without.safetensors")])
    #expect(missing.status == 65)
    #expect(missing.errors.contains("validation split") && missing.errors.contains("X_val"))
    let certain = try finetune.run(arguments + [directory.file("easy.safetensors")])
    #expect(certain.status == 0)
    #expect(certain.errors.contains("all 60 rows of the validation split are predicted right"))
  }
}
