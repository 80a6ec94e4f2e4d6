import BllarseNumerics

extension HeadMethod {
  /// The independent binary probit head.
  static let probit = {
    let batches: [any AnyFitOption] = [
      FitOptions.parity, FitOptions.priorPrecision, FitOptions.updateIterations,
      FitOptions.resetLossPerEpoch,
    ]
    var method = HeadMethod(
      "IBProbit", selector: .update,
      ways: [
        .recipe(.probit, "converged"),
        .probit(
          .converged, requiring: FitOptions.parity.info.name,
          [FitOptions.parity, FitOptions.priorPrecision, FitOptions.tolerance, FitOptions.certify],
          .isOnePass, memory: { 1.2 * $0.design + 7 * $0.square + 3 * $0.logits }),
        .probit(
          .cavi, batches + [FitOptions.forgettingRate], .takesFreshRows,
          memory: { 1.2 * $0.design + 4 * $0.square }),
        .probit(
          .merge, batches + [FitOptions.forgettingRate, FitOptions.batchSize], .takesFreshRows,
          memory: { 0.1 * $0.design + (4 + $0.threads) * $0.square }),
        .probit(
          .sites, batches + [FitOptions.batchSize],
          memory: { 1.2 * $0.design + 7 * $0.square + 3 * $0.logits }),
      ], kinds: [IBProbitHead<Float>.self, EvidenceHead.self, IBProbitReferenceHead.self])
    method.meaningOptions = ["update", "num-update-iters", "batch-size", "parity"]
    method.meantWay = (["num-update-iters", "batch-size", "parity"], "merge")
    return method
  }()
}

extension FittingWay {
  fileprivate static func probit(
    _ update: IBProbitTrainer.Update, requiring name: String? = nil, _ options: [any AnyFitOption],
    _ traits: Traits = [], memory: @escaping @Sendable (MemoryShape) -> Double
  ) -> FittingWay {
    FittingWay(
      update.rawValue, requiring: name, options, traits, memory: { shape, _ in memory(shape) },
      trainer: { configuration, data, parallelism in
        let trainer = IBProbitTrainer(
          update, configuration, data: data, parallelism: parallelism)
        return configuration.method[FitOptions.parity] ? ReferenceTrainer(trainer) : trainer
      })
  }
}
