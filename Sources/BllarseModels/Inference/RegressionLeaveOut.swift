public import BllarseNumerics
import Glibc

/// Predictions of training rows by a regression that was fitted without them.
public struct LeftOutTargets: Sendable {
  /// The centres, n x T, in the targets' own units.
  public let locations: Matrix<Double>
  /// The scales, n x T.
  public let scales: Matrix<Double>
  /// Of each row, as rows of different weights leave out differently much; infinite for Gaussians.
  public let degreesOfFreedom: [Double]
  /// The log densities of the targets, n x T.
  public let logDensities: Matrix<Double>

  /// The sums over rows of the log densities, T: log pseudo-marginal likelihoods.
  public var logScores: [Double] {
    (0..<logDensities.columnCount).map { logDensities.column($0).reduce(0, +) }
  }

  /// The residuals in units of the scales, `(y - location)/scale`, n x T: scores of conformal intervals.
  ///
  /// - Parameter targets: the targets of the training rows, n x T.
  /// - Returns: n x T.
  /// - Throws: `NumericsError.sizeMismatch`.
  public func normalizedResiduals(_ targets: Matrix<Double>) throws(NumericsError) -> Matrix<Double>
  {
    guard targets.rowCount == locations.rowCount, targets.columnCount == locations.columnCount
    else {
      throw .sizeMismatch(
        of: "targets", found: targets.rowCount * targets.columnCount,
        expected: locations.rowCount * locations.columnCount, reason: "one for each prediction")
    }
    return targets.combined(with: locations) { $0 - $1 }.combined(with: scales) { $0 / $1 }
  }
}

extension LinearRegressionPosterior {
  /// What each training row, or group of rows, would be predicted as by a fit without it: in closed form.
  ///
  /// The transform, the targets' units, the prior precisions and, where it was estimated, the noise stay as all
  /// rows have chosen them; weights, intercept, and noise that is integrated out are those of the other rows,
  /// exactly. With `H = Z(S_xx + Λ)⁻¹Zᵀ + 11ᵀ/W` of the rows of a group, their weights Ω, and residuals r,
  ///
  ///     residuals (I - HΩ)⁻¹r,   variances (I - HΩ)⁻¹H,   a - ½ΣΩ,   b - ½ rᵀΩ(I - HΩ)⁻¹r:
  ///
  /// for one row of weight 1, `r/(1 - h)`, `h/(1 - h)`, `a - ½` and `b - ½ r²/(1 - h)`.
  ///
  /// - Parameters:
  ///   - features: the training rows, N x D, all that the model has learned from.
  ///   - targets: theirs, N x T.
  ///   - rowWeights: their weights; `nil` for 1 each.
  ///   - groups: which rows are left out together, a number for each; `nil` for one by one.
  ///   - execution: the threads to work with.
  /// - Returns: one distribution for each row and target.
  /// - Throws: `NumericsError` for sizes that differ; `invalidParameter` where rows cannot be left out, as without
  ///   them nothing is known of the intercept, or of the noise.
  /// - Complexity: O(N·D·R), and O(n³) for every group of n rows.
  public func leavingOut(
    _ features: FeatureMatrix, targets: Matrix<Double>, weights rowWeights: [Double]? = nil,
    groups: [Int]? = nil, execution: Execution = .available
  ) throws(NumericsError) -> LeftOutTargets {
    try RegressionRows.check(
      features, targets: targets, featureCount: featureCount, targetCount: targetCount,
      weights: rowWeights, execution: execution)
    let count = features.rowCount
    if let groups, groups.count != count {
      throw .sizeMismatch(
        of: "groups", found: groups.count, expected: count, reason: "one for each row")
    }
    let seen = rowWeights?.reduce(0, +) ?? Double(count)
    guard (seen - weight).magnitude <= 1e-9 * weight else {
      throw .invalidParameter(
        "the weight of the rows to be left out in turn", value: seen,
        expected: "\(weight), that of all rows that the model has learned from")
    }
    var result = Parts(count, targetCount)
    let blocks = Self.blocks(groups, count: count)
    for block in blocks {
      try execution.checkCancellation()
      let inputs = centredInputs(features.gatheringRows(block.rows))
      var residuals = scaled(targets.gatheringRows(block.rows))
      let means = execution.withBLAS { inputs.multiplied(by: weights) }
      for row in 0..<block.rows.count {
        for t in 0..<targetCount { residuals[row, t] -= targetMeans[t] + means[row, t] }
      }
      let own = rowWeights.map { weights in block.rows.map { weights[$0] } }
      if block.isGroup {
        for t in 0..<targetCount {
          try leaveOut(block.rows, inputs, residuals.column(t), own, target: t, into: &result)
        }
      } else {
        try leaveOutEach(block.rows, inputs, residuals, own, into: &result)
      }
    }
    return result.finished(targets, targetScales)
  }

  /// Rows that are worked on together: a group, or rows each by itself.
  private static func blocks(_ groups: [Int]?, count: Int) -> [(rows: [Int], isGroup: Bool)] {
    var single = Array(0..<count)
    var blocks: [(rows: [Int], isGroup: Bool)] = []
    if let groups {
      var members: [Int: [Int]] = [:]
      for (row, group) in groups.enumerated() { members[group, default: []].append(row) }
      let all = members.values.sorted { $0[0] < $1[0] }
      blocks = all.filter { $0.count > 1 }.map { ($0, true) }
      single = all.filter { $0.count == 1 }.map { $0[0] }
    }
    for start in stride(from: 0, to: single.count, by: 1024) {
      blocks.append((Array(single[start..<min(start + 1024, single.count)]), false))
    }
    return blocks
  }

  private struct Parts {
    var locations, scales: Matrix<Double>
    var degreesOfFreedom: [Double]

