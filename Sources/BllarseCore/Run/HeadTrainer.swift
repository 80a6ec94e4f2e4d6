import BllarseNumerics

/// Fits a head epoch by epoch.
protocol HeadTrainer {
  /// The head as it is now.
  var head: any Head { get }
  /// The iterations so far, over all batches.
  var iterations: Int { get }
  /// The evidence lower bound of the training rows, where the head has one.
  var evidenceLowerBound: Double? { get }
  /// Bounds on its distance to the maximum, after a converged fit.
  var certificate: GapCertificate? { get }

  /// Goes through the training rows once.
  ///
  /// - Parameters:
  ///   - epoch: counted from 1.
  ///   - split: the training rows.
  mutating func runEpoch(_ epoch: Int, on split: FeatureSplit) throws(NumericsError)
}

/// The closed-form updates of the probit head.
struct IBProbitTrainer: HeadTrainer {
  private(set) var probit: IBProbitHead<Float>
  private(set) var iterations = 0
  private(set) var evidenceLowerBound: Double?
  private(set) var certificate: GapCertificate?
  private var sites: IBProbitSiteRefinement<Float>?
  let configuration: RunConfiguration

  var head: any Head { probit }

  init(
    _ configuration: RunConfiguration, featureCount: Int, classCount: Int, parallelism: Parallelism
  ) {
    self.configuration = configuration
    probit = IBProbitHead(
      .init(
        featureCount: featureCount, classCount: classCount,
        priorPrecision: configuration.priorPrecision))
    probit.parallelism = parallelism
  }

  mutating func runEpoch(_ epoch: Int, on split: FeatureSplit) throws(NumericsError) {
    if configuration.resetsEachEpoch && epoch > 1 {
      probit.reset()
      sites = nil
    }
    switch configuration.update {
    case .converged:
      let info = try probit.fit(
        features: split.features, labels: split.labels, tolerance: configuration.tolerance)
      iterations += info.iterations
      evidenceLowerBound = info.evidenceLowerBounds.last
      certificate = info.certificate
    case .cavi:
      let info = try probit.update(
        features: split.features, labels: split.labels,
        iterations: configuration.updateIterations, forgettingRate: configuration.forgettingRate,
        start: .seeded(configuration.seed, index: UInt64(epoch)), reportsBounds: true)
      iterations += info.iterations
      evidenceLowerBound = info.evidenceLowerBounds.last
    case .sites:
      var refinement =
        if let sites {
          sites
        } else {
          try IBProbitSiteRefinement(probit, features: split.features, labels: split.labels)
        }
      refinement.runEpoch(
        order: order(of: split, epoch), batchSize: configuration.batchSize,
        iterations: configuration.updateIterations)
      probit.posterior = refinement.posterior
      evidenceLowerBound = refinement.evidenceLowerBound
      iterations += configuration.updateIterations * batchCount(split)
      sites = refinement
    case .merge:
      let seed = configuration.seed
      let info = try probit.update(
        features: split.features, labels: split.labels,
        order: order(of: split, epoch),
        batchSize: configuration.batchSize, iterations: configuration.updateIterations,
        forgettingRate: configuration.forgettingRate
      ) { batch in .seeded(seed, index: UInt64(epoch) << 20 | UInt64(batch)) }
      iterations += info.iterations
    }
  }

  /// The order of the rows in an epoch.
  private func order(of split: FeatureSplit, _ epoch: Int) -> [Int] {
    var generator = Philox(seed: configuration.seed, purpose: .permutation, index: UInt64(epoch))
    return generator.permutation(count: split.rowCount)
  }

  private func batchCount(_ split: FeatureSplit) -> Int {
    (split.rowCount + configuration.batchSize - 1) / configuration.batchSize
  }
}
