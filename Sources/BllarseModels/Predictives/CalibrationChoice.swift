package import BllarseNumerics
import Glibc

/// The map that stands for the kind that was asked for, chosen by predictions of left-out rows.
///
/// A map class by class (vector, isotonic) is used where, in cross-validation over the validation rows, it
/// predicts left-out rows better than the one temperature, by more than two standard errors of the difference (2 + 10/n
/// of n rows); otherwise the temperature stands. Equal rows, and rows of one group, are left out together and
/// count as one.
///
/// Maps class by class have parameters for each class, and few rows, or copies of one, say little about
/// them. The temperature has one, with a prior, and changes the order of no classes.
public struct CalibrationChoice: Sendable, Equatable {
  /// The kind of map that was asked for.
  public let requested: HeldOutCalibration.Method
  /// The map that stands, fitted to all rows.
  public let calibration: HeldOutCalibration
  /// How left-out rows are predicted; `nil` where a temperature was asked for, or no row can be left out.
  public let leftOut: LeftOutLosses?

  /// Mean negative log-likelihoods of left-out rows, in nats.
  public struct LeftOutLosses: Sendable, Equatable, Codable {
    /// Of maps of the kind that was asked for.
    public var requested: Double
    /// Of temperatures.
    public var temperature: Double
    /// The standard error of the difference between the two.
    public var differenceError: Double
    /// The number of rows.
    public var rows: Int
    /// The number of groups of rows, each of which counts once.
    public var groups: Int

    enum CodingKeys: String, CodingKey {
      case requested, temperature, rows, groups
      case differenceError = "difference_se"
    }

    /// Whether maps of the kind that was asked for are better by more than chance would have it.
    var prefersRequested: Bool {
      temperature - requested > CalibrationChoice.requiredErrors(groups) * differenceError
    }
  }

  /// The standard errors by which a map class by class must be better, where n rows or groups show it.
  ///
  /// By simulation, three classes, 200 draws (40 of 200 rows). Where a map class by class is of little or no
  /// use, as predictions are calibrated, too certain by a factor of 2, or slightly wrong class by class: the share of
  /// draws in which a map was adopted that is worse on new rows than the temperature, vector and isotonic, in the
  /// best and the worst case, and the mean cost in nats a row in the worst, by the standard errors that are
  /// asked for:
  ///
  ///     n         0               1               2               2 + 10/n        3
  ///       5     23-52 % .049    16-41 % .044     4-9 % .015      0-1 % .002     0-3 % .002
  ///      10     28-42 % .046    17-24 % .033    2-12 % .015      0-4 % .009     0-4 % .009
  ///      20     20-40 % .035     8-19 % .019     1-6 % .009      0-3 % .005     0-2 % .002
  ///      30     15-37 % .026     4-20 % .014     0-6 % .006      0-4 % .004     0-2 % .002
  ///      50      5-38 % .017     2-22 % .007    0-10 % .002      0-8 % .002     0-3 % .001
  ///     200      0-19 % .003      0-8 % .001     0-5 % .000      0-5 % .000     0-2 % .000
  ///
  /// (A map that was adopted by chance costs up to .5 nats, and .4 of the accuracy.) Where vectors gain
  /// .2 nats, as the classes' frequencies are others than in training, the share of draws that adopt one:
  ///
  ///      20     94 %            76 %            50 %            28 %            15 %
  ///      50     100 %           97 %            85 %            77 %            47 %
  ///
  /// and where they gain .06 nats:
  ///
  ///     200     100 %           90 %            50 %            50 %            10 %
  ///     500     100 %           100 %           100 %           100 %           80 %
  ///
  /// Fewer errors harm too often where rows are few; three miss too much where they are not.
  static func requiredErrors(_ groups: Int) -> Double { 2 + 10 / Double(groups) }

  /// Why ``calibration`` stands, in a clause; `nil` where a temperature was asked for.
  public var reason: String? {
    guard requested != .temperature else { return nil }
    guard let leftOut else { return "all rows are of one group, and none can be left out" }
    let errors = (10 * Self.requiredErrors(leftOut.groups)).rounded() / 10
    return
      "left-out rows are \(leftOut.prefersRequested ? "" : "not ")predicted better by more than "
      + "\(errors) standard errors"
  }

