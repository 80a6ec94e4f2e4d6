import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A calibration of predicted distributions by an inverse temperature and a lapse.
///
///     p = (1 - ε)·softmax(β·L) + ε·π
///
/// where π is uniform, or the classes' frequencies. The lapse is the share of labels that have nothing
/// to do with their rows; where labels are clean it is exactly 0.
public struct LapsedTemperature: Sendable, Equatable, Codable {
  /// β.
  public var inverseTemperature = 1.0
  /// ε, in 0..<1.
  public var lapse = 0.0
  /// Whether π is the classes' frequencies, rather than uniform.
  public var lapsesToFrequencies = false

  /// No change.
  public static let identity = LapsedTemperature()

  /// The logarithms of the calibrated distributions.
  ///
  /// - Parameters:
  ///   - logits: L, n x K: log-probabilities up to a constant in each row.
  ///   - frequencies: of the classes, K.
  ///   - lapseFactor: what ε is multiplied by.
  /// - Returns: n x K; the exponentials of a row sum to 1.
  func apply(
    to logits: Matrix<Double>, frequencies: [Double], lapseFactor: Double = 1
  ) -> Matrix<Double> {
    var result = logits
    if inverseTemperature != 1 { result.scale(by: inverseTemperature) }
    result.formLogSoftmaxRows()
    let epsilon = lapse * lapseFactor
    guard epsilon > 0 else { return result }
    let uniform = 1 / Double(frequencies.count)
    for row in 0..<result.rowCount {
      result.withMutableRow(row) { values in
        for k in values.indices {
          let base = lapsesToFrequencies ? frequencies[k] : uniform
          values[k] = log((1 - epsilon) * exp(values[k]) + epsilon * base)
        }
      }
    }
    return result
  }
}

/// Finds the calibration that fits rows best, under a prior that matters where rows are few.
///
///     J = -Σᵢ log p(yᵢ) + (log β)² / (2·0.5²) - 10·log(1 - ε)      nats
///
/// that is, `log β ~ N(0, 0.5²)` and `ε ~ Beta(1, 11)`.
struct LapsedTemperatureFit {
  /// The best calibration.
  private(set) var calibration = LapsedTemperature.identity
  /// J there, in nats.
  private(set) var objective = Double.infinity

  private static let logRange = -3.0...3.0
  private static let logDeviation = 0.5
  private static let lapsePenalty = 10.0
  private static let lapses = [0, 0.002, 0.01, 0.03, 0.1, 0.25, 0.5]
  /// Rows that suffice to find the neighbourhood of the best lapse.
  private static let coarseRowCount = 4096

  /// Fits β, ε and the choice of π.
  ///
  /// - Parameters:
  ///   - logits: L, n x K.
  ///   - labels: a class for each row.
  ///   - frequencies: of the classes, K.
  ///   - parallelism: the threads to work with.
  init(
    logits: Matrix<Double>, labels: [Int32], frequencies: [Double], parallelism: Parallelism
  ) {
    guard !labels.isEmpty else {
      objective = 0
      return
    }
    let uniform = [Double](repeating: 1 / Double(frequencies.count), count: frequencies.count)
    let isBalanced = frequencies.allSatisfy { abs($0 - uniform[0]) < 1e-12 }
    for (base, toFrequencies) in [(uniform, false), (frequencies, true)] {
      if toFrequencies && isBalanced { continue }
      let rows = CalibrationRows(
        logits: logits, labels: labels, base: base, parallelism: parallelism)
      let found = Self.minimize(rows)
      if found.objective < objective {
        objective = found.objective
        calibration = LapsedTemperature(
          inverseTemperature: exp(found.logBeta), lapse: found.lapse,
          lapsesToFrequencies: toFrequencies && found.lapse > 0)
      }
    }
  }

  private struct Point {
    var lapse: Double
    var logBeta: Double
    var objective: Double
  }

  private static func minimize(_ rows: CalibrationRows) -> Point {
    // 1. The lapse's neighbourhood, on some of the rows; 0 is always looked at on all of them.
    let some = rows.first(coarseRowCount)
    let scale = Double(rows.count) / Double(some.count)
    var coarse: [Point] = []
    var logBeta = 0.0
    for lapse in lapses {
      let point = minimize(some, lapse: lapse, from: logBeta, weight: scale)
      coarse.append(point)
      logBeta = point.logBeta
    }
    let none = minimize(rows, lapse: 0, from: coarse[0].logBeta)
    let best = coarse.indices.min { coarse[$0].objective < coarse[$1].objective } ?? 0
    // J is convex in the lapse at a given β: where it rises at 0, no lapse is best.
    if best == 0 && rows.lapseSlope(logBeta: none.logBeta) + lapsePenalty >= 0 { return none }

    // 2. Golden section between the neighbours of the best.
    var low = lapses[max(best - 1, 0)]
    var high = best + 1 < lapses.count ? lapses[best + 1] : 0.99
    let ratio = 0.618_033_988_749_894_8
    logBeta = coarse[best].logBeta
    func at(_ lapse: Double) -> Point {
      let point = minimize(rows, lapse: lapse, from: logBeta)
      logBeta = point.logBeta
      return point
    }
    var (left, right) = (at(high - ratio * (high - low)), at(low + ratio * (high - low)))
    while high - low > 1e-4 * max(high, 0.01) {
      if left.objective < right.objective {
        high = right.lapse
        right = left
        left = at(high - ratio * (high - low))
      } else {
        low = left.lapse
        left = right
        right = at(low + ratio * (high - low))
      }
    }
    let lapsed = left.objective < right.objective ? left : right
    return lapsed.lapse < 1e-4 || none.objective - lapsed.objective < 1e-3 ? none : lapsed
  }

