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
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` with the first row whose label is no class or whose predictions are not
  ///   finite, when there are no rows, and when there are not as many groups.
  public init(
    _ method: Method, logProbabilities: Matrix<Double>, labels: [Int32], groups: [Int]? = nil,
    parallelism: Parallelism = .available
  ) throws(NumericsError) {
    self = try CalibrationChoice(
      method, logProbabilities: logProbabilities, labels: labels, groups: groups,
      parallelism: parallelism
    ).calibration
  }

  /// Fits a map of this kind, whatever it does to rows that are left out.
  ///
  /// - Parameters:
  ///   - method: the kind of map.
  ///   - logProbabilities: predictions, n x K, finite.
  ///   - labels: a class for each row, n at least 1.
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` where isotonic regressions have no rows, or predictions that are not finite.
  init(
    fitting method: Method, to logProbabilities: Matrix<Double>, _ labels: [Int32],
    _ parallelism: Parallelism = .available
  ) throws(NumericsError) {
    switch method {
    case .temperature:
      self = .temperature(Self.inverseTemperature(logProbabilities, labels, parallelism))
    case .vector:
      self = VectorScalingFit(logProbabilities, labels, parallelism).calibration
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
    _ logProbabilities: Matrix<Double>, _ labels: [Int32], _ parallelism: Parallelism
  ) -> Double {
    CalibrationRows(logits: logProbabilities, labels: labels, parallelism: parallelism)
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

  init(_ logProbabilities: Matrix<Double>, _ labels: [Int32], _ parallelism: Parallelism) {
    let beta = HeldOutCalibration.inverseTemperature(logProbabilities, labels, parallelism)
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
      var hessian = parallelism.withBLAS { joint.gram() }
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
