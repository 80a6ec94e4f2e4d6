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
  @OptionGroup(title: "Which rows") var splits: SplitOptions
  @OptionGroup(title: "Running") var running: RunningOptions
  @OptionGroup(title: "Tracking") var tracking: TrackingOptions

  @Flag(
    help: """
      Check the options and the cache; fit nothing, and print one line about the run.
      """)
  var check = false

  func validate() throws {
    try cache.check()
    try method.check()
    try splits.check()
  }

  var task: TextTask {
    TextTask(
      stage: cache.stage.rawValue,
      cache: cache.cache(
        trainLimit: splits.maxTrainSamples, validationLimit: splits.maxValSamples),
      optimizer: method.optimizer)
  }

  /// What the options ask for.
  var configuration: RunConfiguration {
    let task = task
    var configuration = RunConfiguration()
    configuration.text = task
    configuration.featuresPath = task.cache.path
    method.apply(to: &configuration)
    splits.apply(to: &configuration)
    // The script scores between batches with cavi only: for the others, steps are epochs.
    if method.optimizer != .cavi { configuration.evaluationInterval = 0 }
    running.apply(to: &configuration)
    return configuration
  }

  func run() throws {
    let configuration = configuration
    let terminal = Terminal()
    guard !check else {
      try reportingErrors {
        let files = FileHeaders()
        let plan = try RunPlan(configuration, files: files)
        let content = try files.content(of: task.cache)
        for note in optionNotes + notes(content) { terminal.runDidNote(note) }
        print("the run can start: \(plan)")
      }
      return
    }
    Interruption.listen(configuration.outputPath)
    try reportingErrors {
      _ = try RunPlan.checkOutput(of: configuration)
      let tracker = try tracking.start(
        configuration, terminal, group: "mnli_roberta_llf",
        tags: ["task": "mnli_roberta_llf", "stage": task.stage])
      do {
        let start = ContinuousClock.now
        let content = try task.cache.content()
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        for note in optionNotes + notes(content) { terminal.runDidNote(note) }
        tracker?.log([
          "cache_seconds": seconds, "cache_extracted": 0,
          "cache_total_rows": Double(content.totalCount),
        ])
        let observers: [any RunObserver] =
          [terminal, InterruptionPhases(configuration: configuration)]
          + (tracker.map { [$0] } ?? [])
        let run = FineTuning(
          configuration, observers: observers, shouldStop: { Interruption.signal != nil })
        let (result, _) = try run.run()
        terminal.show(result, output: configuration.outputPath)
        // The script reports the scores of this one.
        if let best = result.best {
          terminal.show(best, isWithinEpochs: configuration.evaluationInterval > 0)
        }
        Interruption.enter(.delivery)
        tracker?.finish(result)
        Interruption.endsByItself()
      } catch {
        let isInterrupted = error is RunInterrupted
        if isInterrupted { Interruption.endsByItself() } else { Interruption.enterFailure(error) }
        tracker?.fail(interrupted: isInterrupted)
        if !isInterrupted { Interruption.endsByItself() }
        throw error
      }
    }
  }

  /// What should be known about the options.
  var optionNotes: [String] {
    var notes = cache.notes + method.notes + (running.deviceNote.map { [$0] } ?? [])
    if splits.trainSubsetSeed != nil && splits.maxTrainSamples == nil {
      notes.append(
        "--train-subset-seed has no effect here: without --max-train-samples all rows are taken")
    }
    if splits.evalEveryBatches > 0 && method.optimizer != .cavi {
      notes.append("--eval-every-batches has no effect here: it is for --optimizer cavi")
    }
    return notes
  }

  /// What the user should know about the cache.
  func notes(_ content: TextCache.Content) -> [String] {
    var notes: [String] = []
    if splits.maxTrainSamples == nil, content.trainCount < TextCache.fullTrainCount {
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
    let count = min(content.trainCount, splits.maxTrainSamples ?? content.trainCount)
    if method.trainBatchSize > count {
      notes.append("the batch of \(method.trainBatchSize) rows is the \(count) there are")
    }
    return notes
  }
}
