public import BllarseNumerics
import Glibc

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
  package static func arguments(_ logProbabilities: Matrix<Float>) -> Matrix<Double> {
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

extension HeldOutCalibration {
  /// The kinds of maps.
  public enum Method: String, Sendable, Equatable, CaseIterable {
    /// One inverse temperature.
    case temperature
    /// A factor and a shift for each class.
    case vector
    /// A rising map of the log-odds of each class.
    case isotonic
  }

  /// Fits a map to held-out rows: of the kind asked for, or a temperature where that predicts left-out
  /// rows as well, see ``CalibrationChoice``.
  ///
  /// - Parameters:
  ///   - method: the kind of map.
  ///   - logProbabilities: predictions, n x K, finite.
  ///   - labels: a class for each row, n at least 1.
  ///   - groups: numbers, the same for rows that are no evidence of their own; by default rows that are
  ///     predicted the same.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` with the first row whose label is no class or whose predictions are not
  ///   finite, when there are no rows, and when there are not as many groups.
  public init(
    _ method: Method, logProbabilities: Matrix<Double>, labels: [Int32], groups: [Int]? = nil,
    execution: Execution = .available
  ) throws(NumericsError) {
    self = try CalibrationChoice(
      method, logProbabilities: logProbabilities, labels: labels, groups: groups,
      execution: execution
    ).calibration
  }

  /// Fits a map of this kind, whatever it does to rows that are left out.
  ///
  /// - Parameters:
  ///   - method: the kind of map.
  ///   - logProbabilities: predictions, n x K, finite.
  ///   - labels: a class for each row, n at least 1.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` where isotonic regressions have no rows, or predictions that are not finite.
  init(
    fitting method: Method, to logProbabilities: Matrix<Double>, _ labels: [Int32],
    _ execution: Execution = .available
  ) throws(NumericsError) {
    switch method {
    case .temperature:
      self = .temperature(Self.inverseTemperature(logProbabilities, labels, execution))
    case .vector:
      self = VectorScalingFit(logProbabilities, labels, execution).calibration
    case .isotonic:
      var functions: [IsotonicFunction] = []
      for k in 0..<logProbabilities.columnCount {
        functions.append(
          try IsotonicFunction(
            logProbabilities: logProbabilities.column(k), isClass: labels.map { Int($0) == k }))
      }
      self = .isotonic(functions)
    }
  }

  /// The most probable inverse temperature, see ``CalibrationRows/optimum(from:tolerance:)``.
  static func inverseTemperature(
    _ logProbabilities: Matrix<Double>, _ labels: [Int32], _ execution: Execution
  ) -> Double {
    CalibrationRows(logits: logProbabilities, labels: labels, execution: execution)
      .optimum().inverseTemperature
  }
}

/// Factors and shifts of the classes' log-probabilities, by Newton's method.
///
///     J(a, b) = -Σᵢ log softmax((1 + a)∘β·log pᵢ + b)[yᵢ] + ½‖a‖² + ½‖b‖²      nats
///
/// around the best single β, so that classes of which there are few rows have that. J is convex and never
/// above its value at (0, 0). The returned factors are `β·(1 + a)`.
///
/// - Complexity: 4·n·K² + (2K)³/3 operations an iteration.
/// - Note: Source: Guo et al., "On calibration of modern neural networks", ICML 2017 ("vector scaling").
private struct VectorScalingFit {
  private(set) var calibration: HeldOutCalibration

  init(_ logProbabilities: Matrix<Double>, _ labels: [Int32], _ execution: Execution) {
    let beta = HeldOutCalibration.inverseTemperature(logProbabilities, labels, execution)
    let classes = logProbabilities.columnCount
    var logits = logProbabilities.compact()
    logits.scale(by: beta)
    let ones = [Double](repeating: 1, count: logits.rowCount)

    /// Log-probabilities under parameters (factors less 1, then shifts), and J.
    func mapped(_ parameters: [Double]) -> (logs: Matrix<Double>, value: Double) {
      let logs = HeldOutCalibration.vector(
        scales: parameters.prefix(classes).map { 1 + $0 },
        shifts: Array(parameters.suffix(classes))
      ).apply(to: logits)
      let value = labels.indices.reduce(0) { $0 - logs[$1, Int(labels[$1])] }
      return (logs, value + 0.5 * parameters.reduce(0) { $0 + $1 * $1 })
    }

    var parameters = [Double](repeating: 0, count: 2 * classes)
    var (logs, value) = mapped(parameters)
    for _ in 0..<50 {
      // 1. Gradient: residuals against d logit / d factor = logit and d logit / d shift = 1.
      let probabilities = logs.exponentials()  // (n, K)
      var residuals = probabilities
      for (row, label) in labels.enumerated() { residuals[row, Int(label)] -= 1 }
      let gradient = zip(
        parameters,
        residuals.columnDots(logits) + residuals.multiplied(by: ones, transposing: true)
      ).map { $0 + $1 }

      // 2. Hessian: Σᵢ (diag(pᵢ) - pᵢpᵢᵀ) between the two kinds of derivatives, and the prior's.
      let weighted = probabilities.combined(with: logits) { $0 * $1 }  // (n, K)
      var joint = Matrix<Double>.zeros(logits.rowCount, 2 * classes)
      joint.replaceBlock(row: 0, column: 0, with: weighted)
      joint.replaceBlock(row: 0, column: classes, with: probabilities)
      var hessian = execution.withBLAS { joint.gram() }
      hessian.scale(by: -1)
      hessian.addToDiagonal([Double](repeating: 1, count: 2 * classes))
      let second = weighted.columnDots(logits)
      let first = weighted.multiplied(by: ones, transposing: true)
      let zeroth = probabilities.multiplied(by: ones, transposing: true)
      for k in 0..<classes {
        hessian[k, k] += second[k]
        hessian[k, classes + k] += first[k]
        hessian[classes + k, k] += first[k]
        hessian[classes + k, classes + k] += zeroth[k]
      }

      // 3. A step that does not rise.
      guard let factor = try? Cholesky(hessian) else { break }
      let step = factor.solve(gradient)
      let decrement = zip(step, gradient).reduce(0) { $0 + $1.0 * $1.1 }
      var (length, moved) = (1.0, false)
      while length > 1e-6, !moved {
        let trial = zip(parameters, step).map { $0 - length * $1 }
        let there = mapped(trial)
        if there.value <= value {
          (parameters, logs, value, moved) = (trial, there.logs, there.value, true)
        }
        length *= 0.5
      }
      if !moved || decrement < 1e-10 { break }
    }
    calibration = .vector(
      scales: parameters.prefix(classes).map { beta * (1 + $0) },
      shifts: Array(parameters.suffix(classes)))
  }
}

/// A rising map of the log-odds of one class's probability, through the steps of an isotonic regression.
///
/// Pooling adjacent violators gives steps: rows of which a share `s/n` is of the class, with mean predicted
/// probability `p̄`. A step is a knot at `log(p̄ / (1 - p̄))`; between knots the map is linear, beyond the
/// first and the last it keeps their distance from no change. So what a step function gives one value is
/// still told apart, and a probability that no row was seen near is left as it is.
///
/// The log-odds of a knot are those of two shares, of rows of the class and of others, each drawn towards
/// what was predicted by one event, or by 100 rows where an event is rarer than that:
///
///     (s + c·p̄) / (n + c),   c = min(1/p̄, 100)
///
/// Rows that are all right, or all of one class, or one row alone, therefore say little, and no probability
/// becomes 0 or 1.
///
/// - Note: Source: Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass
///   probability estimates", KDD 2002, for the regression; the prior is this package's.
public struct IsotonicFunction: Sendable, Equatable {
  /// The predicted log-odds at which the map is given, ascending, at least one.
  public let knots: [Double]
  /// The log-odds there, never falling.
  public let values: [Double]

  /// Takes knots as they are.
  ///
  /// - Parameters:
  ///   - knots: finite, ascending, at least one.
  ///   - values: as many, finite, not falling.
  public init(knots: [Double], values: [Double]) {
    precondition(
      knots.count == values.count && !values.isEmpty,
      "\(knots.count) knots for \(values.count) values")
    self.knots = knots
    self.values = values
  }

  /// Fits the map of a class.
  ///
  /// - Parameters:
  ///   - logProbabilities: the logarithms of the probabilities that were predicted for the class, one a row.
  ///   - isClass: whether a row is of the class, as many.
  /// - Throws: `NumericsError` when there are no rows, numbers differ, or a logarithm is not finite.
  public init(logProbabilities: [Double], isClass: [Bool]) throws(NumericsError) {
    guard !logProbabilities.isEmpty else { throw .noRows("rows to calibrate on") }
    guard isClass.count == logProbabilities.count else {
      throw .sizeMismatch(
        of: "labels", found: isClass.count, expected: logProbabilities.count,
        reason: "one for each row")
    }
    if let row = logProbabilities.firstIndex(where: { !$0.isFinite }) {
      throw .notFinite(row: row, column: 0)
    }
    var blocks: [Block] = []
    for row in logProbabilities.indices.sorted(by: { logProbabilities[$0] < logProbabilities[$1] })
    {
      let block = Block(logProbability: logProbabilities[row], isClass: isClass[row])
      if let last = blocks.last, last.end == block.end {
        blocks[blocks.count - 1].add(block)
      } else {
        blocks.append(block)
      }
      while blocks.count > 1, blocks[blocks.count - 2].share >= blocks[blocks.count - 1].share {
        let last = blocks.removeLast()
        blocks[blocks.count - 1].add(last)
      }
    }
    // The prior may disturb the order of small blocks: keep what was reached.
    var (knots, values): ([Double], [Double]) = ([], [])
    for block in blocks {
      let value = max(values.last ?? -.infinity, block.value)
      if let last = knots.last, block.knot <= last {
        values[values.count - 1] = value
      } else {
        knots.append(block.knot)
        values.append(value)
      }
    }
    (self.knots, self.values) = (knots, values)
  }

  /// The mapped log-odds.
  ///
  /// - Parameter logOdds: as predicted, finite.
  /// - Returns: what stands for them, finite.
  public func callAsFunction(_ logOdds: Double) -> Double {
    guard let first = knots.first, let last = knots.last else { return logOdds }
    if logOdds <= first { return logOdds + (values[0] - first) }
    if logOdds >= last { return logOdds + (values[values.count - 1] - last) }
    var (low, high) = (0, knots.count - 1)
    while high - low > 1 {
      let middle = (low + high) / 2
      if knots[middle] <= logOdds { low = middle } else { high = middle }
    }
    let share = (logOdds - knots[low]) / (knots[high] - knots[low])
    return values[low] + share * (values[high] - values[low])
  }

  /// The logarithm of `p / (1 - p)`, within ±690.
  static func logOdds(ofLogProbability logProbability: Double) -> Double {
    let value = logProbability - log(max(-expm1(logProbability), 1e-300))
    return min(max(value, -690), 690)
  }

  /// Rows between two probabilities that share one value.
  private struct Block {
    /// The rows, and those of the class.
    var count = 1.0
    var hits: Double
    /// Σ p and Σ (1 - p).
    var expected: Double
    var expectedOthers: Double
    /// The largest logarithm of a probability.
    var end: Double

    init(logProbability: Double, isClass: Bool) {
      hits = isClass ? 1 : 0
      expected = max(exp(logProbability), 1e-300)
      expectedOthers = max(-expm1(logProbability), 1e-300)
      end = logProbability
    }

    mutating func add(_ other: Block) {
      count += other.count
      hits += other.hits
      expected += other.expected
      expectedOthers += other.expectedOthers
      end = max(end, other.end)
    }

    var share: Double { hits / count }
    var knot: Double { min(max(log(expected / expectedOthers), -690), 690) }
    var value: Double {
      log(drawn(hits, expected / count)) - log(drawn(count - hits, expectedOthers / count))
    }

    /// A share of rows, drawn towards the predicted one.
    private func drawn(_ hits: Double, _ predicted: Double) -> Double {
      let rows = min(1 / predicted, 100)
      return max((hits + rows * predicted) / (count + rows), 1e-300)
    }
  }
}