    init(_ rows: Int, _ targets: Int) {
      (locations, scales) = (.zeros(rows, targets), .zeros(rows, targets))
      degreesOfFreedom = [Double](repeating: .infinity, count: rows)
    }

    /// In the targets' own units; `locations` are residuals in the model's.
    func finished(_ targets: Matrix<Double>, _ targetScales: [Double]) -> LeftOutTargets {
      let scaled = scales.scalingColumns(by: targetScales)
      let residuals = locations.scalingColumns(by: targetScales)
      var logs = scales
      for row in 0..<logs.rowCount {
        let standard = StudentDistribution(degreesOfFreedom: degreesOfFreedom[row])
        for t in 0..<logs.columnCount {
          logs[row, t] =
            standard.logDensity(residuals[row, t] / scaled[row, t]) - log(scaled[row, t])
        }
      }
      return LeftOutTargets(
        locations: targets.combined(with: residuals) { $0 - $1 }, scales: scaled,
        degreesOfFreedom: degreesOfFreedom, logDensities: logs)
    }
  }

  private func leaveOutEach(
    _ rows: [Int], _ inputs: Matrix<Double>, _ residuals: Matrix<Double>, _ own: [Double]?,
    into parts: inout Parts
  ) throws(NumericsError) {
    let leverages = leverages(inputs)
    for (place, row) in rows.enumerated() {
      let weight = own?[place] ?? 1
      for t in 0..<targetCount {
        let leverage = leverages[place, t]
        let rest = 1 - weight * leverage
        try Self.checkRest(rest, rows: [row])
        let residual = residuals[place, t]
        let (variance, freedom) = try noise(
          t, without: weight, energy: weight * residual * residual / rest, rows: [row])
        parts.locations[row, t] = residual / rest
        parts.scales[row, t] = (variance * (1 + leverage / rest)).squareRoot()
        parts.degreesOfFreedom[row] = freedom
      }
    }
  }

  private func leaveOut(
    _ rows: [Int], _ inputs: Matrix<Double>, _ residuals: [Double], _ own: [Double]?,
    target: Int, into parts: inout Parts
  ) throws(NumericsError) {
    let whitened = basis(target).whitened(inputs, precision: precisions[target])
    var leverages = whitened.multiplied(by: whitened, transposingOther: true)  // H, (n, n)
    let roots = own.map { $0.map { $0.squareRoot() } } ?? [Double](repeating: 1, count: rows.count)
    for row in 0..<rows.count {
      leverages.withMutableRow(row) { values in
        for column in values.indices { values[column] += 1 / weight }
      }
    }
    // I - Ω^½ H Ω^½; and (I - HΩ)⁻¹ = I + H Ω^½ (I - Ω^½ H Ω^½)⁻¹ Ω^½.
    var weighted = leverages.scalingColumns(by: roots)
    weighted.scaleRows(by: roots)
    var rest = weighted.map { -$0 }
    rest.addToDiagonal([Double](repeating: 1, count: rows.count))
    let factor: Cholesky<Double>
    do {
      factor = try Cholesky(rest)
    } catch {
      throw Self.undetermined(0, rows: rows)
    }
    try Self.checkRest(factor.factor.diagonal.map { $0 * $0 }.min() ?? 1, rows: rows)
    var half = leverages.scalingColumns(by: roots)  // H Ω^½
    let scaledResiduals = zip(roots, residuals).map { $0 * $1 }
    let solution = factor.solve(scaledResiduals)
    let shifts = half.multiplied(by: solution)
    factor.whiten(rows: &half)
    let (variance, freedom) = try noise(
      target, without: own?.reduce(0, +) ?? Double(rows.count),
      energy: zip(scaledResiduals, solution).reduce(0) { $0 + $1.0 * $1.1 }, rows: rows)
    for (place, row) in rows.enumerated() {
      let added = half.rows(place..<place + 1).squaredNorm
      parts.locations[row, target] = residuals[place] + shifts[place]
      parts.scales[row, target] =
        (variance * (1 + leverages[place, place] + added)).squareRoot()
      parts.degreesOfFreedom[row] = freedom
    }
  }

  /// The variance of the noise and the degrees of freedom without some rows.
  private func noise(
    _ target: Int, without weight: Double, energy: Double, rows: [Int]
  ) throws(NumericsError) -> (variance: Double, degreesOfFreedom: Double) {
    switch noise {
    case .estimated(let precisions, _): return (1 / precisions[target], .infinity)
    case .integrated(let prior, let shape, let rates):
      let left = shape - 0.5 * weight
      // Rounding must not take what the prior of the noise has given.
      let rate = max(rates[target] - 0.5 * energy, prior.rate)
      guard left > 0, rate > 0 else {
        throw .invalidParameter(
          "the shape of the noise without \(Self.name(rows))", value: left,
          expected:
            "a positive number; give the noise's prior a shape and a rate above 0, or leave "
            + "out fewer rows together")
      }
      return (rate / left, 2 * left)
    }
  }

  private static func checkRest(_ rest: Double, rows: [Int]) throws(NumericsError) {
    // Below this the difference is rounding of the sums that h consists of.
    guard rest > 1e-13 else { throw undetermined(rest, rows: rows) }
  }

  private static func undetermined(_ rest: Double, rows: [Int]) -> NumericsError {
    .invalidParameter(
      "1 less the leverage of \(name(rows))", value: max(rest, 0),
      expected:
        "a positive number: without these rows nothing determines the intercept, or a weight that has "
        + "next to no prior; leave out fewer rows together")
  }

  private static func name(_ rows: [Int]) -> String {
    rows.count == 1 ? "row \(rows[0])" : "the group of row \(rows[0])"
  }
}
