import ArgumentParser
import BllarseCore
import Foundation

enum TextCacheList: OptionList { static let options = TextOptions.cache.map(\.info) }
enum TextMethodList: OptionList { static let options = TextOptions.method.map(\.info) }

/// `bllarse-finetune text`: a head on the cached text features of the Python original's `roberta_mnli.py`.
struct Text: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Fits a head to a feature cache of the Python original's text script.",
    discussion: """
      Does what the script's train_eval does, by the script's options: MultiNLI's sentence pairs, encoded once, \
      are fitted and scored on the matched and the mismatched validation rows. The cache is the folder \
      CACHE_DIR/HF_SUBDIR_PREFIX/KEY, where KEY says encoder, length and type.
      """)

  @OptionGroup(title: "Which features") var cache: DeclaredOptions<TextCacheList>
  @OptionGroup(title: "What to fit") var method: DeclaredOptions<TextMethodList>
  @OptionGroup(title: "Which rows") var splits: DeclaredOptions<SplitList>
  @OptionGroup(title: "Running") var running: DeclaredOptions<RunningList>
  @OptionGroup(title: "Tracking") var tracking: DeclaredOptions<TrackingList>

  @Flag(
    help: """
      Check the options and the cache; fit nothing, and print one line about the run.
      """)
  var check = false

  var given: GivenOptions {
    GivenOptions([cache.given, method.given, splits.given, running.given, tracking.given])
  }

  func validate() throws { _ = try Text.check(given) }

  static func check(_ given: GivenOptions) throws -> RunConfiguration {
    try TrackingOptions(given).check()
    return try asValidation { try RunConfiguration(text: given, defaults: .environment) }
  }

  static func notes(
    _ configuration: RunConfiguration, _ given: GivenOptions, _ content: TextCache.Content
  ) -> [String] {
    var notes = TextOptions.notes(given)
    let limit = configuration.data.maxTrainSamples
    let full = TextCache.fullTrainCount
    if limit == nil, content.trainCount < full {
      notes.append(
        "the cache holds \(content.trainCount) training rows of the \(full) that MultiNLI has")
    }
    if let encoder = configuration.data.text?.cache.encoder,
      let expected = TextCache.featureCount(encoder: encoder), expected != content.featureCount
    {
      notes.append(
        "the cache's rows have \(content.featureCount) features; \(encoder) gives \(expected)")
    }
    let count = min(content.trainCount, limit ?? content.trainCount)
    let batch = configuration.method[FitOptions.batchSize]
    if batch > count { notes.append("the batch of \(batch) rows is the \(count) there are") }
    return notes
  }

  func run() throws {
    let given = given
    let configuration = try Text.check(given)
    guard let task = configuration.data.text else { return }
    func tell(_ content: TextCache.Content) {
      for note in Text.notes(configuration, given, content) { Terminal().runDidNote(note) }
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
    let group = "mnli_roberta_llf"
    let run = TrackedRun(
      configuration: configuration, tracking: TrackingOptions(given), group: group,
      tags: ["task": group, "stage": task.stage], showsBest: true)
    try run.run { tracker in
      let start = Host.monotonic
      let content = try task.cache.content()
      let seconds = Host.monotonic - start
      tell(content)
      tracker?.log([
        "cache_seconds": seconds, "cache_extracted": 0,
        "cache_total_rows": Double(content.totalCount),
      ])
    }
  }
}
