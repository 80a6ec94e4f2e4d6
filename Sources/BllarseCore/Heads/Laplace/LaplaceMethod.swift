public import BllarseNumerics
import Glibc

extension HeadMethod {
  /// Softmax regression by the default recipe.
  static let softmax = HeadMethod(
    "softmax",
    ways: [.recipe(.softmax, also: [FitOptions.link, FitOptions.linkSamples])],
    kinds: [LaplaceHead.self])
}

extension FittingWay {
  /// The default recipe with a likelihood.
  static func recipe(
    _ likelihood: LaplaceLikelihood, _ name: String = "", also: [any AnyFitOption] = []
  )
    -> FittingWay
  {
    var way = FittingWay(
      name,
      also + [
        FitOptions.prior, FitOptions.posterior, FitOptions.scaling, FitOptions.sampleWeight,
        FitOptions.group, FitOptions.classWeight,
      ],
      likelihood == .softmax
        ? [.isOnePass, .calibratesOnFolds, .takesDistributions]
        // More than a linear term of its likelihood.
        : [.isOnePass, .calibratesOnFolds, .takesDistributions, .copiesDistributions],
      memory: { $0.recipe($1[FitOptions.posterior]) },
      trainer: { plan, data, execution in
        OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
          let head = try LaplaceHead(request, likelihood)
          return (head, head.fitInfo)
        }
      })
    way.check = { (header, method) throws(DataError) in
      guard likelihood == .softmax, method[FitOptions.posterior] == .full else { return }
      try header.checkFullCovariance { (rows) throws(NumericsError) in
        try FullCovariance.checkMemory(
          rows: rows, features: header.featureCount, classes: header.outputs.count)
      }
    }
    return way
  }
}

extension FeatureHeader {
  /// Refuses a posterior that does not fit into memory before features are read.
  func checkFullCovariance(
    _ check: (_ rows: Int) throws(NumericsError) -> Void
  ) throws(DataError) {
    do {
      try check(self[SplitRoles.training]?.rowCount ?? 0)
    } catch {
      throw DataError(.outOfRange, key: "--posterior full", found: "\(error)")
    }
  }
}

extension LaplaceHead {
  /// Fits the head that a run asks for.
  ///
  /// - Throws: `NumericsError` when rounding makes a precision indefinite, or the fit was told to stop.
  fileprivate init(
    _ request: FitRequest, _ likelihood: LaplaceLikelihood
  ) throws(NumericsError) {
    var evidence = LaplaceConfiguration(classCount: request.classCount)
    evidence.likelihood = likelihood
    evidence.posterior = request.method[FitOptions.posterior]
    evidence.link = request.link
    evidence.prior = request.method[FitOptions.prior]
    evidence.scaling = request.method[FitOptions.scaling]
    evidence.calibratesOnLeftOut = request.calibratesOnFolds
    evidence.seed = request.seed
    if let (targets, weights) = request.weightedDistributions {
      try self.init(
        fitting: request.features, distributions: targets, weights: weights,
        groups: request.groups, evidence, execution: request.execution)
      // The fit weighed the classes; the rows are those that they were.
      leftOut = leftOut?.labelled(request.labels)
      return
    }
    try self.init(
      fitting: request.features, labels: request.labels, weights: request.rowWeights,
      groups: request.groups, evidence, execution: request.execution)
  }
}

extension FitRequest {
  /// How the softmax of random logits is integrated.
  var link: Link {
    Link(
      method[FitOptions.link], sampleCount: method[FitOptions.linkSamples], seed: seed)
  }
}

extension MemoryShape {
  /// What the recipe works in.
  fileprivate func recipe(_ posterior: CovarianceStructure?) -> Double {
    let covariance =
      (posterior == .block ? 4 * classes : 6) * small
      + (posterior == .full ? fullCovariances : 0)
    if isWide {
      // The basis of the rows' space of two scalings, and one in double; the folds' rows.
      let folds = min(10, max(1, 2500 / max(rows, 1) * 10))
      return (5 + folds) * design + covariance + (2 + folds) * logits + block
    }
    // Scaled rows, and the same with those of a fold together; what is freed and not given back.
    return 2.2 * design + Self.megabytes(20) + min(Self.megabytes(110), 4 * design) + covariance
      + 1.5 * logits + min(Self.megabytes(24), 1.2 * logits) + min(threads, 10) * hessians
  }

  /// The whole Hessian and its inverse; of a fold for each thread where folds are fitted side by side.
  private var fullCovariances: Double {
    let isShared = rows * order * classes < 1e7
    return FullCovariance.memory(inputs: order, columns: classes)
      * (isShared ? min(threads, 10) : 1)
  }

