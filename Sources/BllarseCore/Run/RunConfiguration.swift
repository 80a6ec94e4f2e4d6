/// Where the rows of a run come from, and which of them are fitted and scored.
public struct DataSource: Sendable, Equatable {
  /// The name of a built-in data set; not used when there is a feature file.
  public var dataset = "digits"
  /// A feature file.
  public var featuresPath: String?
  /// The arrays of the file with the targets, NAME of `NAME_train`; `nil` for "y".
  public var target: String?
  /// Where the files of a data set are that does not ship with the package.
  public var directory: String?
  /// Whether training images are changed at random in every epoch, where the data set and the method
  /// allow it.
  public var augments = true
  /// A backbone, instead of the data set's own.
  public var backbonePath: String?
  /// A backbone that is found by its name, instead of the data set's own.
  public var namedBackbone: NamedBackbone?
  /// The numbers of features and of blocks that a backbone must have, or `nil` for any.
  public var embeddingSize, blockCount: Int?
  /// Whether a head that starts from the backbone's own classifier starts from zero instead.
  public var reinitializes = false
  /// Where the package's data files are, when they are not beside the executable.
  public var resourcesPath: String?
  /// The split whose scores are reported, or `nil` for "test".
  public var testSplit: String?
  /// The split that chooses the best epoch and calibrates, or `nil` for the data's own.
  public var validationSplit: String?
  /// The training rows to take, or `nil` for all.
  public var maxTrainSamples: Int?
  /// The rows of each validation split to take, the first ones, or `nil` for all.
  public var maxValidationSamples: Int?
  /// The seed by which training rows are chosen, by class; the first ones are taken when `nil`.
  public var trainSubsetSeed: UInt64?
  /// The text task whose features are fitted, when they are a text script's.
  public var text: TextTask?

  /// The digits that ship with the package.
  public init() {}

  /// Whether the user named the splits that are reported and calibrate.
  var choosesSplits: Bool { testSplit != nil && validationSplit != nil }
}

/// Where the results of a run go.
public struct OutputPlan: Sendable, Equatable {
  /// The directory, or `nil` for nowhere.
  public var path: String?
  /// Whether another run's results there are replaced.
  public var overwrites = false
  /// Epochs between checkpoints.
  public var saveEvery = 10
  /// Whether the run resumes from the checkpoint there.
  public var resumes = false
  /// Whether checkpoints go to a tracker.
  public var uploadsCheckpoints = false
  /// Whether the directory must exist for that.
  public var resumesExistingOnly = false

  /// No results are written.
  public init() {}
}

/// What a run is to do: data, a method, what is scored, where results go.
public struct RunConfiguration: Sendable, Equatable {
  /// Which rows calibrate the predictions.
  public enum Calibration: String, Sendable, Equatable, CaseIterable {
    /// None.
    case none
    /// The training rows, each predicted by a fit that leaves it out: a temperature. The default recipe
    /// only; other heads have none.
    case folds
    /// The validation split: a temperature. (The default recipe has `folds` before.)
    case validation
    /// The validation split: a factor and a shift for each class's log-probability.
    case validationVector = "validation-vector"
    /// The validation split: an isotonic regression for each class.
    case validationIsotonic = "validation-isotonic"

    /// The map that is fitted to the validation split, if any.
    public var method: HeldOutCalibration.Method? {
      switch self {
      case .none, .folds: nil
      case .validation: .temperature
      case .validationVector: .vector
      case .validationIsotonic: .isotonic
      }
    }

    /// Whether there must be a validation split.
    public var needsValidation: Bool { method != nil }
  }

  /// Where the rows come from.
  public var data = DataSource()
  /// The head and how it is fitted.
  public var method = Method()
  /// Whether rows have sets of labels; a head of classes is then fitted to each label.
  public var predictsLabelSets = false
  /// Passes over the data.
  public var epochs = 100
  /// The seed of everything random.
  public var seed: UInt64 = 137
  /// Batches between evaluations within an epoch, or 0 for none.
  public var evaluationInterval = 0
  /// Which rows calibrate the predictions; `nil` for `folds` where the method has them, else none.
  public var calibration: Calibration?
  /// A feature file with rows that belong to none of the classes.
  public var outOfDistributionPath: String?
  /// Whether temperatures are fitted to parts of the test split, and how.
  public var temperatureScaling: TemperatureScaling?
  /// Where results go.
  public var output = OutputPlan()
  /// The number of threads, or `nil` for all that are allowed.
  public var threadCount: Int?

