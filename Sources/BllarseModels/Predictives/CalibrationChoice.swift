package import BllarseNumerics

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
  ///   - parallelism: the threads to work with.
  /// - Throws: as ``HeldOutCalibration/init(_:logProbabilities:labels:groups:parallelism:)``.
  /// - Complexity: that of up to 11 fits; of 2 for 25,000 rows and more, of which a tenth is left out.
  package init(
    _ requested: HeldOutCalibration.Method, logProbabilities: Matrix<Double>, labels: [Int32],
    groups: [Int]? = nil, parallelism: Parallelism
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
        RowFolds(groups: groups, seed: 1, count: RecipeConstants.foldCount), parallelism)
    calibration = try HeldOutCalibration(
      fitting: leftOut?.prefersRequested == true ? requested : .temperature,
      to: logProbabilities, labels, parallelism)
  }
}

extension CalibrationChoice.LeftOutLosses {
  /// Leaves out fold after fold; `nil` where all rows are of one group.
  fileprivate init?(
    _ requested: HeldOutCalibration.Method, _ logProbabilities: Matrix<Double>, _ labels: [Int32],
    _ division: RowFolds, _ parallelism: Parallelism
  ) throws(NumericsError) {
    // 1. The sums of the two losses over each group, and its rows.
    var sums = [Int: (requested: Double, temperature: Double, rows: Int)]()
    for fold in 0..<division.evaluatedCount {
      let kept = labels.indices.filter { division.folds[$0] != fold }
      let left = labels.indices.filter { division.folds[$0] == fold }
      let (logs, keptLabels) = (logProbabilities.gatheringRows(kept), kept.map { labels[$0] })
      let new = logProbabilities.gatheringRows(left)
      let own = try HeldOutCalibration(fitting: requested, to: logs, keptLabels, parallelism)
        .apply(to: new)
      let tempered = try HeldOutCalibration(
        fitting: .temperature, to: logs, keptLabels, parallelism
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
