import BllarseNumerics
import Glibc

/// The prior precisions with the best evidence, by Laplace's method with the Kronecker covariance: what
/// `--prior evidence` and `evidence-per-class` take instead of left-out rows, and the L2 strength of `CrossEntropy`.
///
/// - Note: Source: MacKay, "The evidence framework applied to classification networks", Neural
///   Computation 1992.
struct EvidenceChoice<Pass: LaplacePass> {
  let problem: LaplaceProblem<Pass>

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
      design: problem.pass.design, curvatures: h, prior: prior, parallelism: problem.parallelism)
  }
}