  /// Fits a map of the kind that was asked for, and the temperature, and chooses.
  ///
  /// - Parameters:
  ///   - requested: the kind of map.
  ///   - logProbabilities: predictions, n x K, finite.
  ///   - labels: a class for each row, n at least 1.
  ///   - groups: numbers, the same for rows that are left out together; by default rows that are predicted
  ///     the same.
  ///   - execution: the threads to work with.
  /// - Throws: as ``HeldOutCalibration/init(_:logProbabilities:labels:groups:execution:)``.
  /// - Complexity: that of up to 11 fits; of 2 for 25,000 rows and more, of which a tenth is left out.
  package init(
    _ requested: HeldOutCalibration.Method, logProbabilities: Matrix<Double>, labels: [Int32],
    groups: [Int]? = nil, execution: Execution
  ) throws(NumericsError) {
    try TrainingRows.checkLabels(
      labels, rowCount: logProbabilities.rowCount, classCount: logProbabilities.columnCount,
      rows: "rows to calibrate on")
    if let (row, column) = logProbabilities.firstNonFinite {
      throw .notFinite(row: row, column: column)
    }
    if let groups, groups.count != labels.count {
      throw .sizeMismatch(
        of: "groups", found: groups.count, expected: labels.count, reason: "one for each row")
    }
    self.requested = requested
    let groups = groups ?? EqualRows.firsts(FeatureMatrix(logProbabilities))
    leftOut =
      requested == .temperature
      ? nil
      : try LeftOutLosses(
        requested, logProbabilities, labels,
        RowFolds(groups: groups, seed: 1, count: RecipeConstants.foldCount), execution)
    calibration = try HeldOutCalibration(
      fitting: leftOut?.prefersRequested == true ? requested : .temperature,
      to: logProbabilities, labels, execution)
  }
}

extension CalibrationChoice.LeftOutLosses {
  /// Leaves out fold after fold; `nil` where all rows are of one group.
  fileprivate init?(
    _ requested: HeldOutCalibration.Method, _ logProbabilities: Matrix<Double>, _ labels: [Int32],
    _ division: RowFolds, _ execution: Execution
  ) throws(NumericsError) {
    // 1. The sums of the two losses over each group, and its rows.
    var sums = [Int: (requested: Double, temperature: Double, rows: Int)]()
    for fold in 0..<division.evaluatedCount {
      let kept = labels.indices.filter { division.folds[$0] != fold }
      let left = labels.indices.filter { division.folds[$0] == fold }
      let (logs, keptLabels) = (logProbabilities.gatheringRows(kept), kept.map { labels[$0] })
      let new = logProbabilities.gatheringRows(left)
      let own = try HeldOutCalibration(fitting: requested, to: logs, keptLabels, execution)
        .apply(to: new)
      let tempered = try HeldOutCalibration(
        fitting: .temperature, to: logs, keptLabels, execution
      ).apply(to: new)
      for (place, row) in left.enumerated() {
        let label = Int(labels[row])
        let known = sums[division.groups[row]] ?? (0, 0, 0)
        sums[division.groups[row]] = (
          known.requested - own[place, label], known.temperature - tempered[place, label],
          known.rows + 1
        )
      }
    }
    guard sums.count > 1 else { return nil }
    // 2. Each group is one observation: repeats of a row are no evidence of their own.
    let means = sums.keys.sorted().compactMap { group in
      sums[group].map { ($0.requested / Double($0.rows), $0.temperature / Double($0.rows)) }
    }
    let count = Double(means.count)
    self.requested = means.reduce(0) { $0 + $1.0 } / count
    temperature = means.reduce(0) { $0 + $1.1 } / count
    let difference = self.requested - temperature
    let squares = means.reduce(0) {
      $0 + ($1.0 - $1.1 - difference) * ($1.0 - $1.1 - difference)
    }
    differenceError = (squares / (count - 1) / count).squareRoot()
    rows = sums.values.reduce(0) { $0 + $1.rows }
    groups = means.count
  }
}

/// Rows to calibrate on: the likelihood of their labels as a function of an inverse temperature β.
package struct CalibrationRows: Sendable {
  /// L, n x K: log-probabilities up to a constant in each row.
  let logits: Matrix<Double>
  let labels: [Int32]
  /// How often each row counts; `nil` for once.
  var weights: [Double]?
  /// Class probabilities in place of the labels.
  var distributions: ClassDistributions?
  let execution: Execution

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
    let parts = execution.map(labels.count, blockSize: blockSize) { range in
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
            if let distributions {
              // Other classes than the label: their part of the loss is linear in β.
              var excess = 0.0
              distributions.probabilities.withRow(range.lowerBound + row) { shares in
                for k in 0..<classes where shares[k] > 0 {
                  excess += Double(shares[k]) * (l[k] - l[label])
                }
              }
              sums.value -= weight * beta * excess
              sums.slope -= weight * excess
            }
            sums.curvature += weight * max(0, second - first * first)
          }
        }
      }
      return [sums]
    }
    var total = Terms()
    for part in parts {
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
