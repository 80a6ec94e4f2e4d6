import BllarseTestSupport
import Testing

@testable import BllarseSweep

@Suite("The scores that a person compares")
struct MainScoreTests {
  /// As bllarse-finetune's results have them, in their order.
  static let finetune = [
    "baseline.test.acc", "baseline.test.nll", "certificate.upper", "elbo", "iterations",
    "metrics.bootstrap.acc.lower", "metrics.bootstrap.level", "metrics.test.balanced_acc",
    "recipe.leave_one_out.nll", "seconds.fit", "splits.test.acc", "splits.val.acc",
    "splits.val.nll", "test.acc", "test.brier", "test.ece", "test.nll", "threads", "train.acc",
    "train.nll",
  ]

  @Test("five of them: the test split's before those of the whole, of other splits and of training")
  func five() {
    #expect(
      MainScores.among(Self.finetune) == [
        "test.acc", "test.nll", "test.ece", "test.brier", "elbo",
      ])
    #expect(
      MainScores.among(Self.finetune, count: 7).suffix(2) == ["splits.val.acc", "splits.val.nll"])
    // The text caches have no test split.
    #expect(
      MainScores.among(["train_acc", "val_matched_nll", "val_matched_acc", "acc", "nll"])
        == ["acc", "nll", "val_matched_acc", "val_matched_nll", "train_acc"])
  }

  @Test("a program of another kind is shown by its first numbers")
  func others() {
    #expect(MainScores.among(["a.b", "wer", "cer", "c.d"]) == ["wer", "cer", "a.b", "c.d"])
    #expect(MainScores.among((0..<99).map { "row\($0)" }).count == 5)
    #expect(MainScores.among(["loss", "part.detail", "wer"]) == ["loss", "wer"])
    #expect(MainScores.among([]).isEmpty)
  }

  @Test(
    "a name that no result has is answered with the one that is meant",
    arguments: [
      ("nll", "test.nll"), ("acc", "test.acc"), ("val.nll", "splits.val.nll"),
      ("test.nl", "test.nll"), ("accuracy", "test.acc"), ("test.accuracy", "test.acc"),
      ("balanced_acc", "metrics.test.balanced_acc"),
      ("leave_one_out.nll", "recipe.leave_one_out.nll"),
      ("TEST.NLL", "test.nll"), ("val_nll", "splits.val.nll"),
    ])
  func meant(word: String, name: String) {
    #expect(MainScores.meant(by: word, among: Self.finetune) == name)
  }

  @Test("nothing is suggested for what is like no name")
  func nothingNear() { #expect(MainScores.meant(by: "perplexity", among: Self.finetune) == nil) }

  @Test("a table for a person has the varying keys, five scores and the seconds; a wide one all")
  func table() throws {
    let scratch = try Scratch("base: {dataset: digits}\ngrid: {lr: [0.1, 0.2]}\nseeds: 2")
    defer { withExtendedLifetime(scratch) {} }
    for index in 0..<4 { try Self.finish(index, in: scratch) }
    let collector = try Collector(scratch.directory)
    let narrow = try collector.table(isWide: false)
    #expect(
      narrow.columns == ["index", "lr", "seed", "test.acc", "test.nll", "test.ece"] + [
        "test.brier", "elbo", "run_seconds",
      ])
    #expect(try collector.table().columns.count == 3 + Self.finetune.count + 1)
    // What it is sorted by is shown first.
    let sorted = try collector.table(best: "splits.val.nll", isWide: false)
    #expect(sorted.columns[3] == "splits.val.nll" && sorted.columns.count == 10)
    #expect(throws: SweepError.self) { try collector.table(best: "nll", isWide: false) }
  }

  @Test("over seeds a person reads the mean and the interval of the five")
  func replicates() throws {
    let scratch = try CollectTests.sweep()
    defer { withExtendedLifetime(scratch) {} }
    let table = try Collector(scratch.directory).replicateTable(best: "test.nll", isWide: false)
    #expect(table.columns == ["indices", "lr", "n", "test.acc", "test.nll"])
    // 0.4 and 0.6 with a deviation of 0.1 over three: 0.1/√3 · t(2) = 0.2484.
    #expect(table.rows.map { $0[4] } == ["0.40 ± 0.25", "0.60 ± 0.25"])
    #expect(table.rows[0][3] == "1 ± 0")
  }

  @Test(
    "a mean has the digits that its interval leaves",
    arguments: [
      (0.98812, 0.003129, "0.9881 ± 0.0031"), (-177.73, 12.3, "-178 ± 12"),
      (1234.5, 1.26, "1234.5 ± 1.3"), (0.00001234, 0.0000005, "0.00001234 ± 0.00000050"),
      (-0.001, 0.5, "0.00 ± 0.50"), (3, 0.0, "3 ± 0"),
    ])
  func digits(mean: Double, half: Double, text: String) {
    #expect(ReplicateStatistics.text(mean: mean, halfWidth: half) == text)
    #expect(ReplicateStatistics.text(mean: 0.1234567, halfWidth: nil) == "0.123457")
  }

  private static func finish(_ index: Int, in scratch: Scratch) throws {
    var metrics = JSON.object([JSON.Member]())
    for (place, name) in finetune.enumerated() {
      metrics = set(metrics, name.split(separator: ".").map(String.init), .int(place))
    }
    let run = scratch.directory.run(index)
    _ = try run.claim(attempt: 1, Scratch.claim)
    try run.write(
      RunResult(
        index: index, hash: scratch.directory.manifest.entry(at: index).hash, attempt: 1,
        seconds: 1, finished: 1, host: "h", metrics: metrics))
  }

  /// The object with a value at a path.
  private static func set(_ object: JSON, _ path: [String], _ value: JSON) -> JSON {
    var members = object.members ?? []
    let place = members.firstIndex { $0.key == path[0] }
    let inner =
      path.count == 1
      ? value
      : set(
        place.map { members[$0].value } ?? .object([JSON.Member]()), Array(path.dropFirst()), value)
    if let place {
      members[place].value = inner
    } else {
      members.append(JSON.Member(path[0], inner))
    }
    return .object(members)
  }
}

