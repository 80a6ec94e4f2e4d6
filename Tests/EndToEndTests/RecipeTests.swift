import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// Features of two or more classes around centres, with a validation split and out-of-distribution rows.
private struct RecipeFixture {
  let directory: TemporaryDirectory
  let path: String
  let outside: String

  init(classes: Int = 3, rows: Int = 90, columns: Int = 5, validation: Bool = true) throws {
    directory = try TemporaryDirectory()
    path = directory.file("features.safetensors")
    outside = directory.file("foreign.safetensors")
    var generator = Philox(seed: 7, purpose: .sampling)
    let centres = (0..<classes).map { _ in generator.normals(count: columns).map { 1.5 * $0 } }
    func split(_ count: Int) -> (Matrix<Float>, [Int32]) {
      let labels = (0..<count).map { Int32($0 % classes) }
      let elements = labels.flatMap { label in
        zip(centres[Int(label)], generator.normals(count: columns)).map { Float($0 + $1) }
      }
      return (Matrix(rows: count, columns: columns, elements: elements), labels)
    }
    var writer = SafetensorsWriter(metadata: ["num_classes": String(classes)])
    for name in validation ? ["train", "val", "test"] : ["train", "test"] {
      let (features, labels) = split(rows)
      writer.add("X_" + name, features)
      writer.add("y_" + name, labels)
    }
    try writer.write(to: path)
    var other = SafetensorsWriter()
    other.add(
      "X_test",
      Matrix<Float>(
        rows: 40, columns: columns,
        elements: generator.normals(count: 40 * columns).map { Float(30 * $0) }))
    try other.write(to: outside)
  }

  /// Runs with `--output`, and reads what came out.
  func run(
    _ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> [String: Any] {
    let output = directory.file("out")
    let outcome = try finetune.run(["--features", path, "--output", output] + arguments)
    #expect(outcome.status == 0, "\(outcome.errors)", sourceLocation: sourceLocation)
    let data = try Data(contentsOf: URL(fileURLWithPath: output + "/result.json"))
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }
}

@Suite("bllarse-finetune: the default recipe")
struct RecipeTests {
  @Test("says and stores what was chosen, and an estimate near the test scores")
  func report() throws {
    let fixture = try RecipeFixture(rows: 240, validation: false)
    let result = try fixture.run([])
    let recipe = try #require(result["recipe"] as? [String: Any])
    #expect(recipe["likelihood"] as? String == "softmax")
    #expect(recipe["posterior"] as? String == "kron")
    #expect(recipe["link"] as? String == "mean-probit")
    let candidates = try #require(recipe["candidates"] as? [[String: Any]])
    #expect(candidates.allSatisfy { ($0["prior_precision"] as? Double ?? 0) > 0 })
    #expect(result["leave_one_out"] == nil && recipe["leave_one_out"] == nil)
    let estimate = try #require(result["estimate"] as? [String: Any])
    let test = try #require(result["test"] as? [String: Any])
    #expect(estimate["rows"] as? Int == 240)
    let error = try #require(estimate["nll_se"] as? Double)
    #expect(error > 0 && error < 0.2)
    for name in ["nll", "acc", "ece", "brier"] {
      let difference =
        try #require(estimate[name] as? Double) - (try #require(test[name] as? Double))
      #expect(abs(difference) < 0.1, "\(name) \(difference)")
    }
    let outcome = try finetune.run(["--features", fixture.path])
    #expect(outcome.output.contains("estimate"))
    #expect(outcome.output.contains("prior precision"))
    #expect(outcome.output.contains("softmax regression"))
  }

  @Test(
    "every option runs, and evaluating the checkpoint gives the same figures to the last bit",
    arguments: [
      [], ["--posterior", "meanfield"], ["--posterior", "laplace-shared"],
      ["--posterior", "laplace-diag"], ["--head", "IBProbit"], ["--prior", "1.0"],
      ["--posterior", "full"], ["--posterior", "full", "--link", "bridge-norm"],
      ["--link", "probit"], ["--link", "mc", "--link-samples", "40"], ["--link", "bridge_norm"],
      ["--head", "IBProbit", "--posterior", "full"],
      ["--prior", "evidence"], ["--prior", "evidence-per-class"], ["--prior", "ard"],
      ["--scaling", "rows"],
      ["--calibration", "none"], ["--calibration", "validation"],
      ["--calibration", "validation-vector"], ["--calibration", "validation-isotonic"],
      ["--parity", "--epochs", "2"], ["--parity", "--update", "cavi", "--epochs", "1"],
    ])
  func options(arguments: [String]) throws {
    let fixture = try RecipeFixture()
    let result = try fixture.run(arguments)
    let evaluated = try finetune.run(
      [
        "evaluate", "--head", fixture.directory.file("out/head.safetensors"), "--features",
        fixture.path, "--output", fixture.directory.file("again"),
      ])
    #expect(evaluated.status == 0, "\(evaluated.errors)")
    let data = try Data(
      contentsOf: URL(fileURLWithPath: fixture.directory.file("again/evaluation.json")))
    let again = try #require(
      try JSONSerialization.jsonObject(with: data) as? [String: [String: Double]])
    let first = try #require(result["test"] as? [String: Double])
    for key in ["acc", "nll", "ece", "brier"] { #expect(again["test"]?[key] == first[key]) }
  }

