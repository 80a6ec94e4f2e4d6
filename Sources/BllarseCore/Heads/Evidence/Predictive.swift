import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Which likelihood an evidence head has.
public enum EvidenceLikelihood: String, Sendable, Equatable, CaseIterable, Codable {
  /// Two classes: one column, `p(1 | f) = Φ(f)`. More: K columns, one class against the rest each.
  case probit
  /// `p = softmax(f)`, K columns.
  case softmax

  /// The default: probit for two classes, softmax for more.
  public static func automatic(classCount: Int) -> EvidenceLikelihood {
    classCount == 2 ? .probit : .softmax
  }

  /// The number of columns of the weights.
  func columnCount(classCount: Int) -> Int {
    self == .probit && classCount == 2 ? 1 : classCount
  }
}

/// How means and variances of logits become class probabilities.
public enum PredictiveKind: String, Sendable, Equatable, CaseIterable, Codable {
  /// The logits' uncertainty integrated out. One probit column: `Φ(m / sqrt(1 + v))`, exactly. Softmax:
  /// `softmax(m_k / sqrt(1 + π/8 v_k))`, MacKay's approximation class by class; for two classes, whose
  /// logits are opposite, with π/4.
  case integrated
  /// The means alone.
  case plugIn = "plug-in"
  /// One against the rest, integrated, `p_k ∝ Φ(a_k)` with `a = m / sqrt(1 + v)`.
  case marginals = "cbm"
  /// One against the rest, integrated, `p_k ∝ Φ(a_k) / Φ(-a_k)`.
  case conditionals = "cbc"
  /// The equal mixture of the two.
  case mixture
  /// `conditionals` from the means alone.
  case plugInConditionals = "plug-in-cbc"

  /// The candidates of a likelihood, the preferred first.
  static func candidates(_ likelihood: EvidenceLikelihood, classCount: Int) -> [PredictiveKind] {
    likelihood == .probit && classCount > 2
      ? [.conditionals, .marginals, .mixture, .plugInConditionals] : [.integrated, .plugIn]
  }

  /// Whether the variances are ignored.
  var isPlugIn: Bool { self == .plugIn || self == .plugInConditionals }

  /// Log-probabilities before calibration, up to a constant in each row.
  ///
  /// - Parameters:
  ///   - likelihood: what the logits mean.
  ///   - means: m, n x C.
  ///   - variances: v, n x C.
  /// - Returns: n x K.
  func logProbabilities(
    _ likelihood: EvidenceLikelihood, means: Matrix<Double>, variances: Matrix<Double>
  ) -> Matrix<Double> {
    // Two logits are w and -w: what counts is their difference, with twice the variance.
    let factor =
      likelihood == .probit ? 1.0 : means.columnCount == 2 ? Double.pi / 4 : Double.pi / 8
    let arguments =
      isPlugIn
      ? means : means.combined(with: variances) { m, v in m / (1 + factor * v).squareRoot() }
    guard likelihood == .probit else { return arguments }
    let (lower, upper) = arguments.logNormalCDFs(approximate: false)
    switch self {
    case .integrated, .plugIn:
      // One column: log Φ(-a), log Φ(a).
      var result = Matrix<Double>.zeros(arguments.rowCount, 2)
      result.replaceBlock(row: 0, column: 0, with: upper)
      result.replaceBlock(row: 0, column: 1, with: lower)
      return result
    case .marginals:
      return lower
    case .conditionals, .plugInConditionals:
      return lower.combined(with: upper) { $0 - $1 }
    case .mixture:
      var marginal = lower
      var conditional = lower.combined(with: upper) { $0 - $1 }
      marginal.formLogSoftmaxRows()
      conditional.formLogSoftmaxRows()
      return marginal.combined(with: conditional) { a, b in
        max(a, b) + log1p(exp(-(a - b).magnitude)) - 0.693_147_180_559_945_3
      }
    }
  }
}
