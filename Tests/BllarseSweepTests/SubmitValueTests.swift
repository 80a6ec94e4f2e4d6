import BllarseTestSupport
import Testing

@testable import BllarseSweep

@Suite("Values for SLURM are checked before anything runs")
struct SubmitValueTests {
  @Test(
    "what SLURM reads as a time",
    arguments: [
      ("30", true), ("1:30", true), ("2:00:00", true), ("1-12", true), ("1-0:30", true),
      ("7-12:00:00", true), ("unlimited", true), ("0", true), ("abc", false), ("-5", false),
      ("1h", false), ("1.5", false), ("", false), ("1-", false), ("1:2:3:4", false),
      ("1-2-3", false),
      ("999999999999999999-00:00", false), ("99999999999999999999", false), ("+3", false),
    ])
  func time(text: String, isTime: Bool) { #expect((Duration(clock: text) != nil) == isTime) }

  // SLURM reads whole numbers (str_to_mbytes in its proc_args.c).
  @Test(
    "what SLURM reads as memory",
    arguments: [
      ("4G", true), ("512", true), ("1t", true), ("0", true), ("1.5G", false), ("-1G", false),
      ("4X", false), ("G", false), ("", false), ("inf", false), ("99999999999999999999T", false),
    ])
  func memory(text: String, isMemory: Bool) { #expect((Memory(text) != nil) == isMemory) }

  @Test("multiplied memory stays a number")
  func multiplied() throws {
    var options = SubmitOptions()
    options.resources.memory = Memory("999999999999M")
    let rule = try RetryRule(parsing: "oom:2:mem*100")
    let changed = options.changed(by: rule, nodes: []).resources.memory
    #expect(changed?.description == "99999999999900M")
    #expect(Memory("1e300G") == nil && Memory("nan") == nil)
  }

  @Test(
    "faults of the slurm and resources sections are all told with their lines, whatever the command"
  )
  func sections() throws {
    let yaml = """
      seeds: 2
      resources: {memory: lots, time: soon}
      slurm:
        time: -5
        mem: 1.5G
        max_concurrent: -1
        array_order: up
        signal_seconds: 99999
        retry: ["oom:x"]
        cpus_per_task: 0
      """
    let error = try #require(throws: SweepError.self) {
      try SweepFile.decode(yaml, path: "sweep.yaml")
    }
    #expect(error.code == .data)
    for text in [
      "sweep.yaml:2:21: 'memory' is a whole number with K, M, G or T", "found 'lots'",
      "sweep.yaml:2:33: 'time' is minutes, MM:SS", "sweep.yaml:4:9: slurm.time is minutes",
      "sweep.yaml:5:8: slurm.mem is a whole number", "found '1.5G'",
      "slurm.max_concurrent is a positive number, or none for no limit; found -1",
      "slurm.array_order is index, reverse or shuffle; found 'up'",
      "slurm.signal_seconds is a number of seconds from 1 to 65535; found '99999'",
      "--retry oom:x: expected CAUSE:COUNT", "slurm.cpus_per_task is a positive number; found 0",
    ] {
      #expect(error.description.contains(text), "\(error.description)")
    }
  }
}

@Suite("What a parent run says of its children")
struct ParentDescriptionTests {
  @Test("it has the values that all share and what each axis goes through")
  func axes() throws {
    let scratch = try Scratch(
      """
      base: {dataset: digits, enable_mlflow: true, group_id: g}
      grid:
        loss_fn: [IBProbit, CrossEntropy]
        learning_rate: {values: [0.1, 0.2], when: {loss_fn: CrossEntropy}}
      seeds: {count: 30, start: 5}
      """)
    defer { withExtendedLifetime(scratch) {} }
    let all = try ParentDescription(
      scratch.directory, indices: Array(0..<scratch.directory.manifest.count))
    #expect(
      all.parameters == [
        "dataset": "digits", "loss_fn": "IBProbit, CrossEntropy",
        "learning_rate": "0.1, 0.2, or not set", "seed": "30 values from 5 to 34",
      ])
    #expect(
      all.text.hasSuffix(
        "90 configurations over `loss_fn` (IBProbit, CrossEntropy), `seed` (30 values from 5 to 34), `learning_rate` (0.1, 0.2, or not set)."
      ))
    // A chunk of a sweep speaks of its own configurations.
    let some = try ParentDescription(scratch.directory, indices: [0, 1])
    #expect(some.parameters == ["dataset": "digits", "loss_fn": "IBProbit", "seed": "5, 6"])
    #expect(some.text.contains("2 configurations over `seed` (5, 6)."))
  }

  @Test("it is told of the main scores alone, a dozen metrics in all")
  func metrics() {
    #expect(
      SweepSummary.mainScores(among: MainScoreTests.finetune).map(\.name)
        == ["test.acc", "test.nll", "test.ece", "test.brier"])
  }
}