@Suite("Labels and progress of a sweep")
struct ConfigurationLabelTests {
  @Test("a configuration is named by its index and what varies: words alone, the rest with its key")
  func names() throws {
    let scratch = try Scratch(
      """
      base: {dataset: digits, enable_mlflow: true}
      grid:
        loss_fn: [IBProbit, CrossEntropy]
        nodataaug: [true, false]
        features: [/data/a/very/long/path/to/some/features-of-the-first-kind.npz, "2"]
        group_id: [one, two]
      seeds: {count: 2, start: 1}
      """)
    defer { withExtendedLifetime(scratch) {} }
    let labels = try ConfigurationLabels(scratch.directory)
    let entries = try scratch.directory.manifest.entries()
    #expect(
      labels.name(entries[0])
        == "000 IBProbit nodataaug=true features=…/features-of-the-first-kind.npz seed=1")
    let last = try #require(entries.last)
    #expect(labels.values(last) == "CrossEntropy nodataaug=false features=2 seed=2")
    // It is kept for tasks, and made anew where it was not.
    #expect(Files.exists("\(scratch.directory.path)/varying.json"))
    try Files.write("damaged", to: "\(scratch.directory.path)/varying.json")
    #expect(try ConfigurationLabels(scratch.directory).name(entries[0]) == labels.name(entries[0]))
  }

  @Test("an index is as wide as the last, and a value cannot write to the terminal")
  func widths() throws {
    let scratch = try Scratch("list: [{a: \"x\\e[31m\"}, {a: plain}]")
    defer { withExtendedLifetime(scratch) {} }
    let entry = try scratch.directory.manifest.entry(at: 0)
    let labels = ConfigurationLabels(keys: ["a"], count: 20_000)
    #expect(labels.name(entry).hasPrefix("00000 "))
    #expect(!labels.name(entry).contains("\u{1B}"))
    #expect(ConfigurationLabels(keys: [], count: 1).name(entry) == "000")
  }

  @Test("the time left is what ended took on average, for what is left, over the jobs")
  func progress() {
    var progress = SweepProgress(total: 7, jobs: 2)
    #expect(progress.text(at: 0) == "0 done, 7 left")
    progress.record(.started(index: 0, attempt: 1, resumed: false), at: 0)
    progress.record(.started(index: 1, attempt: 1, resumed: false), at: 0)
    progress.record(.finished(index: 0, seconds: 10), at: 10)
    // Five wait for ten seconds each on two jobs, and one is due.
    #expect(progress.text(at: 10) == "1 done, 6 left, about 25 s")
    progress.record(.failed(index: 1, reason: "", retryInSeconds: 1), at: 20)
    #expect(progress.failed == 0 && progress.left == 6)
    progress.record(.started(index: 1, attempt: 2, resumed: false), at: 21)
    progress.record(.failed(index: 1, reason: "", retryInSeconds: nil), at: 36)
    progress.record(.skipped(index: 2, reason: ""), at: 36)
    // 10, 20 and 15 seconds: 15 on average, four on two jobs.
    #expect(progress.text(at: 36) == "1 done, 1 failed, 4 left, about 30 s")
    for index in 3..<7 {
      progress.record(.started(index: index, attempt: 1, resumed: false), at: 40)
      progress.record(.finished(index: index, seconds: 1), at: 41)
    }
    #expect(progress.text(at: 50) == "5 done, 1 failed, 0 left")
  }

  @Test("a program that cannot be started does not make the rest look quick")
  func unstarted() {
    var progress = SweepProgress(total: 3, jobs: 1)
    progress.record(.failed(index: 0, reason: "", retryInSeconds: nil), at: 0)
    #expect(
      progress.secondsLeft(at: 0) == nil && progress.text(at: 0) == "0 done, 1 failed, 2 left")
    // What takes longer than the average is due at any moment, and no less than one run is left.
    progress.record(.started(index: 1, attempt: 1, resumed: false), at: 0)
    progress.record(.finished(index: 1, seconds: 5), at: 5)
    progress.record(.started(index: 2, attempt: 1, resumed: false), at: 5)
    #expect(progress.text(at: 1000) == "1 done, 1 failed, 1 left, about 1 s")
  }

  @Test(
    "estimates are given in the unit that a person would take",
    arguments: [
      (0.2, "about 1 s"), (89, "about 89 s"), (91, "about 2 min"), (3600, "about 60 min"),
      (90_000, "about 25 h"), (864_000, "about 10 days"), (1e300, "about 1000000000 days"),
    ])
  func units(seconds: Double, text: String) { #expect(SweepProgress.about(seconds) == text) }
}
