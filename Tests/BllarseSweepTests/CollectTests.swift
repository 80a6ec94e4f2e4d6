import BllarseTestSupport
import Testing

@testable import BllarseSweep

@Suite("Collecting results")
struct CollectTests {
  // scipy.stats.t.ppf(0.975, n)
  @Test(
    "Student's quantiles",
    arguments: [
      (1, 12.706204736174694), (2, 4.302652729749462), (3, 3.1824463052837078),
      (4, 2.7764451051977934), (9, 2.262157162798205), (30, 2.0422724563012378),
      (200, 1.9718962236339088),
    ])
  func student(degrees: Int, expected: Double) {
    let quantile = StudentT.quantile975(degreesOfFreedom: degrees)
    #expect(quantile.isClose(to: expected, relative: 1e-12))
  }

  @Test("statistics of replicates are those of the textbook")
  func statistics() throws {
    let statistics = try #require(ReplicateStatistics([1, 2, 3, 4]))
    #expect(statistics.mean == 2.5)
    #expect(try #require(statistics.deviation).isClose(to: 1.2909944487358056, ulps: 4))
    #expect(try #require(statistics.standardError).isClose(to: 0.6454972243679028, ulps: 4))
    #expect(
      try #require(statistics.halfWidth).isClose(
        to: 0.6454972243679028 * 3.1824463052837078, relative: 1e-12))
    #expect(ReplicateStatistics([]) == nil)
    #expect(ReplicateStatistics([7])?.deviation == nil)
  }

  static func sweep() throws -> Scratch {
    let scratch = try Scratch("base: {dataset: digits}\ngrid: {lr: [0.1, 0.2]}\nseeds: 3")
    for (index, nll) in [0.5, 0.6, 0.7, 0.3, 0.5, 0.4].enumerated() {
      try scratch.finish(index, nll: nll, seconds: Double(index))
    }
    return scratch
  }

  @Test("one row a configuration: the keys that vary, the metrics, the seconds")
  func table() throws {
    let scratch = try Self.sweep()
    defer { withExtendedLifetime(scratch) {} }
    let table = try Collector(scratch.directory).table()
    #expect(
      table.csv == """
        index,lr,seed,test.nll,test.acc,run_seconds
        0,0.1,0,0.5,1,0
        1,0.1,1,0.6,1,1
        2,0.1,2,0.7,1,2
        3,0.2,0,0.3,1,3
        4,0.2,1,0.5,1,4
        5,0.2,2,0.4,1,5

        """)
  }

  @Test("a parent is told how many children ended how, and the best and the mean of every metric")
  func summary() throws {
    let scratch = try Self.sweep()
    defer { withExtendedLifetime(scratch) {} }
    let done = BllarseSweep.RunStatus.State.done
    let collector = try Collector(scratch.directory)
    let all = SweepSummary(
      collector, indices: Array(0..<6), states: Array(repeating: done, count: 6))
    #expect(all.step == 6 && all.metrics["sweep/done"] == 6 && all.metrics["sweep/failed"] == 0)
    #expect(all.metrics["best/test.nll"] == 0.3 && all.metrics["best/test.acc"] == 1)
    #expect(try #require(all.metrics["mean/test.nll"]).isClose(to: 0.5, ulps: 4))
    let some = SweepSummary(
      collector, indices: [1, 2], states: [done, done, done, .failed, .lost, .new])
    #expect(some.metrics["sweep/total"] == 2 && some.metrics["best/test.nll"] == 0.6)
    let empty = try Scratch("seeds: 3")
    defer { withExtendedLifetime(empty) {} }
    let none = try SweepSummary(
      Collector(empty.directory), indices: [0, 1, 2], states: [.failed, .lost, .new])
    #expect(none.metrics == ["sweep/total": 3, "sweep/done": 0, "sweep/failed": 2])
  }

  @Test("values that are no numbers are left out of a summary, and so is what is no score")
  func summaryOfOddResults() throws {
    let scratch = try Scratch("seeds: 2")
    defer { withExtendedLifetime(scratch) {} }
    for (index, loss) in [JSON.string("NaN"), 2].enumerated() {
      let rows = (0..<1000).map { JSON.Member("row\($0)", .int($0)) }
      let run = scratch.directory.run(index)
      _ = try run.claim(attempt: 1, Scratch.claim)
      try run.write(
        RunResult(
          index: index, hash: scratch.directory.manifest.entry(at: index).hash, attempt: 1,
          seconds: 1, finished: Double(index), host: "h",
          metrics: .object([JSON.Member("loss", loss)] + rows)))
    }
    let summary = try SweepSummary(
      Collector(scratch.directory), indices: [0, 1], states: [.done, .done])
    #expect(summary.metrics["mean/loss"] == nil || summary.metrics["mean/loss"] == 2)
    #expect(summary.metrics.count == 3 + 2)
    #expect(summary.time == 1)
    // Of a program that has no score, the first numbers count.
    let others = SweepSummary.mainScores(among: (0..<1000).map { "row\($0)" } + ["a.b"])
    #expect(others.map(\.name) == (0..<4).map { "row\($0)" })
  }

  @Test("the scores are those of the splits and of the whole, under short names")
  func scores() {
    let names = [
      "train.acc", "test.nll", "elbo", "val_acc", "log_evidence", "splits.test.nll",
      "splits.val_mm.brier", "seconds.fit", "iterations", "metrics.test.ece", "baseline.acc",
      "recipe.leave_one_out.acc", "metrics.bootstrap.acc.value", "certificate.upper", "test.accent",
    ]
    let scores = MainScores.scoresInOrder(among: names)
    #expect(
      scores.map(\.name) == [
        "train.acc", "test.nll", "elbo", "val_acc", "log_evidence", "val_mm.brier",
      ])
    #expect(scores.last?.path == "splits.val_mm.brier")
  }

  @Test("a parent has one record, whatever is submitted under it; it is told of all once")
  func parentRecords() throws {
    let scratch = try Self.sweep()
    defer { withExtendedLifetime(scratch) {} }
    func add(_ run: String, _ indices: [Int]) throws {
      var record = ParentRecord(
        run: run, trackingURI: "u", experiment: "e", journal: "j", indices: indices)
      try record.add(to: scratch.directory)
    }
    try add("a", [0, 1])
    try add("b", [2])
    try add("a", [5, 1])
    var records = try ParentRecord.all(in: scratch.directory)
    #expect(records.map(\.run) == ["a", "b"] && records.map(\.indices) == [[0, 1, 5], [2]])
    let statuses = try StatusReader(scratch.directory).all()
    let collector = try Collector(scratch.directory)
    let summary = SweepSummary(
      collector, indices: records[0].indices, states: statuses.map(\.state))
    #expect(records[0].due(statuses) == .finished && !records[0].hasLogged(summary))
    try records[0].setTold(summary, .finished)
    let told = try ParentRecord.all(in: scratch.directory)[0]
    #expect(told.due(statuses) == nil && told.hasLogged(summary))
    try add("a", [3])
    #expect(try ParentRecord.all(in: scratch.directory)[0].due(statuses) == .finished)
  }

  @Test("a configuration counts for the last parent that it was started under")
  func parentOwnership() throws {
    let scratch = try Self.sweep()
    defer { withExtendedLifetime(scratch) {} }
    func record(_ run: String, _ indices: [Int], _ deferred: [Int] = []) -> ParentRecord {
      ParentRecord(
        run: run, trackingURI: "u", experiment: "e", journal: "j", indices: indices,
        deferred: deferred)
    }
    var first = record("a", [0, 1, 2], [4, 5])
    try first.add(to: scratch.directory)
    var second = record("b", [2, 5])
    try second.add(to: scratch.directory)
    var records = try ParentRecord.all(in: scratch.directory)
    #expect(records.map(\.indices) == [[0, 1], [2, 5]] && records[0].deferred == [4])
    #expect(try ParentRecord.owner(of: 2, in: scratch.directory)?.run == "b")
    #expect(try ParentRecord.owner(of: 4, in: scratch.directory) == nil)
    // What was kept back goes on under the same parent; what was refused too, another time.
    let next = try ParentRecord.latest(
      of: [4], in: scratch.directory, trackingURI: "u", experiment: "e")
    #expect(next?.run == "a")
    try second.withdraw([5])
    records = try ParentRecord.all(in: scratch.directory)
    #expect(records[1].indices == [2] && records[1].deferred == [5])
    // Who has read an earlier state cannot say that the parent has ended.
    let statuses = try StatusReader(scratch.directory).all()
    let summary = SweepSummary(
      try Collector(scratch.directory), indices: [2], states: statuses.map(\.state))
    var stale = records[1]
    var more = record("b", [3])
    try more.add(to: scratch.directory)
    try stale.setTold(summary, .finished)
    #expect(try ParentRecord.all(in: scratch.directory)[1].outcome == nil)
    #expect(record("c", []).due(statuses) == nil)
  }

  @Test("ends are noted beside the record, seen by all, and taken back when a run starts again")
  func parentEnds() throws {
    let scratch = try Self.sweep()
    defer { withExtendedLifetime(scratch) {} }
    var record = ParentRecord(
      run: "a", trackingURI: "u", experiment: "e", journal: "j", indices: [0, 1, 2])
    try record.add(to: scratch.directory)
    let other = try ParentRecord.all(in: scratch.directory)[0]
    #expect(try record.noteEnd(of: 1) == [1])
    #expect(try other.noteEnd(of: 2) == [1, 2])
    record.clearEnd(of: 1)
    #expect(try other.noteEnd(of: 0) == [0, 2])
    // One of them ends it, until there is more to wait for.
    #expect(try record.claimEnding() && !other.claimEnding())
    record.releaseEnding()
    #expect(try other.claimEnding())
    var again = ParentRecord(
      run: "a", trackingURI: "u", experiment: "e", journal: "j", indices: [2])
    try again.add(to: scratch.directory)
    #expect(try again.ended == [0] && again.claimEnding())
    #expect(try ParentRecord.all(in: scratch.directory).count == 1)
  }

  @Test("interrupted runs keep a parent open as long as somebody goes on with them")
  func parentInterrupted() throws {
    let scratch = try Scratch("seeds: 3")
    defer { withExtendedLifetime(scratch) {} }
    let run = scratch.directory.run(1)
    let attempt = try #require(try run.claim(attempt: 1, Scratch.claim))
    try attempt.write(
      AttemptEnd(
        outcome: .interrupted, exitCode: 75, signal: nil, reason: "", seconds: 1, finished: 1))
    let record = ParentRecord(
      run: "a", trackingURI: "u", experiment: "e", journal: "j", indices: [1])
    let statuses = try StatusReader(scratch.directory).all()
    #expect(statuses[1].state == .interrupted && record.due(statuses) == nil)
    #expect(record.due(statuses, over: [1]) == .killed)
    #expect(record.due(try StatusReader.fromFiles(scratch.directory).all(ended: [1])) == .killed)
    // A task that ended without beginning its run has failed.
    let ended = try StatusReader.fromFiles(scratch.directory).all(ended: [1, 2])
    #expect(ended.map(\.state) == [.new, .interrupted, .failed])
  }

  @Test(
    "accuracies are better large, whatever stands around them; errors and seconds small",
    arguments: [
      ("test.acc", true), ("acc", true), ("elbo", true), ("metrics.test.balanced_acc", true),
      ("metrics.test.top_2_acc", true), ("metrics.bootstrap.acc.lower", true), ("val/acc", true),
      ("test.nll", false), ("metrics.bootstrap.ece.upper", false), ("seconds.total", false),
      ("value", false), ("", false),
    ])
  func direction(metric: String, isLarge: Bool) {
    #expect(MainScores.isHigherBetter(metric) == isLarge)
  }

  @Test("results that know their metrics say what is better, whatever its name sounds like")
  func ownDirections() throws {
    let scratch = try Scratch("seeds: 3")
    defer { withExtendedLifetime(scratch) {} }
    for (index, value) in [0.2, 0.1, 0.3].enumerated() {
      let scores: JSON = .object([
        JSON.Member("false_acc", .double(value)), JSON.Member("skill", .double(value)),
        JSON.Member("nll", .double(value)),
        JSON.Member("skill_acc", .object([JSON.Member("lower", .double(value))])),
      ])
      let directions: [(String, JSON)] = [
        ("false_acc", "lower"), ("skill", "higher"), ("nll", .null), ("skill_acc", "higher"),
      ]
      let known = JSON.object(
        directions.map { name, direction in
          JSON.Member(
            name, .object([JSON.Member("direction", direction), JSON.Member("unit", "1")]))
        })
      let run = scratch.directory.run(index)
      _ = try run.claim(attempt: 1, Scratch.claim)
      try run.write(
        RunResult(
          index: index, hash: scratch.directory.manifest.entry(at: index).hash, attempt: 1,
          seconds: 1, finished: 1, host: "h",
          metrics: .object([JSON.Member("test", scores), JSON.Member("metrics_info", known)])))
    }
    let collector = try Collector(scratch.directory)
    func order(_ metric: String, largest: Bool? = nil) throws -> [JSON] {
      try collector.table(best: metric, largest: largest).rows.map { $0[0] }
    }
    #expect(try order("test.false_acc") == [1, 0, 2])
    #expect(try order("test.false_acc", largest: true) == [2, 0, 1])
    #expect(try order("test.skill") == [2, 0, 1])
    #expect(try order("test.skill_acc.lower") == [2, 0, 1])
    #expect(try order("test.nll") == [1, 0, 2])
    let summary = SweepSummary(collector, indices: [0, 1, 2], states: [.done, .done, .done])
    #expect(summary.metrics["best/test.false_acc"] == 0.1)
    // What is known of metrics is no result.
    #expect(collector.metricNames.allSatisfy { $0.hasPrefix("test.") })
  }

  @Test("the best come first, by the metric's own direction")
  func best() throws {
    let scratch = try Self.sweep()
    defer { withExtendedLifetime(scratch) {} }
    let collector = try Collector(scratch.directory)
    #expect(try collector.table(best: "test.nll").rows.map { $0[0] } == [3, 5, 0, 4, 1, 2])
    #expect(
      try collector.table(best: "test.nll", largest: true).rows.map { $0[0] } == [2, 1, 0, 4, 5, 3])
    #expect(collector.isHigherBetter("test.acc") && !collector.isHigherBetter("test.nll"))
    #expect(
      throws: SweepError(
        .usage,
        "no result has the metric 'test.nl'; did you mean 'test.nll'? (there are: test.nll, test.acc)"
      )
    ) { try collector.table(best: "test.nl") }
  }

  @Test("one row a setting: n, mean, deviation, error, interval")
  func replicates() throws {
    let scratch = try Self.sweep()
    defer { withExtendedLifetime(scratch) {} }
    let table = try Collector(scratch.directory)
      .replicateTable(metrics: ["test.nll"], best: "test.nll")
    #expect(
      table.columns == [
        "indices", "lr", "n", "test.nll", "test.nll.sd", "test.nll.se", "test.nll.ci95",
      ])
    #expect(table.rows.map { $0[0] } == ["3-5", "0-2"])
    let row = table.rows[1].compactMap(\.doubleValue)
    #expect(row[1] == 3)
    #expect(row[2].isClose(to: 0.6, ulps: 4))
    #expect(row[3].isClose(to: 0.1, relative: 1e-12))
    #expect(row[5].isClose(to: 0.1 / 3.0.squareRoot() * 4.302652729749462, relative: 1e-12))
  }

  @Test("paired differences are taken over the seeds that both settings have")
  func paired() throws {
    let scratch = try Self.sweep()
    Files.remove("\(scratch.directory.run(4).path)/result.json")
    let table = try Collector(scratch.directory).pairedTable(best: "test.nll")
    #expect(table.rows.count == 1)
    let row = table.rows[0]
    #expect(row[0] == "0-2" && row[2] == 2)
    // Seeds 0 and 2: 0.5 − 0.3 and 0.7 − 0.4.
    #expect(try #require(row[3].doubleValue).isClose(to: 0.25, relative: 1e-12))
    #expect(try #require(row[4].doubleValue).isClose(to: 0.05, relative: 1e-9))
  }

  @Test("a key that some configurations lack varies")
  func absentKeys() throws {
    let scratch = try Scratch("list: [{a: 1, b: 2}, {a: 1}, {a: 1, c: 3}]")
    #expect(try Collector(scratch.directory).varyingKeys == ["b", "c"])
  }

  @Test("cells are quoted for each format")
  func quoting() {
    let table = ResultTable(
      columns: ["a", "b"], rows: [["x,\"y\"", "p|q\nr"], [.null, .double(0.1234567)]])
    #expect(table.csv == "a,b\n\"x,\"\"y\"\"\",\"p|q\nr\"\n,0.1234567\n")
    #expect(table.markdown == "| a | b |\n| --- | --- |\n| x,\"y\" | p\\|q r |\n|  | 0.123457 |\n")
    #expect(table.text == "a      b\nx,\"y\"  p|q\\nr\n       0.123457\n")
  }
}
