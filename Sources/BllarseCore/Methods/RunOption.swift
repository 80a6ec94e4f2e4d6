/// An option of a run that is the same whatever is fitted: where its value is, and when it has an effect.
///
/// ``all`` is the one table of them; options of methods are ``FitOption``s.
public struct RunOption: Sendable {
  /// What is to be said of it.
  public private(set) var info: OptionInfo
  /// Takes the words of its value; false when they are none.
  let take: @Sendable (inout RunConfiguration, [String]) -> Bool
  /// What results and trackers show; `nil` for an option that changes no result, or is not used.
  private(set) var recorded: @Sendable (RunConfiguration) -> ArgumentValue? = { _ in nil }
  /// Whether it has an effect where it is given.
  private(set) var takesEffect: @Sendable (RunConfiguration) -> Bool = { _ in true }
  /// What it is for, where it has none: "fits by steps or batches".
  private(set) var place = ""

  // MARK: - Kinds

  /// An option with one value that lies at a place of the configuration.
  private static func value<Value>(
    _ info: OptionInfo, _ path: any WritableKeyPath<RunConfiguration, Value> & Sendable,
    _ expected: String, _ value: @escaping @Sendable (String) -> Value?
  ) -> RunOption {
    RunOption(info: info.expecting(expected)) { configuration, words in
      guard let value = value(words.first ?? "") else { return false }
      configuration[keyPath: path] = value
      return true
    }
  }

  private static func text(
    _ info: OptionInfo, _ path: any WritableKeyPath<RunConfiguration, String?> & Sendable
  ) -> RunOption {
    value(info, path, "a text") { .some($0) }
      .recorded { $0[keyPath: path].map(ArgumentValue.text) }
  }

  private static func count(
    _ info: OptionInfo, _ path: any WritableKeyPath<RunConfiguration, Int?> & Sendable,
    to limit: Int = countLimit
  ) -> RunOption {
    value(info, path, "a number from 1 to \(limit)") { text in
      Int(text).flatMap { 1...limit ~= $0 ? .some($0) : nil }
    }.recorded { $0[keyPath: path].map(ArgumentValue.integer) }
  }

  private static func flag(
    _ info: OptionInfo, _ path: any WritableKeyPath<RunConfiguration, Bool> & Sendable,
    to value: Bool = true
  ) -> RunOption {
    RunOption(info: info.asFlag) { configuration, _ in
      configuration[keyPath: path] = value
      return true
    }
  }

  /// An option that others read: its words are checked only.
  private static func word(
    _ info: OptionInfo, _ expected: String = "a text",
    _ isValue: @escaping @Sendable (String) -> Bool = { _ in true }
  ) -> RunOption {
    RunOption(info: info.expecting(expected)) { isValue($1.first ?? "") }
  }

  // MARK: - Changes

  private func recorded(
    _ record: @escaping @Sendable (RunConfiguration) -> ArgumentValue?
  ) -> RunOption {
    var option = self
    option.recorded = record
    return option
  }

  private var notRecorded: RunOption { recorded { _ in nil } }

  /// The same option, with an effect in some runs only: otherwise it is refused, or noted where the Python
  /// scripts took it everywhere.
  private func only(
    for place: String, isNoted: Bool = true,
    _ takesEffect: @escaping @Sendable (RunConfiguration) -> Bool
  ) -> RunOption {
    var option = self
    (option.place, option.takesEffect) = (place, takesEffect)
    option.info.isNotedWhereIdle = isNoted
    return option
  }

  // MARK: - The table

  /// Every option of a run, but those of methods.
  public static let all: [RunOption] = method + calibration + data + splits + running