  @Test("more scores: bins in the names, intervals, conformal sets, out-of-distribution rows")
  func metrics() throws {
    let fixture = try RecipeFixture(rows: 150, validation: false)
    let result = try fixture.run(["--ood", fixture.outside])
    let metrics = try #require(result["metrics"] as? [String: Any])
    let test = try #require(metrics["test"] as? [String: Double])
    for name in [
      "ece_equal_width_20", "ece_equal_width_15", "ece_equal_mass_20", "ece_classwise_20",
      "ks_calibration_error", "aurc", "top_2_acc", "balanced_acc",
    ] {
      #expect(test[name] != nil, "\(name)")
    }
    let scores = try #require(result["test"] as? [String: Double])
    #expect(test["ece_equal_width_20"] == scores["ece"])
    let conformal = try #require(metrics["conformal"] as? [[String: Any]])
    #expect(conformal.count == 6)
    for sets in conformal {
      #expect(sets["calibrated_on"] as? String == "folds")
      #expect(sets["calibration_rows"] as? Int == 150)
      #expect((sets["guarantee"] as? String)?.contains("not exact") == true)
      #expect((sets["threshold"] as? Double ?? 2) <= 1.001)
      let (level, coverage) = (
        try #require(sets["level"] as? Double), try #require(sets["coverage"] as? Double)
      )
      // 150 rows: five standard errors, and the calibration's own.
      #expect(coverage > level - 0.12, "\(sets)")
    }
    let detections = try #require(metrics["ood"] as? [String: [String: Double]])
    #expect((detections["leverage"]?["auroc"] ?? 0) > 0.9)
    #expect(detections.keys.contains("mutual_information") && detections.keys.contains("energy"))
    let bootstrap = try #require(metrics["bootstrap"] as? [String: Any])
    let nll = try #require(bootstrap["nll"] as? [String: Double])
    #expect(
      (nll["lower"] ?? 0) < (scores["nll"] ?? 0) && (scores["nll"] ?? 0) < (nll["upper"] ?? 0))
  }

  @Test(
    "out-of-distribution rows that cannot be scored are refused before the fit, with row and column"
  )
  func badOutOfDistributionRows() throws {
    let fixture = try RecipeFixture()
    var writer = SafetensorsWriter()
    var rows = Matrix<Float>(rows: 4, columns: 5, repeating: 1)
    rows[2, 3] = .nan
    writer.add("X_test", rows)
    try writer.write(to: fixture.outside)
    let output = fixture.directory.file("out")
    let outcome = try finetune.run(
      ["--features", fixture.path, "--output", output, "--ood", fixture.outside])
    #expect(outcome.status == 65, "\(outcome.errors)")
    for text in [fixture.outside, "X_test", "row 2, column 3", "nan"] {
      #expect(outcome.errors.contains(text), "\(outcome.errors)")
    }
    // Nothing was fitted, so nothing that an earlier run left is gone.
    #expect(!FileManager.default.fileExists(atPath: output + "/head.safetensors"))
  }

  @Test("predict writes the same numbers as safetensors and as a table")
  func predict() throws {
    let fixture = try RecipeFixture(classes: 2)
    _ = try fixture.run([])
    let head = fixture.directory.file("out/head.safetensors")
    let (binary, table) = (
      fixture.directory.file("p.safetensors"), fixture.directory.file("p.csv")
    )
    for out in [binary, table] {
      let outcome = try finetune.run(
        [
          "predict", "--head", head, "--features", fixture.path, "--out", out,
          "--mutual-information",
        ])
      #expect(outcome.status == 0, "\(outcome.errors)")
    }
    let file = try SafetensorsFile(path: binary)
    let probabilities = try file.matrix("probabilities", as: Float.self)
    #expect(probabilities.rowCount == 90 && probabilities.columnCount == 2)
    let lines = try String(contentsOfFile: table, encoding: .utf8).split(separator: "\n")
    #expect(lines.count == 91)
    let names = lines[0].split(separator: ",").map(String.init)
    for name in [
      "row", "predicted", "p_0", "p_1", "logit_0", "max_probability", "entropy",
      "mutual_information", "aleatoric", "energy", "leverage",
    ] {
      #expect(names.contains(name), "\(name)")
    }
    let entropy = try file.array("entropy", as: Double.self)
    let information = try file.array("mutual_information", as: Double.self)
    let aleatoric = try file.array("aleatoric", as: Double.self)
    for row in 0..<90 {
      #expect((information[row] + aleatoric[row] - entropy[row]).magnitude < 1e-12)
      let fields = lines[row + 1].split(separator: ",").map(String.init)
      #expect(Float(fields[2]) == probabilities[row, 0])
      #expect(Double(fields[names.firstIndex(of: "entropy") ?? 0]) == entropy[row])
      #expect((probabilities[row, 0] + probabilities[row, 1] - 1).magnitude < 1e-5)
    }
  }

