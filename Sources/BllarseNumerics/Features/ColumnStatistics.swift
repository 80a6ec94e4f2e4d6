/// Mean, standard deviation and largest magnitude of every column of a design without bias.
package struct ColumnStatistics: Sendable, Equatable {
  /// The means.
  package let means: [Double]
  /// The population standard deviations.
  package let deviations: [Double]
  /// The largest magnitudes.
  package let magnitudes: [Double]
  /// What a deviation must be above, in units of the magnitude, to be more than rounding.
  ///
  /// It is some units in the last place of the precision that the features are stored in: those in double
  /// precision may have an offset of 1e7 and still vary.
  package let resolution: Double

  /// Reads the rows once; sums are in double precision, about the first row, so that a mean far larger
  /// than the spread costs no accuracy.
  ///
  /// - Parameters:
  ///   - features: N x D, N at least 1.
  ///   - transform: how a row becomes a row of the design.
  ///   - weights: how often each row counts, N numbers that are not negative, not all 0; `nil` for once. A
  ///     row of weight 0 is not looked at.
  ///   - parallelism: the threads to work with.
  package init(
    _ features: FeatureMatrix, transform: FeatureTransform = .identity, weights: [Double]? = nil,
    parallelism: Parallelism
  ) {
    precondition(
      weights == nil || weights?.count == features.rowCount,
      "\(weights?.count ?? 0) weights for \(features.rowCount) rows")
    let design = DesignMatrix<Double>(features, transform: transform, hasBias: false)
    let columns = features.columnCount
    let stride = design.paddedColumnCount
    let first = weights?.firstIndex { $0 > 0 } ?? 0
    let origin = design.matrix(rows: first..<first + 1).elements
    let blockSize = 256
    // Sums, sums of squares and magnitudes of each worker, after room for a block.
    let workers = parallelism.forEachBlock(of: features.rowCount, blockSize: blockSize) {
      (sums: Scratch<Double>(count: 3 * columns), rows: Scratch<Double>(count: blockSize * stride))
    } _: { worker, range in
      let (sum, block) = worker
      unsafe design.copyRows(range, into: block.pointer)
      unsafe origin.withUnsafeBufferPointer { origin in
        for row in 0..<range.count {
          let weight = weights?[range.lowerBound + row] ?? 1
          guard weight > 0 else { continue }
          let values = unsafe block.pointer + row * stride
          for column in 0..<columns {
            let value = unsafe values[column]
            let difference = unsafe value - origin[column]
            let weighted = weight * difference
            unsafe sum.pointer[column] += weighted
            unsafe sum.pointer[columns + column] += weighted * difference
            if unsafe value.magnitude > sum.pointer[2 * columns + column] {
              unsafe sum.pointer[2 * columns + column] = value.magnitude
            }
          }
        }
      }
    }
    var means = [Double](repeating: 0, count: columns)
    var deviations = means
    var magnitudes = means
    let count = weights?.reduce(0, +) ?? Double(features.rowCount)
    for column in 0..<columns {
      var (sum, square, magnitude) = (0.0, 0.0, 0.0)
      for (part, _) in workers {
        sum += unsafe part.pointer[column]
        square += unsafe part.pointer[columns + column]
        magnitude = unsafe Swift.max(magnitude, part.pointer[2 * columns + column])
      }
      let mean = sum / count
      means[column] = origin[column] + mean
      deviations[column] = Swift.max(0, square / count - mean * mean).squareRoot()
      magnitudes[column] = magnitude
    }
    self.means = means
    self.deviations = deviations
    self.magnitudes = magnitudes
    if case .float64 = features.storage { resolution = 1e-13 } else { resolution = 1e-7 }
  }
}
