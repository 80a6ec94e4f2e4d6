import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What Laplace's method gets wrong about the evidence, row by row.
///
/// The method replaces the likelihood of every row by a Gaussian of its logits. The first correction puts
/// the likelihood itself back into one row at a time,
///
///     Σᵢ log ∫ p(yᵢ | f) q₋ᵢ(f) df - log ∫ p̂ᵢ(f) q₋ᵢ(f) df,
///
/// with q₋ᵢ the distribution of the logits without the row and p̂ᵢ the Gaussian. It vanishes where rows
/// are many, and makes the evidence exact where each row has a direction of its own: there Laplace's
/// method calls every prior precision improbable but the largest.
///
/// - Note: Source: Cseke and Heskes, "Approximate marginals in latent Gaussian models", JMLR 2011.
enum SiteCorrection {
  /// Multiplications that the correction may cost at one prior precision; Laplace's method stands alone
  /// beyond.
  static let costLimit = 2e8
  /// Rows for each column up to which the correction matters.
  static let rowsPerColumn = 1.5
  /// Draws times rows times classes of the integral over softmax logits.
  private static let drawLimit = 2_000_000
  private static let leverageLimit = 0.999

  /// The correction for probit columns, where both integrals are known.
  ///
  /// - Parameters:
  ///   - logits: f, n x C.
  ///   - residuals: g, n x C.
  ///   - curvatures: h, n x C.
  ///   - leverages: l, n x C.
  ///   - labels: the column that is positive in each row; none if it is not in `0..<C`.
  /// - Returns: nats.
  static func probit<Scalar: BLASScalar>(
    logits: Matrix<Scalar>, residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>,
    leverages: Matrix<Scalar>, labels: [Int32]
  ) -> Double {
    var total = 0.0
    for row in 0..<logits.rowCount {
      for k in 0..<logits.columnCount {
        let (f, g, l) = (
          Double(logits[row, k]), Double(residuals[row, k]), Double(leverages[row, k])
        )
        let sign = Int(labels[row]) == k ? 1.0 : -1
        let q = min(l * Double(curvatures[row, k]), leverageLimit)
        let v = l / (1 - q)
        let exact = SpecialFunctions.logNormalCDF(sign * (f - v * g) / (1 + v).squareRoot())
        let gaussian = SpecialFunctions.logNormalCDF(sign * f) - 0.5 * v * g * g + 0.5 * log1p(-q)
        total += exact - gaussian
      }
    }
    return total
  }

  /// The correction for softmax logits that share a variance.
  ///
  /// The exact integral is an average over draws, the same for all rows and calls, each with its
  /// opposite.
  ///
  /// - Parameters:
  ///   - logits: f, n x K.
  ///   - residuals: Y - p, n x K.
  ///   - leverages: l, of all classes, n.
  ///   - labels: a class for each row.
  /// - Returns: nats.
  static func softmax<Scalar: BLASScalar>(
    logits: Matrix<Scalar>, residuals: Matrix<Scalar>, leverages: [Double], labels: [Int32]
  ) -> Double {
    let classes = logits.columnCount
    let draws = min(max(drawLimit / max(logits.rowCount * classes, 1), 8), 64)
    var generator = Philox(seed: 0, purpose: .sampling, index: 0)
    let normals = generator.normals(count: draws * classes)
    var total = 0.0
    var shifted = [Double](repeating: 0, count: classes)
    for row in 0..<logits.rowCount {
      let label = Int(labels[row])
      let f = (0..<classes).map { Double(logits[row, $0]) }
      let g = (0..<classes).map { Double(residuals[row, $0]) }
      let p = (0..<classes).map { (label == $0 ? 1 : 0) - g[$0] }
      let curvature = p.reduce(0) { $0 + $1 * (1 - $1) } / Double(max(classes - 1, 1))
      let v = leverages[row] / (1 - min(leverages[row] * curvature, leverageLimit))
      let square = g.reduce(0) { $0 + $1 * $1 }
      // The Gaussian's precision is the curvature in every direction that sums to zero.
      let gaussian =
        f[label] - SpecialFunctions.logSumExp(f) - 0.5 * v * square
        - 0.5 * Double(classes - 1) * log1p(v * curvature)

      var mean = 0.0
      for draw in 0..<draws {
        for sign in [1.0, -1] {
          let scale = sign * v.squareRoot()
          for k in 0..<classes {
            shifted[k] = f[k] - v * g[k] + scale * normals[draw * classes + k]
          }
          mean += exp(shifted[label] - SpecialFunctions.logSumExp(shifted))
        }
      }
      total += log(max(mean / Double(2 * draws), 1e-300)) - gaussian
    }
    return total
  }
}
