import ArgumentParser
import BllarseCore
import Foundation

/// `bllarse-finetune text`: a head on the cached text features of the Python original's `roberta_mnli.py`.
struct Text: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Fits a head to a feature cache of the Python original's text script.",
    discussion: """
      Does what the script's train_eval does, by the script's options: MultiNLI's sentence pairs, encoded once, \
      are fitted and scored on the matched and the mismatched validation rows. The cache is the folder \
      CACHE_DIR/HF_SUBDIR_PREFIX/KEY, where KEY says encoder, length and type.
      """)

  @OptionGroup(title: "Which features") var cache: TextCacheOptions
  @OptionGroup(title: "What to fit") var method: TextMethodOptions
  @OptionGroup(title: "Which rows") var splits: DeclaredOptions<SplitList>
  @OptionGroup(title: "Running") var running: DeclaredOptions<RunningList>
  @OptionGroup(title: "Tracking") var tracking: DeclaredOptions<TrackingList>

  @Flag(
    help: """
      Check the options and the cache; fit nothing, and print one line about the run.
      """)
  var check = false

  func validate() throws {
    try cache.check()
    try method.check()
    try TrackingOptions(tracking.given).check()
    _ = try rows()
  }

  private var given: GivenOptions {
    var given = splits.given
    given.merge(running.given)
    given.merge(tracking.given)
    return given
  }

  /// A configuration with the options about rows, output and threads.
  private func rows() throws -> RunConfiguration {
    try asValidation { try RunConfiguration(rows: given, defaults: .environment) }
  }

  func task() throws -> TextTask {
    let data = try rows().data
    return TextTask(
      stage: cache.stage.rawValue,
      cache: cache.cache(
        trainLimit: data.maxTrainSamples, validationLimit: data.maxValidationSamples),
      optimizer: method.optimizer)
  }

  /// What the options ask for.
  func configuration() throws -> RunConfiguration {
    var configuration = try rows()
    let task = try task()
    configuration.data.text = task
    configuration.data.featuresPath = task.cache.path
    method.apply(to: &configuration)
    // The script scores between batches with cavi only: for the others, steps are epochs.
    if method.optimizer != .cavi { configuration.evaluationInterval = 0 }
    return configuration
  }

  func run() throws {
    let configuration = try configuration()
    let task = try task()
    let terminal = Terminal()
    func tell(_ content: TextCache.Content) {
      for note in optionNotes + notes(content) { terminal.runDidNote(note) }
    }
    guard !check else {
      try reportingErrors {
        let files = FileHeaders()
        let plan = try RunPlan(configuration, files: files)
        tell(try files.content(of: task.cache))
        print("the run can start: \(plan)")
      }
      return
    }
    var run = TrackedRun(configuration, TrackingOptions(tracking.given))
    (run.group, run.showsBest) = ("mnli_roberta_llf", true)
    run.tags = ["task": run.group, "stage": task.stage]
    try run.run { tracker in
      let start = ContinuousClock.now
      let content = try task.cache.content()
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      tell(content)
      tracker?.log([
        "cache_seconds": seconds, "cache_extracted": 0,
        "cache_total_rows": Double(content.totalCount),
      ])
    }
  }

  /// What should be known about the options.
  var optionNotes: [String] {
    var notes =
      cache.notes + method.notes
      + (running.given.hasOtherDevice ? [RunConfiguration.deviceNote] : [])
    if splits.given.contains("train-subset-seed") && !splits.given.contains("max-train-samples") {
      notes.append(
        "--train-subset-seed has no effect here: without --max-train-samples all rows are taken")
    }
    if splits.given["eval-every-batches"] ?? "0" != "0" && method.optimizer != .cavi {
      notes.append("--eval-every-batches has no effect here: it is for --optimizer cavi")
    }
    return notes
  }

  /// What the user should know about the cache.
  func notes(_ content: TextCache.Content) -> [String] {
    var notes: [String] = []
    let limit = splits.given["max-train-samples"].flatMap { Int($0) }
    if limit == nil, content.trainCount < TextCache.fullTrainCount {
      notes.append(
        "the cache holds \(content.trainCount) training rows of the \(TextCache.fullTrainCount) "
          + "that MultiNLI has")
    }
    if let expected = TextCache.featureCount(encoder: cache.backbone),
      expected != content.featureCount
    {
      notes.append(
        "the cache's rows have \(content.featureCount) features; \(cache.backbone) gives \(expected)"
      )
    }
    let count = min(content.trainCount, limit ?? content.trainCount)
    if method.trainBatchSize > count {
      notes.append("the batch of \(method.trainBatchSize) rows is the \(count) there are")
    }
    return notes
  }
}
