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
        FittingWay(
          "converged", requiring: FitOptions.parity.info.name,
          [FitOptions.parity, FitOptions.priorPrecision, FitOptions.tolerance, FitOptions.certify],
          .isOnePass,
          memory: { shape, _ in 1.2 * shape.design + 7 * shape.square + 3 * shape.logits },
          trainer: { configuration, data, parallelism in
            OnePassTrainer(configuration, data, parallelism) { request throws(NumericsError) in
              try IBProbitReferenceHead.optimum(request)
            }
          }),
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
    _ update: IBProbitTrainer.Update, _ options: [any AnyFitOption], _ traits: Traits = [],
    memory: @escaping @Sendable (MemoryShape) -> Double
  ) -> FittingWay {
    FittingWay(
      update.rawValue, options, traits, memory: { shape, _ in memory(shape) },
      trainer: { IBProbitTrainer(update, $0, data: $1, parallelism: $2) })
  }
}

extension IBProbitReferenceHead {
  /// The optimum of the evidence lower bound of all rows.
  fileprivate static func optimum(
    _ request: FitRequest
  ) throws(NumericsError) -> (any Head, FitInfo) {
    var probit = IBProbitHead<Float>(
      HeadShape(
        featureCount: request.features.columnCount, classCount: request.classCount,
        transform: .standardLayerNorm, priorPrecision: request.method[FitOptions.priorPrecision]))
    let fit = try probit.fit(
      features: request.features, labels: request.labels,
      tolerance: request.method[FitOptions.tolerance],
      isCertified: request.method[FitOptions.certify],
      logitLimit: IBProbitHead<Float>.logitLimit, parallelism: request.parallelism)
    return (
      IBProbitReferenceHead(probit),
      FitInfo(
        iterations: fit.iterations, evidence: fit.evidenceLowerBounds.last,
        certificate: fit.certificate)
    )
  }
}
