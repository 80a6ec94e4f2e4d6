/// An option of a run that is the same whatever is fitted: where its value is, and when it has an effect.
///
/// ``all`` is the one table of them; options of methods are ``FitOption``s.
public struct RunOption: Sendable {
  /// What is to be said of it.
  public let info: OptionInfo
  /// Takes the words of its value; false when they are none.
  let take: @Sendable (inout RunConfiguration, [String]) -> Bool
  /// What results and trackers show; `nil` for an option that changes no result, or is not used.
  let recorded: @Sendable (RunConfiguration) -> ArgumentValue?
  /// Whether it has an effect where it is given.
  let takesEffect: @Sendable (RunConfiguration) -> Bool
  /// What it is for, where it has none: "fits by steps or batches".
  let place: String

  init(
    _ info: OptionInfo, for place: String = "",
    record: @escaping @Sendable (RunConfiguration) -> ArgumentValue? = { _ in nil },
    takesEffect: @escaping @Sendable (RunConfiguration) -> Bool = { _ in true },
    take: @escaping @Sendable (inout RunConfiguration, [String]) -> Bool = { _, _ in true }
  ) {
    self.info = info
    self.place = place
    (recorded, self.takesEffect, self.take) = (record, takesEffect, take)
  }

  /// An option with one value.
  ///
  /// - Parameters:
  ///   - path: where the value is.
  ///   - value: the value of a text, or `nil` where it is none.
  ///   - record: what results show of a value; nothing by default.
  private static func value<Value>(
    _ info: OptionInfo, _ path: any WritableKeyPath<RunConfiguration, Value> & Sendable,
    _ expected: String = "a text", for place: String = "",
    record: (@Sendable (Value) -> ArgumentValue?)? = nil,
    takesEffect: @escaping @Sendable (RunConfiguration) -> Bool = { _ in true },
    value: @escaping @Sendable (String) -> Value?
  ) -> RunOption {
    var info = info
    info.expected = expected
    return RunOption(
      info, for: place, record: { record?($0[keyPath: path]) }, takesEffect: takesEffect,
      take: { configuration, words in
        guard let value = value(words.first ?? "") else { return false }
        configuration[keyPath: path] = value
        return true
      })
  }

  private static func text(
    _ info: OptionInfo, _ path: any WritableKeyPath<RunConfiguration, String?> & Sendable,
    isRecorded: Bool = true
  ) -> RunOption {
    .value(
      info, path, record: { isRecorded ? $0.map(ArgumentValue.text) : nil }, value: { .some($0) })
  }

  private static func count(
    _ info: OptionInfo, _ path: any WritableKeyPath<RunConfiguration, Int?> & Sendable,
    to limit: Int = countLimit, isRecorded: Bool = true
  ) -> RunOption {
    .value(
      info, path, "a number from 1 to \(limit)",
      record: { isRecorded ? $0.map(ArgumentValue.integer) : nil },
      value: { text in Int(text).flatMap { 1...limit ~= $0 ? .some($0) : nil } })
  }

  private static func flag(
    _ info: OptionInfo, _ path: any WritableKeyPath<RunConfiguration, Bool> & Sendable,
    to value: Bool = true, for place: String = "",
    record: @escaping @Sendable (RunConfiguration) -> ArgumentValue? = { _ in nil },
    takesEffect: @escaping @Sendable (RunConfiguration) -> Bool = { _ in true }
  ) -> RunOption {
    var info = info
    info.arity = .flag
    return RunOption(
      info, for: place, record: record, takesEffect: takesEffect,
      take: { configuration, _ in
        configuration[keyPath: path] = value
        return true
      })
  }

  /// The same option, noted where it has no effect, as the Python scripts took it everywhere.
  private var noted: RunOption {
    var info = info
    info.isNotedWhereIdle = true
    return RunOption(
      info, for: place, record: recorded, takesEffect: takesEffect, take: take)
  }

  /// Every option of a run, but those of methods.
  public static let all: [RunOption] = method + calibration + data + splits + running

  // MARK: - The table