  /// The Hessian of a fold, its factor and a copy, where it is small enough to be formed.
  private var hessians: Double {
    let size = columns * classes
    let isFormed = classes > 2 && LikelihoodCurvature.isAffordable(Int(rows), Int(size), .some)
    return isFormed ? 3 * 8 * size * size : 0
  }
}

// MARK: - What a run asks of it

extension LaplaceHead: ColumnSelectingHead, LatentHead, LeftOutPredictingHead, ReportingHead,
  UncertaintySplittingHead
{
  var leftOutColumns: [Int] { transform.features.leftOutColumns }

  var fitInfo: FitInfo {
    FitInfo(
      iterations: report?.iterationCount ?? 0, evidence: report?.logEvidence,
      certificate: report.map { GapCertificate(lower: 0, upper: $0.gapBound) }, report: report)
  }
}

extension LaplaceHead {
  /// Fits a head.
  ///
  /// - Parameters:
  ///   - features: N x D, finite, N at least 1.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - weights: how often each row counts, numbers that are not negative; `nil` for once.
  ///   - groups: rows of one number are left out together, as rows with equal features are.
  ///   - configuration: what is given, and what is left to the data.
  ///   - execution: how threads are used.
  /// - Throws: `NumericsError`: there are no rows, a label is no class, a feature is not finite, a weight is negative or
  ///   there are not as many labels, weights or groups as rows; or rounding made a precision indefinite.
  /// - Complexity: some tens of passes over the features, 4·N·D·K operations each; ten times that where rows are
  ///   few. A Gram matrix, N·D², for each scaling, and for the covariance; an eigendecomposition, 9·D³.
  public init(
    fitting features: FeatureMatrix, labels: [Int32], weights: [Double]? = nil,
    groups: [Int]? = nil, _ configuration: LaplaceConfiguration,
    execution: Execution = .available
  ) throws(NumericsError) {
    try self.init(
      fitting: features, labels, nil, weights: weights, groups: groups, configuration,
      execution: execution)
  }

  /// Fits a head to class probabilities, such as those that a teacher predicts: to the expected log-likelihood.
  ///
  /// - Parameters:
  ///   - features: N x D, finite, N at least 1.
  ///   - distributions: the probabilities of `classCount` classes for each row.
  ///   - weights: as of ``init(fitting:labels:weights:groups:_:execution:)``.
  ///   - groups: the same.
  ///   - configuration: what is given, and what is left to the data.
  ///   - execution: how threads are used.
  /// - Throws: as ``init(fitting:labels:weights:groups:_:execution:)``.
  /// - Complexity: as for labels, with the softmax likelihood; with another one, as for a row for each class of
  ///   positive probability.
  public init(
    fitting features: FeatureMatrix, distributions: ClassDistributions,
    weights: [Double]? = nil, groups: [Int]? = nil, _ configuration: LaplaceConfiguration,
    execution: Execution = .available
  ) throws(NumericsError) {
    guard distributions.classCount == configuration.classCount else {
      throw .sizeMismatch(
        of: "class probabilities of a row", found: distributions.classCount,
        expected: configuration.classCount, reason: "one for each class")
    }
    try self.init(
      fitting: features, distributions.labels, distributions.areCertain ? nil : distributions,
      weights: weights, groups: groups, configuration, execution: execution)
  }

  private init(
    fitting features: FeatureMatrix, _ labels: [Int32], _ distributions: ClassDistributions?,
    weights: [Double]?, groups: [Int]?, _ configuration: LaplaceConfiguration,
    execution: Execution
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: nil, classCount: configuration.classCount,
      weights: weights, execution: execution)
    if let groups, groups.count != labels.count {
      throw .sizeMismatch(
        of: "groups", found: groups.count, expected: labels.count, reason: "one for each row")
    }
    let fitted = try Self.fit(
      features, labels: labels, weights: weights, groups: groups, distributions: distributions,
      configuration, execution: execution)
    self = fitted.head
    report?.estimate = try fitted.estimate.map { estimate throws(NumericsError) in
      try EstimatedScores(estimate, execution: execution)
    }
  }
}

extension EstimatedScores {
  /// Scores predictions of left-out rows.
  ///
  /// - Throws: `NumericsError` when a prediction is not a number.
  init(_ estimate: LeftOutEstimate, execution: Execution) throws(NumericsError) {
    let (logs, labels) = (estimate.logProbabilities, estimate.labels)
    let evaluation = SplitScores(
      try Predictions(
        logProbabilities: logs, labels: labels, distributions: estimate.distributions,
        execution: execution))
    self.init(
      rows: labels.count, nll: estimate.nll, nllError: estimate.nllError, acc: evaluation.acc,
      ece: evaluation.ece, brier: evaluation.brier)
    if let weights = estimate.weights {
      setWeighted(logs, labels, estimate.distributions, weights)
    }
  }

