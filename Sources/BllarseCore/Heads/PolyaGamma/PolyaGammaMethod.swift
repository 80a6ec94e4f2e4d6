public import BllarseNumerics

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
      "converged", [FitOptions.priorPrecision, FitOptions.tolerance],
      [.isOnePass, .takesDistributions], memory: memory,
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
    let fit =
      if let distributions = request.targets.softDistributions {
        try head.fit(
          features: request.features, distributions: distributions, tolerance: tolerance,
          execution: request.execution)
      } else {
        try head.fit(
          features: request.features, labels: request.labels, tolerance: tolerance,
          execution: request.execution)
      }
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
    let resets = plan.method[FitOptions.resetLossPerEpoch] && step == 0
    let before = resets ? polyaGamma : nil
    if resets { polyaGamma.reset() }
    let update: PolyaGammaHead<Float, Coding>.UpdateInfo
    do {
      // A batch is finished; a fit to all rows may be told to stop.
      update = try polyaGamma.update(
        features: rows, labels: labels, iterations: plan.method[FitOptions.updateIterations],
        forgettingRate: plan.method[FitOptions.forgettingRate],
        reportsBounds: !mergesBatches,
        execution: mergesBatches ? execution.cancelled(by: nil) : execution)
    } catch {
      // An update that fails changes nothing; the reset before it is taken back.
      if let before { polyaGamma = before }
      throw error
    }
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

extension PolyaGammaHead where Scalar == Float {
  /// "IBPolyaGamma" or "MultinomialPolyaGamma".
  public static var kind: String { Coding.kind }
  /// The number of features of a row.
  public var featureCount: Int { configuration.featureCount }
  /// The number of classes.
  public var classCount: Int { configuration.classCount }

  /// Adds the natural parameters, and what describes the design.
  public func encode(into writer: inout SafetensorsWriter) {
    encodePosterior(into: &writer)
    configuration.encode(into: &writer)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let shape = try HeadShape(decoding: file)
    // Before a posterior of that size is made.
    let _: Matrix<Double> = try file.matrix(
      "natural_mean", rows: shape.designColumnCount,
      columns: Coding.columnCount(classCount: shape.classCount))
    self.init(shape)
    try decodePosterior(from: file)
  }

  func encodePosterior(into writer: inout SafetensorsWriter) {
    for (column, precision) in precisions.enumerated() {
      writer.add("precision.\(column)", precision)
    }
    writer.add("natural_mean", naturalMean)
  }

  mutating func decodePosterior(from file: SafetensorsFile) throws(DataError) {
    let (size, columns) = (configuration.designColumnCount, columnCount)
    naturalMean = try file.matrix("natural_mean", rows: size, columns: columns)
    for column in 0..<columns {
      precisions[column] = try file.matrix("precision.\(column)", rows: size, columns: size)
    }
  }
}

extension PolyaGammaHead: Head, ClassificationHead where Scalar == Float, Coding: ClassCoding {
  /// The logarithms of the predictive probabilities, with the posterior's uncertainty.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    Matrix<Float>(
      Coding.logProbabilities(try latent(features, execution: execution).moderated))
  }
}

extension PolyaGammaHead: StreamingHead where Scalar == Float, Coding: ClassCoding {
  /// The precisions that a batch adds depend on those before.
  public static var mergesExactly: Bool { false }

  /// Takes the posterior as the prior of a batch, and as many iterations as `--update merge`, without forgetting.
  public mutating func update(
    _ features: FeatureMatrix, labels: [Int32], execution: Execution
  ) throws(NumericsError) {
    try update(
      features: features, labels: labels, iterations: FitOptions.updateIterations.defaultValue,
      execution: execution)
  }
}

/// A coding whose answers tell the class.
public protocol ClassCoding: BinaryCoding {
  /// The logarithms of the class probabilities from the logits of the answers.
  ///
  /// - Parameter logits: N x C.
  /// - Returns: N x K; the exponentials of a row sum to 1.
  static func logProbabilities(_ logits: Matrix<Double>) -> Matrix<Double>
}

extension OneAgainstRest: ClassCoding {
  /// The equal mixture of `σ(g_k)` normalised over the classes and softmax(g).
  public static func logProbabilities(_ logits: Matrix<Double>) -> Matrix<Double> {
    BinaryMixture(logistic: logits).mixture()
  }
}

extension StickBreaking: ClassCoding {
  /// What each question takes off the stick.
  public static func logProbabilities(_ logits: Matrix<Double>) -> Matrix<Double> {
    PolyaGammaHead<Float, StickBreaking>.stickLogits(
      logits, .zeros(logits.rowCount, logits.columnCount))
  }
}

extension PolyaGammaHead: ColumnSelectingHead, LatentHead
where Scalar == Float, Coding: ClassCoding {
  var leftOutColumns: [Int] { configuration.transform.leftOutColumns }
}
