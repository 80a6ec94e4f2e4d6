import BllarseNumerics

extension HeadMethod {
  /// The Polya-Gamma head with a coding of its classes.
  static func polyaGamma<Coding: ClassCoding>(_ coding: Coding.Type) -> HeadMethod {
    let steps: [any AnyFitOption] = [
      FitOptions.priorPrecision, FitOptions.updateIterations, FitOptions.forgettingRate,
      FitOptions.resetLossPerEpoch,
    ]
    func way(
      _ update: PolyaGammaTrainer<Coding>.Update, _ options: [any AnyFitOption],
      _ traits: FittingWay.Traits
    ) -> FittingWay {
      FittingWay(
        update.rawValue, options, traits,
        memory: { shape, _ in
          1.2 * shape.design + (2.2 * shape.classes + 5 * shape.threads) * shape.square
        },
        trainer: { configuration, data, parallelism in
          PolyaGammaTrainer<Coding>(update, configuration, data: data, parallelism: parallelism)
        })
    }
    var method = HeadMethod(
      Coding.kind, selector: .update,
      ways: [
        way(.converged, [FitOptions.priorPrecision, FitOptions.tolerance], .isOnePass),
        way(.cavi, steps, .takesFreshRows),
        way(.merge, steps + [FitOptions.batchSize], .takesFreshRows),
      ], kinds: [PolyaGammaHead<Float, Coding>.self])
    method.meantWay = (["num-update-iters", "batch-size"], "merge")
    return method
  }
}