  private static var method: [RunOption] {
    var head = OptionInfo(
      "head", group: .method,
      """
      The head: \(HeadRegistry.methodNames.joined(separator: ", ")). Without it, an option that \
      belongs to one head means that head: --weights laplace; --optimizer CrossEntropy; --update, --num-update-iters, \
      --batch-size and --parity IBProbit; --vbll-type VBLL.
      """, default: HeadRegistry.softmax)
    (head.recordedAs, head.otherName) = ("loss_fn", "loss-fn")
    let mode = OptionInfo(
      "tune-mode", group: .method,
      "What is trained: last_layer (full_network does not exist here).")
    let task = OptionInfo(
      "task", group: .method,
      "What is predicted: classification (classes), regression (numbers), multilabel (sets of labels).",
      default: "classification; that of --head where it is given")
    let epochs = OptionInfo(
      "epochs", short: "e", group: .method,
      "Passes over the data; a converged fit is one; 0 only scores the backbone's own classifier.",
      default: "100")
    let seed = OptionInfo(
      "seed", group: .method, "The seed of everything random, from 0 to 2^64 - 1.", default: "137")
    let sequential = OptionInfo(
      "sequential-update", group: .method,
      "Update the head first and then the network in each epoch; it needs full_network.")
    let augmentation = OptionInfo(
      "nodataaug", group: .method, "Take training images as they are in every epoch of batches.",
      default: "CIFAR's are cropped and mirrored at random")
    let ood = OptionInfo(
      "ood", group: .recipe,
      "Features of rows that belong to no class: how well uncertainty tells them apart.")
    return [
      word(mode, "last_layer").recorded { _ in .text("last_layer") },
      value(task, \.predictsLabelSets, oneOf(LearningTask.allCases.map(\.rawValue))) { text in
        LearningTask(rawValue: text).map { $0 == .multilabel }
      }.recorded {
        // Runs of before have none.
        $0.task == .classification ? nil : .text($0.task.rawValue)
      },
      word(head, oneOf(HeadRegistry.methodNames)).recorded { .text($0.method.head) },
      value(epochs, \.epochs, "a number from 0 to \(countLimit)", natural)
        .recorded { .integer($0.effectiveEpochs) }
        .only(for: "fits by steps or batches; a fit to the optimum is one pass") {
          $0.epochs < 2 || !$0.reachesOptimumAtOnce
        },
      value(seed, \.seed, wholeNumber) { UInt64($0) }.recorded { ArgumentValue($0.seed) },
      word(sequential.asFlag),
      flag(augmentation, \.data.augments, to: false)
        .recorded { $0.mayAugment ? .flag(!$0.data.augments) : nil }
        .only(for: "epochs of batches on cifar10 and cifar100") { $0.mayAugment },
      text(ood, \.outOfDistributionPath),
    ]
  }

  private static let wholeNumber = "a whole number from 0 to 2^64 - 1"
  private static let natural: @Sendable (String) -> Int? = { text in
    Int(text).flatMap { 0...countLimit ~= $0 ? $0 : nil }
  }

  private static var calibration: [RunOption] {
    let isScaled: @Sendable (RunConfiguration) -> Bool = { $0.temperatureScaling != nil }
    let place = "runs with --temperature-scaling"
    let rows = OptionInfo(
      "calibration", group: .calibration,
      """
      The rows that calibrate predictions: none, folds (a temperature, fitted to predictions for \
      training rows that were left out; softmax and a converged IBProbit only), validation (a \
      temperature, fitted to the validation split), validation-vector (a factor and a shift for each \
      class), validation-isotonic (a rising map for each class); of these two a temperature stands \
      unless they predict left-out validation rows better.
      """, default: "folds for softmax and a converged IBProbit, none otherwise")
    let scaling = OptionInfo(
      "temperature-scaling", group: .calibration,
      """
      Report what a temperature would do, as the Python original's experiment_ibprobit.py: fitted to a \
      random part of the test split, scored on the rest of it, 25 times. Nothing else changes.
      """)
    let steps = OptionInfo(
      "ts-iters", group: .calibration, "Newton steps of --temperature-scaling.", default: "4")
    var shares = OptionInfo(
      "ts-test-fractions", group: .calibration,
      "The shares of the test split that --temperature-scaling fits temperatures to, one or more.",
      default: "0.1")
    shares.arity = .list
    return [
      value(rows, \.calibration, oneOf(RunConfiguration.Calibration.allCases.map(\.rawValue))) {
        RunConfiguration.Calibration(rawValue: $0).map { .some($0) }
      }.recorded {
        // Leaving out rows is for the default recipe.
        $0.effectiveEpochs > 0
          && ($0.method.has(.calibratesOnFolds) || $0.calibrationOrDefault.needsValidation)
          ? .text($0.calibrationOrDefault.rawValue) : nil
      },
      RunOption(info: scaling.asFlag) { configuration, _ in
        configuration.temperatureScaling = TemperatureScaling()
        return true
      }.recorded { isScaled($0) ? .flag(true) : nil },
      RunOption(info: steps.expecting("a number from 0 to 1000")) { configuration, words in
        guard let count = Int(words[0]), 0...1000 ~= count else { return false }
        configuration.temperatureScaling?.stepCount = count
        return true
      }.recorded { $0.temperatureScaling.map { .integer($0.stepCount) } }
        .only(for: place, isNoted: false, isScaled),
      RunOption(
        info: shares.expecting("numbers above 0 and below 1, none of them twice, such as 0.1 0.2")
      ) { configuration, words in
        // Words of their own, or one: "0.1 0.2", "0.1,0.2", "[0.1, 0.2]".
        let texts = words.flatMap { $0.split { ", []()".contains($0) || $0.isWhitespace } }
        let values = texts.compactMap { Double(String($0)) }.filter { $0 > 0 && $0 < 1 }
        configuration.temperatureScaling?.fractions = values
        return !values.isEmpty && values.count == texts.count && Set(values).count == values.count
      }.recorded {
        let shares = $0.temperatureScaling?.fractions
        return shares.map { .text($0.map { "\($0)" }.joined(separator: " ")) }
      }.only(for: place, isNoted: false, isScaled),
    ]
  }

