import BllarseTestSupport
import Foundation
import Testing

/// The same names for the same quantities as the Python package, against numbers that were computed apart
/// from both (Scripts/make-original-fixture.py).
@Suite("bllarse-finetune: what the original's names stand for")
struct OriginalQuantityTests {
  private let directory: TemporaryDirectory
  private let expected: [String: [[String: Double]]]

  init() throws {
    directory = try TemporaryDirectory()
    expected = try JSONDecoder().decode(
      [String: [[String: Double]]].self,
      from: Data(contentsOf: URL(fileURLWithPath: Fixtures.path("original/expected.json"))))
  }

  private func metrics(_ arguments: [String]) throws -> [[String: Double]] {
    let outcome = try finetune.run(
      [
        "--features", Fixtures.path("original/features.npz"), "--threads", "1", "--output",
        directory.file("out"),
      ] + (arguments.contains("cavi") ? [] : ["-bs", "100"]) + arguments)
    #expect(outcome.status == 0, "\(outcome.errors)")
    return try String(contentsOfFile: directory.file("out/metrics.jsonl"), encoding: .utf8)
      .split(separator: "\n")
      .map { try JSONDecoder().decode([String: Double].self, from: Data($0.utf8)) }
  }

  @Test(
    "loss, acc, nll and ece are the original's; ours stand beside them",
    arguments: [
      ("CrossEntropy", ["-o", "adam", "-lr", "0.2", "-ls", "0.2", "-e", "4"]),
      ("MSE", ["-o", "adam", "-lr", "0.05", "-e", "4"]),
      ("IBProbit", ["--num-update-iters", "600", "--forgetting-rate", "0.3", "-e", "3"]),
      (
        "IBProbit",
        ["--num-update-iters", "600", "--forgetting-rate", "0.3", "-e", "3", "--update", "cavi"]
      ),
    ])
  func quantities(head: String, method: [String]) throws {
    let metrics = try metrics(["--loss-fn", head] + method)
    let expected = try #require(expected[head])
    #expect(metrics.count == expected.count)
    for (line, numbers) in zip(metrics, expected) {
      for (name, value) in numbers {
        let found = try #require(line[name])
        // Products in single precision; a confidence next to an edge of a bin stays on its side.
        #expect(found.isClose(to: value, relative: 2e-5, absolute: 1e-7), "\(name) of \(line)")
      }
    }
    // The two senses differ in these data, so that one is not taken for the other.
    let last = try #require(metrics.last)
    #expect(head != "IBProbit" || abs(last["ece"]! - last["test_ece"]!) > 0.01)
    #expect(head == "IBProbit" || abs(last["nll"]! - last["test_nll"]!) > 0.01)
    #expect(abs(last["loss"]! - last["train_nll"]!) > (head == "IBProbit" ? -1 : 0.01))
    // The validation pair has the original's names, and they follow the same rule.
    let matched = try #require(last["val_matched_nll"])
    #expect(
      matched.isClose(to: try #require(last["val_m_nll"]), relative: 1e-6) == (head == "IBProbit"))
  }

  @Test("a fit that the original cannot make logs our quantities under the plain names")
  func own() throws {
    for method in [
      ["--loss-fn", "MSE", "-o", "newton", "--l2", "1"], ["--update", "sites", "-e", "1"],
    ] {
      let arguments = method.contains("newton") ? method : method + ["--num-update-iters", "4"]
      let outcome = try finetune.run(
        [
          "--features", Fixtures.path("original/features.npz"), "--threads", "1", "--output",
          directory.file("own"), "--overwrite",
        ] + arguments)
      #expect(outcome.status == 0, "\(outcome.errors)")
      let text = try String(contentsOfFile: directory.file("own/metrics.jsonl"), encoding: .utf8)
      let last = try JSONDecoder().decode([String: Double].self, from: Data(text.utf8))
      #expect(last["loss"] == last["train_nll"])
      #expect(last["nll"] == last["test_nll"] && last["ece"] == last["test_ece"])
    }
  }
}
