/// One array of a submission.
public struct Chunk: Sendable, Equatable {
  /// Added to the array's task number: INDEX_OFFSET.
  public let offset: Int
  /// The array's task numbers, ascending.
  public let tasks: [Int]
  /// The configurations, one for each task.
  public let indices: [Int]

  /// Ascending numbers as ranges: `0-9,12`.
  package static func ranges(_ numbers: [Int]) -> String {
    var parts: [String] = []
    var start = 0
    while start < numbers.count {
      var end = start
      while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
      parts.append(start == end ? "\(numbers[start])" : "\(numbers[start])-\(numbers[end])")
      start = end + 1
    }
    return parts.joined(separator: ",")
  }
}

extension Chunk {
  /// Spreads the configurations of a submission over arrays of at most so many tasks.
  ///
  /// A script that only adds INDEX_OFFSET allows no order file: its tasks' numbers must lead to the index
  /// itself. `order` has the configurations by position (task and offset); nil where that is the index.
  static func plan(
    _ indices: [Int], maxArraySize: Int, allowsOrderFile: Bool
  ) throws -> (chunks: [Chunk], order: [Int]?) {
    let isAscending = zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 }
    let isContiguous =
      isAscending && indices.last.map { $0 - indices[0] + 1 == indices.count } ?? true
    if isContiguous || allowsOrderFile {
      let first = isContiguous ? indices.first ?? 0 : 0
      let chunks = stride(from: 0, to: indices.count, by: maxArraySize).map { start in
        let count = min(maxArraySize, indices.count - start)
        return Chunk(
          offset: first + start, tasks: Array(0..<count),
          indices: Array(indices[start..<start + count]))
      }
      return (chunks, isContiguous ? nil : indices)
    }
    guard isAscending else {
      throw SweepError(
        .usage,
        "--array-order needs a job script that reads BLLARSE_TASK_ORDER; this one only adds INDEX_OFFSET"
      )
    }
    var chunks: [Chunk] = []
    var rest = indices[...]
    while let offset = rest.first {
      let window = rest.prefix { $0 - offset < maxArraySize }
      chunks.append(
        Chunk(offset: offset, tasks: window.map { $0 - offset }, indices: Array(window)))
      rest = rest.dropFirst(window.count)
    }
    return (chunks, nil)
  }

  /// The configurations in the order in which they are to start.
  static func ordered(_ indices: [Int], _ order: SubmitOptions.ArrayOrder) -> [Int] {
    switch order {
    case .index: return indices
    case .reverse: return indices.reversed()
    case .shuffle:
      // Sorted by a hash: the same permutation on every machine.
      return indices.map { (index: $0, key: Digest.hex("order \($0)")) }
        .sorted { $0.key < $1.key }.map(\.index)
    }
  }
}
