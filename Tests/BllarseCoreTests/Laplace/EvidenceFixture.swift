import BllarseNumerics
import Foundation

@testable import BllarseCore
@testable import BllarseModels

/// Twelve rows of two features, `x_ij = sin(0.91 (i + 1)(j + 1) + j)`, with labels of two and of three
/// classes; expected values come from NumPy and SciPy in double precision.
enum EvidenceFixture {
  static let features: Matrix<Double> = {
    var elements: [Double] = []
    for i in 0..<12 {
      for j in 0..<2 {
        let product = Double((i + 1) * (j + 1))
        elements.append(sin(1.3 * product * 0.7 + Double(j)))
      }
    }
    return Matrix(rows: 12, columns: 2, elements: elements)
  }()
  static let twoClasses: [Int32] = [1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1]
  static let threeClasses: [Int32] = [1, 0, 1, 2, 0, 2, 1, 0, 1, 1, 2, 0]

  static func design<Scalar: BLASScalar>(
    _ type: Scalar.Type = Scalar.self, hasBias: Bool = true
  ) -> DesignMatrix<Scalar> {
    DesignMatrix(FeatureMatrix(features), transform: .identity, hasBias: hasBias)
  }

  /// Features as they are, with a bias, under a probit column for two classes.
  static func probit(
    _ features: Matrix<Double>, _ labels: [Int32]
  ) -> LaplaceProblem<ProbitPass<Double>> {
    problem(features, labels, classCount: 2)
  }

  /// The same under a softmax.
  static func softmax(
    _ features: Matrix<Double>, _ labels: [Int32], classCount: Int, weights: [Double]? = nil
  ) -> LaplaceProblem<SoftmaxPass<Double>> {
    problem(features, labels, classCount: classCount, weights: weights)
  }

  private static func problem<Pass: LaplacePass>(
    _ features: Matrix<Double>, _ labels: [Int32], classCount: Int, weights: [Double]? = nil
  ) -> LaplaceProblem<Pass> where Pass.Scalar == Double {
    let execution = Execution(threadCount: 2)
    let design = DesignMatrix<Double>(
      FeatureMatrix(features), transform: .identity, hasBias: true)
    return LaplaceProblem(
      pass: Pass.make(
        design, labels: labels, classCount: classCount, weights: weights, execution: execution),
      gram: design.gram(rowWeights: weights, execution: execution))
  }

  /// Rows from a softmax model with random weights.
  static func sample(
    rows: Int, columns: Int, classes: Int, strength: Double, seed: Int
  ) -> (features: Matrix<Double>, labels: [Int32]) {
    var generator = Philox(seed: UInt64(seed), purpose: .sampling)
    let weights = Matrix<Double>(
      rows: columns, columns: classes,
      elements: generator.normals(count: columns * classes).map { $0 * strength })
    let features = Matrix<Double>(
      rows: rows, columns: columns, elements: generator.normals(count: rows * columns))
    let logits = features.multiplied(by: weights)
    let labels = (0..<rows).map { row in
      let noisy = logits.row(row).map { $0 - log(-log(generator.uniform())) }
      return Int32(noisy.indices.max { noisy[$0] < noisy[$1] } ?? 0)
    }
    return (features, labels)
  }
}
