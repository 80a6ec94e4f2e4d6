public import BllarseNumerics

/// Rows that are predicted together, which bounds the memory and divides the work among threads.
private let predictionBlockSize = 512

extension EvidenceHead {
  /// Means and variances of the logits of rows under one member.
  struct LogitMoments: Sendable {
    /// m, n x C.
    var means: Matrix<Double>
    /// v, n x C.
    var variances: Matrix<Double>
  }

  /// Means and variances of the logits.
  func moments(_ features: FeatureMatrix, _ weights: Matrix<Float>) -> LogitMoments {
    let rows: Matrix<Float>
    var outside: [Float]?
    if let rotation {
      let scaled = DesignMatrix<Float>(features, transform: transform, hasBias: false)
        .matrix(rows: 0..<features.rowCount)
      let inside = scaled.multiplied(by: rotation)  // (n, R)
      rows = DesignMatrix<Float>(FeatureMatrix(inside), transform: .identity, hasBias: true)
        .matrix(rows: 0..<features.rowCount)
      // What lies outside the space of the training rows has the prior's variance.
      outside = (0..<scaled.rowCount).map { row in
        let rest = scaled.rows(row..<row + 1).squaredNorm - inside.rows(row..<row + 1).squaredNorm
        return Float(max(0, rest) / priorPrecision)
      }
    } else {
      rows = DesignMatrix<Float>(features, transform: transform, hasBias: true)
        .matrix(rows: 0..<features.rowCount)
    }
    var variances = Matrix<Double>(covariance.leverages(rows))
    if let outside {
      for row in 0..<variances.rowCount {
        variances.withMutableRow(row) { for k in $0.indices { $0[k] += Double(outside[row]) } }
      }
    }
    return LogitMoments(means: Matrix<Double>(rows.multiplied(by: weights)), variances: variances)
  }

  /// Calls `body` with blocks of rows and the moments there, on all threads.
  func forEachBlock(
    _ features: FeatureMatrix, _ body: @Sendable (Range<Int>, LogitMoments) -> Void
  ) {
    precondition(
      features.columnCount == featureCount,
      "features have \(features.columnCount) columns, the head expects \(featureCount)")
    let weights = Matrix<Float>(weights)
    parallelism.forEachBlock(of: features.rowCount, blockSize: predictionBlockSize) { _, range in
      body(range, moments(features.rows(range), weights))
    }
  }

  /// Log-probabilities of one block.
  func logProbabilities(_ moments: LogitMoments) -> Matrix<Double> {
    TemperedLogits(
      Predictive(likelihood: likelihood).logits(
        means: moments.means, variances: moments.variances),
      inverseTemperature
    ).logProbabilities
  }

  /// The logarithms of the predictive class probabilities: the logits' uncertainty integrated out, at the
  /// fitted temperature.
  ///
  /// - Parameter features: N x featureCount, finite.
  /// - Returns: N x K; the exponentials of a row sum to 1.
  /// - Complexity: N·D² (N·D²·K with one covariance a class) and 2·N·D·K.
  public func logProbabilities(_ features: FeatureMatrix) -> Matrix<Float> {
    let classes = classCount
    return Matrix<Float>(rows: features.rowCount, columns: classes) { target in
      guard let base = target.baseAddress else { return }
      let address = SharedAddress(base)
      forEachBlock(features) { range, moments in
        let rounded = Matrix<Float>(logProbabilities(moments))
        rounded.withUnsafePointer { source, _ in
          (address.pointer + range.lowerBound * classes).update(
            from: source, count: range.count * classes)
        }
      }
    }
  }
}