  /// The defaults.
  public init() {}
}

// MARK: - What follows

extension RunConfiguration {
  /// Which rows calibrate the predictions.
  public var calibrationOrDefault: Calibration {
    calibration ?? (method.has(.calibratesOnFolds) ? .folds : .none)
  }

  /// Whether the first pass over the data ends at the optimum.
  public var reachesOptimumAtOnce: Bool { method.has(.isOnePass) }

  /// The passes over the data that the run makes: one where one reaches the optimum, none where only the
  /// pretrained classifier is to be scored.
  public var effectiveEpochs: Int { reachesOptimumAtOnce ? min(epochs, 1) : epochs }

  /// Whether an epoch goes through the rows in batches.
  public var takesBatches: Bool { method.takes(FitOptions.batchSize) }

  /// Batches between evaluations, or 0 for none: where there are no batches the interval changes nothing, not
  /// even the step that scores are logged at.
  public var effectiveInterval: Int {
    // Asked after every batch: what is quick comes first.
    evaluationInterval > 0 && takesBatches ? evaluationInterval : 0
  }

  /// Whether the training images could be changed at random in every epoch: the data set allows it, and
  /// so does the method.
  public var mayAugment: Bool {
    data.featuresPath == nil && method.has(.takesFreshRows)
      && ImageDatasets.augmentation(of: data.dataset) != nil
  }

  /// Whether the head could start from the classifier that the backbone was trained with: where that was
  /// trained on the same data set, and the start matters.
  public var mayStartFromClassifier: Bool {
    data.namedBackbone?.pretraining == .in21kCIFAR && method.has(.dependsOnStart)
  }

  /// Whether the head starts from that classifier.
  public var startsFromClassifier: Bool { mayStartFromClassifier && !data.reinitializes }

  /// Whether an option of the fit changes what this run does.
  public func uses(_ option: some AnyFitOption) -> Bool {
    takesEffect(option.info) && method.takes(option)
  }

  func takesEffect(_ info: OptionInfo) -> Bool {
    effectiveEpochs > 0 && (!info.needs.contains(.severalEpochs) || epochs > 1)
      && (!info.needs.contains(.featureFile) || data.featuresPath != nil)
      && (info.neededOption.map { method.isGiven($0.name, $0.value) } ?? true)
  }

  /// What is predicted.
  public var task: LearningTask { asksForEachLabel ? .multilabel : headTask }

  private var headTask: LearningTask {
    HeadRegistry.method(named: method.head)?.task ?? .classification
  }

  /// Whether sets of labels are predicted by a head of classes for each of them.
  var asksForEachLabel: Bool { predictsLabelSets && headTask == .classification }

  /// The arrays with the targets that this run reads.
  var targetArrays: TargetArrays { targetArrays(of: task) }

  /// The same for a task that is known otherwise.
  func targetArrays(of task: LearningTask) -> TargetArrays {
    TargetArrays(task, name: data.target ?? TargetArrays().name)
  }

  /// The arrays with weights and groups that this run reads; a head that takes none has none.
  var rowArrays: RowArrays {
    RowArrays(
      weights: uses(FitOptions.sampleWeight) ? method[FitOptions.sampleWeight] : nil,
      groups: uses(FitOptions.group) ? method[FitOptions.group] : nil)
  }

  /// Refuses arrays that this run would not read.
  ///
  /// - Throws: `DataError` that names the first of them.
  func checkRowArrays() throws(DataError) {
    guard effectiveEpochs > 0 else { return }
    for option in [FitOptions.sampleWeight, FitOptions.group] {
      guard let name = method[option], !uses(option) else { continue }
      throw DataError(
        .wrongType, file: data.featuresPath, key: name,
        found: data.featuresPath == nil
          ? "images have no such array" : "\(method.words) does not take it",
        expected: "no \(option.info.recordedName)", advice: "leave it out, or fit another head")
    }
  }

  /// The options that take effect, under the names of the command line, in a fixed order.
  ///
  /// A run that resumes is compared with its first start by these, so everything that changes a result is
  /// among them.
  public var arguments: [(name: String, value: ArgumentValue)] {
    if let text = data.text { return arguments(of: text) }
    return RunOption.all.compactMap { option in
      option.recorded(self).map { (option.info.recordedName, $0) }
    } + methodArguments
  }

  var argumentsByName: [String: ArgumentValue] {
    Dictionary(uniqueKeysWithValues: arguments.map { ($0.name, $0.value) })
  }

