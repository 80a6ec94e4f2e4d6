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
    if configuration.resetsEachEpoch && epoch > 1 { probit.reset() }
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
    case .merge, .sites:
      var generator = Philox(
        seed: configuration.seed, purpose: .permutation, index: UInt64(epoch))
      let order = generator.permutation(count: split.rowCount)
      for (batch, start) in stride(from: 0, to: order.count, by: configuration.batchSize)
        .enumerated()
      {
        let rows = order[start..<min(start + configuration.batchSize, order.count)]
        let info = try probit.update(
          features: split.features.gatheringRows(rows), labels: rows.map { split.labels[$0] },
          iterations: configuration.updateIterations,
          forgettingRate: configuration.forgettingRate,
          start: .seeded(configuration.seed, index: UInt64(epoch) << 20 | UInt64(batch)))
        iterations += info.iterations
      }
    }
  }
}
