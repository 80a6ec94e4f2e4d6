import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension EvidenceRecipe {
  /// Iterations of the fixed point.
  private static var relevanceIterationLimit: Int { 15 }
  /// The largest change of log α at which it ends.
  private static var relevanceTolerance: Double { 0.02 }
  /// What part of a direction the data must determine: less than this is the rounding error of the
  /// difference `(R Rᵀ)_jj - λ (R Λ_k⁻¹ Rᵀ)_jj`.
  private static var determinedPart: Double { 1e-5 }
  /// The precisions that are allowed, in units of the scaled features.
  private static var relevanceRange: ClosedRange<Double> { 1e-4...1e8 }

  /// Automatic relevance where features outnumber rows.
  ///
  /// A precision α_j for each feature is one precision λ for features that are multiplied by
  /// `s_j = sqrt(λ/α_j)`: under these the weights lie in the space of the rows, so that an iteration of
  /// MacKay's fixed point costs N²·D and not D³. With R the basis of that space and Λ_k the precisions in
  /// it,
  ///
  ///     1 - α_j V_jj = (R Rᵀ)_jj - λ (R Λ_k⁻¹ Rᵀ)_jj.
  ///
  /// - Parameters:
  ///   - scaling: of columns.
  ///   - start: `log10 λ` where the search for a first precision, the same for all, begins.
  /// - Returns: the fit; its transform has the factors s_j in it.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite.
  func fitRelevances(
    _ scaling: FeatureScaling, from start: Double
  ) throws(NumericsError) -> ScalingFit<Scalar> {
    var inner = configuration
    inner.prior = .evidence
    var factors = [Double](repeating: 1, count: features.columnCount)
    var exponent = start
    var (fits, iterations) = (0, 0)
    func fitOnce() throws(NumericsError) -> ScalingFit<Scalar> {
      let scaled = try ScaledDesign<Scalar>(
        features, scaling, relevances: factors, parallelism: parallelism)
      let fit = try self.fit(scaled, likelihood, inner, from: exponent, warmWeights: nil)
      fits += fit.fitCount
      iterations += fit.iterationCount
      return fit
    }
    var fit = try fitOnce()
    for _ in 0..<Self.relevanceIterationLimit {
      guard let basis = fit.rotation else { break }  // (D, R)
      let precision = fit.priorPrecision
      let inside = basis.rowCount
      var padded = Matrix<Scalar>.zeros(inside, basis.columnCount + 1)
      padded.replaceBlock(row: 0, column: 0, with: basis)
      let leverages = fit.covariance.leverages(padded)  // (D, C)
      let weights = basis.multiplied(by: Matrix<Scalar>(fit.weights.rows(0..<basis.columnCount)))
      var precisions: [Double] = []
      var change = 0.0
      for j in 0..<inside {
        let length = basis.rows(j..<j + 1).squaredNorm
        var (known, squares) = (0.0, 0.0)
        for k in 0..<weights.columnCount {
          known += max(0, length - precision * Double(leverages[j, k]))
          squares += Double(weights[j, k]) * Double(weights[j, k])
        }
        let old = precision / (factors[j] * factors[j])
        let wanted = known / (squares * factors[j] * factors[j])
        let range = Self.relevanceRange
        // A feature of which the data determine nothing is off; the quotient of two rounding errors
        // could turn it fully on.
        let isDetermined = known > Self.determinedPart * length * Double(weights.columnCount)
        let bounded =
          isDetermined && !wanted.isNaN
          ? min(max(wanted, range.lowerBound), range.upperBound) : range.upperBound
        change = max(change, abs(log(bounded / old)))
        precisions.append(bounded)
      }
      let mean = exp(precisions.reduce(0) { $0 + log($1) } / Double(precisions.count))
      factors = precisions.map { (mean / $0).squareRoot() }
      exponent = log10(mean)
      inner.prior = .fixed(mean)
      fit = try fitOnce()
      if change < Self.relevanceTolerance { break }
    }
    fit.fitCount = fits
    fit.iterationCount = iterations
    return fit
  }
}
