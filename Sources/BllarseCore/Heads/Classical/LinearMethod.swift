import BllarseNumerics

extension HeadMethod {
  /// A linear head with a loss.
  static func linear<Loss: TrainableLoss>(
    _ loss: Loss.Type, _ lossOptions: [any AnyFitOption] = []
  ) -> HeadMethod {
    let steps: [any AnyFitOption] = [FitOptions.batchSize, FitOptions.dropout]
    let rate: [any AnyFitOption] = steps + [FitOptions.learningRate]
    func way(_ optimizer: OptimizerName, _ options: [any AnyFitOption]) -> FittingWay {
      FittingWay(
        optimizer.rawValue, lossOptions + options,
        optimizer == .newton ? .isOnePass : [.takesFreshRows, .dependsOnStart],
        memory: { shape, _ in shape.linear(isNewton: optimizer == .newton) },
        trainer: { configuration, data, parallelism in
          LinearTrainer<Loss>(optimizer, configuration, data: data, parallelism: parallelism)
        })
    }
    return HeadMethod(
      Loss.kind, selector: .optimizer,
      ways: [
        way(.newton, [FitOptions.penalty]),
        way(.adamw, rate + [FitOptions.weightDecay]),
        way(.adam, rate), way(.lion, rate + [FitOptions.weightDecay]),
        way(
          .ivon,
          steps + [
            FitOptions.sampleCount, FitOptions.ivonPeakRate, FitOptions.ivonWeightDecay,
            FitOptions.ivonHessInit, FitOptions.ivonBeta2,
          ]),
      ], kinds: [LinearHead<Loss>.self])
  }
}

extension MemoryShape {
  fileprivate func linear(isNewton: Bool) -> Double {
    guard isNewton else { return 0.1 * design + 32 * columns * classes }
    return 1.7 * (isWide ? 4 * rows * order : design) + 4 * small + 4 * logits
      + (isWide ? block + 4 * 8 * columns * classes : 0)
  }
}

extension ResidualMLP {
  /// The classifier that the backbone was trained with, as a head over its features; `nil` when there is none,
  /// or one of another number of classes.
  func classifier(classCount: Int) -> (any LogitHead)? {
    guard let classifierWeights, classifierWeights.columnCount == classCount else { return nil }
    var head = LinearHead<CrossEntropyLoss>(featureCount: featureCount, classCount: classCount)
    head.weights = classifierWeights
    return head
  }
}
