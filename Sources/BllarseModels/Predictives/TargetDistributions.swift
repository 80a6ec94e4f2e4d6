public import BllarseNumerics
import Glibc

/// What is predicted of real targets: independent Student-t distributions, Gaussian where the degrees
/// of freedom are infinite.
///
/// Row i and target t have the density of `locations[i, t] + scales[i, t]·z`, where z has Student's t
/// distribution with `degreesOfFreedom[t]`.
public struct TargetDistributions: Sendable, Equatable {
  /// The centres, n x T: the means where the degrees of freedom exceed 1, the medians always.
  public let locations: Matrix<Double>
  /// The scales, n x T, positive: of the t distribution, not its standard deviation.
  public let scales: Matrix<Double>
  /// T, positive; infinite for Gaussian distributions.
  public let degreesOfFreedom: [Double]

  /// The standard distribution of every target.
  private let standards: [StudentDistribution]

  /// Describes n x T distributions.
  ///
  /// - Parameters:
  ///   - locations: n x T, finite.
  ///   - scales: n x T, positive and finite.
  ///   - degreesOfFreedom: T, positive; infinite for Gaussian distributions.
  /// - Throws: `NumericsError` for sizes that differ, and for values out of range.
  public init(
    locations: Matrix<Double>, scales: Matrix<Double>, degreesOfFreedom: [Double]
  ) throws(NumericsError) {
    let (rows, targets) = (locations.rowCount, locations.columnCount)
    if scales.rowCount != rows {
      throw .sizeMismatch(
        of: "rows of scales", found: scales.rowCount, expected: rows, reason: "as of locations")
    }
    if scales.columnCount != targets {
      throw .sizeMismatch(
        of: "columns of scales", found: scales.columnCount, expected: targets,
        reason: "as of locations")
    }
    if degreesOfFreedom.count != targets {
      throw .sizeMismatch(
        of: "degrees of freedom", found: degreesOfFreedom.count, expected: targets,
        reason: "one for each target")
    }
    for value in degreesOfFreedom where !(value > 0) {
      throw .invalidParameter(
        "the degrees of freedom", value: value, expected: "a positive number or infinity")
    }
    for row in 0..<rows {
      for target in 0..<targets {
        guard locations[row, target].isFinite else { throw .notFinite(row: row, column: target) }
        let scale = scales[row, target]
        guard scale > 0, scale.isFinite else {
          throw .invalidParameter(
            "the scale of row \(row), target \(target)", value: scale,
            expected: "a positive finite number")
        }
      }
    }
    (self.locations, self.scales, self.degreesOfFreedom) = (locations, scales, degreesOfFreedom)
    standards = degreesOfFreedom.map { StudentDistribution(degreesOfFreedom: $0) }
  }

  /// The number of rows.
  public var rowCount: Int { locations.rowCount }
  /// The number of targets.
  public var targetCount: Int { locations.columnCount }

  /// The distributions of some rows, in the given order.
  public func gatheringRows(_ rows: [Int]) -> TargetDistributions {
    TargetDistributions(
      unchecked: locations.gatheringRows(rows), scales.gatheringRows(rows), self)
  }

  private init(
    unchecked locations: Matrix<Double>, _ scales: Matrix<Double>, _ other: TargetDistributions
  ) {
    (self.locations, self.scales) = (locations, scales)
    (degreesOfFreedom, standards) = (other.degreesOfFreedom, other.standards)
  }

  /// The variances, n x T: `scale² ν / (ν - 2)`; infinite for ν ≤ 2.
  public var variances: Matrix<Double> {
    let factors = standards.map(\.variance)
    return each { row, target in scales[row, target] * scales[row, target] * factors[target] }
  }

  // MARK: - Given targets

  /// The logarithms of the densities at given targets.
  ///
  /// - Parameter targets: n x T, finite.
  /// - Returns: n x T; its row sums are the log densities of rows, as targets are independent.
  /// - Throws: `NumericsError.sizeMismatch` and `notFinite`.
  public func logDensities(_ targets: Matrix<Double>) throws(NumericsError) -> Matrix<Double> {
    try standardised(targets) { z, scale, standard in standard.logDensity(z) - log(scale) }
  }

  /// The distribution functions at given targets (the probability integral transform): uniform in
  /// [0, 1] where the predictions are calibrated.
  ///
  /// - Parameter targets: n x T, finite.
  /// - Returns: n x T.
  /// - Throws: `NumericsError.sizeMismatch` and `notFinite`.
  public func cdf(_ targets: Matrix<Double>) throws(NumericsError) -> Matrix<Double> {
    try standardised(targets) { z, _, standard in standard.cdf(z) }
  }