  private static var data: [RunOption] {
    let dataset = OptionInfo(
      "dataset", short: "ds", group: .data,
      """
      Images: digits, which ship with the package, or cifar10, cifar100 from --data-dir through a backbone.
      """, default: "digits")
    let directory = OptionInfo(
      "data-dir", group: .data,
      """
      The directory that holds the binary version of CIFAR (cifar-10-batches-bin, cifar-100-binary), or that \
      directory itself.
      """, default: "BLLARSE_DATA_DIR")
    let features = OptionInfo(
      "features", group: .data,
      "Features, instead of images: a safetensors file with X_train, y_train, X_test, y_test.")
    let target = OptionInfo(
      "target", group: .data,
      "The arrays of --features with the labels or the target values: NAME of NAME_train, NAME_test.",
      default: "y")
    let backbone = OptionInfo(
      "backbone", group: .data,
      "The file of the backbone whose features are used, instead of the data set's own.")
    let pretrained = OptionInfo(
      "pretrained", group: .data,
      """
      A backbone by what it was trained on: in21k, in21k_cifar (and then the data set), from --model-dir; or \
      random, weights drawn from --seed.
      """, default: "in21k_cifar, for CIFAR with one of the options that follow")
    let width = OptionInfo(
      "embed-dim", group: .data, "The number of the backbone's features, published: 512, 1024.",
      default: "512")
    let depth = OptionInfo(
      "num-blocks", group: .data, "The number of the backbone's blocks, published: 6, 12.",
      default: "6")
    let models = OptionInfo(
      "model-dir", group: .data,
      """
      Where --pretrained looks for its file, B_6-Wi_512_res_64_in21k_cifar10.safetensors and the like.
      """, default: "BLLARSE_MODEL_DIR, or .checkpoints")
    let fresh = OptionInfo(
      "reinitialize", group: .data,
      """
      Start a head that is fitted by steps from zero, not from the classifier that an in21k_cifar backbone \
      was trained with.
      """)
    let pretrainings = NamedBackbone.Pretraining.allCases.map(\.rawValue)
    return [
      value(dataset, \.data.dataset, oneOf(ImageDatasets.names)) {
        ImageDatasets.names.contains($0) ? $0 : nil
      }.recorded { $0.data.featuresPath == nil ? .text($0.data.dataset) : nil },
      text(directory, \.data.directory).notRecorded, text(features, \.data.featuresPath),
      text(target, \.data.target),
      text(backbone, \.data.backbonePath),
      // These make a named backbone together.
      word(pretrained, oneOf(pretrainings), pretrainings.contains)
        .recorded { ($0.data.namedBackbone?.pretraining.rawValue).map(ArgumentValue.text) },
      count(width, \.data.embeddingSize, to: 65536)
        .recorded { ($0.data.namedBackbone?.embeddingSize).map(ArgumentValue.integer) },
      count(depth, \.data.blockCount, to: 65536)
        .recorded { ($0.data.namedBackbone?.blockCount).map(ArgumentValue.integer) },
      word(models),
      flag(fresh, \.data.reinitializes)
        .recorded { $0.mayStartFromClassifier ? .flag($0.data.reinitializes) : nil }
        .only(
          for: "fits by steps that would start from the classifier of --pretrained in21k_cifar"
        ) { $0.mayStartFromClassifier },
    ]
  }

