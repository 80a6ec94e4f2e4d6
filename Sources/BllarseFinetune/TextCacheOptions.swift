public import ArgumentParser
public import BllarseCore
import Foundation

extension TextCache.ElementType: ExpressibleByArgument {}

/// Which cache of text features is taken: the names of the Python original's text script.
struct TextCacheOptions: ParsableArguments {
  /// What the script was asked to do.
  enum Stage: String, CaseIterable, ExpressibleByArgument {
    case extract
    case trainEval = "train_eval"
    case all
  }

  /// How the script kept its caches in step with the repository of published ones.
  enum Synchronization: String, CaseIterable, ExpressibleByArgument {
    case none, pull, push
    case pullPush = "pull_push"
  }

  @Option(
    help: """
      train_eval, or all, which does the same on a cache that is there; extract is not done here.
      """)
  var stage = Stage.all

  @Option(help: "The text encoder that made the cache.")
  var backbone = "FacebookAI/roberta-base"

  @Option(help: "The tokens of a sentence pair.")
  var maxLength = 256

  @Option(help: "How the cache stores features.")
  var cacheDtype = TextCache.ElementType.float16

  @Option(help: "The directory of all caches.")
  var cacheDir = "data/feature_cache"

  @Option(help: "The folder in --cache-dir that holds the cache's own.")
  var hfSubdirPrefix = "roberta_activations/mnli_roberta_cls"

  @Option(help: "The repository of published caches, for the command that pulls a missing one.")
  var hfRepoId = "dimarkov/bllarse-features"

  @Flag(help: "Accepted: a cache that is there is always used.")
  var reuseCache = false

  @Option(help: "Accepted: caches are neither pulled nor pushed here.")
  var hfSync: Synchronization?

  @Flag(help: "Accepted: caches are not pushed here.")
  var hfPrivate = false

  @Option(help: "Accepted: texts are not encoded here.")
  var extractBatchSize: Int?

  func check() throws {
    if stage == .extract { throw ValidationError(Self.noExtraction) }
    try requireRange("--max-length", maxLength, "a number from 1") { $0 >= 1 }
    try requireRange("--extract-batch-size", extractBatchSize, "a number from 1") { $0 >= 1 }
    for (name, value) in [("--backbone", backbone), ("--cache-dir", cacheDir)] where value.isEmpty {
      throw ValidationError("\(name) is empty")
    }
  }

  /// Why a cache is not made here, and what makes it.
  private static var noExtraction: String {
    let script = "scripts/roberta_mnli.py"
    let start =
      "--stage extract is not done here: it needs a text encoder, which the Python "
      + "original's \(script) runs"
    guard let root = ProcessInfo.processInfo.environment["BLLARSE_REPO_ROOT"], !root.isEmpty else {
      return start + "; it is looked for under BLLARSE_REPO_ROOT, which is not set"
    }
    let path = root + "/" + script
    return FileManager.default.fileExists(atPath: path)
      ? start + "; run: python3 \(path) --stage extract"
      : start + "; there is no such file under BLLARSE_REPO_ROOT, which is \(root)"
  }

  /// What the user should know about options that change nothing.
  var notes: [String] {
    var notes: [String] = []
    if stage == .all { notes.append("--stage all: the cache is there, so nothing is extracted") }
    for (isGiven, text) in [
      (reuseCache, "--reuse-cache has no effect here: a cache that is there is always used"),
      (
        hfSync != nil && hfSync != Synchronization.none,
        "--hf-sync \(hfSync?.rawValue ?? "") has no effect here: caches are neither pulled nor pushed"
      ),
      (hfPrivate, "--hf-private has no effect here: caches are not pushed"),
      (extractBatchSize != nil, "--extract-batch-size has no effect here: texts are not encoded"),
    ] where isGiven {
      notes.append(text)
    }
    return notes
  }

  /// The cache; limits of rows are part of its name where all stages were asked for.
  func cache(trainLimit: Int?, validationLimit: Int?) -> TextCache {
    var cache = TextCache()
    cache.encoder = backbone
    cache.maxLength = maxLength
    cache.elementType = cacheDtype
    if stage == .all { (cache.trainLimit, cache.validationLimit) = (trainLimit, validationLimit) }
    cache.prefix = hfSubdirPrefix
    cache.repository = hfRepoId
    let expanded = NSString(string: cacheDir).expandingTildeInPath
    cache.directory = URL(fileURLWithPath: expanded).standardizedFileURL.path
    return cache
  }
}
