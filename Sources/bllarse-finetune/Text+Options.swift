extension Text {
  /// Its options by their names, for many lines at once; one that is missing here is left to the parser.
  static let options: [String: QuickOption<Text>] = [
    "--stage": .value(\.cache.stage), "--backbone": .value(\.cache.backbone),
    "--max-length": .value(\.cache.maxLength), "--cache-dtype": .value(\.cache.cacheDtype),
    "--cache-dir": .value(\.cache.cacheDir),
    "--hf-subdir-prefix": .value(\.cache.hfSubdirPrefix),
    "--hf-repo-id": .value(\.cache.hfRepoId), "--reuse-cache": .flag(\.cache.reuseCache),
    "--hf-sync": .value(\.cache.hfSync), "--hf-private": .flag(\.cache.hfPrivate),
    "--extract-batch-size": .value(\.cache.extractBatchSize),

    "--optimizer": .value(\.method.optimizer), "--epochs": .value(\.method.epochs),
    "-e": .value(\.method.epochs), "--train-batch-size": .value(\.method.trainBatchSize),
    "--num-update-iters": .value(\.method.numUpdateIters),
    "--ibprobit-alpha": .value(\.method.ibprobitAlpha),
    "--reset-loss-per-epoch": .flag(\.method.resetLossPerEpoch),
    "--learning-rate": .value(\.method.learningRate),
    "--weight-decay": .value(\.method.weightDecay),
    "--dropout-rate": .value(\.method.dropoutRate), "--seed": .value(\.method.seed),

    "--test-split": .value(\.splits.testSplit),
    "--validation-split": .value(\.splits.validationSplit),
    "--max-train-samples": .value(\.splits.maxTrainSamples),
    "--max-val-samples": .value(\.splits.maxValSamples),
    "--train-subset-seed": .value(\.splits.trainSubsetSeed),
    "--eval-every-batches": .value(\.splits.evalEveryBatches),

    "--output": .value(\.running.output), "--overwrite": .flag(\.running.overwrite),
    "--resume": .value(\.running.resume),
    "--threads": .value(\.running.threads), "--save-every": .value(\.running.saveEvery),
    "--device": .value(\.running.device), "--check": .flag(\.check),

    "--enable-mlflow": .flag(\.tracking.enableMlflow),
    "--enable_mlflow": .flag(\.tracking.enableMlflow),
    "--enable-wandb": .flag(\.tracking.enableWandb),
    "--mlflow-tracking-uri": .value(\.tracking.mlflowTrackingUri),
    "--mlflow-experiment": .value(\.tracking.mlflowExperiment),
    "--mlflow-drain-seconds": .value(\.tracking.mlflowDrainSeconds),
    "--group-id": .value(\.tracking.groupId), "--uid": .value(\.tracking.uid),
    "--log-checkpoints": .flag(\.tracking.logCheckpoints),
  ]
}
