import BllarseNumerics
import Glibc

/// One likelihood over rows under one scaling: its optimum under a prior, and the Gaussian around it.
struct LaplaceProblem<Pass: LaplacePass>: Sendable {
  typealias Scalar = Pass.Scalar
  let pass: Pass
  /// XᵀX of these rows, D x D, or one proportional to it.
  let gram: Matrix<Double>
  /// Of the biases.
  var biasPrecision = RecipeConstants.biasPrecision
  /// Whether covariances have the parts of the Hessian as they are.
  ///
  /// It is what the names of their structures stand for in the literature: the columns one by one, and Kronecker factors
  /// as KFAC has them. Otherwise they are made for predictions:
  /// the columns' curvatures are those of differences of logits, and a Kronecker product weights rows with theirs.
  var hasPlainCurvature = false
  /// What is added to the log-likelihood, linear in the weights, D x C; `nil` for nothing.
  var linearTerm: Matrix<Double>?

  var columnCount: Int { gram.rowCount }
  var execution: Execution { pass.execution }

  /// Λ₀ for one precision, D x C.
  func prior(_ precision: Double) -> Matrix<Double> {
    var diagonal = [Double](repeating: precision, count: columnCount)
    diagonal[columnCount - 1] = biasPrecision
    return .columns(diagonal, count: pass.classCount)
  }

  /// Climbs to the optimum.
  ///
  /// - Parameters:
  ///   - prior: Λ₀, D x C.
  ///   - weights: where to begin, D x C.
  ///   - preconditioner: what the first steps are scaled by; of the curvature at the start when `nil`.
  ///   - isFinal: to the final tolerance, or to that of a search.
  /// - Returns: where the solver stopped.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite.
  func solve(
    _ prior: Matrix<Double>, from weights: Matrix<Double>,
    preconditionedBy preconditioner: Preconditioner? = nil, isFinal: Bool
  ) throws(NumericsError) -> ConcaveSolver<Pass>.Solution {
    let rows = pass.design.rowCount
    let directions = min(rows, columnCount) * max(Pass.directionCount(pass.classCount), 1)
    return try solve(
      prior, from: weights, preconditionedBy: preconditioner,
      within: isFinal
        ? RecipeConstants.finalTolerance * Double(directions)
        : max(RecipeConstants.searchFloor, RecipeConstants.searchTolerance * Double(rows)))
  }

  /// Climbs to the optimum.
  ///
  /// - Parameters:
  ///   - prior: Λ₀, D x C.
  ///   - weights: where to begin, D x C.
  ///   - preconditioner: what the first steps are scaled by; of the curvature at the start when `nil`.
  ///   - distance: the estimated distance to the optimum at which the climb ends, in nats.
  ///   - iterationLimit: at most so many iterations.
  /// - Returns: where the solver stopped.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite.
  func solve(
    _ prior: Matrix<Double>, from weights: Matrix<Double>,
    preconditionedBy preconditioner: Preconditioner? = nil, within distance: Double,
    iterationLimit: Int = 200
  ) throws(NumericsError) -> ConcaveSolver<Pass>.Solution {
    let solver = ConcaveSolver(
      pass: pass, gram: gram, prior: prior, linearTerm: linearTerm,
      preconditioner: preconditioner, tolerance: .nats(distance), iterationLimit: iterationLimit)
    return try solver.solve(from: weights)
  }

  /// How the log-likelihood bends at logits.
  func curvature(
    _ logits: Matrix<Scalar>, _ effort: LikelihoodCurvature.Effort
  ) -> LikelihoodCurvature {
    LikelihoodCurvature(pass, gram: gram, logits, effort)
  }