  private static var method: [RunOption] {
    var head = OptionInfo(
      "head", group: .method,
      """
      The head: \(HeadRegistry.methodNames.joined(separator: ", ")). Without it, an option that \
      belongs to one head means that head: --optimizer CrossEntropy; --update, --num-update-iters, \
      --batch-size and --parity IBProbit.
      """, default: HeadRegistry.softmax)
    (head.recordedAs, head.otherName) = ("loss_fn", "loss-fn")
    return [
      RunOption(
        OptionInfo(
          "tune-mode", group: .method,
          "What is trained: last_layer (full_network does not exist here)."),
        record: { _ in .text("last_layer") }),
      RunOption(head, record: { .text($0.method.head) }),
      value(
        OptionInfo(
          "epochs", short: "e", group: .method,
          """
          Passes over the data; a converged fit is one; 0 only scores the backbone's own classifier.
          """, default: "100"), \.epochs, "a number from 0 to \(countLimit)",
        for: "fits by steps or batches; a fit to the optimum is one pass",
        takesEffect: { $0.epochs < 2 || !$0.reachesOptimumAtOnce }
      ) { Int($0).flatMap { 0...countLimit ~= $0 ? $0 : nil } }.recording {
        .integer($0.effectiveEpochs)
      }.noted,
      value(
        OptionInfo(
          "seed", group: .method, "The seed of everything random, from 0 to 2^64 - 1.",
          default: "137"), \.seed, "a whole number from 0 to 2^64 - 1",
        record: { ArgumentValue($0) }
      ) { UInt64($0) },
      RunOption(
        OptionInfo(
          "sequential-update", group: .method,
          "Update the head first and then the network in each epoch; it needs full_network."
        ).asFlag),
      flag(
        OptionInfo(
          "nodataaug", group: .method,
          "Take training images as they are in every epoch of batches.",
          default: "CIFAR's are cropped and mirrored at random"), \.data.augments, to: false,
        for: "epochs of batches on cifar10 and cifar100",
        record: { $0.mayAugment ? .flag(!$0.data.augments) : nil },
        takesEffect: { $0.mayAugment }
      ).noted,
      text(
        OptionInfo(
          "ood", group: .recipe,
          "Features of rows that belong to no class: how well uncertainty tells them apart."),
        \.outOfDistributionPath),
    ]
  }

  private static var calibration: [RunOption] {
    let isScaled: @Sendable (RunConfiguration) -> Bool = { $0.temperatureScaling != nil }
    var shares = OptionInfo(
      "ts-test-fractions", group: .calibration,
      """
      The shares of the test split that --temperature-scaling fits temperatures to, one or more.
      """, default: "0.1")
    (shares.arity, shares.expected) = (.list, "numbers above 0 and below 1, such as 0.1 0.2")
    return [
      value(
        OptionInfo(
          "calibration", group: .calibration,
          """
          The rows that calibrate predictions: none, folds (a temperature, fitted to predictions for \
          training rows that were left out; softmax and a converged IBProbit only), validation (a \
          temperature, fitted to the validation split), validation-vector (a factor and a shift for each \
          class), validation-isotonic (a rising map for each class); of these two a temperature stands \
          unless they predict left-out validation rows better.
          """, default: "folds for softmax and a converged IBProbit, none otherwise"),
        \.calibration,
        oneOf(RunConfiguration.Calibration.allCases.map(\.rawValue))
      ) { RunConfiguration.Calibration(rawValue: $0).map { .some($0) } }.recording {
        // Leaving out rows is for the default recipe.
        $0.effectiveEpochs > 0
          && ($0.method.has(.calibratesOnFolds) || $0.calibrationOrDefault.needsValidation)
          ? .text($0.calibrationOrDefault.rawValue) : nil
      },
      RunOption(
        OptionInfo(
          "temperature-scaling", group: .calibration,
          """
          Report what a temperature would do, as the Python original's experiment_ibprobit.py: fitted to a \
          random part of the test split, scored on the rest of it, 25 times. Nothing else changes.
          """
        ).asFlag, record: { isScaled($0) ? .flag(true) : nil },
        take: { configuration, _ in
          configuration.temperatureScaling = configuration.temperatureScaling ?? .init()
          return true
        }),
      RunOption(
        OptionInfo(
          "ts-iters", group: .calibration, "Newton steps of --temperature-scaling.", default: "4"
        ).expecting("a number from 0 to 1000"), for: "runs with --temperature-scaling",
        record: { $0.temperatureScaling.map { .integer($0.stepCount) } }, takesEffect: isScaled,
        take: { configuration, words in
          guard let count = Int(words[0]), 0...1000 ~= count else { return false }
          configuration.temperatureScaling?.stepCount = count
          return true
        }),
      RunOption(
        shares, for: "runs with --temperature-scaling",
        record: {
          ($0.temperatureScaling?.fractions).map {
            .text($0.map { "\($0)" }.joined(separator: " "))
          }
        }, takesEffect: isScaled,
        take: { configuration, words in
          // Words of their own, or one: "0.1 0.2", "0.1,0.2", "[0.1, 0.2]".
          let texts = words.flatMap { text in
            text.split { ", []()".contains($0) || $0.isWhitespace }.map(String.init)
          }
          let values = texts.compactMap(Double.init).filter { $0 > 0 && $0 < 1 }
          guard !values.isEmpty, values.count == texts.count, Set(values).count == values.count
          else { return false }
          configuration.temperatureScaling?.fractions = values
          return true
        }),
    ]
  }

