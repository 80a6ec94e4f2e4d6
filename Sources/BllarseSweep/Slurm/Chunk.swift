/// One job array of a submission.
public struct Chunk: Sendable, Equatable {
  /// Added to the array's task number: INDEX_OFFSET.
  public let offset: Int
  /// The array's task numbers, ascending.
  public let tasks: [Int]
  /// The configurations, one for each task.
  public let indices: [Int]

  /// The array as sbatch takes it: `0-9,12,14-20%5`.
  ///
  /// - Parameter limit: how many run at once.
  /// - Returns: the value of `--array`.
  func arraySpecification(limit: Int?) -> String {
    Self.ranges(tasks) + (limit.map { "%\($0)" } ?? "")
  }

  /// Ascending numbers in SLURM's notation.
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

/// How the configurations of a submission are spread over job arrays.
public struct ChunkPlan: Sendable, Equatable {
  /// The arrays, in the order of submission.
  public let chunks: [Chunk]
  /// The configurations by position, when a task's number plus the offset is a position in this
  /// list; nil when it is the index itself.
  public let order: [Int]?

  /// Plans the arrays.
  ///
  /// - Parameters:
  ///   - indices: the configurations in the order in which they are to start.
  ///   - maxArraySize: one more than the highest task number; a larger submission is chunked.
  ///   - allowsOrderFile: whether the job script looks positions up. Scripts that only add
  ///     INDEX_OFFSET need task numbers that lead to the index itself.
  /// - Throws: ``SweepError`` (64) for an order that such a script cannot follow.
  init(indices: [Int], maxArraySize: Int, allowsOrderFile: Bool) throws {
    let isAscending = zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 }
    let isContiguous =
      isAscending && indices.last.map { $0 - indices[0] + 1 == indices.count } ?? true
    if isContiguous || allowsOrderFile {
      order = isContiguous ? nil : indices
      let first = isContiguous ? indices.first ?? 0 : 0
      chunks = stride(from: 0, to: indices.count, by: maxArraySize).map { start in
        let count = min(maxArraySize, indices.count - start)
        return Chunk(
          offset: first + start, tasks: Array(0..<count),
          indices: Array(indices[start..<start + count]))
      }
      return
    }
    guard isAscending else {
      throw SweepError(
        .usage,
        "--array-order needs a job script that reads BLLARSE_TASK_ORDER; this one only adds INDEX_OFFSET"
      )
    }
    order = nil
    var chunks: [Chunk] = []
    var rest = indices[...]
    while let offset = rest.first {
      let window = rest.prefix { $0 - offset < maxArraySize }
      chunks.append(
        Chunk(offset: offset, tasks: window.map { $0 - offset }, indices: Array(window)))
      rest = rest.dropFirst(window.count)
    }
    self.chunks = chunks
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
