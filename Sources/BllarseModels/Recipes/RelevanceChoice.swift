import BllarseNumerics
import Glibc

/// One prior precision for each feature, shared by the classes: automatic relevance determination.
///
/// A precision α_j for each feature is one precision λ for features that are multiplied by
/// `s_j = √(λ/α_j)`, which keeps one problem for every prior: where features outnumber rows the weights lie
/// in the space of the rows, so that an iteration costs N²·D and not D³. With R the basis of that space
/// (the identity where features are fewer) and V the variances of the Kronecker covariance in it, MacKay's fixed
/// point
///
///     α_j ← Σ_k (1 - α_j V_jk) / Σ_k m_jk²
///
/// is taken until the precisions stay.
///
/// - Note: Sources: MacKay (1992); Tipping, "Sparse Bayesian learning and the relevance vector machine",
///   JMLR 2001.
struct RelevanceChoice<Pass: LaplacePass> {
  typealias Scalar = Pass.Scalar
  let recipe: LaplaceRecipe<Pass>

  private static var iterationLimit: Int { 15 }
  /// The largest change of log α at which the iteration ends.
  private static var tolerance: Double { 0.02 }
  /// What part of a direction the data must determine: less than this is the rounding error of
  /// `1 - α_j V_j`.
  private static var determinedPart: Double { 1e-5 }
  /// The precisions that are allowed, in units of the scaled features.
  private static var range: ClosedRange<Double> { 1e-4...1e8 }

  /// Iterates from the best common precision.
  ///
  /// - Parameter scaling: of columns; of rows, which no factor of a feature survives, the common precision
  ///   stays.
  /// - Returns: the scaled rows, the factors s_j in them, and λ.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite, or when told to stop.
  func choose(
    _ scaling: FeatureScaling
  ) throws(NumericsError) -> (scaled: ScaledDesign<Scalar>, precision: Double) {
    var factors = [Double](repeating: 1, count: recipe.features.columnCount)
    var scaled = try recipe.scaled(scaling)
    var precision = try EvidenceChoice(problem: recipe.problem(scaled)).precision().precision
    guard scaling != .rows else { return (scaled, precision) }
    for _ in 0..<Self.iterationLimit {
      try recipe.parallelism.checkCancellation()
      let problem = recipe.problem(scaled)
      let columns = problem.columnCount
      let solution = try problem.solve(
        problem.prior(precision), from: .zeros(columns, problem.pass.classCount), isFinal: false)
      // 1. Means and variances of the weights of the scaled features.
      var basis = scaled.rotation ?? .diagonal(1, size: columns - 1)  // (D, R)
      let means = basis.multiplied(
        by: Matrix<Scalar>(solution.weights.rows(0..<columns - 1).compact()))
      let lengths = (0..<basis.rowCount).map { basis.rows($0..<$0 + 1).squaredNorm }
      var padded = Matrix<Scalar>.zeros(basis.rowCount, columns)
      padded.replaceBlock(row: 0, column: 0, with: basis)
      basis = padded
      let variances = try problem.covariance(
        .laplace, solution.logits, problem.prior(precision)
      ).leverages(basis)
      // 2. The fixed point.
      var precisions: [Double] = []
      var change = 0.0
      for j in 0..<basis.rowCount {
        var (known, squares) = (0.0, 0.0)
        for k in 0..<means.columnCount {
          known += max(0, lengths[j] - precision * Double(variances[j, k]))
          squares += Double(means[j, k]) * Double(means[j, k])
        }
        let old = precision / (factors[j] * factors[j])
        let wanted = known / (squares * factors[j] * factors[j])
        // A feature of which the data determine nothing is off; the quotient of two rounding errors
        // could turn it fully on.
        let isDetermined = known > Self.determinedPart * lengths[j] * Double(means.columnCount)
        let bounded =
          isDetermined && !wanted.isNaN
          ? min(max(wanted, Self.range.lowerBound), Self.range.upperBound) : Self.range.upperBound
        change = max(change, abs(log(bounded / old)))
        precisions.append(bounded)
      }
      precision = exp(precisions.reduce(0) { $0 + log($1) } / Double(max(precisions.count, 1)))
      factors = precisions.map { (precision / $0).squareRoot() }
      scaled = try recipe.scaled(scaling, relevances: factors)
      if change < Self.tolerance { break }
    }
    return (scaled, precision)
  }
}
