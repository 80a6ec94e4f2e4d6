import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A likelihood for which the evidence of a prior precision has a cheap form.
protocol EvidencePass: LikelihoodPass {
  /// Which likelihood it is.
  static var likelihood: EvidenceLikelihood { get }
  /// Eigenvalues b_k of the curvature between columns, averaged over rows, so that the Hessian is about
  /// `b ⊗ XᵀX`: for separate columns their mean curvatures.
  func outputCurvatures(_ logits: Matrix<Scalar>) throws(NumericsError) -> [Double]
  /// What curvatures are multiplied by where columns are treated one by one.
  ///
  /// Softmax logits have no meaning but their differences. Where the probabilities are equal, treating
  /// the columns as independent understates the curvature by K/(K-1); for two classes always.
  var curvatureFactor: Double { get }
  /// What the rows were observed as.
  var labels: [Int32] { get }
}

extension ProbitPass: EvidencePass {
  static var likelihood: EvidenceLikelihood { .probit }
  func outputCurvatures(_ logits: Matrix<Scalar>) -> [Double] {
    let h = residualsAndCurvatures(logits).curvatures
    let ones = Matrix<Scalar>(rows: h.rowCount, columns: h.columnCount, repeating: 1)
    return h.columnDots(ones).map { $0 / Double(max(h.rowCount, 1)) }
  }
  var curvatureFactor: Double { 1 }
}

extension SoftmaxPass: EvidencePass {
  static var likelihood: EvidenceLikelihood { .softmax }
  /// Of `B = diag(p̄) - PᵀP/N`.
  func outputCurvatures(_ logits: Matrix<Scalar>) throws(NumericsError) -> [Double] {
    let probabilities = Matrix<Double>(logits.softmaxRows())
    let count = Double(max(logits.rowCount, 1))
    var curvature = probabilities.gram()
    curvature.scale(by: -1 / count)
    let ones = Matrix<Double>(rows: logits.rowCount, columns: classCount, repeating: 1)
    curvature.addToDiagonal(probabilities.columnDots(ones).map { $0 / count })
    return try SymmetricEigen.values(of: curvature).map { max($0, 0) }
  }
  var curvatureFactor: Double { Double(classCount) / Double(max(classCount - 1, 1)) }
}

/// The fit of one likelihood to rows under one scaling: weights, prior precision by evidence, posterior
/// covariance and leave-one-out predictions.
struct ScalingFit<Scalar: BLASScalar>: Sendable {
  let likelihood: EvidenceLikelihood
  let scaling: FeatureScaling
  let transform: FeatureTransform
  /// D x R, or `nil`.
  let rotation: Matrix<Scalar>?
  /// W, (columns of the design) x C.
  let weights: Matrix<Double>
  let covariance: PosteriorCovariance<Scalar>
  /// λ; the mean of the logarithms where there is more than one.
  let priorPrecision: Double
  /// Whether λ is at an end of the range that is searched.
  let isAtBound: Bool
  /// log p(labels | λ) in nats, by Laplace's method: exact Gaussian integrals around the optimum for
  /// probit columns, a Kronecker product for softmax.
  let logEvidence: Double
  /// Whether the search for λ corrected Laplace's evidence row by row.
  let isEvidenceCorrected: Bool
  /// The rows that the leave-one-out predictions are for, or `nil` for all.
  let looRows: [Int]?
  let leaveOneOut: LeaveOneOut<Scalar>
  /// Optimisations, and iterations over all of them.
  var fitCount: Int
  var iterationCount: Int
  /// The distance to the optimum at the end.
  let gap: Double
  let gapBound: Double
}

/// Fits a likelihood under one scaling.
struct ScalingFitter<Pass: EvidencePass> {
  typealias Scalar = Pass.Scalar
  let pass: Pass
  let scaled: ScaledDesign<Scalar>
  let configuration: EvidenceConfiguration
  let parallelism: Parallelism

  /// The precision of the bias, which is not scaled with the others.
  static var biasPrecision: Double { 0.01 }
  /// Distances to the optimum, in nats: while searching, and at the end.
  static var searchTolerance: Double { 1e-2 }
  static var finalTolerance: Double { 1e-5 }
  /// Rows that suffice for leave-one-out scores.
  static var looRowLimit: Int { 10_000 }

  private var columns: Int { scaled.columnCount }

  /// Λ₀ for one precision.
  private func prior(_ precision: Double) -> Matrix<Double> {
    var diagonal = [Double](repeating: precision, count: columns)
    diagonal[columns - 1] = Self.biasPrecision
    return .columns(diagonal, count: pass.classCount)
  }