  private var methodArguments: [(name: String, value: ArgumentValue)] {
    guard effectiveEpochs > 0, let way = method.knownWay else { return [] }
    var list: [(name: String, value: ArgumentValue)] = []
    if let selector = method.selector { list.append((selector.name, .text(way.name))) }
    return list
      + way.options.filter { takesEffect($0.info) }.compactMap { option in
        method.recorded(option).map { (option.info.recordedName, $0) }
      }
  }
}

/// A run on a feature cache of the Python original's text script.
public struct TextTask: Sendable, Equatable {
  /// How a head is fitted, by the script's names: the probit head in closed form, batch by batch, or softmax
  /// regression by steps of an optimiser.
  public enum Optimizer: String, Sendable, CaseIterable { case cavi, adam, adamw, lion }

  /// The stage that was asked for, "train_eval" or "all".
  public var stage: String
  /// The cache.
  public var cache: TextCache
  /// How the head is fitted.
  public var optimizer: Optimizer

  /// Describes a run.
  public init(stage: String, cache: TextCache, optimizer: Optimizer) {
    (self.stage, self.cache, self.optimizer) = (stage, cache, optimizer)
  }
}

extension RunConfiguration {
  /// The options that took effect under the names of the text script.
  func arguments(of text: TextTask) -> [(name: String, value: ArgumentValue)] {
    var list: [(String, ArgumentValue)] = [
      ("stage", .text(text.stage)), ("backbone", .text(text.cache.encoder)),
      ("max_length", .integer(text.cache.maxLength)),
      ("cache_dtype", .text(text.cache.elementType.rawValue)),
      ("cache_dir", .text(text.cache.path)), ("cache_key", .text(text.cache.key)),
      ("hf_subdir_prefix", .text(text.cache.prefix)),
      ("optimizer", .text(text.optimizer.rawValue)), ("epochs", .integer(epochs)),
      ("train_batch_size", .integer(method[FitOptions.batchSize])), ("seed", ArgumentValue(seed)),
    ]
    switch text.optimizer {
    case .cavi:
      list += [
        ("num_update_iters", .integer(method[FitOptions.updateIterations])),
        ("ibprobit_alpha", .number(method[FitOptions.forgettingRate])),
        ("reset_loss_per_epoch", .flag(method[FitOptions.resetLossPerEpoch])),
      ]
    case .adam, .adamw, .lion:
      list.append(("learning_rate", .number(method[FitOptions.learningRate])))
      if text.optimizer != .adam {
        list.append(("weight_decay", .number(method[FitOptions.weightDecay])))
      }
      list.append(("dropout_rate", .number(method[FitOptions.dropout])))
    }
    return list
      + RunOption.splits.compactMap { option in
        option.recorded(self).map { (option.info.recordedName, $0) }
      }
  }
}

/// A value of an option, as result files and trackers show it.
public enum ArgumentValue: Sendable, Equatable {
  /// A text.
  case text(String)
  /// An integer.
  case integer(Int)
  /// An integer beyond those: a seed takes all 64 bits.
  case unsigned(UInt64)
  /// A number.
  case number(Double)
  /// A switch.
  case flag(Bool)

  /// A seed, or another integer from 0 on, exactly.
  public init(_ value: UInt64) {
    self = Int(exactly: value).map(ArgumentValue.integer) ?? .unsigned(value)
  }
}

extension ArgumentValue: CustomStringConvertible {
  /// The value as text; switches as "True" and "False", as the Python original logs them.
  public var description: String {
    if case .flag(let value) = self { value ? "True" : "False" } else { "\(value)" }
  }
}

extension ArgumentValue: Decodable {
  /// Reads a bare value.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let value = try? container.decode(Bool.self) {
      self = .flag(value)
    } else if let value = try? container.decode(Int.self) {
      self = .integer(value)
    } else if let value = try? container.decode(UInt64.self) {
      self = .unsigned(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else {
      self = .text(try container.decode(String.self))
    }
  }
}

extension ArgumentValue: Encodable {
  /// Writes the bare value.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(value)
  }

  private var value: any Encodable {
    switch self {
    case .text(let value): value
    case .integer(let value): value
    case .unsigned(let value): value
    case .number(let value): value
    case .flag(let value): value
    }
  }
}

extension RunConfiguration {
  /// The training rows that all steps up to a batch of an epoch have seen.
  func seenExamples(epoch: Int, batch: Int?, rowCount: Int) -> Int {
    (epoch - 1) * rowCount
      + (batch.map { min($0 * method[FitOptions.batchSize], rowCount) } ?? rowCount)
  }
}