  /// `A = Xᵀ·diag(h/h̄)·X`, h the curvatures of the rows at an optimum, h̄ their mean.
  func inputGram(_ logits: Matrix<Scalar>) -> Matrix<Double> {
    let h = pass.rowCurvatures(logits)
    let mean = h.reduce(0, +) / Double(max(h.count, 1))
    // Rows that are all certain say the same as rows that are all alike.
    guard mean > 0 else { return gram }
    return pass.design.gram(rowWeights: h.map { $0 / mean }, execution: execution)
  }

  /// The Kronecker covariance at an optimum.
  func kronecker(
    _ logits: Matrix<Scalar>, precision: Double
  ) throws(NumericsError) -> KroneckerCovariance<Scalar> {
    let gram = hasPlainCurvature ? self.gram : inputGram(logits)
    var output = pass.outputCurvature(logits)
    if hasPlainCurvature, gram[columnCount - 1, columnCount - 1] > 0 {
      // The mean of rows that count differently.
      output.scale(by: Double(logits.rowCount) / gram[columnCount - 1, columnCount - 1])
    }
    let outputCurvature = output
    return try execution.withBLAS { () throws(NumericsError) in
      try KroneckerCovariance(
        hasPlainCurvature
          ? KroneckerCovariance.Inputs(uncentred: gram) : KroneckerCovariance.Inputs(gram: gram),
        outputCurvature: outputCurvature,
        directionCount: Pass.directionCount(pass.classCount), priorPrecision: precision,
        biasPrecision: biasPrecision)
    }
  }

  /// The logarithm of the evidence by Laplace's method, in nats.
  ///
  ///     log p(y | λ) ≈ F(W) - ½ Σ_jd log(1 + a_d b_j / λ)
  func logEvidence(
    _ solution: ConcaveSolver<Pass>.Solution, _ covariance: KroneckerCovariance<Scalar>
  ) -> Double {
    solution.objective - 0.5 * covariance.logDeterminantRatio
  }

  /// The logarithm of the evidence with any covariance, in nats; `nil` for one that was read from a file.
  func logEvidence(
    _ solution: ConcaveSolver<Pass>.Solution, _ covariance: PosteriorCovariance<Scalar>
  ) -> Double? {
    covariance.logDeterminantRatio.map { solution.objective - 0.5 * $0 }
  }

  /// The covariance of a structure.
  ///
  /// Softmax logits have no meaning but their differences: where the probabilities are equal, treating the
  /// columns one by one understates the curvature by C/(C-1); for two classes always.
  func covariance(
    _ structure: CovarianceStructure, _ logits: Matrix<Scalar>, _ prior: Matrix<Double>
  ) throws(NumericsError) -> PosteriorCovariance<Scalar> {
    if structure == .kronecker {
      return PosteriorCovariance(try kronecker(logits, precision: geometricMean(prior)))
    }
    let (columns, directions) = (pass.classCount, Pass.directionCount(pass.classCount))
    var structure = structure
    if structure == .full {
      try FullCovariance.checkMemory(inputs: columnCount, columns: columns)
      if let hessian = try pass.exactHessian(logits) {
        return PosteriorCovariance(
          try execution.withBLAS { () throws(NumericsError) in
            try FullCovariance(hessian: hessian, prior: prior, directionCount: directions)
          })
      }
      // Columns that have no curvature between them: the blocks are the Hessian.
      structure = .block
    }
    var h = pass.residualsAndCurvatures(logits).curvatures
    let isScaled = directions < columns && !hasPlainCurvature
    if isScaled { h.scale(by: Scalar(columns) / Scalar(max(directions, 1))) }
    if structure == .meanField {
      h = Matrix(rows: h.rowCount, columns: h.columnCount, repeating: 1)
    }
    return try PosteriorCovariance(
      structure, design: pass.design, curvatures: h, prior: prior, gram: gram,
      directionShare: isScaled ? Double(directions) / Double(columns) : 1, execution: execution)
  }