  private static var data: [RunOption] {
    [
      RunOption(
        OptionInfo(
          "dataset", short: "ds", group: .data,
          """
          Images: digits, which ship with the package, or cifar10, cifar100 from --data-dir through a backbone.
          """, default: "digits"
        ).expecting(oneOf(ImageDatasets.names)),
        record: { $0.data.featuresPath == nil ? .text($0.data.dataset) : nil },
        take: { configuration, words in
          configuration.data.dataset = words[0]
          return ImageDatasets.names.contains(words[0])
        }),
      text(
        OptionInfo(
          "data-dir", group: .data,
          """
          The directory that holds the binary version of CIFAR (cifar-10-batches-bin, cifar-100-binary), or that \
          directory itself.
          """, default: "BLLARSE_DATA_DIR"), \.data.directory, isRecorded: false),
      text(
        OptionInfo(
          "features", group: .data,
          "Features, instead of images: a safetensors file with X_train, y_train, X_test, y_test."),
        \.data.featuresPath),
      text(
        OptionInfo(
          "backbone", group: .data,
          "The file of the backbone whose features are used, instead of the data set's own."),
        \.data.backbonePath),
      // These three make a named backbone together.
      RunOption(
        OptionInfo(
          "pretrained", group: .data,
          """
          A backbone by what it was trained on: in21k, in21k_cifar (and then the data set), from --model-dir; or \
          random, weights drawn from --seed.
          """, default: "in21k_cifar, for CIFAR with one of the options that follow"
        ).expecting(oneOf(NamedBackbone.Pretraining.allCases.map(\.rawValue))),
        record: { ($0.data.namedBackbone?.pretraining.rawValue).map(ArgumentValue.text) },
        take: { NamedBackbone.Pretraining(rawValue: $1[0]) != nil }),
      count(
        OptionInfo(
          "embed-dim", group: .data, "The number of the backbone's features, published: 512, 1024.",
          default: "512"), \.data.embeddingSize, to: 65536
      ).recording { ($0.data.namedBackbone?.embeddingSize).map(ArgumentValue.integer) },
      count(
        OptionInfo(
          "num-blocks", group: .data, "The number of the backbone's blocks, published: 6, 12.",
          default: "6"), \.data.blockCount, to: 65536
      ).recording { ($0.data.namedBackbone?.blockCount).map(ArgumentValue.integer) },
      RunOption(
        OptionInfo(
          "model-dir", group: .data,
          """
          Where --pretrained looks for its file, B_6-Wi_512_res_64_in21k_cifar10.safetensors and the like.
          """, default: "BLLARSE_MODEL_DIR, or .checkpoints")),
      flag(
        OptionInfo(
          "reinitialize", group: .data,
          """
          Start a head that is fitted by steps from zero, not from the classifier that an in21k_cifar backbone \
          was trained with.
          """), \.data.reinitializes,
        for: "fits by steps that would start from the classifier of --pretrained in21k_cifar",
        record: { $0.mayStartFromClassifier ? .flag($0.data.reinitializes) : nil },
        takesEffect: { $0.mayStartFromClassifier }
      ).noted,
    ]
  }

