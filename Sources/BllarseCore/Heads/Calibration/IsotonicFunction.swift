/// A step function that never falls, fitted by pooling adjacent violators.
///
/// - Note: Source: Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass
///   probability estimates", KDD 2002.
public struct IsotonicFunction: Sendable, Equatable {
  /// Where the steps begin, ascending.
  public let thresholds: [Double]
  /// The values from there on; the first holds below as well.
  public let values: [Double]

  /// Takes steps as they are.
  public init(thresholds: [Double], values: [Double]) {
    precondition(
      thresholds.count == values.count && !values.isEmpty,
      "\(thresholds.count) thresholds for \(values.count) values")
    self.thresholds = thresholds
    self.values = values
  }

  /// Fits the shares of rows of a class as a function of the probability predicted for it.
  ///
  /// Half a row of each kind is added to a step, so that no probability is 0 or 1.
  ///
  /// - Parameters:
  ///   - probabilities: predicted for the class, one a row.
  ///   - isClass: whether a row is of the class.
  public init(probabilities: [Double], isClass: [Bool]) {
    let order = probabilities.indices.sorted { probabilities[$0] < probabilities[$1] }
    var blocks: [(start: Double, sum: Double, count: Double)] = []
    for row in order {
      let value = isClass[row] ? 1.0 : 0
      if let last = blocks.last, last.start == probabilities[row] {
        blocks[blocks.count - 1].sum += value
        blocks[blocks.count - 1].count += 1
      } else {
        blocks.append((probabilities[row], value, 1))
      }
      while blocks.count > 1 {
        let (a, b) = (blocks[blocks.count - 2], blocks[blocks.count - 1])
        guard a.sum / a.count >= b.sum / b.count else { break }
        blocks.removeLast()
        blocks[blocks.count - 1] = (a.start, a.sum + b.sum, a.count + b.count)
      }
    }
    if blocks.isEmpty { blocks = [(0, 0, 0)] }
    thresholds = blocks.map(\.start)
    // Smoothing may disturb the order of small blocks: keep what was reached.
    var reached = 0.0
    values = blocks.map { block in
      reached = max(reached, (block.sum + 0.5) / (block.count + 1))
      return reached
    }
  }

  /// The value at a probability.
  public func callAsFunction(_ probability: Double) -> Double {
    var (low, high) = (0, thresholds.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if thresholds[middle] <= probability { low = middle } else { high = middle }
    }
    return values[low]
  }
}
