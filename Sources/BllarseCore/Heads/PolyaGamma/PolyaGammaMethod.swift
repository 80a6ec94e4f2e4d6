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
        trainer: { plan, data, execution in
          PolyaGammaTrainer<Coding>(
            mergesBatches: mergesBatches, plan, data: data, execution: execution)
        })
    }
    let converged = FittingWay(
      "converged", [FitOptions.priorPrecision, FitOptions.tolerance], .isOnePass, memory: memory,
      trainer: { plan, data, execution in
        OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
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
    _ execution: Execution
  ) {
    self.init(
      featureCount: features.columnCount, classCount: classCount,
      transform: FeatureScaling.global.transform(of: features, execution: execution),
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
        request.execution))
    let tolerance = request.method[FitOptions.tolerance]
    let fit = try head.fit(
      checked: request.features, labels: request.labels, tolerance: tolerance,
      execution: request.execution)
    var info = FitInfo(iterations: fit.iterations, evidence: fit.evidenceLowerBounds.last)
    if !fit.converged {
      info.note =
        "stopped after \(fit.iterations) iterations, before the bound settled to --tolerance "
        + "\(tolerance)"
    }
    return (head, info)
  }
}

/// The closed-form updates of a Polya-Gamma head by a fixed number of iterations: `cavi` on all rows, `merge`
/// batch after batch, each with the posterior so far as its prior.
struct PolyaGammaTrainer<Coding: ClassCoding>: HeadTrainer {
  private var polyaGamma: PolyaGammaHead<Float, Coding>
  private(set) var info = FitInfo()
  private let mergesBatches: Bool
  private let plan: FitPlan
  private let execution: Execution
  private var batches = EpochBatches()

  var head: any Head { polyaGamma }

  init(
    mergesBatches: Bool, _ plan: FitPlan, data: TrainingData,
    execution: Execution
  ) {
    (self.mergesBatches, self.plan) = (mergesBatches, plan)
    polyaGamma = PolyaGammaHead(
      HeadShape(
        featuresOf: data.split.features, classCount: data.classCount, plan.method,
        execution))
    self.execution = execution
  }

  func stepCount(rowCount: Int) -> Int {
    mergesBatches ? plan.batchCount(rowCount) : 1
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport] {
    var rows = split.features
    var labels = split.labels
    if mergesBatches {
      let batch = batches.rows(ofBatch: step, epoch: epoch, plan, rowCount: split.rowCount)
      (rows, labels) = (rows.gatheringRows(batch), batch.map { labels[$0] })
    }
    if plan.method[FitOptions.resetLossPerEpoch] && step == 0 { polyaGamma.reset() }
    // A batch is finished; a fit to all rows may be told to stop.
    let update = try polyaGamma.update(
      checked: rows, labels: labels, iterations: plan.method[FitOptions.updateIterations],
      forgettingRate: plan.method[FitOptions.forgettingRate],
      reportsBounds: !mergesBatches,
      execution: mergesBatches ? execution.cancelled(by: nil) : execution)
    info.iterations += update.iterations
    if !mergesBatches { info.evidence = update.evidenceLowerBounds.last }
    return plan.reports(
      afterBatch: step + 1, of: stepCount(rowCount: split.rowCount), polyaGamma)
  }

  func encode(into writer: inout SafetensorsWriter) {
    polyaGamma.encodePosterior(into: &writer)
    writer.metadata["feature_count"] = String(polyaGamma.configuration.featureCount)
    polyaGamma.configuration.transform.encode(into: &writer)
    writer.encode(iterations: info.iterations, info.evidence)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    // Another number of threads could round the means otherwise; older runs took features as they are.
    var configuration = polyaGamma.configuration
    configuration.transform =
      file.metadata["transform"] == nil ? .identity : try FeatureTransform(decoding: file)
    polyaGamma = PolyaGammaHead(configuration)
    try polyaGamma.decodePosterior(from: file)
    (info.iterations, info.evidence) = try file.progress()
  }
}
