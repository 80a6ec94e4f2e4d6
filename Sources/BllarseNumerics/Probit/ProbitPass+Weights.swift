/// Row weights of a pass: w ≥ 0 multiplies a row's log-likelihood, and with it residuals, slopes and
/// curvatures, as if the row were there w times.
///
/// Kernels run over rows of equal weight that follow one another; a pass without weights is one such run
/// a block.
extension ProbitPass {
  /// The sum of the weights; the number of rows where there are none.
  package var totalWeight: Double { weights?.reduce(0, +) ?? Double(labels.count) }

  /// Multiplies every row of a matrix by its weight; rows of weight 0 become 0, whatever they held.
  func weigh(_ matrix: inout Matrix<Scalar>) {
    guard let weights else { return }
    let columns = matrix.columnCount
    unsafe matrix.withUnsafeMutablePointer { values, stride in
      for (row, weight) in weights.enumerated() {
        unsafe Self.weigh(values + row * stride, columns, weight)
      }
    }
  }

  fileprivate static func weigh(
    _ values: UnsafeMutablePointer<Scalar>, _ count: Int, _ weight: Double
  ) {
    guard weight > 0 else {
      unsafe values.update(repeating: 0, count: count)
      return
    }
    let factor = Scalar(weight)
    for index in 0..<count { unsafe values[index] *= factor }
  }
}

extension ProbitPass.Block {
  /// Calls `body` for every run of rows of equal weight in the block.
  ///
  /// - Parameter body: receives the rows, counted from the start of the block, and their weight, `nil`
  ///   where the pass has none.
  func forEachRun(_ body: (_ rows: Range<Int>, _ weight: Double?) -> Void) {
    guard let weights = pass.weights else { return body(0..<range.count, nil) }
    var start = 0
    while start < range.count {
      let weight = weights[range.lowerBound + start]
      var end = start + 1
      while end < range.count, weights[range.lowerBound + end] == weight { end += 1 }
      body(start..<end, weight)
      start = end
    }
  }

  /// Lets `body` add to sums, and adds what it added times the weight; nothing for weight 0, even where
  /// `body` added infinity.
  ///
  /// - Parameters:
  ///   - weight: of the rows, `nil` for 1.
  ///   - sums: the target.
  ///   - count: how many numbers it has, at most twice the classes.
  ///   - body: adds to the sums that it is given.
  func addWeighted(
    _ weight: Double?, to sums: UnsafeMutablePointer<Double>, count: Int,
    _ body: (UnsafeMutablePointer<Double>) -> Void
  ) {
    guard let weight else {
      unsafe body(sums)
      return
    }
    let part = unsafe runSums.pointer
    unsafe part.update(repeating: 0, count: count)
    unsafe body(part)
    guard weight > 0 else { return }
    for index in 0..<count { unsafe sums[index] += weight * part[index] }
  }

  /// Multiplies residuals of a run by its weight.
  func weighResiduals(_ rows: Range<Int>, _ weight: Double?) {
    guard let weight, weight != 1 else { return }
    for row in rows {
      unsafe ProbitPass.weigh(logits + row * classStride, pass.classCount, weight)
    }
  }
}
