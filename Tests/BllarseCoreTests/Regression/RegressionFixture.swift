import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation

/// The diabetes table and what scikit-learn and scipy make of it: Scripts/make-regression-fixture.py.
struct RegressionFixture {
  let file: SafetensorsFile
  let features: FeatureMatrix
  let targets: Matrix<Double>
  /// Those of the conjugate model.
  let shape, rate, precision: Double

  init() throws {
    file = try SafetensorsFile(path: Fixtures.path("regression/reference.safetensors"))
    features = FeatureMatrix(try file.matrix("features") as Matrix<Float>)
    targets = Matrix<Double>(try file.matrix("targets") as Matrix<Float>)
    let constants: [Double] = try file.array("constants")
    (shape, rate, precision) = (constants[0], constants[1], constants[2])
  }

  /// One target alone.
  func target(_ index: Int) -> Matrix<Double> { targets.columns(index..<index + 1).compact() }

  /// 25 rows of 50 features: five pieces of the table next to one another.
  var wide: FeatureMatrix {
    let all = features.converted(to: Float.self)
    var result = Matrix<Float>.zeros(25, 50)
    for piece in 0..<5 {
      result.replaceBlock(
        row: 0, column: 10 * piece, with: all.rows(25 * piece..<25 * (piece + 1)))
    }
    return FeatureMatrix(result)
  }

  /// As scikit-learn has it: features centred only, targets in their own units.
  func plain(
    _ prior: LinearRegressionConfiguration.Prior
  ) -> LinearRegressionConfiguration {
    var configuration = LinearRegressionConfiguration(prior: prior)
    configuration.scaling = nil
    configuration.standardizesTargets = false
    configuration.noisePrior = GammaParameters(shape: shape, rate: rate)
    return configuration
  }

  /// Rows with targets that depend on them.
  static func random(
    rows: Int, columns: Int, targets: Int = 1, noise: Double = 1, seed: Int
  ) -> (features: FeatureMatrix, targets: Matrix<Double>) {
    var generator = SplitMix64(seed: seed)
    let x = Matrix<Double>(
      rows: rows, columns: columns,
      elements: (0..<rows * columns).map { _ in generator.normal() })
    let w = Matrix<Double>(
      rows: columns, columns: targets,
      elements: (0..<columns * targets).map { _ in generator.normal() })
    let y = x.multiplied(by: w).map { $0 + 2 + noise * generator.normal() }
    return (FeatureMatrix(x), y)
  }
}