  /// The geometric mean of the precisions without the bias.
  func geometricMean(_ prior: Matrix<Double>) -> Double {
    var sum = 0.0
    for row in 0..<columnCount - 1 { for k in 0..<prior.columnCount { sum += log(prior[row, k]) } }
    let count = (columnCount - 1) * prior.columnCount
    return count > 0 ? exp(sum / Double(count)) : biasPrecision
  }
}

/// The prior precisions with the best evidence, by Laplace's method with the Kronecker covariance: what
/// `--prior evidence` and `evidence-per-class` take instead of left-out rows, and the L2 strength of `CrossEntropy`.
///
/// - Note: Source: MacKay, "The evidence framework applied to classification networks", Neural
///   Computation 1992.
struct EvidenceChoice<Pass: LaplacePass> {
  let problem: LaplaceProblem<Pass>
  /// Of the whole Hessian where that is the covariance, else of the Kronecker product.
  var structure = CovarianceStructure.kronecker

  /// The precision with the best evidence, and where its search ended.
  struct Choice {
    /// λ.
    var precision: Double
    /// Weights near the optimum under a precision near λ, D x C.
    var weights: Matrix<Double>
    /// The end of the range that the search has reached, if it has.
    var end: SearchEnd?
    /// Conjugate-gradient iterations.
    var iterations: Int
  }

  /// One precision for all weights.
  ///
  /// - Throws: `NumericsError` when rounding makes a precision indefinite, or when told to stop.
  func precision() throws(NumericsError) -> Choice {
    var weights = Matrix<Double>.zeros(problem.columnCount, problem.pass.classCount)
    var search = EvidenceSearch()
    var iterations = 0
    let exponent = try search.maximize(from: 1) { (t: Double) throws(NumericsError) -> Double in
      let precision = pow(10, t)
      // The evidence is flat at its maximum: an optimum that is off by a thousandth of a nat moves λ by a tenth.
      let solution = try problem.solve(problem.prior(precision), from: weights, isFinal: true)
      weights = solution.weights
      iterations += solution.iterations
      if structure == .full, let hessian = try problem.pass.exactHessian(solution.logits) {
        let prior = problem.prior(precision)
        return solution.objective - 0.5
          * (try problem.execution.withBLAS { () throws(NumericsError) in
            try FullCovariance.logDeterminantRatio(hessian: hessian, prior: prior)
          })
      }
      return problem.logEvidence(
        solution, try problem.kronecker(solution.logits, precision: precision))
    }
    let range = EvidenceSearch.range
    return Choice(
      precision: pow(10, exponent), weights: weights,
      end: SearchEnd(pow(10, exponent), of: pow(10, range.lowerBound)...pow(10, range.upperBound)),
      iterations: iterations)
  }

  /// One precision for each class's weights, by MacKay's fixed point from the best common one.
  func precisionsOfClasses() throws(NumericsError) -> (
    prior: Matrix<Double>, weights: Matrix<Double>
  ) {
    let common = try precision()
    var weights = common.weights
    let prior = try PrecisionFixedPoint(grouping: .classes).run(
      from: problem.prior(common.precision)
    ) { (prior: Matrix<Double>) throws(NumericsError) in
      let solution = try problem.solve(prior, from: weights, isFinal: false)
      weights = solution.weights
      return (weights, try variances(solution.logits, prior))
    }
    return (prior, weights)
  }

  /// The marginal variances of the weights, class by class, D x C.
  private func variances(
    _ logits: Matrix<Pass.Scalar>, _ prior: Matrix<Double>
  ) throws(NumericsError) -> Matrix<Double> {
    var h = problem.pass.residualsAndCurvatures(logits).curvatures
    let (columns, directions) = (h.columnCount, Pass.directionCount(h.columnCount))
    if directions < columns {
      h.scale(by: Pass.Scalar(columns) / Pass.Scalar(max(directions, 1)))
    }
    return try PosteriorCovariance<Double>.inverseDiagonals(
      design: problem.pass.design, curvatures: h, prior: prior, execution: problem.execution)
  }
}
