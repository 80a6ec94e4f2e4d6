package import BllarseNumerics
import Glibc

/// Rows to calibrate on: the likelihood of their labels as a function of an inverse temperature β.
package struct CalibrationRows: Sendable {
  /// L, n x K: log-probabilities up to a constant in each row.
  let logits: Matrix<Double>
  let labels: [Int32]
  /// How often each row counts; `nil` for once.
  var weights: [Double]?
  let parallelism: Parallelism

  /// The negative log-likelihood, with two derivatives with respect to log β.
  struct Terms: Sendable {
    var value = 0.0
    var slope = 0.0
    var curvature = 0.0
  }

  /// The most probable inverse temperature, and the objective there.
  struct Optimum: Sendable {
    var inverseTemperature: Double
    /// J, in nats.
    var objective: Double
  }

  /// The most probable inverse temperature.
  ///
  ///     J(β) = -Σᵢ wᵢ·log softmax(β·Lᵢ)[yᵢ] + (β - 1 - log β)      nats
  ///
  /// The second part is the prior Gamma(2, 1), whose mode is no change. It weighs about as much as one
  /// row, and keeps β where the rows say nothing: predictions that are all right would be best at an
  /// infinite β without it, and all wrong ones at 0. J is strictly convex in β and never above its value at 1,
  /// so that neither is the likelihood of these rows ever worse than it was.
  ///
  /// Newton's method on the slope with respect to log β, which changes sign once, inside a bracket.
  ///
  /// - Parameters:
  ///   - start: β to begin from.
  ///   - tolerance: the step of log β at which it ends.
  /// - Returns: β, and the objective there.
  /// - Note: Source: Guo et al., "On calibration of modern neural networks", ICML 2017, for the map;
  ///   the prior is this package's, for what Platt (1999) does by smoothing targets, which would take
  ///   certainty from predictions that deserve it.
  func optimum(from start: Double = 1, tolerance: Double = 1e-12) -> Optimum {
    // A million rows that are wrong by a million nats each are still inside.
    var (low, high, s) = (-30.0, 30.0, log(start))
    var value = 0.0
    for _ in 0..<200 {
      let terms = derivatives(logBeta: s)
      let beta = exp(s)
      value = terms.value + beta - 1 - s
      let slope = terms.slope + beta - 1
      let curvature = terms.curvature + beta
      if slope > 0 { high = s } else { low = s }
      var next = curvature > 0 ? s - slope / curvature : .nan
      if !(next > low && next < high) { next = 0.5 * (low + high) }
      // What is left to gain is second order in the step.
      let step = abs(next - s)
      if step <= tolerance { break }
      s = next
    }
    return Optimum(inverseTemperature: exp(s), objective: value)
  }

  /// Sums over the rows.
  ///
  /// With p = softmax(β·L), d = L_y - E[L] and V = Var[L]:  φ' = -d,  φ'' = V  with respect to β.
  private func derivatives(logBeta: Double) -> Terms {
    let beta = exp(logBeta)
    let blockSize = 1024
    let count = labels.count
    let blockCount = (count + blockSize - 1) / blockSize
    let parts = SumSlots(count: blockCount)
    parallelism.forEachBlock(of: count, blockSize: blockSize) { _, range in
      let block = logits.rows(range)
      var probabilities = block.compact()
      probabilities.scale(by: beta)
      var logs = probabilities
      logs.formLogSoftmaxRows()
      probabilities = logs.exponentials()
      var sums = Terms()
      let classes = block.columnCount
      block.withUnsafePointer { logits, stride in
        probabilities.withUnsafePointer { probabilities, probabilityStride in
          for row in 0..<range.count {
            let l = logits + row * stride
            let p = probabilities + row * probabilityStride
            let label = Int(labels[range.lowerBound + row])
            let weight = weights?[range.lowerBound + row] ?? 1
            // Moments about the label's logit: nothing cancels in a confident row.
            var (first, second) = (0.0, 0.0)
            for k in 0..<classes where p[k] > 0 {
              let difference = l[k] - l[label]
              first += p[k] * difference
              second += p[k] * difference * difference
            }
            sums.value -= weight * logs[row, label]
            sums.slope += weight * first
            sums.curvature += weight * max(0, second - first * first)
          }
        }
      }
      parts.set(range.lowerBound / blockSize, sums)
    }
    var total = Terms()
    for part in parts.values {
      total.value += part.value
      total.slope += part.slope
      total.curvature += part.curvature
    }
    // From β to log β.
    return Terms(
      value: total.value, slope: beta * total.slope,
      curvature: beta * total.slope + beta * beta * total.curvature)
  }
}

/// Sums of blocks, one place for each block: whoever adds them does so in the same order each time.
///
/// Sendability is unchecked: a block is handled by one thread, which writes its own place only.
private final class SumSlots: @unchecked Sendable {
  private let places: UnsafeMutableBufferPointer<CalibrationRows.Terms>

  init(count: Int) {
    places = .allocate(capacity: count)
    places.initialize(repeating: CalibrationRows.Terms())
  }

  deinit { places.deallocate() }

  func set(_ index: Int, _ terms: CalibrationRows.Terms) { places[index] = terms }
  var values: [CalibrationRows.Terms] { Array(places) }
}

extension Matrix where Element: BLASScalar {
  /// The first two derivatives of the mean cross-entropy of `softmax(β·f)` with respect to `β`:
  /// `g = mean(E_p[f] - f_y)`, `h = mean(Var_p[f])`.
  package func temperatureDerivatives(
    _ labels: [Int32], _ beta: Double
  ) -> (gradient: Double, curvature: Double) {
    var scaled = Matrix<Double>(self)
    scaled.scale(by: beta)
    scaled.formLogSoftmaxRows()
    let probabilities = scaled.exponentials()
    var gradient = 0.0
    var curvature = 0.0
    for (row, label) in labels.enumerated() {
      withRow(row) { f in
        probabilities.withRow(row) { p in
          var mean = 0.0
          for column in f.indices { mean += p[column] * Double(f[column]) }
          var variance = 0.0
          for column in f.indices {
            let deviation = Double(f[column]) - mean
            variance += p[column] * deviation * deviation
          }
          gradient += mean - Double(f[Int(label)])
          curvature += variance
        }
      }
    }
    let count = Double(max(labels.count, 1))
    return (gradient / count, curvature / count)
  }
}