  @Test("predict splits the entropy only where asked to, and refuses to where a head cannot")
  func predictByDefault() throws {
    let fixture = try RecipeFixture()
    let table = fixture.directory.file("p.csv")
    let head = ["--head", fixture.directory.file("out/head.safetensors")]
    let arguments = ["predict", "--features", fixture.path, "--out", table] + head
    _ = try fixture.run([])
    #expect(try finetune.run(arguments).status == 0)
    let names = try String(contentsOfFile: table, encoding: .utf8).prefix { $0 != "\n" }
      .split(separator: ",").suffix(4)
    #expect(names == ["max_probability", "entropy", "energy", "leverage"])
    _ = try fixture.run(["--loss-fn", "CrossEntropy", "--overwrite"])
    #expect(try finetune.run(arguments).status == 0)
    let refused = try finetune.run(arguments + ["--mutual-information"])
    #expect(refused.status == 65 && refused.errors.contains("no posterior to draw from"))
  }

  @Test(
    "scores of out-of-distribution rows are printed; a file without rows is refused before the fit")
  func outOfDistributionRows() throws {
    let fixture = try RecipeFixture()
    let outcome = try finetune.run(["--features", fixture.path, "--ood", fixture.outside])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = outcome.output.split(separator: "\n")
    #expect(lines.contains("out of distribution    auroc    fpr95     aupr"))
    #expect(lines.contains { $0.hasPrefix("mutual_information ") })
    let empty = fixture.directory.file("empty.safetensors")
    var writer = SafetensorsWriter()
    writer.add("X_test", Matrix<Float>.zeros(0, 5))
    try writer.write(to: empty)
    for arguments in [[], ["--check"]] {
      let refused = try finetune.run(["--features", fixture.path, "--ood", empty] + arguments)
      #expect(
        refused.status == 65 && refused.errors.contains("empty.safetensors: there are no rows"))
    }
  }

  @Test("figures of a table keep apart, however large")
  func wideFigures() throws {
    let fixture = try RecipeFixture()
    let file = try SafetensorsFile(path: fixture.path)
    var writer = SafetensorsWriter()
    for tensor in file.tensors where tensor.name.hasPrefix("y_") {
      writer.add(tensor.name, try file.labels(tensor.name))
    }
    for name in ["X_train", "X_test"] {
      var features = Matrix<Float>(try file.matrix(name, as: Float.self))
      if name == "X_test" { features.scale(by: 1e12) }
      writer.add(name, features)
    }
    try writer.write(to: fixture.path)
    let outcome = try finetune.run(["--features", fixture.path, "--loss-fn", "CrossEntropy"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let row = try #require(outcome.output.split(separator: "\n").first { $0.hasPrefix("test ") })
    let fields = row.split(separator: " ")
    #expect(fields.count == 5 && fields.dropFirst().allSatisfy { Double($0) != nil }, "\(row)")
  }

  @Test("evaluate's help names the file that it writes")
  func evaluateHelp() throws {
    #expect(try finetune.run(["evaluate", "--help"]).output.contains("evaluation.json"))
  }

  @Test(
    "contradictions exit 64",
    arguments: [
      ["--parity", "--posterior", "laplace"], ["--update", "cavi", "--scaling", "rows"],
      ["--prior", "0"], ["--prior", "flat"], ["--posterior", "wide"],
      ["--num-update-iters", "4", "--prior", "ard"], ["predict", "--head", "x", "--features", "y"],
      ["predict", "--head", "x", "--features", "y", "--out", "z.parquet"],
    ])
  func usage(arguments: [String]) throws {
    let outcome = try finetune.run(arguments)
    #expect(outcome.status == 64, "\(outcome.errors)")
    #expect(outcome.output.isEmpty)
  }

  @Test("a missing validation split, a narrow file of out-of-distribution rows, no head: exit 65")
  func badData() throws {
    let fixture = try RecipeFixture(validation: false)
    let narrow = try RecipeFixture(columns: 3)
    for (arguments, text) in [
      (["--features", fixture.path, "--calibration", "validation"], "validation"),
      (["--features", fixture.path, "--ood", narrow.outside], "3 features"),
      (["--features", fixture.path, "--ood", "/nowhere.safetensors"], "/nowhere.safetensors"),
      (
        ["predict", "--head", fixture.path, "--features", fixture.path, "--out", "/tmp/x.csv"],
        "format"
      ),
    ] {
      let outcome = try finetune.run(arguments)
      #expect(outcome.status == 65, "\(arguments) \(outcome.errors)")
      #expect(outcome.errors.contains(text), "\(outcome.errors)")
      #expect(outcome.errorLines.count == 1)
    }
  }
}
