import Foundation

/// The options of the Python original's text script, under its names: which cache of features is taken, and
/// how a head is fitted to it.
package enum TextOptions {
  /// What the script was asked to do.
  enum Stage: String, CaseIterable {
    case extract
    case trainEval = "train_eval"
    case all
  }

  /// How the script kept its caches in step with the repository of published ones.
  enum Synchronization: String, CaseIterable {
    case none, pull, push
    case pullPush = "pull_push"
  }

  private static let usual = TextCache()

  static let stage = FitOption<Stage>(
    "stage",
    "train_eval, or all, which does the same on a cache that is there; extract is not done here.",
    default: .all)
  static let backbone = FitOption(
    "backbone", "The text encoder that made the cache.", default: usual.encoder)
  static let maxLength = FitOption(
    "max-length", group: .data, "The tokens of a sentence pair.", default: usual.maxLength,
    .positive)
  static let elementType = FitOption<TextCache.ElementType>(
    "cache-dtype", "How the cache stores features.", default: usual.elementType)
  static let directory = FitOption(
    "cache-dir", "The directory of all caches.", default: usual.directory)
  static let prefix = FitOption(
    "hf-subdir-prefix", "The folder in --cache-dir that holds the cache's own.",
    default: usual.prefix)
  static let repository = FitOption(
    "hf-repo-id", "The repository of published caches, for the command that pulls a missing one.",
    default: usual.repository)
  static let reusesCache = FitOption<Bool>(
    "reuse-cache", group: .data, "Accepted: a cache that is there is always used.")
  static let synchronization = FitOption<Synchronization>(
    "hf-sync", "Accepted: caches are neither pulled nor pushed here.", default: .none
  ).with { $0.help.replace("; default: none", with: "") }
  static let isPrivate = FitOption<Bool>(
    "hf-private", group: .data, "Accepted: caches are not pushed here.")
  static let extractBatchSize = FitOption(
    "extract-batch-size", group: .data, "Accepted: texts are not encoded here.", default: 1,
    .positive
  ).with { $0.defaultText = nil }

  static let optimizer = FitOption<TextTask.Optimizer>(
    "optimizer",
    """
    cavi (IBProbit in closed form, each batch alone, then merged), or softmax regression by steps of \
    adam, adamw or lion.
    """, default: .cavi)
  static let epochs = FitOption(
    "epochs", short: "e", group: .method, "Passes over the training rows.", default: 1, .count)
  static let batchSize = FitOption(
    "train-batch-size", group: .method, "Rows of a batch.", default: 1024, .count)
  static let updateIterations = FitOption(
    "num-update-iters", group: .method, "cavi: coordinate-ascent iterations of a batch.",
    default: 16, .from(0, to: countLimit))
  static let forgettingRate = FitOption(
    "ibprobit-alpha", group: .method,
    "cavi: the fraction of what it knew that the posterior forgets with each batch.", default: 1e-3,
    OptionRange("a number above 0 and at most 1") { $0 > 0 && $0 <= 1 }
  ).with { $0.defaultText = "1e-3" }
  static let resetsLoss = FitOption<Bool>(
    "reset-loss-per-epoch", group: .method,
    "cavi: return the posterior to the prior at the start of each epoch.")
  static let learningRate = FitOptions.learningRate.named(
    "learning-rate", "adam, adamw, lion: the learning rate.", default: "1e-3")
  static let weightDecay = FitOptions.weightDecay.named(
    "weight-decay", "adamw, lion: the weight decay, of all weights but the biases.",
    default: "1e-2")
  static let dropout = FitOptions.dropout.named(
    "dropout-rate", "adam, adamw, lion: the share of features that a step leaves out.",
    default: "0")
  static let seed = FitOption<UInt64>(
    info: OptionInfo(
      "seed", group: .method, "The seed of everything random, from 0 to 2^64 - 1.", default: "0"),
    defaultValue: 0, parse: { UInt64($0) }, text: { String($0) }, record: { ArgumentValue($0) }
  ).with { $0.expected = "a whole number from 0 to 2^64 - 1" }

  /// Those that say which features are taken.
  package static let cache: [any AnyFitOption] = [
    stage, backbone, maxLength, elementType, directory, prefix, repository, reusesCache,
    synchronization, isPrivate, extractBatchSize,
  ]
  /// Those that say how a head is fitted.
  package static let method: [any AnyFitOption] = [
    optimizer, epochs, batchSize, updateIterations, forgettingRate, resetsLoss, learningRate,
    weightDecay, dropout, seed,
  ]

  /// Refuses what is no value of its option, and what is not done here.
  fileprivate static func check(_ given: GivenOptions) throws(OptionFault) {
    for option in cache + method {
      let name = option.info.name
      guard let text = given[name] else { continue }
      if name == stage.info.name, text == Stage.extract.rawValue { throw OptionFault(noExtraction) }
      var info = option.info
      var isValue = option.accepts(text)
      if name == updateIterations.info.name,
        let optimizer = optimizer.parse(given["optimizer"] ?? "cavi")
      {
        let least = optimizer == .cavi ? 1 : 0
        info.expected =
          "a number from \(least) to \(countLimit) for --optimizer \(optimizer.rawValue)"
        isValue = isValue && given[updateIterations] >= least
      }
      guard isValue else { throw OptionFault(info, text) }
      if text.isEmpty, [backbone, directory].contains(where: { $0.info.name == name }) {
        throw OptionFault("--\(name) is empty")
      }
    }
  }

  /// Why a cache is not made here, and what makes it.
  private static var noExtraction: String {
    let script = "scripts/roberta_mnli.py"
    let start =
      "--stage extract is not done here: it needs a text encoder, which the Python "
      + "original's \(script) runs"
    guard let root = Host.variable("BLLARSE_REPO_ROOT") else {
      return start + "; it is looked for under BLLARSE_REPO_ROOT, which is not set"
    }
    let path = root + "/" + script
    return Files.exists(path)
      ? start + "; run: python3 \(path) --stage extract"
      : start + "; there is no such file under BLLARSE_REPO_ROOT, which is \(root)"
  }

  /// What the user should know about options that change nothing; grids cross them with all optimisers.
  package static func notes(_ given: GivenOptions) -> [String] {
    let optimizer = given[optimizer]
    let isClosed = optimizer == .cavi
    let (closed, steps) = ("cavi is fitted in closed form", "\(optimizer.rawValue) takes steps")
    // A decay, a dropout or iterations of 0 say what is the case.
    func isSet(_ name: String) -> Bool { given[name].map { Double($0) != 0 } ?? false }
    let idle: [(option: String, isIdle: Bool, reason: String)] = [
      ("reuse-cache", given[reusesCache], "a cache that is there is always used"),
      (
        "hf-sync \(given["hf-sync"] ?? "")", given[synchronization] != .none,
        "caches are neither pulled nor pushed"
      ),
      ("hf-private", given[isPrivate], "caches are not pushed"),
      ("extract-batch-size", given.contains("extract-batch-size"), "texts are not encoded"),
      ("learning-rate", isClosed && given.contains("learning-rate"), closed),
      ("weight-decay", isClosed && isSet("weight-decay"), closed),
      ("dropout-rate", isClosed && isSet("dropout-rate"), closed),
      ("num-update-iters", !isClosed && isSet("num-update-iters"), steps),
      ("ibprobit-alpha", !isClosed && given.contains("ibprobit-alpha"), steps),
      ("reset-loss-per-epoch", !isClosed && given[resetsLoss], steps),
      ("weight-decay", optimizer == .adam && isSet("weight-decay"), "adam has no weight decay"),
      ("device", given.hasOtherDevice, "everything runs on the CPU"),
      (
        "train-subset-seed",
        given.contains("train-subset-seed") && !given.contains("max-train-samples"),
        "without --max-train-samples all rows are taken"
      ),
      (
        "eval-every-batches", !isClosed && given["eval-every-batches"] ?? "0" != "0",
        "it is for --optimizer cavi"
      ),
    ]
    return
      (given[stage] == .all ? ["--stage all: the cache is there, so nothing is extracted"] : [])
      + idle.filter(\.isIdle).map { "--\($0.option) has no effect here: \($0.reason)" }
  }
}

