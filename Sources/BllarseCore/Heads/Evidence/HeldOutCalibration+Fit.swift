public import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension HeldOutCalibration {
  /// The kinds of map.
  public enum Method: Sendable, Equatable {
    /// One inverse temperature.
    case temperature
    /// A factor and a shift for each class.
    case vector
    /// A step function for each class.
    case isotonic
  }

  /// Fits a map to held-out rows.
  ///
  /// - Parameters:
  ///   - method: the kind of map.
  ///   - logProbabilities: predictions, n x K.
  ///   - labels: a class for each row, n at least 1.
  ///   - parallelism: the threads to work with.
  public init(
    _ method: Method, logProbabilities: Matrix<Double>, labels: [Int32],
    parallelism: Parallelism = .available
  ) {
    precondition(
      !labels.isEmpty && labels.count == logProbabilities.rowCount,
      "\(logProbabilities.rowCount) rows of predictions for \(labels.count) labels")
    switch method {
    case .temperature:
      self = .temperature(Self.inverseTemperature(logProbabilities, labels, parallelism))
    case .vector:
      self = Self.vector(logProbabilities, labels, parallelism)
    case .isotonic:
      self = .isotonic(
        (0..<logProbabilities.columnCount).map { k in
          IsotonicFunction(
            probabilities: logProbabilities.column(k).map { exp($0) },
            isClass: labels.map { Int($0) == k })
        })
    }
  }

  /// The inverse temperature that minimises the mean negative log-likelihood, exactly.
  ///
  /// Newton's method on the slope with respect to log β, which changes sign once, inside a bracket of
  /// β in e^±8. Separable predictions have no optimum: they get the end of the bracket.
  static func inverseTemperature(
    _ logProbabilities: Matrix<Double>, _ labels: [Int32], _ parallelism: Parallelism
  ) -> Double {
    let rows = CalibrationRows(
      logits: logProbabilities, labels: labels,
      base: [Double](repeating: 0, count: logProbabilities.columnCount), parallelism: parallelism)
    var (low, high, s) = (-8.0, 8.0, 0.0)
    for _ in 0..<100 {
      let terms = rows.derivatives(logBeta: s, lapse: 0)
      if terms.slope > 0 { high = s } else { low = s }
      var next = terms.curvature > 0 ? s - terms.slope / terms.curvature : .nan
      if !(next > low && next < high) { next = 0.5 * (low + high) }
      if abs(next - s) <= 1e-12 { break }
      s = next
    }
    return exp(s)
  }

  /// Factors and shifts by Newton's method on the mean negative log-likelihood, with a little shrinkage
  /// towards no change (the weight of one row), so that few rows or absent classes do no harm.
  private static func vector(
    _ logs: Matrix<Double>, _ labels: [Int32], _ parallelism: Parallelism
  ) -> HeldOutCalibration {
    let (rows, classes) = (logs.rowCount, logs.columnCount)
    // Parameters: scales, then shifts; deviations from 1 and 0.
    var parameters = [Double](repeating: 0, count: 2 * classes)
    func calibration(_ parameters: [Double]) -> HeldOutCalibration {
      .vector(
        scales: parameters.prefix(classes).map { 1 + $0 },
        shifts: Array(parameters.suffix(classes)))
    }
    func objective(_ parameters: [Double]) -> Double {
      let mapped = calibration(parameters).apply(to: logs)
      return labels.indices.reduce(0) { $0 - mapped[$1, Int(labels[$1])] }
        + 0.5 * parameters.reduce(0) { $0 + $1 * $1 }
    }
    var value = objective(parameters)
    for _ in 0..<50 {
      let probabilities = calibration(parameters).apply(to: logs).exponentials()
      // Design of a row: d logit_k / d scale_k = log p_k, d logit_k / d shift_k = 1.
      var gradient = parameters
      var hessian = Matrix<Double>.diagonal(1, size: 2 * classes)
      for row in 0..<rows {
        for k in 0..<classes {
          let x = [logs[row, k], 1]
          let residual = probabilities[row, k] - (Int(labels[row]) == k ? 1 : 0)
          for (a, xa) in x.enumerated() { gradient[a * classes + k] += residual * xa }
          for j in 0..<classes {
            let weight = probabilities[row, k] * ((j == k ? 1 : 0) - probabilities[row, j])
            for (a, xa) in x.enumerated() {
              for (b, xb) in [logs[row, j], 1].enumerated() {
                hessian[a * classes + k, b * classes + j] += weight * xa * xb
              }
            }
          }
        }
      }
      guard let factor = try? Cholesky(hessian) else { break }
      let step = factor.solve(gradient)
      let decrement = zip(step, gradient).reduce(0) { $0 + $1.0 * $1.1 }
      if decrement < 1e-10 { break }
      var (length, moved) = (1.0, false)
      while length > 1e-6 {
        let trial = zip(parameters, step).map { $0 - length * $1 }
        let there = objective(trial)
        if there < value {
          (parameters, value, moved) = (trial, there, true)
          break
        }
        length *= 0.5
      }
      if !moved { break }
    }
    return calibration(parameters)
  }
}

extension EvidenceHead {
  /// Fits a map of the predictions to held-out rows; one that was fitted before is replaced.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite; not the rows that the head was fitted to.
  ///   - labels: a class for each row.
  ///   - method: the kind of map.
  public mutating func calibrate(
    features: FeatureMatrix, labels: [Int32], _ method: HeldOutCalibration.Method
  ) {
    heldOutCalibration = .none
    let logs = Matrix<Double>(logProbabilities(features))
    heldOutCalibration = HeldOutCalibration(
      method, logProbabilities: logs, labels: labels, parallelism: parallelism)
  }
}
