import Testing

@testable import BllarseMLflow

@Suite("The table of runs")
struct RunTableTests {
  /// Two children and their parent, as a sweep of bllarse-finetune leaves them.
  static let sweep: [RunSummary] = {
    let children = [("000 IBProbit seed=1", "IBProbit", "1"), ("001 MSE seed=2", "MSE", "2")]
      .map { name, head, seed in
        var run = RunSummary(id: "id" + seed, name: name, status: "FINISHED")
        run.parameters = [
          "dataset": "digits", "loss_fn": head, "seed": seed, "chosen.scaling": "s" + seed,
        ]
        run.metrics = [
          "acc": 0.9, "baseline_acc": 0.5, "baseline_nll": 1, "ece": 0.1, "epoch": 1, "nll": 0.3,
          "test.acc": 0.9, "test.brier": 0.2, "test.ece": 0.1, "test.nll": 0.3,
          "chosen.prior_precision": 19.4,
        ]
        return run
      }
    var parent = RunSummary(id: "p", name: "sweep", status: "RUNNING")
    parent.tags["is_parent"] = "true"
    parent.parameters = ["dataset": "digits", "loss_fn": "IBProbit, MSE", "seed": "1, 2"]
    parent.metrics = ["sweep/done": 2]
    return children + [parent]
  }()

  @Test(
    "by default it shows the parameters that differ between runs, and the scores of the test split")
  func tellsApart() {
    let table = RunTable(Self.sweep)
    #expect(table.parameters == ["loss_fn", "seed"])
    #expect(table.metrics == ["test.acc", "test.nll", "test.ece", "test.brier"])
    let line = table.text(.table).split(separator: "\n")[1]
    #expect(line.hasPrefix("id1  000 IBProbit seed=1  FINISHED"))
    // Programs read everything, unless they name what they want.
    #expect(table.text(.json).contains("\"chosen.prior_precision\":19.4"))
    let named = RunTable(Self.sweep, metrics: ["acc"], parameters: ["dataset"])
    #expect(named.metrics == ["acc"] && named.parameters == ["dataset"])
    #expect(!named.text(.json).contains("chosen"))
  }

  @Test("what it is sorted by is shown; runs of other programs show what most of them have")
  func others() {
    #expect(RunTable(Self.sweep, sortKey: "baseline_acc").metrics.first == "baseline_acc")
    let runs = (0..<3).map { place in
      var run = RunSummary(id: "\(place)", name: "", status: "RUNNING")
      run.metrics = ["wer": 1, "cer": 2]
      run.parameters = ["layers": "4"]
      if place == 0 { run.metrics["rare"] = 1 }
      return run
    }
    #expect(RunTable(runs).metrics == ["cer", "wer", "rare"] && RunTable(runs).parameters.isEmpty)
  }

  @Test("a name that no run has is told, with those that are near")
  func unknown() throws {
    let metric = try #require(RunTable.unknown(["acc", "brier"], of: Self.sweep, \.metrics))
    #expect(metric.name == "brier" && metric.meant == ["test.brier"])
    let parameter = try #require(RunTable.unknown(["head"], of: Self.sweep, \.parameters))
    #expect(parameter.meant == ["chosen.scaling", "dataset", "loss_fn", "seed"])
    #expect(RunTable.unknown(["seed"], of: Self.sweep, \.parameters) == nil)
  }
}
