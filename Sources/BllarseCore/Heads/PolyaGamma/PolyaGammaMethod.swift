import BllarseNumerics

extension HeadMethod {
  /// The Polya-Gamma head with a coding of its classes.
  static func polyaGamma<Coding: ClassCoding>(_ coding: Coding.Type) -> HeadMethod {
    let steps: [any AnyFitOption] = [
      FitOptions.priorPrecision, FitOptions.updateIterations, FitOptions.forgettingRate,
      FitOptions.resetLossPerEpoch,
    ]
    let memory = { @Sendable (shape: MemoryShape, _: Method) in
      1.2 * shape.design + (2.2 * shape.classes + 5 * shape.threads) * shape.square
    }
    func way(_ name: String, _ options: [any AnyFitOption], mergesBatches: Bool) -> FittingWay {
      FittingWay(
        name, options, .takesFreshRows, memory: memory,
        trainer: { configuration, data, parallelism in
          PolyaGammaTrainer<Coding>(
            mergesBatches: mergesBatches, configuration, data: data, parallelism: parallelism)
        })
    }
    let converged = FittingWay(
      "converged", [FitOptions.priorPrecision, FitOptions.tolerance], .isOnePass, memory: memory,
      trainer: { configuration, data, parallelism in
        OnePassTrainer(configuration, data, parallelism) { request throws(NumericsError) in
          try PolyaGammaHead<Float, Coding>.optimum(request)
        }
      })
    var method = HeadMethod(
      Coding.kind, selector: .update,
      ways: [
        converged, way("cavi", steps, mergesBatches: false),
        way("merge", steps + [FitOptions.batchSize], mergesBatches: true),
      ], kinds: [PolyaGammaHead<Float, Coding>.self])
    method.meantWay = (["num-update-iters", "batch-size"], "merge")
    return method
  }
}

extension HeadShape {
  /// A Polya-Gamma head's: features are centred and scaled by one factor.
  init(
    featuresOf features: FeatureMatrix, classCount: Int, _ method: Method,
    _ parallelism: Parallelism
  ) {
    self.init(
      featureCount: features.columnCount, classCount: classCount,
      transform: FeatureScaling.global.transform(of: features, parallelism: parallelism),
      priorPrecision: method[FitOptions.priorPrecision])
  }
}

extension PolyaGammaHead where Scalar == Float, Coding: ClassCoding {
  /// The maximum of the bound over all rows.
  fileprivate static func optimum(
    _ request: FitRequest
  ) throws(NumericsError) -> (any Head, FitInfo) {
    var head = PolyaGammaHead(
      HeadShape(
        featuresOf: request.features, classCount: request.classCount, request.method,
        request.parallelism))
    let tolerance = request.method[FitOptions.tolerance]
    let fit = try head.fit(
      checked: request.features, labels: request.labels, tolerance: tolerance,
      parallelism: request.parallelism)
    var info = FitInfo(iterations: fit.iterations, evidence: fit.evidenceLowerBounds.last)
    if !fit.converged {
      info.note =
        "stopped after \(fit.iterations) iterations, before the bound settled to --tolerance "
        + "\(tolerance)"
    }
    return (head, info)
  }
}
