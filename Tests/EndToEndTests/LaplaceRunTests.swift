import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// Runs of `bllarse-finetune laplace` on the small layer that laplace-torch was asked about.
@Suite("bllarse-finetune laplace")
struct LaplaceRunTests {
  private let directory: TemporaryDirectory
  private let features, weights: String
  private let reference: SafetensorsFile

  init() throws {
    directory = try TemporaryDirectory()
    reference = try SafetensorsFile(path: Fixtures.path("laplace/reference.safetensors"))
    var writer = SafetensorsWriter()
    for split in ["train", "val", "test"] {
      writer.add("X_" + split, try reference.features("four.x"))
      writer.add("y_" + split, try reference.labels("four.y"))
    }
    features = directory.file("features.safetensors")
    try writer.write(to: features)
    var layer = SafetensorsWriter()
    layer.add("head.weight", try reference.matrix("four.weight", as: Double.self))
    layer.add("head.bias", try reference.array("four.bias", as: Double.self))
    weights = directory.file("weights.safetensors")
    try layer.write(to: weights)
  }

  private func run(
    _ words: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> [String: Any] {
    let output = directory.file("out-\(UUID().uuidString)")
    let outcome = try finetune.run(
      words + ["--features", features, "--output", output], directory: directory.path)
    #expect(outcome.status == 0, "\(outcome.errors)", sourceLocation: sourceLocation)
    let data = try Data(contentsOf: URL(fileURLWithPath: output + "/result.json"))
    var result = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    result["output"] = output
    result["printed"] = outcome.output
    return result
  }

  @Test(
    "is an ordinary run: the evidence of laplace-torch, scores, a stored head that evaluates and predicts",
    arguments: ["full", "kron", "diag"], ["safetensors", "npz"])
  func wholeRun(posterior: String, format: String) throws {
    let file = format == "npz" ? Fixtures.path("laplace/layer.npz") : weights
    let result = try run([
      "laplace", "--weights", file, "--posterior", posterior, "--prior", "0.7", "--link", "probit",
    ])
    let recipe = try #require(result["recipe"] as? [String: Any])
    let evidence: [Double] = try reference.array("four.\(posterior).evidence")
    #expect(
      try #require(recipe["log_evidence"] as? Double).isClose(to: evidence[0], relative: 1e-9))
    #expect(recipe["posterior"] as? String == posterior && recipe["link"] as? String == "probit")
    #expect(recipe["scaling"] as? String == "none")
    let distance = try #require(recipe["distance"] as? [String: Double])
    #expect(distance["newton_decrement"] ?? -1 > 0 && distance["gradient_norm"] ?? -1 > 0)
    let arguments = try #require(result["arguments"] as? [String: Any])
    #expect(arguments["loss_fn"] as? String == "laplace")
    #expect(arguments["weights"] as? String == file)
    #expect(arguments["link"] as? String == "probit")
    let printed = try #require(result["printed"] as? String)
    for part in ["scaling none", "posterior \(posterior)", "link probit", "log evidence", "nats"] {
      #expect(printed.contains(part), "\(printed)")
    }

    let output = try #require(result["output"] as? String)
    let again = directory.file("again-\(UUID().uuidString)")
    let evaluated = try finetune.run([
      "evaluate", "--head", output + "/head.safetensors", "--features", features, "--output", again,
    ])
    #expect(evaluated.status == 0, "\(evaluated.errors)")
    let scores = try #require(
      try JSONSerialization.jsonObject(
        with: Data(contentsOf: URL(fileURLWithPath: again + "/evaluation.json")))
        as? [String: [String: Double]])
    let test = try #require(result["test"] as? [String: Double])
    #expect(scores["test"]?["nll"] == test["nll"])
    let predicted = try finetune.run([
      "predict", "--head", output + "/head.safetensors", "--features", features, "--split", "test",
      "--out", directory.file("predictions-\(UUID().uuidString).safetensors"),
    ])
    #expect(predicted.status == 0, "\(predicted.errors)")
  }

