/// What is asked of row weights and row groups, wherever they come from.
enum RowWeights {
  /// The largest weight.
  ///
  /// Sums over rows are products of weights, features and numbers of rows in single precision, which ends
  /// at 3e38.
  static let limit = 1e12

  /// Refuses weights that are none.
  ///
  /// - Parameters:
  ///   - weights: one a row.
  ///   - rowCount: the number of rows.
  ///   - file: the file, if there is one.
  ///   - key: the array.
  /// - Throws: `DataError`: another number of weights than rows, a weight that is not finite, negative or
  ///   above ``limit``, or none that is positive.
  static func check(
    _ weights: [Double], rowCount: Int, file: String?, key: String
  ) throws(DataError) {
    guard weights.count == rowCount else {
      throw DataError(
        .wrongShape, file: file, key: key,
        found: "there are \(rowCount) rows of features and \(weights.count) weights",
        expected: "one weight a row")
    }
    if let row = weights.firstIndex(where: { !($0 >= 0 && $0 <= limit) }) {
      let weight = weights[row]
      throw DataError(
        weight.isFinite ? .outOfRange : .notFinite, file: file, key: key, row: row,
        found: "the weight is \(weight)", expected: "a number from 0 to \(Int(limit))",
        advice: weight > limit && weight.isFinite
          ? "divide all weights by their mean"
          : "correct it, or give 0 for a row that is not to count"
      )
    }
    try requirePositive(weights, file: file, key: key)
  }

  /// Refuses weights that are all 0.
  static func requirePositive(
    _ weights: [Double], file: String?, key: String
  ) throws(DataError) {
    guard weights.contains(where: { $0 > 0 }) else {
      throw DataError(
        .insufficientData, file: file, key: key, found: "all \(weights.count) weights are 0",
        expected: "rows that count")
    }
  }
}

/// Groups of rows.
enum RowGroups {
  /// Refuses another number of groups than rows.
  static func requireCount(
    _ count: Int, rowCount: Int, file: String?, key: String
  ) throws(DataError) {
    guard count == rowCount else {
      throw DataError(
        .wrongShape, file: file, key: key,
        found: "there are \(rowCount) rows of features and \(count) groups",
        expected: "one group a row")
    }
  }

  /// Numbers groups from 0 without gaps, in the order in which they first occur.
  static func dense<Group: Hashable>(_ groups: [Group]) -> [Int] {
    var numbers: [Group: Int] = [:]
    return groups.map { group in
      let number = numbers[group] ?? numbers.count
      numbers[group] = number
      return number
    }
  }
}