  /// Fits.
  ///
  /// - Parameters:
  ///   - start: `log10 λ` where the search begins.
  ///   - warmWeights: weights to begin from.
  /// - Returns: the fit.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite.
  func fit(
    from start: Double, warmWeights: Matrix<Double>? = nil
  ) throws(NumericsError) -> ScalingFit<Scalar> {
    var weights = warmWeights ?? .zeros(columns, pass.classCount)
    var (fits, iterations) = (0, 0)
    func solve(_ prior: Matrix<Double>, _ tolerance: Double) throws(NumericsError)
      -> CurvatureSolver<Pass>.Solution
    {
      var solver = CurvatureSolver(pass: pass, gram: scaled.gram, prior: prior)
      solver.tolerance = tolerance
      let solution = try solver.solve(from: weights)
      weights = solution.weights
      fits += 1
      iterations += solution.iterations
      return solution
    }

    // 1. The prior precision.
    var diagonals: Matrix<Double>
    var exponent: Double
    if case .fixed(let precision) = configuration.prior {
      exponent = log10(precision)
      diagonals = prior(precision)
    } else {
      var search = EvidenceSearch()
      exponent = try search.maximize(from: start) { (t: Double) throws(NumericsError) -> Double in
        let precision = pow(10, t)
        let prior = prior(precision)
        let solution = try solve(prior, Self.searchTolerance)
        return correctsEvidence
          ? try correctedEvidence(solution, prior) : try sharedEvidence(solution, precision)
      }
      diagonals = prior(pow(10, exponent))
    }
    let isAtBound: Bool
    if case .fixed = configuration.prior {
      isAtBound = false
    } else {
      isAtBound =
        exponent <= EvidenceSearch.range.lowerBound || exponent >= EvidenceSearch.range.upperBound
    }
    if configuration.prior == .evidencePerClass || configuration.prior == .automaticRelevance {
      let fixedPoint = PrecisionFixedPoint(
        grouping: configuration.prior == .evidencePerClass ? .classes : .features)
      diagonals = try fixedPoint.run(from: diagonals) {
        (prior: Matrix<Double>) throws(NumericsError) in
        let solution = try solve(prior, Self.searchTolerance)
        let h = curvatures(solution.logits).curvatures
        let variances =
          configuration.prior == .evidencePerClass
          ? sharedVariances(h, prior)
          : try PosteriorCovariance<Double>.inverseDiagonals(
            design: pass.design, curvatures: h, prior: prior, parallelism: parallelism)
        return (solution.weights, variances)
      }
    }

    // 2. The optimum, and the covariance there.
    let solution = try solve(diagonals, Self.finalTolerance)
    let kind =
      configuration.posterior
      ?? .automatic(
        rowCount: pass.design.rowCount, columnCount: columns, classCount: pass.classCount)
    var (residuals, h) = curvatures(solution.logits)
    if kind == .meanField { h = Matrix(rows: h.rowCount, columns: h.columnCount, repeating: 1) }
    let covariance = try PosteriorCovariance(
      kind, design: pass.design, curvatures: h, prior: diagonals, gram: scaled.gram,
      parallelism: parallelism)

    // 3. Leave-one-out predictions, of some rows where there are very many.
    var (looRows, looDesign, logits) = ([Int]?.none, pass.design, solution.logits)
    if pass.design.rowCount > Self.looRowLimit {
      var generator = Philox(seed: configuration.seed, purpose: .sampling, index: 0)
      let rows = Array(
        generator.permutation(count: pass.design.rowCount).prefix(Self.looRowLimit)
      ).sorted()
      looRows = rows
      looDesign = DesignMatrix(
        pass.design.features.gatheringRows(rows), transform: pass.design.transform, hasBias: true)
      logits = logits.gatheringRows(rows)
      residuals = residuals.gatheringRows(rows)
      h = h.gatheringRows(rows)
    }
    let leverages = covariance.leverages(of: looDesign, parallelism: parallelism)
    return ScalingFit(
      likelihood: Pass.likelihood, scaling: scaled.scaling, transform: scaled.transform,
      rotation: scaled.rotation,
      weights: solution.weights, covariance: covariance,
      priorPrecision: geometricMean(diagonals), isAtBound: isAtBound,
      logEvidence: try evidence(solution, covariance, diagonals),
      isEvidenceCorrected: correctsEvidence && !configuration.prior.isFixed, looRows: looRows,
      leaveOneOut: LeaveOneOut(
        logits: logits, residuals: residuals, curvatures: h, leverages: leverages),
      fitCount: fits, iterationCount: iterations, gap: solution.gap, gapBound: solution.gapBound)
  }

  /// Residuals, and curvatures with their factor.
  private func curvatures(
    _ logits: Matrix<Scalar>
  ) -> (residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>) {
    var (residuals, curvatures) = pass.residualsAndCurvatures(logits)
    if pass.curvatureFactor != 1 { curvatures.scale(by: Scalar(pass.curvatureFactor)) }
    return (residuals, curvatures)
  }

