import BllarseNumerics
import Foundation

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
}