  /// Those that choose rows.
  static var splits: [RunOption] {
    [
      text(
        OptionInfo(
          "test-split", group: .splits,
          "The split that is reported as test: a NAME of the file's X_NAME.",
          default: "test; val_m for a text cache, which has no test"), \.data.testSplit),
      text(
        OptionInfo(
          "validation-split", group: .splits,
          "The split that chooses the best epoch and calibrates.",
          default: "the first there is of validation, valid, dev, val_m"), \.data.validationSplit),
      count(
        OptionInfo(
          "max-train-samples", group: .splits,
          """
          Take so many training rows: the first, or with --train-subset-seed random ones of every class.
          """, default: "all"), \.data.maxTrainSamples),
      count(
        OptionInfo(
          "max-val-samples", group: .splits,
          "Take the first so many rows of every validation split.", default: "all"),
        \.data.maxValidationSamples),
      value(
        OptionInfo(
          "train-subset-seed", group: .splits,
          "The seed by which --max-train-samples chooses rows, each class by its share."),
        \.data.trainSubsetSeed, "a whole number from 0 to 2^64 - 1",
        for: "--max-train-samples; all rows are taken",
        takesEffect: { $0.data.maxTrainSamples != nil }
      ) { UInt64($0).map { .some($0) } }.recording {
        // What it does not change is not in the way of a resumed run.
        $0.data.maxTrainSamples == nil ? nil : $0.data.trainSubsetSeed.map { ArgumentValue($0) }
      }.noted,
      value(
        OptionInfo(
          "eval-every-batches", group: .splits,
          """
          Also score after every so many batches of an epoch, and log by the training rows seen.
          """, default: "0, only after epochs"), \.evaluationInterval,
        "a number from 0 to \(countLimit)", for: "fits that go through the rows in batches",
        record: { $0 > 0 ? .integer($0) : nil },
        takesEffect: { $0.evaluationInterval == 0 || $0.takesBatches }
      ) { Int($0).flatMap { 0...countLimit ~= $0 ? $0 : nil } }.noted,
    ]
  }

  /// Those that say how and where a run works.
  static var running: [RunOption] {
    [
      text(
        OptionInfo(
          "output", group: .running,
          "The directory for result.json, metrics.jsonl and head.safetensors."), \.output.path,
        isRecorded: false),
      flag(
        OptionInfo(
          "overwrite", group: .running,
          """
          Replace what a run of something else left in the output directory, which is refused otherwise.
          """), \.output.overwrites, for: "runs that start in --output",
        takesEffect: { $0.output.path != nil && !$0.output.resumesExistingOnly }),
      value(
        OptionInfo(
          "save-every", group: .running, "Epochs between checkpoints of a run with --output.",
          default: "10"), \.output.saveEvery, "a number from 1",
        for: "several epochs with --output, and for --log-checkpoints",
        takesEffect: {
          $0.output.path != nil && $0.effectiveEpochs > 1
            || $0.output.uploadsCheckpoints && !$0.reachesOptimumAtOnce
        }
      ) { Int($0).flatMap { $0 >= 1 ? $0 : nil } }.noted,
      RunOption(
        OptionInfo(
          "resume", group: .running,
          """
          Resume from the checkpoint in this output directory, with the options of the first start; from the \
          beginning if the run had not come to a checkpoint.
          """)),
      count(
        OptionInfo(
          "threads", group: .running,
          """
          The number of threads; fewer are used, with a note, where memory is limited or there are more than \
          64 and than processors.
          """, default: "SLURM_CPUS_PER_TASK, or all that are allowed"), \.threadCount, to: 1024,
        isRecorded: false),
      RunOption(
        OptionInfo(
          "device", group: .running,
          "cpu; gpu is accepted with a warning, so that old sweep files run."
        ).expecting("cpu"), take: { ["cpu", "gpu", "cuda"].contains($1[0]) }),
    ]
  }
}

extension RunOption {
  fileprivate func recording(
    _ record: @escaping @Sendable (RunConfiguration) -> ArgumentValue?
  ) -> RunOption {
    RunOption(info, for: place, record: record, takesEffect: takesEffect, take: take)
  }
}

extension OptionInfo {
  fileprivate var asFlag: OptionInfo {
    var info = self
    info.arity = .flag
    return info
  }

  fileprivate func expecting(_ words: String) -> OptionInfo {
    var info = self
    info.expected = words
    return info
  }
}
