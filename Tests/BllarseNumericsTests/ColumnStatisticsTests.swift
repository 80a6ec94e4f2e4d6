import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Statistics and transforms of columns")
struct ColumnStatisticsTests {
  private static func features(rows: Int, columns: Int, seed: Int) -> Matrix<Double> {
    var generator = SplitMix64(seed: seed)
    return Matrix(
      rows: rows, columns: columns,
      elements: (0..<rows * columns).map { 1e4 + Double($0 % columns) * generator.normal() })
  }

  @Test("means, deviations and magnitudes are those of two passes", arguments: [1, 2, 255, 600])
  func statistics(rows: Int) {
    let matrix = Self.features(rows: rows, columns: 5, seed: rows)
    let found = ColumnStatistics(
      FeatureMatrix(matrix), execution: Execution(threadCount: 2))
    for column in 0..<5 {
      let values = matrix.column(column)
      let mean = values.reduce(0, +) / Double(rows)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rows)
      #expect(found.means[column].isClose(to: mean, relative: 1e-14))
      // A mean of 10⁴ leaves a deviation of some units twelve digits.
      #expect(
        found.deviations[column].isClose(
          to: variance.squareRoot(), relative: 1e-10, absolute: 1e-11))
      #expect(found.magnitudes[column] == values.map(\.magnitude).max())
    }
  }

  @Test("centred layer normalisation is layer normalisation less the means")
  func centred() {
    let features = FeatureMatrix(Self.features(rows: 20, columns: 7, seed: 3))
    let mean = (0..<7).map { 0.1 * Double($0) }
    let plain = DesignMatrix<Double>(
      features, transform: .layerNorm(epsilon: 1e-5), hasBias: true
    ).matrix(rows: 0..<20)
    let centred = DesignMatrix<Double>(
      features, transform: .centredLayerNorm(epsilon: 1e-5, mean: mean), hasBias: true
    ).matrix(rows: 0..<20)
    for row in 0..<20 {
      for column in 0..<7 {
        #expect(centred[row, column] == plain[row, column] - mean[column])
      }
      #expect(centred[row, 7] == 1)
    }
  }

  @Test("features in double precision are rounded after they are transformed")
  func rounding() {
    var matrix = Self.features(rows: 300, columns: 70, seed: 5)
    for row in 0..<300 { for column in 0..<70 { matrix[row, column] += 1e7 } }
    let features = FeatureMatrix(matrix)
    let statistics = ColumnStatistics(features, execution: Execution(threadCount: 2))
    let mean = (0..<70).map { 0.01 * Double($0) }
    for transform: FeatureTransform in [
      .columns(
        scale: [Double](repeating: 0.5, count: 70), shift: statistics.means.map { -0.5 * $0 }),
      .layerNorm(epsilon: 1e-5), .centredLayerNorm(epsilon: 1e-5, mean: mean),
    ] {
      let exact = DesignMatrix<Double>(features, transform: transform, hasBias: true)
        .matrix(rows: 0..<300)
      let found = DesignMatrix<Float>(features, transform: transform, hasBias: true)
        .matrix(rows: 0..<300)
      #expect(found == Matrix<Float>(exact))
    }
  }

  @Test("the Gram matrix by rows is that of one product", arguments: [1, 511, 1300])
  func smallGram(rows: Int) {
    let features = FeatureMatrix(Self.features(rows: rows, columns: 9, seed: rows))
    let design = DesignMatrix<Double>(features, transform: .standardLayerNorm, hasBias: true)
    let weights = (0..<rows).map { 0.5 + Double($0 % 3) }
    for weights in [nil, weights] {
      var product = Matrix<Double>.zeros(10, 10)
      let workspace = DesignMatrix<Double>.GramWorkspace(design, isWeighted: weights != nil)
      design.addLowerGram(weights: weights, to: &product, workspace, execution: .available)
      product.mirrorLowerTriangle()
      let found = design.gram(rowWeights: weights)
      #expect(relativeDifference(found.elements, product.elements) < 1e-13)
    }
  }

  @Test("eigenvalues alone are those of the eigendecomposition", arguments: [0, 1, 2, 9, 70])
  func eigenvalues(size: Int) throws {
    let gram = Self.features(rows: 100, columns: max(size, 1), seed: size).columns(0..<size).gram()
    let values = try SymmetricEigen.values(of: gram)
    let expected = try SymmetricEigen(gram).values
    for (value, other) in zip(values, expected) {
      #expect(value.isClose(to: other, relative: 1e-12, absolute: 1e-12 * (expected.last ?? 0)))
    }
    #expect(values.count == size)
    #expect(throws: NumericsError.notFinite(row: 0, column: 0)) {
      try SymmetricEigen.values(of: Matrix<Double>(rows: 1, columns: 1, repeating: .nan))
    }
  }
}
