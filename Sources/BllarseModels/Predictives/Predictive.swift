import BllarseNumerics
import Glibc

/// Which likelihood a Laplace head has.
public enum EvidenceLikelihood: String, Sendable, Equatable, CaseIterable, Codable {
  /// Two classes: one column, `p(1 | f) = Φ(f)`. More: K columns, one class against the rest each.
  case probit
  /// `p = softmax(f)`, K columns.
  case softmax

  /// The number of columns of the weights.
  package func columnCount(classCount: Int) -> Int {
    self == .probit && classCount == 2 ? 1 : classCount
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
  let likelihood: EvidenceLikelihood

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