extension RunConfiguration {
  /// A run on a feature cache of the text script, by the script's options.
  ///
  /// - Throws: ``OptionFault``.
  package init(text given: GivenOptions, defaults: OptionDefaults) throws(OptionFault) {
    self.init()
    try TextOptions.check(given)
    try takeRunOptions(given, of: RunOption.splits + RunOption.running)
    try takeOutput(given, defaults)
    let stage = given[TextOptions.stage]
    var cache = TextCache()
    cache.encoder = given[TextOptions.backbone]
    cache.maxLength = given[TextOptions.maxLength]
    cache.elementType = given[TextOptions.elementType]
    // Limits of rows are part of the cache's name where all stages were asked for.
    if stage == .all {
      (cache.trainLimit, cache.validationLimit) = (data.maxTrainSamples, data.maxValidationSamples)
    }
    cache.prefix = given[TextOptions.prefix]
    cache.repository = given[TextOptions.repository]
    let expanded = NSString(string: given[TextOptions.directory]).expandingTildeInPath
    cache.directory = URL(fileURLWithPath: expanded).standardizedFileURL.path
    let optimizer = given[TextOptions.optimizer]
    data.text = TextTask(stage: stage.rawValue, cache: cache, optimizer: optimizer)
    data.featuresPath = cache.path
    (epochs, seed) = (given[TextOptions.epochs], given[TextOptions.seed])
    // The script scores between batches with cavi only: for the others, steps are epochs.
    if optimizer != .cavi { evaluationInterval = 0 }
    method =
      optimizer == .cavi ? Method("IBProbit", "merge") : Method("CrossEntropy", optimizer.rawValue)
    method[FitOptions.batchSize] = given[TextOptions.batchSize]
    method[FitOptions.resetLossPerEpoch] = given[TextOptions.resetsLoss]
    method[FitOptions.decaysBiases] = false
    method.take(FitOptions.updateIterations, from: given, TextOptions.updateIterations)
    method.take(FitOptions.forgettingRate, from: given, TextOptions.forgettingRate)
    method.take(FitOptions.learningRate, from: given, TextOptions.learningRate)
    method.take(FitOptions.weightDecay, from: given, TextOptions.weightDecay)
    method.take(FitOptions.dropout, from: given, TextOptions.dropout)
  }
}