  /// Accuracy and Brier score of rows that count differently; the calibration error stays that of rows.
  private mutating func setWeighted(
    _ logs: Matrix<Double>, _ labels: [Int32], _ distributions: ClassDistributions?,
    _ weights: [Double]
  ) {
    let total = weights.reduce(0, +)
    (acc, brier) = (0, 0)
    for (row, label) in labels.enumerated() {
      let values = logs.row(row)
      let best = values.indices.max { values[$0] < values[$1] } ?? 0
      if best == Int(label) { acc += weights[row] / total }
      var square = 0.0
      for (k, value) in values.enumerated() {
        let target =
          distributions.map { Double($0.probabilities[row, k]) } ?? (k == Int(label) ? 1 : 0)
        let difference = exp(value) - target
        square += difference * difference
      }
      brier += weights[row] * square / total
    }
  }
}

extension LaplaceHead {
  /// Fits the default head, softmax regression, to rows of features.
  ///
  /// - Parameters:
  ///   - rows: N rows of equally many finite numbers.
  ///   - labels: a class, counted from 0, for each row.
  ///   - classCount: K; one more than the largest label when `nil`.
  /// - Throws: `DataError` that names row and column of what cannot be used, `NumericsError` when rounding
  ///   makes a precision indefinite.
  public init(fitting rows: [[Float]], labels: [Int], classCount: Int? = nil) throws {
    let data = try FeatureDataset(rows: rows, labels: labels, classCount: classCount)
    let split = try data.split("train")
    try self.init(
      fitting: split.features, labels: split.labels,
      LaplaceConfiguration(classCount: data.classCount))
  }
}

/// How a Laplace head is stored.
///
/// `weights`, what describes the scaling, `rotation` where features outnumber rows, and the covariance: `center`,
/// `vectors`, `values`, `output_values`, `output_shares` of a Kronecker product, and `output_vectors` where the link needs
/// them; `factors` (factors x D(D+1)/2, the rows of the lower triangles); `variances`; or `covariance`, the rows of the
/// lower triangle of the inverse of the whole Hessian. A link other than the default is in the metadata.
extension LaplaceHead: ClassificationHead {
  /// "Laplace".
  public static var kind: String { "Laplace" }

  /// Adds everything that prediction needs.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.metadata["likelihood"] = likelihood.rawValue
    writer.metadata["scaling"] = transform.scaling.rawValue
    let covariance = posterior.covariance
    writer.metadata["posterior"] = covariance.structure.rawValue
    writer.metadata["prior_precision"] = String(priorPrecision)
    writer.metadata["inverse_temperature"] = String(inverseTemperature)
    transform.features.encode(into: &writer)
    link.encode(into: &writer)
    writer.add("weights", posterior.mean)
    if let basis = transform.basis { writer.add("rotation", basis) }
    if let full = covariance.full {
      writer.add("covariance", full.matrix.lowerTriangle)
    } else if let kronecker = covariance.kronecker {
      kronecker.encode(into: &writer, withVectors: link.approximation != .meanProbit)
    } else if let variances = covariance.variances {
      writer.add("variances", variances)
    } else {
      writer.add(
        "factors", covariance.factors.flatMap { $0.factor.lowerTriangle },
        shape: [
          covariance.factors.count, posterior.mean.rowCount * (posterior.mean.rowCount + 1) / 2,
        ])
    }
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let featureCount = try file.integer("feature_count", atLeast: 1)
    let classCount = try file.integer("class_count", atLeast: 2)
    let likelihood: LaplaceLikelihood = try file.choice("likelihood")
    let structure: CovarianceStructure = try file.choice("posterior")
    let link = try Link(decoding: file)
    let priorPrecision = try file.number("prior_precision", above: 0)
    let columnCount = likelihood.columnCount(classCount: classCount)
    var inputs = featureCount
    var basis: Matrix<Float>?
    if file.contains("rotation") {
      let columns = try file.matrix("rotation", as: Float.self).columnCount
      let matrix: Matrix<Float> = try file.matrix("rotation", rows: featureCount, columns: columns)
      basis = matrix
      inputs = matrix.columnCount
    }
    let weights: Matrix<Double> = try file.matrix(
      "weights", rows: inputs + 1, columns: columnCount)
    let covariance: PosteriorCovariance<Float>
    switch structure {
    case .kronecker:
      covariance = PosteriorCovariance(
        try KroneckerCovariance(
          decoding: file, inputs: inputs, columns: columnCount, priorPrecision: priorPrecision,
          needsVectors: link.approximation != .meanProbit))
    case .full:
      let order = (inputs + 1) * columnCount
      var matrix = Matrix<Double>(
        lowerTriangle: try file.vector("covariance", count: order * (order + 1) / 2), size: order)
      matrix.mirrorLowerTriangle()
      covariance = PosteriorCovariance(
        FullCovariance(
          matrix: matrix, columnCount: columnCount,
          directionCount: likelihood == .softmax ? columnCount - 1 : columnCount))
    case .diagonal:
      covariance = PosteriorCovariance(
        structure: structure, columnCount: columnCount, factors: [],
        variances: try file.matrix("variances", rows: inputs + 1, columns: columnCount))
    case .block, .shared, .meanField:
      let size = inputs + 1
      let packed: Matrix<Float> = try file.matrix(
        "factors", rows: try file.matrix("factors", as: Float.self).rowCount,
        columns: size * (size + 1) / 2)
      guard packed.rowCount == 1 || packed.rowCount == columnCount else {
        throw DataError(
          .wrongShape, file: file.path, key: "factors",
          found: "\(packed.rowCount) factors", expected: "1 or \(columnCount)",
          advice: "write the checkpoint again")
      }
      covariance = PosteriorCovariance(
        structure: structure, columnCount: columnCount,
        factors: (0..<packed.rowCount).map { index in
          Cholesky(factor: Matrix(lowerTriangle: packed.row(index), size: size))
        }, variances: nil)
    }
    self.init(
      transform: InputTransform(
        featureCount: featureCount, scaling: try file.choice("scaling"),
        features: try FeatureTransform(decoding: file), basis: basis),
      likelihood: likelihood,
      posterior: LaplacePosterior(
        mean: weights, covariance: covariance, priorPrecision: priorPrecision),
      inverseTemperature: try file.number("inverse_temperature", above: 0), link: link)
  }
}