  /// Those that choose rows.
  static var splits: [RunOption] {
    let test = OptionInfo(
      "test-split", group: .splits,
      "The split that is reported as test: a NAME of the file's X_NAME.",
      default: "test; val_m for a text cache, which has no test")
    let validation = OptionInfo(
      "validation-split", group: .splits, "The split that chooses the best epoch and calibrates.",
      default: "the first there is of validation, valid, dev, val_m")
    let train = OptionInfo(
      "max-train-samples", group: .splits,
      "Take so many training rows: the first, or with --train-subset-seed random ones of every class.",
      default: "all")
    let most = OptionInfo(
      "max-val-samples", group: .splits, "Take the first so many rows of every validation split.",
      default: "all")
    let seed = OptionInfo(
      "train-subset-seed", group: .splits,
      "The seed by which --max-train-samples chooses rows, each class by its share.")
    let interval = OptionInfo(
      "eval-every-batches", group: .splits,
      "Also score after every so many batches of an epoch, and log by the training rows seen.",
      default: "0, only after epochs")
    return [
      text(test, \.data.testSplit), text(validation, \.data.validationSplit),
      count(train, \.data.maxTrainSamples), count(most, \.data.maxValidationSamples),
      value(seed, \.data.trainSubsetSeed, wholeNumber) { UInt64($0).map { .some($0) } }
        // What it does not change is not in the way of a resumed run.
        .recorded { configuration in
          configuration.data.maxTrainSamples.flatMap { _ in
            configuration.data.trainSubsetSeed.map { ArgumentValue($0) }
          }
        }
        .only(for: "--max-train-samples; all rows are taken") { $0.data.maxTrainSamples != nil },
      value(interval, \.evaluationInterval, "a number from 0 to \(countLimit)", natural)
        .recorded { $0.effectiveInterval > 0 ? .integer($0.effectiveInterval) : nil }
        .only(for: "fits that go through the rows in batches") {
          $0.evaluationInterval == 0 || $0.takesBatches
        },
    ]
  }

  /// Those that say how and where a run works.
  static var running: [RunOption] {
    let output = OptionInfo(
      "output", group: .running,
      "The directory for result.json, metrics.jsonl and head.safetensors.")
    let overwrite = OptionInfo(
      "overwrite", group: .running,
      "Replace what a run of something else left in the output directory, which is refused otherwise."
    )
    let interval = OptionInfo(
      "save-every", group: .running, "Epochs between checkpoints of a run with --output.",
      default: "10")
    let resume = OptionInfo(
      "resume", group: .running,
      """
      Resume from the checkpoint in this output directory, with the options of the first start; from the \
      beginning if the run had not come to a checkpoint.
      """)
    let threads = OptionInfo(
      "threads", group: .running,
      """
      The number of threads; fewer are used, with a note, where memory is limited or there are more than \
      64 and than processors.
      """, default: "SLURM_CPUS_PER_TASK, or all that are allowed")
    let device = OptionInfo(
      "device", group: .running, "cpu; gpu is accepted with a warning, so that old sweep files run."
    )
    let workers = OptionInfo(
      "num-workers", group: .vbll, "Accepted with a note, so that sweep files of VBLL heads run."
    )
    let ood = OptionInfo(
      "return-ood", group: .vbll, "Accepted with a note, so that sweep files of VBLL heads run.")
    return [
      text(output, \.output.path).notRecorded,
      flag(overwrite, \.output.overwrites)
        .only(for: "runs that start in --output", isNoted: false) {
          $0.output.path != nil && !$0.output.resumesExistingOnly
        },
      value(interval, \.output.saveEvery, "a number from 1") { text in
        Int(text).flatMap { $0 >= 1 ? $0 : nil }
      }.only(for: "several epochs with --output, and for --log-checkpoints") {
        $0.output.path != nil && $0.effectiveEpochs > 1
          || $0.output.uploadsCheckpoints && !$0.reachesOptimumAtOnce
      },
      word(resume), count(threads, \.threadCount, to: 1024).notRecorded,
      word(device, "cpu") { ["cpu", "gpu", "cuda"].contains($0) },
      word(workers, "a number from 0") { Int($0).map { $0 >= 0 } ?? false }
        .only(for: "Python's loaders of rows; features are in memory here") { _ in false },
      RunOption(info: ood.asFlag) { _, _ in true }
        .only(for: "the Python package; --ood FILE scores rows from elsewhere") { _ in false },
    ]
  }
}

extension OptionInfo {
  /// The option as a switch.
  fileprivate var asFlag: OptionInfo {
    var info = self
    info.arity = .flag
    return info
  }

  /// The option with its values in words.
  fileprivate func expecting(_ words: String) -> OptionInfo {
    var info = self
    info.expected = words
    return info
  }
}
