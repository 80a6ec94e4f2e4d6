import BllarseNumerics
import Glibc

/// The mutual information between draws of the weights and the label, where the label's distribution is
/// given.
///
/// Draws s with weights w_s give distributions p_s of the label. Their average is not what a head
/// predicts: its integral over the logits is another approximation, and calibration comes after it. Of all
/// joint distributions of draw and label that have the draws' weights and the predicted distribution q as
/// their margins, this takes the one closest to `w_s·p_s(y)` in relative entropy,
///
///     p̃_s(y) = p_s(y)·c(y) / Σ p_s(y')·c(y'),        Σ_s w_s p̃_s = q,
///
/// with the factors c found by iterative proportional fitting. So the mutual information of p̃ and its
/// expected entropy add up to the entropy of q; draws that average to q are left as they are.
///
/// - Note: Source: Csiszár, "I-divergence geometry of probability distributions and minimization
///   problems", Annals of Probability 1975.
package struct DrawProjection {
  /// The draws of one row under one candidate: S x K each.
  struct Draws {
    /// log p_s.
    let logs: UnsafePointer<Double>
    /// p_s.
    let probabilities: UnsafePointer<Double>
    /// w_s: of the draw, and of its candidate.
    let weights: [Double]
    let candidateWeight: Double
  }

  /// The distance of the margin from q, summed over classes, at which the iterations end: the identity
  /// holds whatever it is, and mutual informations are not known to a millionth from 64 draws.
  private static let tolerance = 1e-7
  private static let iterationLimit = 100

  private let classCount: Int
  private var factors: [Double]
  private var margin: [Double]
  private var shares: [Double]

  init(classCount: Int) {
    self.classCount = classCount
    factors = [Double](repeating: 1, count: classCount)
    margin = factors
    shares = factors
  }

  /// The mutual information of a row, in nats.
  ///
  /// - Parameters:
  ///   - draws: those of every candidate; all weights sum to 1.
  ///   - target: q, K probabilities.
  /// - Returns: a number from 0 to the entropy of q, but for rounding and the tolerance.
  mutating func mutualInformation(_ draws: [Draws], target: [Double]) -> Double {
    for k in 0..<classCount { factors[k] = 1 }
    for _ in 0..<Self.iterationLimit {
      formMargin(draws)
      var distance = 0.0
      for k in 0..<classCount { distance += (margin[k] - target[k]).magnitude }
      if !(distance > Self.tolerance) { break }
      for k in 0..<classCount where margin[k] > 0 { factors[k] *= target[k] / margin[k] }
    }
    // Σ_s w_s Σ_y p̃ log p̃ - Σ_y m log m, with m the margin: not negative but for rounding.
    let logFactors = factors.map { log(max($0, .leastNonzeroMagnitude)) }
    for k in 0..<classCount { margin[k] = 0 }
    var information = 0.0
    for set in draws {
      for (s, drawWeight) in set.weights.enumerated() {
        let p = set.probabilities + s * classCount
        let logs = set.logs + s * classCount
        let weight = drawWeight * set.candidateWeight
        let sum = formShares(p)
        let logSum = log(sum)
        for k in 0..<classCount where shares[k] > 0 {
          let share = weight * shares[k] / sum
          margin[k] += share
          information += share * (logs[k] + logFactors[k] - logSum)
        }
      }
    }
    for k in 0..<classCount where margin[k] > 0 { information -= margin[k] * log(margin[k]) }
    return max(0, information)
  }

  /// `p_s·c`, and its sum.
  private mutating func formShares(_ p: UnsafePointer<Double>) -> Double {
    var sum = 0.0
    for k in 0..<classCount {
      shares[k] = p[k] * factors[k]
      sum += shares[k]
    }
    return sum
  }

  /// `Σ_s w_s p̃_s`.
  private mutating func formMargin(_ draws: [Draws]) {
    for k in 0..<classCount { margin[k] = 0 }
    for set in draws {
      for (s, drawWeight) in set.weights.enumerated() {
        let sum = formShares(set.probabilities + s * classCount)
        guard sum > 0 else { continue }
        let scale = drawWeight * set.candidateWeight / sum
        for k in 0..<classCount { margin[k] += scale * shares[k] }
      }
    }
  }
}
