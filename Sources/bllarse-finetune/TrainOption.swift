import ArgumentParser
import BllarseCore

/// An option of a run: where its value is, and where it takes effect.
///
/// ``all`` is the one table of them. An option that is given and does not take effect is said to have
/// none, where the Python original accepted it whatever was fitted (people cross such options in one
/// grid), and is refused otherwise.
struct TrainOption: Sendable {
  /// Its long name, without dashes.
  let name: String
  /// Whether it takes a value.
  let takesValue: Bool
  /// Whether the original accepted it everywhere.
  let isAcceptedEverywhere: Bool
  /// Why it has no effect where it has none, a clause: "it is for --optimizer ivon".
  let reason: String
  /// Sets it from the text of its value; false when the text is no value of it.
  let set: @Sendable (inout Train, String) -> Bool
  /// Whether it is on the command line, and asks for something else than what is the case anyway.
  let isGiven: @Sendable (Train) -> Bool
  /// Whether it changes what a run does.
  let takesEffect: @Sendable (Train, RunConfiguration) -> Bool

  /// An option with a value.
  static func value<Value: ExpressibleByArgument>(
    _ name: String, _ path: any WritableKeyPath<Train, Value?> & Sendable, original: Bool = false,
    for place: String = "", isGiven: (@Sendable (Value) -> Bool)? = nil,
    takesEffect: @escaping @Sendable (Train, RunConfiguration) -> Bool = { _, _ in true }
  ) -> TrainOption {
    TrainOption(
      name: name, takesValue: true, isAcceptedEverywhere: original, reason: "it is for " + place,
      set: { train, text in
        guard let value = Value(argument: text) else { return false }
        train[keyPath: path] = value
        return true
      },
      isGiven: { train in train[keyPath: path].map { isGiven?($0) ?? true } ?? false },
      takesEffect: takesEffect)
  }

  /// A switch.
  static func flag(
    _ name: String, _ path: any WritableKeyPath<Train, Bool> & Sendable, original: Bool = false,
    for place: String = "",
    takesEffect: @escaping @Sendable (Train, RunConfiguration) -> Bool = { _, _ in true }
  ) -> TrainOption {
    TrainOption(
      name: name, takesValue: false, isAcceptedEverywhere: original, reason: "it is for " + place,
      set: { train, _ in
        train[keyPath: path] = true
        return true
      },
      isGiven: { $0[keyPath: path] }, takesEffect: takesEffect)
  }

  /// An option of the fit with a value.
  private static func fit<Value: ExpressibleByArgument>(
    _ option: FitOption, _ path: any WritableKeyPath<Train, Value?> & Sendable,
    original: Bool = false,
    for place: String, isGiven: (@Sendable (Value) -> Bool)? = nil
  ) -> TrainOption {
    .value(
      option.rawValue.replacing("_", with: "-"), path, original: original, for: place,
      isGiven: isGiven
    ) { $1.uses(option) }
  }

  /// Every option of a run, but the older spellings, which are read as these.
  static let all: [TrainOption] = closedForm + evidence + classical + data + running + tracking

  private static var closedForm: [TrainOption] {
    [
      .value("tune-mode", \.method.tuneMode), .value("head", \.method.head),
      .value("seed", \.method.seed),
      .fit(
        .update, \.method.update,
        for: "IBProbit and the Polya-Gamma heads"),
      .fit(
        .updateIterations, \.method.numUpdateIters, original: true,
        for: "IBProbit and the Polya-Gamma heads, by --update cavi, merge or sites"),
      .value(
        "epochs", \.method.epochs, original: true,
        for: "fits by steps or batches; a fit to the optimum is one pass",
        isGiven: { $0 > 1 }, takesEffect: { !$1.reachesOptimumAtOnce }),
      .fit(
        .batchSize, \.method.batchSize, original: true,
        for: "--update merge and sites, and --optimizer adamw, adam, lion and ivon"),
      .fit(
        .forgettingRate, \.method.forgettingRate, original: true,
        for: "IBProbit and the Polya-Gamma heads, by --update merge or cavi"),
      .fit(
        .tolerance, \.method.tolerance,
        for: "the converged fits of the Polya-Gamma heads and of --parity --update converged"),
      .flag(
        "certify", \.method.certify,
        for: "one converged fit of IBProbit: --parity --update converged",
        takesEffect: { $1.uses(.certify) }),
      .flag(
        "reset-loss-per-epoch", \.method.resetLossPerEpoch, original: true,
        for:
          "IBProbit and the Polya-Gamma heads, by several epochs of --update cavi, merge or sites",
        takesEffect: { $1.uses(.resetLossPerEpoch) }),
      .flag("sequential-update", \.method.sequentialUpdate),
    ]
  }

