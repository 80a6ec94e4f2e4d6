import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  /// Examples/nearest-mean: a head that is no part of the package, in a program of its own.
  @Suite("A head of one's own")
  struct OwnHeadTests {
    private static let program = BuiltExecutable("nearest-mean")

    @Test("it conforms, in under 80 lines")
    func conforms() throws {
      let outcome = try Self.program.run(["conformance"])
      #expect(outcome.output == "the head conforms\n", "\(outcome.output)\(outcome.errors)")
      let source = try String(
        contentsOfFile: Fixtures.packageRoot
          + "/Examples/nearest-mean/Sources/nearest-mean/NearestMean.swift", encoding: .utf8)
      #expect(source.split(separator: "\n", omittingEmptySubsequences: false).count < 80)
    }

    @Test("it is fitted, stored, and scored again to the same figures")
    func stored() throws {
      let directory = try TemporaryDirectory()
      let words = ["--head", "NearestMean", "--sharpness", "0.05"]
      let fitted = try Self.program.run(words + ["--output", directory.file("out")])
      #expect(fitted.status == 0, "\(fitted.errors)")
      let scored = try Self.program.run([
        "evaluate", "--head", directory.file("out/head.safetensors"),
      ])
      let line = try #require(scored.output.split(separator: "\n").first { $0.hasPrefix("test ") })
      #expect(fitted.output.contains(line), "\(fitted.output)\(scored.output)")
      let result = try String(decoding: directory.read("out/result.json"), as: UTF8.self)
      #expect(result.contains("\"sharpness\" : 0.05"), "\(result)")
      // The program of the package does not know it.
      let unknown = try finetune.run(["evaluate", "--head", directory.file("out/head.safetensors")])
      #expect(unknown.status == 65 && unknown.errors.contains("'NearestMean'"), "\(unknown.errors)")
    }

    @Test(
      "an optimiser of one's own fits a head of the package, and its moments are in the checkpoint")
    func ownOptimizer() throws {
      let directory = try TemporaryDirectory()
      let words = [
        "--head", "CrossEntropy", "--optimizer", "sgd", "--momentum", "0.5", "--learning-rate",
        "0.01",
        "--epochs", "2",
      ]
      let fitted = try Self.program.run(words + ["--output", directory.file("out")])
      #expect(fitted.status == 0, "\(fitted.errors)")
      let result = try String(decoding: directory.read("out/result.json"), as: UTF8.self)
      #expect(result.contains("\"momentum\" : 0.5"), "\(result)")
      let checkpoint = try String(
        decoding: directory.read("out/checkpoint.safetensors").prefix(4000), as: UTF8.self)
      #expect(checkpoint.contains("optimizer.momentum"))
      let refused = try Self.program.run(["--head", "CrossEntropy", "--momentum", "0.5"])
      #expect(
        refused.status == 64 && refused.errors.contains("CrossEntropy and MSE by --optimizer sgd"),
        "\(refused.errors)")
    }

    @Test("its option is refused as those of the package are")
    func refusals() throws {
      for (words, message) in [
        (
          ["--head", "NearestMean", "--sharpness", "0"],
          "--sharpness is 0; expected a number above 0"
        ),
        (
          ["--sharpness", "2"], "--sharpness does not go with --head softmax: it is for NearestMean"
        ),
        (["--head", "NearestMean", "--tolerance", "0.1"], "--tolerance does not go with"),
        (["--head", "nearestmean"], "did you mean NearestMean?"),
      ] {
        let outcome = try Self.program.run(words)
        #expect(outcome.status == 64 && outcome.errors.contains(message), "\(outcome.errors)")
      }
    }

    @Test("its sweep is checked, run and collected")
    func swept() throws {
      let tool = try SweepTool()
      let path = Fixtures.packageRoot + "/Examples/nearest-mean/sweep.yaml"
      let run = try tool.run("run", path, "--jobs", "2")
      #expect(run.status == 0, "\(run.errors)")
      let table = try tool.run("collect", path, "--best", "test.nll", "--format", "csv")
      #expect(table.output.split(separator: "\n").count == 4, "\(table.output)\(table.errors)")
    }
  }
}
