/// The names of arrays that say more of the training rows than their classes.
///
/// An array NAME is stored as `NAME_train`, or as `NAME` with as many rows as the training split. There is
/// nothing to be said of the rows of other splits: every scored row counts once.
public struct RowArrays: Sendable, Hashable {
  /// How often each row counts in the fit: numbers that are not negative.
  public var weights: String?
  /// Which rows belong together, and are left out together: integers, or rows of bytes.
  public var groups: String?

  /// Names arrays.
  public init(weights: String? = nil, groups: String? = nil) {
    self.weights = weights
    self.groups = groups
  }
}

/// What such arrays hold.
struct RowValues: Sendable, Equatable {
  var weights: [Double]?
  var groups: [Int]?
}

extension FeatureFile {
  /// Reads and checks the arrays of the training rows.
  ///
  /// - Parameters:
  ///   - arrays: their names.
  ///   - rowCount: the number of training rows.
  /// - Returns: what was named.
  /// - Throws: `DataError` that names array and row: there is no such array, it has another number of rows,
  ///   or a value is no weight or no group.
  func values(of arrays: RowArrays, rowCount: Int) throws(DataError) -> RowValues {
    var values = RowValues()
    if let name = arrays.weights {
      let tensor = try source.tensor(try trainingArray(name, "weight", rowCount: rowCount))
      let weights: [Double] = try tensor.array()
      try RowWeights.check(weights, rowCount: rowCount, file: tensor.path, key: tensor.name)
      values.weights = weights
    }
    if let name = arrays.groups {
      do throws(DataError) {
        let tensor = try source.tensor(try trainingArray(name, "group", rowCount: rowCount))
        values.groups = try tensor.groups()
      } catch {
        guard error.code == .wrongType else { throw error }
        // Names, as NumPy stores them, are no numbers.
        var fault = error
        fault.expected = "integers"
        fault.advice = "number the groups, with numpy.unique(groups, return_inverse=True)[1]"
        throw fault
      }
    }
    return values
  }

  /// The array that holds one entry a training row under a name.
  private func trainingArray(
    _ name: String, _ noun: String, rowCount: Int
  ) throws(DataError) -> String {
    let names = source.names
    let candidates = [name + "_" + SplitRoles.training, name]
    guard let found = candidates.first(where: names.contains) else {
      throw DataError(
        .missingKey, file: path, key: candidates[0],
        found: DataError.absence("array", among: names),
        expected: "one \(noun) a training row, in \(candidates[0]) or \(name)")
    }
    let header = try source.header(found)
    let isList = header.shape.count == 1 || header.shape.count == 2 && header.shape[1] == 1
    guard header.shape.first == rowCount, isList || noun == "group" && header.shape.count == 2
    else {
      throw StoredTensor.wrongShape(
        header.shape, path: header.path, name: header.name,
        expected: "one \(noun) for each of the \(rowCount) training rows")
    }
    return found
  }
}

extension StoredTensor {
  /// Groups, one for each entry of the first dimension, numbered from 0 in the order of their first rows.
  ///
  /// Integers of any type, floating-point numbers without a fraction, or rows of integers (texts as bytes)
  /// that are the same in every place.
  fileprivate func groups() throws(DataError) -> [Int] {
    switch type {
    case .float8e4m3, .float8e5m2, .float16, .bfloat16, .float32, .float64:
      guard shape.count == 1 || shape[1] == 1 else {
        throw wrongShape(expected: "one group a row (rows)")
      }
      let values: [Double] = try array()
      var groups: [Int] = []
      groups.reserveCapacity(values.count)
      for (row, value) in values.enumerated() {
        guard let group = Int(exactly: value) else {
          throw DataError(
            .wrongType, file: path, key: name, row: row, found: "the group is \(value)",
            expected: "integers")
        }
        groups.append(group)
      }
      return RowGroups.dense(groups)
    case .bool, .uint8, .int8, .int16, .uint16, .int32, .uint32, .int64, .uint64:
      defer { withExtendedLifetime(owner) {} }
      let rows = shape[0]
      let size = rows == 0 ? 0 : bytes.count / rows
      func entry(_ row: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[row * size..<(row + 1) * size])
      }
      // Numbers are told apart by their bits, which takes less memory than lists.
      guard size > 8 else {
        return RowGroups.dense(
          (0..<rows).map { row in entry(row).reduce(0 as UInt64) { $0 << 8 | UInt64($1) } })
      }
      return RowGroups.dense((0..<rows).map { [UInt8](entry($0)) })
    }
  }
}
