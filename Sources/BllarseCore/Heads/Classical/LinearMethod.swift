import BllarseNumerics

extension HeadMethod {
  /// A linear head with a loss, fitted to the optimum or by steps of optimisers.
  static func linear<Loss: TrainableLoss>(
    _ loss: Loss.Type, _ lossOptions: [any AnyFitOption] = [], _ optimizers: [OptimizerMethod]
  ) -> HeadMethod {
    let newton = FittingWay(
      "newton", lossOptions + [FitOptions.penalty], .isOnePass,
      memory: { shape, _ in shape.linear(isNewton: true) },
      trainer: { configuration, data, parallelism in
        OnePassTrainer(configuration, data, parallelism) { request throws(NumericsError) in
          try LinearHead<Loss>.optimum(request)
        }
      })
    let steps = optimizers.map { optimizer in
      FittingWay(
        optimizer.name,
        lossOptions + [FitOptions.batchSize, FitOptions.dropout] + optimizer.options,
        [.takesFreshRows, .dependsOnStart],
        memory: { shape, _ in shape.linear(isNewton: false) },
        trainer: { configuration, data, parallelism in
          LinearTrainer<Loss>(optimizer, configuration, data: data, parallelism: parallelism)
        })
    }
    return HeadMethod(
      Loss.kind, selector: .optimizer, ways: [newton] + steps, kinds: [LinearHead<Loss>.self])
  }
}

extension LinearHead where Loss: TrainableLoss {
  /// The optimum of the penalised loss of all rows.
  fileprivate static func optimum(
    _ request: FitRequest
  ) throws(NumericsError) -> (any Head, FitInfo) {
    var head = LinearHead(
      featureCount: request.features.columnCount, classCount: request.classCount)
    let rows = try CentredDesign(request.features, parallelism: request.parallelism)
    let given = request.method[FitOptions.penalty]
    let optimum = try Loss.optimum(
      rows, labels: request.labels, classCount: request.classCount,
      smoothing: request.method[FitOptions.labelSmoothing], penalty: given,
      parallelism: request.parallelism)
    head.take(rows.featureWeights(optimum.weights), at: rows.means)
    let penalty = given ?? rows.featurePenalty(optimum.penalty)
    var info = FitInfo(iterations: optimum.iterations)
    info.chosenPenalty = given == nil ? penalty : nil
    info.note =
      "L2 strength \(penalty)"
      + (optimum.logEvidence.map { " with the best evidence, \($0) nats" } ?? "")
      + (optimum.end.map { ", \($0.explanation)" } ?? "")
    return (head, info)
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