  @Test("the same run by --head laplace, by --weights alone, and from a check and a sweep's words")
  func spellings() throws {
    let options = ["--weights", weights, "--link", "mc", "--link-samples", "50"]
    let first = try run(["laplace"] + options)
    for words in [["--head", "laplace"] + options, options, ["train"] + options] {
      let other = try run(words)
      #expect(other["test"] as? [String: Double] == first["test"] as? [String: Double])
      #expect(
        other["arguments"] as? NSDictionary == first["arguments"] as? NSDictionary, "\(words)")
    }
    let answers = try RunChecks.ask([
      ["laplace", "--features", features] + options,
      ["--head", "laplace", "--features", features] + options,
      ["laplace", "--features", features, "--posterior", "kronecker"] + options,
      ["laplace", "--features", features, "--wieghts", weights],
    ])
    #expect(answers.map(\.status) == [0, 0, 0, 64], "\(answers)")
    #expect(answers[0].memory_bytes == answers[1].memory_bytes)
    #expect(answers[2].notes?.first == "--posterior kronecker is now --posterior kron")
    let help = try finetune.run(["laplace", "--help"])
    #expect(help.status == 0 && help.output.contains("--weights"))
  }

  @Test(
    "calibration on a validation split goes with it; the precision of the evidence is the default")
  func calibration() throws {
    let result = try run([
      "laplace", "--weights", weights, "--calibration", "validation", "--posterior", "full",
    ])
    #expect((result["calibration"] as? [String: Any])?["method"] as? String == "temperature")
    let recipe = try #require(result["recipe"] as? [String: Any])
    #expect(recipe["prior"] as? String == "evidence")
    let best = try #require(recipe["log_evidence"] as? Double)
    let evidence: [Double] = try reference.array("four.full.evidence")
    #expect(evidence.allSatisfy { $0 < best })
  }

  @Test("what does not go together, and files that cannot be used, are refused before the fit")
  func refusals() throws {
    var broken = SafetensorsWriter()
    broken.add("weight", Matrix<Float>(rows: 4, columns: 2, repeating: 1))
    broken.add("bias", [0, 0, 0, 0] as [Float])
    try broken.write(to: directory.file("broken.safetensors"))
    var nan = SafetensorsWriter()
    nan.add("weight", Matrix<Float>(rows: 4, columns: 3, repeating: .nan))
    nan.add("bias", [0, 0, 0, 0] as [Float])
    try nan.write(to: directory.file("nan.safetensors"))
    let data = ["--features", features]
    let cases: [(words: [String], status: Int, parts: [String])] = [
      (["laplace"] + data, 64, ["--head laplace needs --weights"]),
      (["--head", "laplace"] + data, 64, ["--head laplace needs --weights"]),
      (
        ["laplace", "--weights", weights, "--prior", "folds"] + data, 64,
        ["--prior folds does not go with --head laplace", "evidence or a positive number"]
      ),
      (
        ["--weights", weights, "--prior", "ard"] + data, 64,
        ["--prior ard does not go with --head laplace"]
      ),
      (
        ["--weights", weights, "--scaling", "rows"] + data, 64,
        ["--scaling does not go with --head laplace"]
      ),
      (["--weights", weights, "--scaling", "none"] + data, 64, ["--scaling"]),
      (
        ["--weights", weights, "--calibration", "folds"] + data, 64, ["--calibration folds"]
      ),
      (
        ["--weights", weights, "--link-samples", "9"] + data, 64,
        ["--link-samples", "with --link mc"]
      ),
      (["--head", "softmax", "--weights", weights] + data, 64, ["--weights", "laplace"]),
      (["--head", "IBProbit", "--link", "probit"] + data, 64, ["--link", "softmax"]),
      (["--link", "logit"] + data, 64, ["--link is 'logit'", "mean-probit, probit, mc, bridge"]),
      (
        ["--posterior", "dense"] + data, 64,
        ["--posterior is 'dense'", "full, kron, block, shared, diag, meanfield"]
      ),
      (
        ["--weights", directory.file("broken.safetensors")] + data, 65,
        ["broken.safetensors", "weight (4, 2)", "(4, 3)"]
      ),
      (
        ["--weights", directory.file("nan.safetensors")] + data, 65,
        ["nan.safetensors", "weight, row 0, column 0"]
      ),
      (["--weights", directory.file("nowhere")] + data, 65, ["nowhere"]),
    ]
    for (words, status, parts) in cases {
      let outcome = try finetune.run(words)
      #expect(Int(outcome.status) == status, "\(words): \(outcome)")
      for part in parts { #expect(outcome.errors.contains(part), "\(words): \(outcome.errors)") }
    }
    // A check finds the same.
    let answers = try RunChecks.ask(cases.map(\.words))
    #expect(answers.map(\.status) == cases.map(\.status))
  }

  @Test("an output directory whose run names its posterior as before is that of the same run")
  func formerNames() throws {
    let output = directory.file("former")
    let words = [
      "laplace", "--weights", weights, "--features", features, "--output", output, "--posterior",
      "kronecker",
    ]
    #expect(try finetune.run(words).status == 0)
    let path = output + "/result.json"
    let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
    func write(_ name: String) throws {
      let other = text.replacing(#""posterior":"kron""#, with: #""posterior":"\#(name)""#)
        .replacing(#""posterior" : "kron""#, with: #""posterior" : "\#(name)""#)
      #expect(other != text)
      try other.write(toFile: path, atomically: true, encoding: .utf8)
    }
    try write("kronecker")
    #expect(try finetune.run(words).status == 0)
    try write("block")
    #expect(try finetune.run(words).status == 65)
  }

  @Test("weights far from the optimum are used, and a note says how far")
  func far() throws {
    var layer = SafetensorsWriter()
    layer.add(
      "weight", (try reference.matrix("four.weight", as: Double.self)).map { -3 * $0 })
    layer.add("bias", [0, 0, 0, 0] as [Float])
    try layer.write(to: directory.file("far.safetensors"))
    let result = try run(["laplace", "--weights", directory.file("far.safetensors")])
    let notes = try #require(result["notes"] as? [String])
    #expect(notes.contains { $0.contains("further from the optimum") }, "\(notes)")
  }
}
