import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

let finetune = BuiltExecutable("bllarse-finetune")

private struct Result: Decodable {
  struct Scores: Decodable, Equatable {
    let acc, nll, ece, brier: Double
  }
  struct Seconds: Decodable { let load, features, fit, evaluate, total: Double }
  let train, test: Scores
  let seconds: Seconds
  let elbo: Double?
  let iterations: Int
  let arguments: [String: Argument]
  let versions: [String: String]

  enum Argument: Decodable {
    case any
    init(from decoder: any Decoder) throws { self = .any }
  }

  init(_ directory: String) throws {
    let data = try Data(contentsOf: URL(fileURLWithPath: directory + "/result.json"))
    self = try JSONDecoder().decode(Result.self, from: data)
  }
}

@Suite("bllarse-finetune on the digits")
struct FinetuneDigitsTests {
  @Test("the main job reaches 98 % and writes its results, from any directory")
  func mainJob() throws {
    let directory = try TemporaryDirectory()
    let outcome = try finetune.run(
      ["--tune-mode", "last_layer", "--epochs", "1", "--output", "out"], directory: directory.path)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let result = try Result(directory.file("out"))
    #expect(result.test.acc >= 0.98)
    #expect(result.elbo.map { $0 < 0 } == true)
    #expect(result.train.acc >= result.test.acc)
    #expect(result.seconds.total >= result.seconds.fit)
    #expect(result.arguments["dataset"] != nil && result.versions["bllarse"] != nil)
    let lines = try String(contentsOfFile: directory.file("out/metrics.jsonl"), encoding: .utf8)
    #expect(lines.split(separator: "\n").count == 1)
    // The terminal says the same.
    #expect(outcome.errors.contains("epoch 1"))
    #expect(outcome.output.contains("test"))
    #expect(outcome.output.contains("estimate") && outcome.output.contains("prior precision"))
    #expect(directory.contents == ["out"])
  }

  @Test("evaluating the checkpoint gives the same figures to the last bit")
  func evaluate() throws {
    let directory = try TemporaryDirectory()
    let trained = try finetune.run(["--output", directory.file("out")])
    #expect(trained.status == 0, "\(trained.errors)")
    let evaluated = try finetune.run(
      [
        "evaluate", "--head", directory.file("out/head.safetensors"), "--dataset", "digits",
        "--output", directory.file("again"),
      ])
    #expect(evaluated.status == 0, "\(evaluated.errors)")
    let first = try Result(directory.file("out"))
    let data = try Data(contentsOf: URL(fileURLWithPath: directory.file("again/evaluation.json")))
    let second = try JSONDecoder().decode([String: Result.Scores].self, from: data)
    #expect(second["test"] == first.test)
    #expect(second["train"] == first.train)
  }

  @Test("a directory that holds only the copied products runs the digits")
  func copiedProducts() throws {
    let directory = try TemporaryDirectory()
    let build = URL(fileURLWithPath: finetune.path).deletingLastPathComponent()
    for name in ["bllarse-finetune", "bllarse_BllarseCore.resources"] {
      try FileManager.default.copyItem(
        at: build.appendingPathComponent(name),
        to: URL(fileURLWithPath: directory.file(name)))
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: directory.file("bllarse-finetune"))
    process.arguments = ["--epochs", "1"]
    process.currentDirectoryURL = URL(fileURLWithPath: "/")
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  @Test(
    "the original's updates run by the original's options",
    arguments: [
      ["--update", "cavi", "--epochs", "1"],
      ["--num-update-iters", "8", "--batch-size", "128", "--epochs", "2"],
      [
        "--loss-fn", "IBProbit", "-bs", "256", "-e", "2", "--reset-loss-per-epoch", "--device",
        "gpu", "-o", "adamw",
      ],
    ])
  func updates(arguments: [String]) throws {
    let directory = try TemporaryDirectory()
    let outcome = try finetune.run(arguments + ["--output", directory.file("out")])
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(try Result(directory.file("out")).test.acc > 0.95)
    if arguments.contains("cavi") { #expect(outcome.output.contains("evidence lower bound")) }
  }
}

@Suite("bllarse-finetune to a proven optimum")
struct FinetuneCertificateTests {
  @Test("a fit with a fixed prior ends where the distance to the optimum is proven to be small")
  func certificate() throws {
    struct Outcome: Decodable {
      struct Certificate: Decodable { let lower, upper: Double }
      let elbo: Double
      let certificate: Certificate
    }
    let directory = try TemporaryDirectory()
    let outcome = try finetune.run(
      [
        "--parity", "--update", "converged", "--certify", "--tolerance", "1e-5", "--output",
        directory.file("out"),
      ])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let data = try Data(contentsOf: URL(fileURLWithPath: directory.file("out/result.json")))
    let result = try JSONDecoder().decode(Outcome.self, from: data)
    #expect(result.certificate.lower >= 0)
    #expect(result.certificate.upper >= result.certificate.lower)
    #expect(result.certificate.upper <= 1e-5 * abs(result.elbo))
  }
}

@Suite("bllarse-finetune with a wrong command line")
struct FinetuneUsageTests {
  @Test(
    "exits 64 and says why",
    arguments: [
      ["--tune-mode", "full_network"], ["--loss-fn", "Nonsense"], ["--update", "nonsense"],
      ["--epochs", "-1"], ["--no-such-option"], ["--epochs", "one"],
      ["--features", "a.safetensors", "--dataset", "digits"], ["--dataset", "nonsense"],
      ["--update", "converged", "--num-update-iters", "3"], ["--prior", "-1"],
      ["evaluate"], ["--certify"], ["--parity", "--update", "cavi", "--certify"],
    ])
  func usage(arguments: [String]) throws {
    let outcome = try finetune.run(arguments)
    #expect(outcome.status == 64)
    #expect(outcome.errors.contains("Error:"))
    #expect(outcome.output.isEmpty)
  }
}
