public import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A map of predicted distributions that was fitted to held-out rows.
///
/// The maps take logarithms of probabilities, so any head can have one; ``CalibratedHead`` joins the two.
public enum HeldOutCalibration: Sendable, Equatable {
  /// No change.
  case none
  /// `p ∝ exp(β·log p)`.
  case temperature(Double)
  /// `p_k ∝ exp(a_k·log p_k + b_k)`.
  case vector(scales: [Double], shifts: [Double])
  /// The log-odds of each class's probability by a rising map of its own, then normalised.
  case isotonic([IsotonicFunction])

  /// What stands for the logarithm of a probability that is 0 in the precision of a head.
  private static let floor = -1e6

  /// Log-probabilities of a head, n x K, as a map takes them: in double precision, none infinite.
  static func arguments(_ logProbabilities: Matrix<Float>) -> Matrix<Double> {
    Matrix<Double>(logProbabilities).map { $0 < floor ? floor : $0 }
  }

  /// The mapped log-probabilities.
  ///
  /// - Parameter logProbabilities: n x K, finite.
  /// - Returns: n x K; the exponentials of a row sum to 1.
  public func apply(to logProbabilities: Matrix<Double>) -> Matrix<Double> {
    switch self {
    case .none: return logProbabilities
    case .temperature(let beta):
      var result = logProbabilities.compact()
      result.scale(by: beta)
      result.formLogSoftmaxRows()
      return result
    case .vector(let scales, let shifts):
      var result = logProbabilities
      for row in 0..<result.rowCount {
        result.withMutableRow(row) { values in
          for k in values.indices { values[k] = scales[k] * values[k] + shifts[k] }
        }
      }
      result.formLogSoftmaxRows()
      return result
    case .isotonic(let functions):
      var result = logProbabilities
      for row in 0..<result.rowCount {
        result.withMutableRow(row) { values in
          for k in values.indices {
            let odds = functions[k](IsotonicFunction.logOdds(ofLogProbability: values[k]))
            values[k] = -SpecialFunctions.softplus(-odds)
          }
        }
      }
      result.formLogSoftmaxRows()
      return result
    }
  }
}