  private static var evidence: [TrainOption] {
    let recipe = "softmax, and for the converged fit of IBProbit without --parity"
    let rows = "softmax, and for the converged fit of IBProbit without --parity, on --features"
    return [
      .flag(
        "parity", \.recipe.parity, for: "IBProbit",
        takesEffect: { $1.uses(.parity) }),
      .fit(
        .prior, \.recipe.prior,
        for: "softmax, IBProbit and the Polya-Gamma heads"),
      .fit(.posterior, \.recipe.posterior, for: recipe),
      .fit(.scaling, \.recipe.scaling, for: recipe),
      .fit(.sampleWeight, \.rows.sampleWeight, for: rows),
      .fit(.group, \.rows.group, for: rows),
      .value("calibration", \.calibration.calibration),
      .value("ood", \.recipe.ood),
    ]
  }

  private static var classical: [TrainOption] {
    let ivon = "CrossEntropy and MSE by --optimizer ivon"
    return [
      .fit(
        .optimizer, \.optimizer.optimizer, original: true, for: "CrossEntropy and MSE",
        isGiven: { $0 != .cavi }),
      .fit(.l2, \.optimizer.l2, for: "CrossEntropy and MSE by --optimizer newton"),
      .fit(
        .learningRate, \.optimizer.learningRate, original: true,
        for: "CrossEntropy and MSE by --optimizer adamw, adam or lion"),
      .fit(
        .weightDecay, \.optimizer.weightDecay, original: true,
        for: "CrossEntropy and MSE by --optimizer adamw or lion"),
      .fit(.labelSmooth, \.optimizer.labelSmooth, original: true, for: "CrossEntropy"),
      .fit(
        .dropout, \.optimizer.dropout, original: true,
        for: "CrossEntropy and MSE by --optimizer adamw, adam, lion or ivon"),
      .fit(.sampleCount, \.optimizer.mcSamples, original: true, for: ivon),
      .fit(.ivonPeakRate, \.optimizer.ivonPeakLr, original: true, for: ivon),
      .fit(.ivonWeightDecay, \.optimizer.ivonWeightDecay, original: true, for: ivon),
      .fit(.ivonHessInit, \.optimizer.ivonHessInit, original: true, for: ivon),
      .fit(.ivonBeta2, \.optimizer.ivonB2, original: true, for: ivon),
    ]
  }

  // Those that name data contradict one another, and are refused where they do.
  private static var data: [TrainOption] {
    [
      .value("dataset", \.data.dataset), .value("data-dir", \.data.dataDir),
      .value("features", \.data.features), .value("backbone", \.data.backbone.backbone),
      .value("pretrained", \.data.backbone.pretrained),
      .value("embed-dim", \.data.backbone.embedDim),
      .value("num-blocks", \.data.backbone.numBlocks),
      .value("model-dir", \.data.backbone.modelDir),
      .value("max-train-samples", \.splits.maxTrainSamples),
      .value("max-val-samples", \.splits.maxValSamples),
      .value(
        "train-subset-seed", \.splits.trainSubsetSeed, original: true,
        for: "--max-train-samples; all rows are taken",
        takesEffect: { train, _ in train.splits.maxTrainSamples != nil }),
      TrainOption(
        name: "eval-every-batches", takesValue: true, isAcceptedEverywhere: true,
        reason: "it is for fits that go through the rows in batches",
        set: { train, text in
          guard let value = Int(text) else { return false }
          train.splits.evalEveryBatches = value
          return true
        }, isGiven: { $0.splits.evalEveryBatches > 0 }, takesEffect: { $1.takesBatches }),
      .value("test-split", \.splits.testSplit),
      .value("validation-split", \.splits.validationSplit),
      .flag(
        "nodataaug", \.method.nodataaug, original: true,
        for: "epochs of batches on cifar10 and cifar100", takesEffect: { $1.mayAugment }),
      .flag(
        "reinitialize", \.data.backbone.reinitialize, original: true,
        for: "fits by steps that would start from the classifier of --pretrained in21k_cifar",
        takesEffect: { $1.mayStartFromClassifier }),
    ]
  }

