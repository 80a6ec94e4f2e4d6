public import BllarseNumerics
import Glibc

/// Which likelihood a Laplace head has.
public enum LaplaceLikelihood: String, Sendable, Equatable, CaseIterable, Codable {
  /// Two classes: one column, `p(1 | f) = Φ(f)`. More: K columns, one class against the rest each.
  case probit
  /// `p = softmax(f)`, K columns.
  case softmax

  /// The number of columns of the weights.
  package func columnCount(classCount: Int) -> Int {
    self == .probit && classCount == 2 ? 1 : classCount
  }
}

/// The logits of rows under a posterior over the weights: independent Gaussians.
public struct LatentMoments: Sendable {
  /// Their means, n x C.
  public var means: Matrix<Double>
  /// Their variances, n x C, not negative.
  public var variances: Matrix<Double>

  /// Describes logits by their moments, n x C each.
  public init(means: Matrix<Double>, variances: Matrix<Double>) {
    (self.means, self.variances) = (means, variances)
  }

  /// Draws logits.
  ///
  /// - Parameters:
  ///   - count: how many draws.
  ///   - seed: of the draws.
  /// - Returns: `count` matrices, n x C each.
  public func samples(_ count: Int, seed: UInt64) -> [Matrix<Double>] {
    (0..<count).map { draw in
      var generator = Philox(seed: seed, purpose: .sampling, index: UInt64(draw))
      let normals = Matrix<Double>(
        rows: means.rowCount, columns: means.columnCount,
        elements: generator.normals(count: means.rowCount * means.columnCount))
      let deviations = normals.combined(with: variances) { z, v in z * v.squareRoot() }
      return means.combined(with: deviations) { $0 + $1 }
    }
  }
}

/// How means and variances of logits become class probabilities.
///
/// The uncertainty of the logits is integrated out: exactly for one probit column, `Φ(m / √(1 + v))`; for
/// K of them, one class against the rest, as `p_k ∝ Φ(a_k) / Φ(-a_k)` with `a = m / √(1 + v)`; and for the
/// softmax by MacKay's approximation, `softmax(m / √(1 + π/4·v̄))`, where a difference of two logits has the
/// variance 2v and v̄ is the mean of v over the classes that are in question, `Σ p_k(1-p_k)·v_k / Σ p_k(1-p_k)`: one
/// number for all logits of a row, as a class of which there are few rows has a large variance everywhere, and a
/// logit far below the others that were drawn towards them would gain probability for nothing.
package struct Predictive: Sendable {
  let likelihood: LaplaceLikelihood
  /// By which the logits are multiplied in the end.
  var inverseTemperature = 1.0

  /// Log-probabilities of rows.
  ///
  /// - Parameters:
  ///   - means: of their logits, n x C.
  ///   - variances: n x C; `nil` for logits that are certain.
  /// - Returns: n x K; the exponentials of a row sum to 1.
  func logProbabilities(means: Matrix<Double>, variances: Matrix<Double>?) -> Matrix<Double> {
    TemperedLogits(logits(means: means, variances: variances), inverseTemperature)
      .logProbabilities
  }

  /// Log-probabilities up to a constant in each row.
  ///
  /// - Parameters:
  ///   - means: m, n x C.
  ///   - variances: v, n x C; `nil` for none.
  /// - Returns: n x K.
  func logits(means: Matrix<Double>, variances: Matrix<Double>?) -> Matrix<Double> {
    switch likelihood {
    case .softmax:
      var logits = means.centringRows()
      if let variances {
        logits.moderateRows(variances)
      }
      return logits
    case .probit:
      let arguments =
        variances.map { means.combined(with: $0) { m, v in m / (1 + v).squareRoot() } } ?? means
      let (lower, upper) = arguments.logNormalCDFs(approximate: false)
      if arguments.columnCount > 1 { return lower.combined(with: upper) { $0 - $1 } }
      // One column: log Φ(-a), log Φ(a).
      var result = Matrix<Double>.zeros(arguments.rowCount, 2)
      result.replaceBlock(row: 0, column: 0, with: upper)
      result.replaceBlock(row: 0, column: 1, with: lower)
      return result
    }
  }
}

extension Matrix<Double> {
  /// Every row less its mean: logits of a softmax have no meaning but their differences.
  func centringRows() -> Matrix {
    var result = compact()
    for row in 0..<rowCount {
      result.withMutableRow(row) { values in
        var sum = 0.0
        for k in values.indices { sum += values[k] }
        let mean = sum / Double(max(values.count, 1))
        for k in values.indices { values[k] -= mean }
      }
    }
    return result
  }
}

extension Matrix<Double> {
  /// Divides every row of logits by √(1 + π/4·v̄).
  fileprivate mutating func moderateRows(_ variances: Matrix<Double>) {
    var probabilities = self
    probabilities.formLogSoftmaxRows()
    probabilities = probabilities.exponentials()
    for row in 0..<rowCount {
      let (total, weighted) = probabilities.withRow(row) { p in
        variances.withRow(row) { v in
          // The smallest number keeps the mean defined where every class is certain.
          var (total, weighted) = (0.0, 0.0)
          for k in p.indices {
            let doubt = p[k] * (1 - p[k]) + 1e-12
            total += doubt
            weighted += doubt * v[k]
          }
          return (total, weighted)
        }
      }
      let factor = 1 / (1 + RecipeConstants.moderation * weighted / total).squareRoot()
      withMutableRow(row) { values in for k in values.indices { values[k] *= factor } }
    }
  }
}

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