  /// The continuous ranked probability scores for given targets: in their unit, 0 at best.
  ///
  /// - Parameter targets: n x T, finite.
  /// - Returns: n x T; infinite where there is half a degree of freedom or less.
  /// - Throws: `NumericsError.sizeMismatch` and `notFinite`.
  /// - Note: Source: Gneiting and Raftery, JASA 2007; Jordan, Krüger and Lerch, JSS 2019.
  public func crps(_ targets: Matrix<Double>) throws(NumericsError) -> Matrix<Double> {
    try standardised(targets) { z, scale, standard in scale * standard.crps(z) }
  }

  private func standardised(
    _ targets: Matrix<Double>, _ body: (Double, Double, StudentDistribution) -> Double
  ) throws(NumericsError) -> Matrix<Double> {
    try check(targets)
    return each { row, target in
      let scale = scales[row, target]
      return body((targets[row, target] - locations[row, target]) / scale, scale, standards[target])
    }
  }

  /// Throws where targets are not n x T finite numbers.
  package func check(_ targets: Matrix<Double>) throws(NumericsError) {
    if targets.rowCount != rowCount {
      throw .sizeMismatch(
        of: "rows of targets", found: targets.rowCount, expected: rowCount,
        reason: "one for each prediction")
    }
    if targets.columnCount != targetCount {
      throw .sizeMismatch(
        of: "targets a row", found: targets.columnCount, expected: targetCount,
        reason: "as are predicted")
    }
    for row in 0..<rowCount {
      for target in 0..<targetCount where !targets[row, target].isFinite {
        throw .notFinite(row: row, column: target)
      }
    }
  }

  // MARK: - Quantiles

  /// The quantiles at a level: at 0.5 the locations.
  ///
  /// - Parameter level: in (0, 1).
  /// - Returns: n x T.
  /// - Throws: `NumericsError.invalidParameter` for another level.
  public func quantiles(_ level: Double) throws(NumericsError) -> Matrix<Double> {
    guard level > 0, level < 1 else {
      throw .invalidParameter(
        "the level of a quantile", value: level, expected: "a number between 0 and 1, without both")
    }
    let standard = standards.map { $0.quantile(level) }
    return each { row, target in locations[row, target] + scales[row, target] * standard[target] }
  }

  /// The bounds of central intervals: what lies outside is as probable below as above.
  ///
  /// - Parameter level: the probability of an interval, in (0, 1).
  /// - Returns: n x T each.
  /// - Throws: `NumericsError.invalidParameter` for another level.
  public func centralIntervals(
    _ level: Double
  ) throws(NumericsError) -> (lower: Matrix<Double>, upper: Matrix<Double>) {
    guard level > 0, level < 1 else {
      throw .invalidParameter(
        "the level of an interval", value: level,
        expected: "a number between 0 and 1, without both")
    }
    let halves = standards.map { -$0.quantile(0.5 * (1 - level)) }
    return (
      each { row, target in locations[row, target] - scales[row, target] * halves[target] },
      each { row, target in locations[row, target] + scales[row, target] * halves[target] }
    )
  }

  // MARK: - Draws

  /// Draws targets; what a row gets depends on its number, the seed and its distributions only.
  ///
  /// - Parameters:
  ///   - count: how many draws.
  ///   - seed: of the draws.
  /// - Returns: `count` matrices, n x T each.
  public func samples(_ count: Int, seed: UInt64) -> [Matrix<Double>] {
    var draws = [Matrix<Double>](repeating: .zeros(rowCount, targetCount), count: count)
    for row in 0..<rowCount {
      var generator = Philox(seed: seed, purpose: .sampling, index: UInt64(row))
      for draw in 0..<count {
        for target in 0..<targetCount {
          let z = generator.student(degreesOfFreedom: degreesOfFreedom[target])
          draws[draw][row, target] = locations[row, target] + scales[row, target] * z
        }
      }
    }
    return draws
  }

  private func each(_ body: (Int, Int) -> Double) -> Matrix<Double> {
    var values: [Double] = []
    values.reserveCapacity(rowCount * targetCount)
    for row in 0..<rowCount { for target in 0..<targetCount { values.append(body(row, target)) } }
    return Matrix(rows: rowCount, columns: targetCount, elements: values)
  }
}
