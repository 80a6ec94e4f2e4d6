import BllarseNumerics

/// Finds the rows of a training set that are copies of others.
///
/// A copy says nothing that its original does not, but it counts as another observation in the evidence,
/// and in leave-one-out predictions the row that is left out is still there. Rows that agree by chance, as
/// rows of a few categories do, are observations in their own right. Agreeing rows are taken for copies if
///
/// 1. they have the same label, all of them;
/// 2. rows that agree in all but a few columns are rarer than those that agree in all: by chance they
///    would be more frequent.
enum DistinctRows {
  /// The share of copies below which they make no difference.
  private static let smallestShare = 0.01
  /// Rows that near agreement is looked for among, at most and at least.
  private static let (sampleLimit, sampleMinimum) = (150, 20)
  /// The share of the columns that are not zero in both, and how many at least, that nearly agreeing rows
  /// may differ in.
  private static let (nearShare, nearCount) = (0.1, 2)

  /// The first of each set of copies, in their order.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - labels: a class for each row.
  /// - Returns: rows, or `nil` if there are no copies, or next to none.
  /// - Complexity: N·min(D, 16); where rows agree, N·D and some 10,000·D.
  static func indices(_ features: FeatureMatrix, _ labels: [Int32]) -> [Int]? {
    switch features.storage {
    case .float16(let matrix): indices(matrix, labels)
    case .float32(let matrix): indices(matrix, labels)
    case .float64(let matrix): indices(matrix, labels)
    }
  }

  private static func indices<Element: BinaryFloatingPoint & BitwiseCopyable & Sendable>(
    _ matrix: Matrix<Element>, _ labels: [Int32]
  ) -> [Int]? {
    // 1. Rows by the hash of a few columns first: nearly always that tells them all apart.
    let step = max(matrix.columnCount / 16, 1)
    let hashes = (0..<matrix.rowCount).map { row in
      matrix.withRow(row) { values in
        var hash: UInt64 = 0
        for column in stride(from: 0, to: values.count, by: step) {
          // -0 and 0 agree.
          hash = (hash ^ Double(values[column] + 0).bitPattern) &* 0x9E37_79B9_7F4A_7C15
          hash ^= hash >> 29
        }
        return hash
      }
    }
    let order = (0..<matrix.rowCount).sorted { (hashes[$0], $0) < (hashes[$1], $1) }
    var isCopy = [Bool](repeating: false, count: matrix.rowCount)
    var copies = 0
    var start = 0
    for end in 1...max(order.count, 1)
    where end >= order.count || hashes[order[end]] != hashes[order[start]] {
      let alike = order[start..<min(end, order.count)]
      start = end
      for (position, row) in zip(alike.indices, alike).dropFirst() {
        let originals = alike[..<position].lazy.filter { !isCopy[$0] }
        guard let original = originals.first(where: { matrix.agree($0, row) }) else { continue }
        guard labels[original] == labels[row] else { return nil }
        isCopy[row] = true
        copies += 1
      }
    }
    let kept = isCopy.indices.filter { !isCopy[$0] }
    guard Double(copies) >= smallestShare * Double(matrix.rowCount), matrix.columnCount > 1,
      kept.count >= sampleMinimum
    else { return nil }

    // 2. Near agreement, among some of the distinct rows.
    let some = stride(from: 0, to: kept.count, by: max(kept.count / sampleLimit, 1)).map {
      kept[$0]
    }
    var near = 0
    for (index, row) in some.enumerated() {
      for other in some.dropFirst(index + 1)
      where matrix.agreeNearly(row, other, nearShare, nearCount) { near += 1 }
    }
    let pairs = Double(some.count * (some.count - 1)) / 2
    let allPairs = Double(matrix.rowCount * (matrix.rowCount - 1)) / 2
    // A set of m rows has m - 1 copies; that many pairs at least agree.
    return pairs > 0 && Double(near) / pairs < Double(copies) / allPairs ? kept : nil
  }
}

extension Matrix where Element: BinaryFloatingPoint {
  fileprivate func agree(_ first: Int, _ second: Int) -> Bool {
    withRow(first) { a in
      withRow(second) { b in
        for column in a.indices where a[column] != b[column] { return false }
        return true
      }
    }
  }

  /// Whether two rows differ in a few columns only.
  fileprivate func agreeNearly(_ first: Int, _ second: Int, _ share: Double, _ count: Int) -> Bool {
    withRow(first) { a in
      withRow(second) { b in
        var (differences, occupied) = (0, 0)
        for column in a.indices {
          if a[column] != b[column] { differences += 1 }
          if a[column] != 0 || b[column] != 0 { occupied += 1 }
        }
        let limit = Swift.max(count, Int(share * Double(occupied)))
        return differences <= Swift.min(limit, columnCount - 1)
      }
    }
  }
}
