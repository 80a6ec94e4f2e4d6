package import BllarseNumerics

/// The training rows as the optima of the classical heads see them: centred, divided by one number, and
/// in the smaller of two spaces, that of the features or that of the rows.
///
/// Biases bear no penalty, so centring is a change of variables; and weights under one penalty λ are
/// `w = w'/g` for features divided by g, under the penalty `λ' = λ/g²`. So the optimum and its evidence
/// are those of the features as they are, but no digit is lost to their offset, and what is small or
/// large is so by itself: λ' is in units of features of mean variance 1.
package struct CentredDesign {
  /// The means of the features, D.
  package let means: [Double]
  /// g, the root of the features' mean variance.
  let scale: Double
  /// Where features outnumber rows, the space of the rows.
  let basis: RowSpaceBasis?
  /// The rows, N x (P + 1), P features or coordinates and a column of ones.
  let design: DesignMatrix<Float>
  /// The features, centred and divided, N x D.
  private let rows: DesignMatrix<Double>
  private let parallelism: Parallelism

  /// Centres and scales the rows.
  ///
  /// A feature that varies by less than the rounding of its values counts as a constant, and gets no
  /// weight.
  ///
  /// - Parameters:
  ///   - features: N x D, finite.
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` when the eigendecomposition of the rows' Gram matrix fails.
  package init(_ features: FeatureMatrix, parallelism: Parallelism) throws(NumericsError) {
    let statistics = ColumnStatistics(features, parallelism: parallelism)
    let deviation = statistics.globalDeviation
    let scale = deviation > 0 ? deviation : 1
    let factors = statistics.variation.map { $0 ? 1 / scale : 0 }
    let transform = FeatureTransform.columns(
      scale: factors, shift: zip(factors, statistics.means).map { -$0 * $1 })
    let rows = DesignMatrix<Double>(features, transform: transform, hasBias: false)
    if features.columnCount > features.rowCount {
      let basis = try RowSpaceBasis(rows, parallelism: parallelism)
      design = DesignMatrix(
        FeatureMatrix(basis.coordinates), transform: .identity, hasBias: true)
      self.basis = basis
    } else {
      design = DesignMatrix(features, transform: transform, hasBias: true)
      basis = nil
    }
    means = statistics.means
    self.scale = scale
    self.rows = rows
    self.parallelism = parallelism
  }

  /// The same rows in double precision.
  var doubleDesign: DesignMatrix<Double> {
    DesignMatrix(design.features, transform: design.transform, hasBias: design.hasBias)
  }

  /// λ' for a penalty on the weights of the features.
  func scaledPenalty(_ penalty: Double) -> Double { penalty / (scale * scale) }

  /// λ for a penalty on the weights of the design.
  package func featurePenalty(_ penalty: Double) -> Double { penalty * scale * scale }

  /// Weights of the features, less their means, from weights of the design.
  ///
  /// - Parameter weights: (P + 1) x K, the biases last.
  /// - Returns: (D + 1) x K, the biases last.
  package func featureWeights(_ weights: Matrix<Double>) -> Matrix<Double> {
    let size = weights.rowCount - 1
    var inner = weights.rows(0..<size)
    if let basis { inner = basis.featureWeights(inner, rows, parallelism: parallelism) }
    if case .columns(let factors, _) = rows.transform {
      for (row, factor) in factors.enumerated() {
        // Rounding may have left something to a constant; it has no right to a weight.
        inner.withMutableRow(row) { values in for k in values.indices { values[k] *= factor } }
      }
    }
    var result = Matrix<Double>.zeros(inner.rowCount + 1, weights.columnCount)
    result.replaceBlock(row: 0, column: 0, with: inner)
    result.replaceBlock(row: inner.rowCount, column: 0, with: weights.rows(size..<size + 1))
    return result
  }
}