extension Method {
  /// Takes the value of an option that is given under another name.
  fileprivate mutating func take<Value>(
    _ option: FitOption<Value>, from given: GivenOptions, _ other: FitOption<Value>
  ) {
    if given.contains(other.info.name) { self[option] = given[other] }
  }
}

extension GivenOptions {
  /// The value of an option that is given, else its default.
  subscript<Value>(option: FitOption<Value>) -> Value {
    self[option.info.name].flatMap(option.parse) ?? option.defaultValue
  }
}

extension OptionRange where Number == Int {
  fileprivate static var positive: Self { .init("a number from 1") { $0 >= 1 } }
}

extension FitOption {
  /// The option as the script calls it.
  fileprivate func named(_ name: String, _ help: String, default text: String) -> FitOption {
    with { ($0.name, $0.shortName, $0.help, $0.defaultText) = (name, nil, help, text) }
  }
}

extension FitOption where Value == String {
  /// A text of the script.
  fileprivate init(_ name: String, _ help: String, default value: String) {
    self.init(
      info: OptionInfo(name, group: .data, help, default: value), defaultValue: value,
      parse: { $0 }, text: { $0 }, record: ArgumentValue.text)
  }
}

extension FitOption
where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
  /// One of some words, which the help lists.
  fileprivate init(_ name: String, _ help: String, default value: Value) {
    let words = Value.allCases.map(\.rawValue)
    self.init(
      info: OptionInfo(
        name, group: .method,
        "\(help) (values: \(words.joined(separator: ", ")); default: \(value.rawValue))"),
      defaultValue: value, parse: { Value(rawValue: $0) }, text: { $0.rawValue },
      record: { .text($0.rawValue) })
    info.expected = oneOf(words)
  }
}
