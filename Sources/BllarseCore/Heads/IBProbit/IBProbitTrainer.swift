import BllarseNumerics

/// The closed-form updates of the probit head.
struct IBProbitTrainer: HeadTrainer {
  private(set) var probit: IBProbitHead<Float>
  private(set) var iterations = 0
  private(set) var evidenceLowerBound: Double?
  private(set) var certificate: GapCertificate?
  private var sites: IBProbitSiteRefinement<Float>?
  private let configuration: RunConfiguration
  private let data: TrainingData

  var head: any Head { probit }

  init(
    _ configuration: RunConfiguration, data: TrainingData, parallelism: Parallelism
  ) {
    self.configuration = configuration
    self.data = data
    probit = IBProbitHead(
      .init(
        featureCount: data.featureCount, classCount: data.classCount,
        priorPrecision: configuration.priorPrecision))
    probit.parallelism = parallelism
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) {
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
        order: configuration.rowOrder(epoch: epoch, rowCount: split.rowCount),
        batchSize: configuration.batchSize,
        iterations: configuration.updateIterations)
      probit.posterior = refinement.posterior
      evidenceLowerBound = refinement.evidenceLowerBound
      iterations += configuration.updateIterations * configuration.batchCount(split.rowCount)
      sites = refinement
    case .merge:
      let seed = configuration.seed
      let info = try probit.update(
        features: split.features, labels: split.labels,
        order: configuration.rowOrder(epoch: epoch, rowCount: split.rowCount),
        batchSize: configuration.batchSize, iterations: configuration.updateIterations,
        forgettingRate: configuration.forgettingRate
      ) { batch in .seeded(seed, index: UInt64(epoch) << 20 | UInt64(batch)) }
      iterations += info.iterations
    }
  }

  func encode(into writer: inout SafetensorsWriter) {
    writer.add("precision", probit.posterior.precision)
    writer.add("natural_mean", probit.posterior.naturalMean)
    sites?.encode(into: &writer)
    writer.encode(iterations: iterations, evidenceLowerBound)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    let (size, classes) = (probit.posterior.size, probit.posterior.classCount)
    probit.posterior = GaussianPosterior(
      precision: try file.matrix("precision", rows: size, columns: size),
      naturalMean: try file.matrix("natural_mean", rows: size, columns: classes))
    if IBProbitSiteRefinement<Float>.isStored(in: file) {
      do {
        sites = try IBProbitSiteRefinement(
          probit, features: data.split.features, labels: data.split.labels)
      } catch {
        throw DataError(.malformedFile, file: file.path, found: "\(error)")
      }
      try sites?.restore(from: file)
    }
    (iterations, evidenceLowerBound) = try file.progress()
  }
}

extension IBProbitHead: TrainableHead where Scalar == Float {
  static var isClosedForm: Bool { true }

  static func trainer(
    _ configuration: RunConfiguration, data: TrainingData, parallelism: Parallelism
  ) -> any HeadTrainer {
    IBProbitTrainer(configuration, data: data, parallelism: parallelism)
  }
}
