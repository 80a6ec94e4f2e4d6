import BllarseNumerics

/// The rows that are left out in turn, fold after fold, and what can be said of their labels.
///
/// A class whose rows are all in one fold cannot be predicted without it, and is no use for a choice. But
/// leaving such rows out of a score chooses rows by their labels: a model of one positive row in a thousand
/// rightly expects about one positive among the others, and looks less certain than it should be on negative rows
/// alone. So the likelihood of the rows that are kept is conditional on what they were chosen by,
///
///     p(y | x, y is no lone class) = p(y | x) / Σ p(k | x) over the other classes k,
///
/// which is the softmax of the other classes' logits, at any temperature.
struct LeftOutRows: Sendable {
  /// The rows of each fold that is left out.
  let folds: [[Int]]
  /// The same, one after the other.
  let rows: [Int]
  /// Places among ``rows`` that can be scored.
  let scored: [Int]
  /// The labels there.
  let labels: [Int32]
  /// How often each counts; `nil` for once.
  let weights: [Double]?
  /// The group of each, which is chosen or not as one.
  let groups: [Int]
  /// Classes that cannot be predicted without a fold.
  private let loneClasses: [Int]

  /// Divides the rows.
  ///
  /// - Parameters:
  ///   - division: of all rows into folds.
  ///   - labels: of all rows.
  ///   - weights: of all rows.
  ///   - classCount: K.
  init(_ division: RowFolds, labels: [Int32], weights: [Double]?, classCount: Int) {
    let count = division.evaluatedCount
    var folds = [[Int]](repeating: [], count: count)
    for (row, fold) in division.folds.enumerated() where fold < count { folds[fold].append(row) }
    var isInFold = [Set<Int>](repeating: [], count: classCount)
    for (row, fold) in division.folds.enumerated() where weights?[row] != 0 {
      isInFold[Int(labels[row])].insert(fold)
    }
    let lone = isInFold.indices.filter { k in
      isInFold[k].count == 1 && isInFold[k].allSatisfy { $0 < count }
    }
    let isLone = Set(lone)
    let rows = folds.flatMap { $0 }
    let known = isInFold.count { !$0.isEmpty } - lone.count
    let scored =
      known > 1
      ? rows.indices.filter {
        !isLone.contains(Int(labels[rows[$0]])) && weights?[rows[$0]] != 0
      } : []
    self.folds = folds
    self.rows = rows
    self.scored = scored
    self.labels = scored.map { labels[rows[$0]] }
    self.weights = weights.map { weights in scored.map { weights[rows[$0]] } }
    groups = scored.map { division.groups[rows[$0]] }
    loneClasses = lone
  }

  /// Whether there is anything to choose by.
  var isEmpty: Bool { scored.isEmpty }

  /// The logits of the rows that can be scored, without the classes that cannot be predicted.
  func restricted(_ logits: Matrix<Double>) -> Matrix<Double> {
    guard scored.count < rows.count || !loneClasses.isEmpty else { return logits }
    var result = logits.gatheringRows(scored)
    for row in 0..<result.rowCount {
      result.withMutableRow(row) { values in
        for k in loneClasses { values[k] = Self.impossible }
      }
    }
    return result
  }

  /// By how much one candidate predicts the rows that can be scored better than another.
  ///
  /// - Parameters:
  ///   - losses: of the one, in nats, a number for each.
  ///   - others: of the other.
  ///   - places: of the rows that count; `nil` for all.
  /// - Returns: the sum of the differences and its standard error: rows of a group are one observation.
  func gain(of losses: [Double], over others: [Double], places: [Int]? = nil) -> Gain {
    let places = places ?? Array(labels.indices)
    var total = 0.0
    for place in places { total += weights?[place] ?? 1 }
    func difference(_ place: Int) -> Double { others[place] - losses[place] }
    let sum = places.reduce(0) { $0 + (weights?[$1] ?? 1) * difference($1) }
    let mean = total > 0 ? sum / total : 0
    return Gain(
      sum: sum,
      standardError: groupedStandardError(places) { difference($0) - mean })
  }

  /// The standard error of a weighted sum, in which rows of one group are one observation.
  ///
  /// - Parameters:
  ///   - places: of the rows that count.
  ///   - deviation: of a row from the mean.
  /// - Returns: infinity for less than two groups.
  func groupedStandardError(_ places: [Int], _ deviation: (Int) -> Double) -> Double {
    var sums: [Int: Double] = [:]
    for place in places {
      sums[groups[place], default: 0] += (weights?[place] ?? 1) * deviation(place)
    }
    let count = Double(sums.count)
    guard count > 1 else { return .infinity }
    // In an order that does not change from run to run.
    let squares = sums.keys.sorted().reduce(0) { $0 + (sums[$1] ?? 0) * (sums[$1] ?? 0) }
    return (squares * count / (count - 1)).squareRoot()
  }

  /// How much better one candidate is than another, in nats over all rows.
  struct Gain {
    var sum: Double
    var standardError: Double
    /// Whether it is more than ``RecipeConstants/scalingErrors`` standard errors.
    var isPlain: Bool { sum > RecipeConstants.scalingErrors * standardError }
  }

  /// A logit whose probability is 0 at any temperature that a calibration has.
  private static var impossible: Double { -1e9 }
}