  /// The best β at a lapse: Newton's method in log β, inside a bracket where the slope changes sign.
  private static func minimize(
    _ rows: CalibrationRows, lapse: Double, from start: Double, weight: Double = 1
  ) -> Point {
    let precision = 1 / (logDeviation * logDeviation)
    var (low, high) = (logRange.lowerBound, logRange.upperBound)
    var s = min(max(start, low), high)
    var value = 0.0
    for _ in 0..<60 {
      let terms = rows.derivatives(logBeta: s, lapse: lapse)
      value = weight * terms.value + 0.5 * precision * s * s
      let slope = weight * terms.slope + precision * s
      let curvature = weight * terms.curvature + precision
      if slope > 0 { high = s } else { low = s }
      var next = curvature > 0 ? s - slope / curvature : (slope > 0 ? low : high)
      if !(next > low && next < high) { next = 0.5 * (low + high) }
      if abs(next - s) <= 1e-9 || abs(slope) <= 1e-10 * max(1, weight * terms.value) { break }
      s = next
    }
    return Point(
      lapse: lapse, logBeta: s, objective: value - lapsePenalty * log1p(-lapse))
  }
}

/// Rows to calibrate on: the likelihood of their labels as a function of β and ε.
struct CalibrationRows: Sendable {
  let logits: Matrix<Double>
  let labels: [Int32]
  /// π.
  let base: [Double]
  let parallelism: Parallelism

  var count: Int { labels.count }

  /// The first rows.
  func first(_ limit: Int) -> CalibrationRows {
    let number = min(limit, count)
    return CalibrationRows(
      logits: logits.rows(0..<number), labels: Array(labels.prefix(number)), base: base,
      parallelism: parallelism)
  }

  /// The derivative of the negative log-likelihood with respect to the lapse where that is 0:
  /// `Σᵢ (1 - π_y / p_y)`.
  func lapseSlope(logBeta: Double) -> Double {
    var logs = logits.compact()
    logs.scale(by: exp(logBeta))
    return zip(labels, logs.labelLogSoftmax(labels, from: 0)).reduce(0) {
      $0 + 1 - base[Int($1.0)] * exp(-$1.1)
    }
  }

  /// The negative log-likelihood, with two derivatives with respect to log β.
  struct Terms: Sendable {
    var value = 0.0
    var slope = 0.0
    var curvature = 0.0
  }

  /// Sums over the rows.
  ///
  /// With p the probability of the label, d = L_y - E[L], V = Var[L] under softmax(β·L), and
  /// w = (1-ε)p / ((1-ε)p + επ):  φ' = -w·d,  φ'' = w·V - w(1-w)·d²  with respect to β.
  func derivatives(logBeta: Double, lapse: Double) -> Terms {
    let beta = exp(logBeta)
    let blockSize = 1024
    let blockCount = (count + blockSize - 1) / blockSize
    let parts = SumSlots(count: blockCount)
    parallelism.forEachBlock(of: count, blockSize: blockSize) { _, range in
      let block = logits.rows(range)
      var probabilities = block.compact()
      probabilities.scale(by: beta)
      let logs = lapse > 0 ? nil : probabilities.labelLogSoftmax(labels, from: range.lowerBound)
      probabilities = probabilities.softmaxRows()
      var sums = Terms()
      let classes = block.columnCount
      block.withUnsafePointer { logits, stride in
        probabilities.withUnsafePointer { probabilities, probabilityStride in
          for row in 0..<range.count {
            let l = logits + row * stride
            let p = probabilities + row * probabilityStride
            let label = Int(labels[range.lowerBound + row])
            // Moments about the label's logit: nothing cancels in a confident row.
            var (first, second) = (0.0, 0.0)
            for k in 0..<classes {
              let difference = l[k] - l[label]
              first += p[k] * difference
              second += p[k] * difference * difference
            }
            let variance = max(0, second - first * first)
            let d = -first
            if let logs {
              sums.value -= logs[row]
              sums.slope -= d
              sums.curvature += variance
            } else {
              let kept = (1 - lapse) * p[label]
              let total = kept + lapse * base[label]
              let w = kept / total
              sums.value -= log(total)
              sums.slope -= w * d
              sums.curvature += w * variance - w * (1 - w) * d * d
            }
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

extension Matrix<Double> {
  /// log softmax at the labels.
  fileprivate func labelLogSoftmax(_ labels: [Int32], from start: Int) -> [Double] {
    var logs = self
    logs.formLogSoftmaxRows()
    return (0..<rowCount).map { logs[$0, Int(labels[start + $0])] }
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
