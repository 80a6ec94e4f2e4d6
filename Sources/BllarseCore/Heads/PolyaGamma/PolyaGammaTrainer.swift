import BllarseNumerics

/// The closed-form updates of a Polya-Gamma head: `converged` on all rows, `cavi` on all rows for a fixed
/// number of iterations, `merge` batch after batch, each with the posterior so far as its prior.
struct PolyaGammaTrainer<Coding: ClassCoding>: HeadTrainer {
  /// How the head goes through the data, as `IBProbitTrainer.Update` says.
  enum Update: String, Sendable { case converged, cavi, merge }

  private var polyaGamma: PolyaGammaHead<Float, Coding>
  private(set) var iterations = 0
  private(set) var evidenceLowerBound: Double?
  let certificate: GapCertificate? = nil
  private(set) var note: String?
  private let update: Update
  private let batchSize: Int
  private let configuration: RunConfiguration
  /// For fits to all rows, which may be told to stop; a batch is finished.
  private let cancellation: Cancellation?
  /// The order of the rows in an epoch, kept for its steps.
  private var order: (epoch: Int, rows: [Int])?
  private var reports: [BatchReport] = []

  var head: any Head { polyaGamma }

  init(
    _ update: Update, _ configuration: RunConfiguration, data: TrainingData,
    parallelism: Parallelism
  ) {
    (self.update, self.configuration) = (update, configuration)
    batchSize = configuration.method[FitOptions.batchSize]
    polyaGamma = PolyaGammaHead(
      .init(
        featureCount: data.featureCount, classCount: data.classCount,
        transform: FeatureScaling.global.transform(
          of: data.split.features, parallelism: parallelism),
        priorPrecision: configuration.method[FitOptions.priorPrecision]))
    cancellation = parallelism.cancellation
    polyaGamma.parallelism = parallelism.cancelled(by: nil)
  }

  func stepCount(rowCount: Int) -> Int {
    switch update {
    case .converged, .cavi: 1
    case .merge: configuration.batchCount(rowCount)
    }
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) {
    switch update {
    case .converged, .cavi:
      try fitAllRows(split)
    case .merge:
      if configuration.method[FitOptions.resetLossPerEpoch] && step == 0 { polyaGamma.reset() }
      if order?.epoch != epoch {
        order = (epoch, configuration.rowOrder(epoch: epoch, rowCount: split.rowCount))
      }
      guard let rows = order?.rows else { return }
      let first = step * batchSize
      let batch = rows[first..<min(first + batchSize, rows.count)]
      let info = try polyaGamma.update(
        checked: split.features.gatheringRows(batch), labels: batch.map { split.labels[$0] },
        iterations: configuration.method[FitOptions.updateIterations],
        forgettingRate: configuration.method[FitOptions.forgettingRate])
      iterations += info.iterations
      if configuration.isScored(afterBatch: step + 1, of: stepCount(rowCount: rows.count)) {
        reports.append(BatchReport(batch: step + 1, loss: nil, head: polyaGamma))
      }
    }
  }

  mutating func takeBatchReports() -> [BatchReport] {
    defer { reports = [] }
    return reports
  }

  /// On a copy of the head, so that a fit that is told to stop leaves nothing.
  private mutating func fitAllRows(_ split: FeatureSplit) throws(NumericsError) {
    var head = polyaGamma
    head.parallelism = head.parallelism.cancelled(by: cancellation)
    if configuration.method[FitOptions.resetLossPerEpoch] { head.reset() }
    let info =
      if update == .converged {
        try head.fit(
          checked: split.features, labels: split.labels,
          tolerance: configuration.method[FitOptions.tolerance])
      } else {
        try head.update(
          checked: split.features, labels: split.labels,
          iterations: configuration.method[FitOptions.updateIterations],
          forgettingRate: configuration.method[FitOptions.forgettingRate], reportsBounds: true)
      }
    iterations += info.iterations
    evidenceLowerBound = info.evidenceLowerBounds.last
    if !info.converged {
      note =
        "stopped after \(info.iterations) iterations, before the bound settled to --tolerance "
        + "\(configuration.method[FitOptions.tolerance])"
    }
    head.parallelism = polyaGamma.parallelism
    polyaGamma = head
  }

  func encode(into writer: inout SafetensorsWriter) {
    polyaGamma.encodePosterior(into: &writer)
    writer.metadata["feature_count"] = String(polyaGamma.configuration.featureCount)
    polyaGamma.configuration.transform.encode(into: &writer)
    writer.encode(iterations: iterations, evidenceLowerBound)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    // Another number of threads could round the means otherwise; older runs took features as they are.
    var configuration = polyaGamma.configuration
    configuration.transform =
      file.metadata["transform"] == nil ? .identity : try FeatureTransform(decoding: file)
    let parallelism = polyaGamma.parallelism
    polyaGamma = PolyaGammaHead(configuration)
    polyaGamma.parallelism = parallelism
    try polyaGamma.decodePosterior(from: file)
    (iterations, evidenceLowerBound) = try file.progress()
  }
}