  /// The evidence with one mean curvature for all rows.
  ///
  ///     F(W) - ½ Σ_k Σ_d log(1 + b_k e_d / λ),      e the eigenvalues of XᵀX without the bias.
  ///
  /// One eigendecomposition serves all λ.
  func sharedEvidence(
    _ solution: CurvatureSolver<Pass>.Solution, _ precision: Double
  ) throws(NumericsError) -> Double {
    var value = solution.objective
    for b in try pass.outputCurvatures(solution.logits) {
      for e in scaled.eigenvalues { value -= 0.5 * log1p(b * e / precision) }
    }
    return value
  }

  /// The mean marginal variance of each class's weights, `Σ_d 1/(λ_k + h̄_k e_d)` over their number: one
  /// eigendecomposition serves all precisions and classes.
  private func sharedVariances(_ h: Matrix<Scalar>, _ prior: Matrix<Double>) -> Matrix<Double> {
    let ones = Matrix<Scalar>(rows: h.rowCount, columns: h.columnCount, repeating: 1)
    let means = h.columnDots(ones).map { $0 / Double(max(h.rowCount, 1)) }
    let size = Double(max(scaled.eigenvalues.count, 1))
    let variances = means.indices.map { k in
      scaled.eigenvalues.reduce(0) { $0 + 1 / (prior[0, k] + means[k] * $1) } / size
    }
    return Matrix(
      rows: prior.rowCount, columns: prior.columnCount,
      elements: (0..<prior.rowCount).flatMap { _ in variances })
  }

  /// Whether the search corrects the evidence row by row: where rows are few for the columns and the
  /// correction is affordable.
  private var correctsEvidence: Bool {
    let rows = Double(pass.design.rowCount)
    let factors = Pass.isSeparable ? pass.classCount : 1
    let cost = rows * Double(columns) * Double(columns) * Double(factors)
    return rows <= SiteCorrection.rowsPerColumn * Double(columns)
      && cost <= SiteCorrection.costLimit
  }

  /// The evidence by Laplace's method, with the first correction of each row.
  func correctedEvidence(
    _ solution: CurvatureSolver<Pass>.Solution, _ prior: Matrix<Double>
  ) throws(NumericsError) -> Double {
    let (residuals, h) = curvatures(solution.logits)
    let covariance = try PosteriorCovariance(
      Pass.isSeparable ? .laplace : .laplaceShared, design: pass.design, curvatures: h,
      prior: prior, gram: scaled.gram, parallelism: parallelism)
    let leverages = covariance.leverages(of: pass.design, parallelism: parallelism)
    // Softmax logits have a direction without meaning, in which the prior stays as it is.
    let share = Pass.isSeparable ? 1 : Double(pass.classCount - 1) / Double(pass.classCount)
    let value = laplaceEvidence(solution, covariance.logDeterminant ?? 0, prior, share: share)
    guard Pass.isSeparable else {
      return value
        + SiteCorrection.softmax(
          logits: solution.logits, residuals: residuals,
          leverages: leverages.column(0).map(Double.init), labels: pass.labels)
    }
    return value
      + SiteCorrection.probit(
        logits: solution.logits, residuals: residuals, curvatures: h, leverages: leverages,
        labels: pass.labels)
  }

  /// `F(W) - ½ (log|Λ| - log|Λ₀|)`.
  private func laplaceEvidence(
    _ solution: CurvatureSolver<Pass>.Solution, _ logDeterminant: Double, _ prior: Matrix<Double>,
    share: Double = 1
  ) -> Double {
    var logPrior = 0.0
    for row in 0..<prior.rowCount {
      for k in 0..<prior.columnCount { logPrior += log(prior[row, k]) }
    }
    return solution.objective - 0.5 * share * (logDeterminant - logPrior)
  }

  /// The evidence by Laplace's method at the end.
  private func evidence(
    _ solution: CurvatureSolver<Pass>.Solution, _ covariance: PosteriorCovariance<Scalar>,
    _ prior: Matrix<Double>
  ) throws(NumericsError) -> Double {
    if Pass.isSeparable, covariance.kind == .laplace, let logDeterminant = covariance.logDeterminant
    {
      return laplaceEvidence(solution, logDeterminant, prior)
    }
    return try sharedEvidence(solution, geometricMean(prior))
  }

  /// The geometric mean of the precisions without the bias.
  private func geometricMean(_ prior: Matrix<Double>) -> Double {
    var sum = 0.0
    for row in 0..<columns - 1 { for k in 0..<prior.columnCount { sum += log(prior[row, k]) } }
    let count = (columns - 1) * prior.columnCount
    return count > 0 ? exp(sum / Double(count)) : Self.biasPrecision
  }
}