  private static var running: [TrainOption] {
    [
      .value("output", \.running.output), .value("resume", \.running.resume),
      TrainOption(
        name: "overwrite", takesValue: false, isAcceptedEverywhere: false,
        reason: "it is for runs that start in --output",
        set: { train, _ in
          train.running.overwrite = true
          return true
        }, isGiven: { $0.running.overwrite },
        takesEffect: { train, _ in train.running.output != nil }),
      .value("threads", \.running.threads), .flag("check", \.check),
      .value(
        "save-every", \.running.saveEvery, original: true,
        for: "several epochs with --output, and for --log-checkpoints",
        takesEffect: { train, configuration in
          let isUploaded = train.tracking.isEnabled && train.tracking.logCheckpoints
          return configuration.outputPath != nil && configuration.effectiveEpochs > 1
            || isUploaded && !configuration.reachesOptimumAtOnce
        }),
      TrainOption(
        name: "device", takesValue: true, isAcceptedEverywhere: true,
        reason: "everything runs on the CPU",
        set: { train, text in
          train.running.device = text
          return true
        }, isGiven: { $0.running.device.map { $0 != "cpu" } ?? false },
        takesEffect: { _, _ in false }),
    ]
  }

  private static var tracking: [TrainOption] {
    let isTracked: @Sendable (Train, RunConfiguration) -> Bool = { train, _ in
      train.tracking.isEnabled
    }
    let runs = "runs with --enable-mlflow"
    return [
      .flag("enable-mlflow", \.tracking.enableMlflow),
      .value(
        "mlflow-tracking-uri", \.tracking.mlflowTrackingUri, original: true, for: runs,
        isGiven: { !$0.isEmpty }, takesEffect: isTracked),
      .value(
        "mlflow-experiment", \.tracking.mlflowExperiment, original: true, for: runs,
        isGiven: { !$0.isEmpty }, takesEffect: isTracked),
      .value(
        "mlflow-drain-seconds", \.tracking.mlflowDrainSeconds, for: runs, takesEffect: isTracked),
      .value("group-id", \.tracking.groupId, original: true, for: runs, takesEffect: isTracked),
      .value("uid", \.tracking.uid, original: true, for: runs, takesEffect: isTracked),
      .flag(
        "log-checkpoints", \.tracking.logCheckpoints, original: true, for: runs,
        takesEffect: isTracked),
    ]
  }
}

extension Train {
  /// What is to be said, and what is to be refused, about options that change nothing in this run.
  func idleOptions(_ configuration: RunConfiguration) -> (notes: [String], faults: [String]) {
    var (notes, faults): ([String], [String]) = ([], [])
    let isFitted = configuration.effectiveEpochs > 0
    for option in TrainOption.all
    where option.isGiven(self) && !option.takesEffect(self, configuration) {
      if !isFitted {
        notes.append("--\(option.name) has no effect here: --epochs 0 fits no head")
      } else if option.isAcceptedEverywhere {
        notes.append("--\(option.name) has no effect here: \(option.reason)")
      } else {
        faults.append(
          "--\(option.name) does not go with \(configuration.method): \(option.reason)")
      }
    }
    return (notes, faults)
  }
}

extension RunConfiguration {
  /// What is fitted and how, in the words of the command line.
  var method: String {
    guard HeadRegistry.isClosedForm(lossFunction) else {
      return "--head \(lossFunction) --optimizer \(optimizer.rawValue)"
    }
    guard HeadRegistry.takesUpdates(lossFunction) else { return "--head \(lossFunction)" }
    return "--head \(lossFunction) --update \(update.rawValue)"
      + (evidence.matchesReference && lossFunction == "IBProbit" ? " --parity" : "")
  }
}
