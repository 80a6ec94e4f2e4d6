import BllarseNumerics

/// Means and variances of the logits of rows that were left out of the fit, without fitting again.
///
/// At the optimum, with leverage l = xᵀΛ⁻¹x, residual g and curvature h of a row,
///
///     m₋ᵢ = m - l·g / (1 - l·h),      v₋ᵢ = l / (1 - l·h):
///
/// one Newton step without the row.
///
/// - Note: Source: Rad and Maleki, "A scalable estimate of the out-of-sample prediction error via
///   approximate leave-one-out", JRSS B 2020.
struct LeaveOneOut<Scalar: BLASScalar>: Sendable {
  /// m₋ᵢ, n x C.
  let means: Matrix<Double>
  /// v₋ᵢ, n x C.
  let variances: Matrix<Double>

  /// A row whose own curvature makes up nearly all of its precision has no cavity to speak of.
  private static var leverageLimit: Double { 0.999 }

  /// Computes the cavities of all rows.
  ///
  /// - Parameters:
  ///   - logits: m, n x C.
  ///   - residuals: g, n x C.
  ///   - curvatures: h, n x C: those that the covariance was made from.
  ///   - leverages: l, n x C.
  init(
    logits: Matrix<Scalar>, residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>,
    leverages: Matrix<Scalar>
  ) {
    let (rows, columns) = (logits.rowCount, logits.columnCount)
    var means = Matrix<Double>.zeros(rows, columns)
    var variances = means
    for row in 0..<rows {
      for k in 0..<columns {
        let l = Double(leverages[row, k])
        let q = min(l * Double(curvatures[row, k]), Self.leverageLimit)
        means[row, k] = Double(logits[row, k]) - l * Double(residuals[row, k]) / (1 - q)
        variances[row, k] = l / (1 - q)
      }
    }
    self.means = means
    self.variances = variances
  }
}