extension Link {
  /// Adds a link that is not the default.
  fileprivate func encode(into writer: inout SafetensorsWriter) {
    guard approximation != .meanProbit else { return }
    writer.metadata["link"] = approximation.rawValue
    guard approximation == .monteCarlo else { return }
    writer.metadata["link_samples"] = String(sampleCount)
    writer.metadata["link_seed"] = String(seed)
  }

  /// Reads a link; a head without one has the default.
  fileprivate init(decoding file: SafetensorsFile) throws(DataError) {
    self.init()
    guard file.metadata["link"] != nil else { return }
    approximation = try file.choice("link")
    guard approximation == .monteCarlo else { return }
    sampleCount = try file.integer("link_samples", atLeast: 1)
    seed = try file.entry("link_seed", "a whole number from 0 to 2^64 - 1") { UInt64($0) }
  }
}

extension KroneckerCovariance<Float> {
  fileprivate func encode(into writer: inout SafetensorsWriter, withVectors: Bool) {
    writer.add("center", inputs.center.map(Double.init))
    if withVectors, let outputVectors { writer.add("output_vectors", outputVectors) }
    writer.add("vectors", inputs.vectors)
    writer.add("values", inputs.values)
    writer.add("output_values", outputValues)
    writer.add("output_shares", outputShares)
    writer.metadata["row_total"] = String(inputs.rowTotal)
    writer.metadata["bias_precision"] = String(biasPrecision)
  }

  fileprivate init(
    decoding file: SafetensorsFile, inputs: Int, columns: Int, priorPrecision: Double,
    needsVectors: Bool
  ) throws(DataError) {
    let vectors: Matrix<Float> = try file.matrix("vectors", rows: inputs, columns: inputs)
    let shares: Matrix<Double> = try file.matrix(
      "output_shares", rows: columns,
      columns: try file.matrix("output_shares", as: Double.self).columnCount)
    var outputVectors: Matrix<Double>?
    if needsVectors {
      outputVectors = try file.matrix("output_vectors", rows: columns, columns: columns)
    }
    self.init(
      Inputs(
        center: try file.vector("center", count: inputs).map { Float($0) }, vectors: vectors,
        values: try file.vector("values", count: inputs),
        rowTotal: try file.number("row_total", above: 0)),
      outputValues: try file.vector("output_values", count: shares.columnCount),
      outputShares: shares, outputVectors: outputVectors, priorPrecision: priorPrecision,
      biasPrecision: try file.number("bias_precision", above: 0))
  }
}

extension Matrix where Element: BLASScalar {
  /// The rows of the lower triangle, one after the other.
  var lowerTriangle: [Element] {
    (0..<rowCount).flatMap { row in self.row(row).prefix(row + 1) }
  }

  /// A lower triangular matrix from its rows.
  init(lowerTriangle elements: [Element], size: Int) {
    self = .zeros(size, size)
    var next = 0
    for row in 0..<size {
      withMutableRow(row) { values in
        for column in 0...row { values[column] = elements[next + column] }
      }
      next += row + 1
    }
  }
}
