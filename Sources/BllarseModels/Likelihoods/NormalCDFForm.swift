package import BllarseNumerics

/// Which form of the normal distribution function turns a probit head's logits into probabilities.
///
/// The update itself always uses the exact function.
public enum NormalCDFForm: String, Sendable, Equatable, CaseIterable {
  /// `Φ(x)`.
  case exact
  /// `sigmoid(2·sqrt(2/π)·(x + 0.044715·x³))`, which the reference takes for `Φ` by default.
  case approximate
}

extension NormalCDFForm {
  /// `log Φ(a)` for every element: the logits of CBM.
  package func logMarginals<Scalar: BLASScalar>(_ arguments: Matrix<Scalar>) -> Matrix<Scalar> {
    arguments.logNormalCDFs(approximate: self == .approximate).lower
  }

  /// `log Φ(a) - log Φ(-a)` for every element: the logits of CBC.
  package func logOdds<Scalar: BLASScalar>(_ arguments: Matrix<Scalar>) -> Matrix<Scalar> {
    var (lower, upper) = arguments.logNormalCDFs(approximate: self == .approximate)
    lower.add(upper, times: -1)
    return lower
  }
}
