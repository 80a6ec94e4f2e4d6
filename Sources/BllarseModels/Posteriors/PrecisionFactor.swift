package import BllarseNumerics
import Glibc

/// A precision matrix factored for one iteration.
///
/// The variances of the logits have the precision of the data anyway, so single precision is enough for
/// them; the mean is refined to double precision. Where that does not succeed, the factor is a double one.
/// It halves the price of the factorisation.
package struct PrecisionFactor<Scalar: BLASScalar> {
  private enum Kind {
    /// `λI` of an order.
    case scaled(Double, Int)
    /// In the precision of the data, with the refined solution.
    case fast(Cholesky<Scalar>, solution: [Double])
    case exact(Cholesky<Double>)
  }
  private let kind: Kind
  private let vector: [Double]

  /// Factors a prior, for which there is nothing to do where it is the same in every direction.
  ///
  /// - Parameters:
  ///   - prior: D x D, symmetric.
  ///   - vector: what it is going to be solved for.
  /// - Throws: `NumericsError.notPositiveDefinite`.
  init(prior: Matrix<Double>, solving vector: [Double]) throws(NumericsError) {
    if let value = Self.scale(of: prior) {
      kind = .scaled(value, prior.rowCount)
    } else {
      kind = .exact(try Cholesky(prior))
    }
    self.vector = vector
  }

  /// Factors a posterior precision.
  ///
  /// - Parameters:
  ///   - precision: D x D, symmetric.
  ///   - vector: what it is going to be solved for.
  /// - Throws: `NumericsError.notPositiveDefinite`.
  init(_ precision: Matrix<Double>, solving vector: [Double]) throws(NumericsError) {
    if Scalar.self != Double.self,
      let factor = try? Cholesky(byHalves: Matrix<Scalar>(lowerTriangleOf: precision)),
      let solution = Self.refine(factor, precision, vector)
    {
      kind = .fast(factor, solution: solution)
    } else {
      kind = .exact(try Cholesky(precision))
    }
    self.vector = vector
  }

  /// log|P|.
  var logDeterminant: Double {
    switch kind {
    case .scaled(let value, let size): Double(size) * log(value)
    case .fast(let factor, _): factor.logDeterminant
    case .exact(let factor): factor.logDeterminant
    }
  }

  /// `P⁻¹·vector`, in double precision.
  var solution: [Double] {
    switch kind {
    case .scaled(let value, _): vector.map { $0 / value }
    case .fast(_, let solution): solution
    case .exact(let factor): factor.solve(vector)
    }
  }

  /// `xᵀP⁻¹x` of every row.
  func variances(_ design: DesignMatrix<Scalar>, parallelism: Parallelism) -> [Double] {
    switch kind {
    case .scaled(let value, _):
      design.squaredNorms(parallelism: parallelism).map { $0 / value }
    case .fast(let factor, _): design.quadraticForms(factor, parallelism: parallelism)
    case .exact(let factor): design.quadraticForms(factor, parallelism: parallelism)
    }
  }

  /// Iterative refinement: each round solves for what the last one left; `nil` when it does not settle.
  private static func refine(
    _ factor: Cholesky<Scalar>, _ precision: Matrix<Double>, _ vector: [Double]
  ) -> [Double]? {
    let size = vector.reduce(0) { max($0, abs($1)) }
    guard size > 0 else { return vector }
    var solution = [Double](repeating: 0, count: vector.count)
    var rest = vector
    var remainder = size
    for _ in 0..<6 {
      // In units of the remainder, so that single precision does not underflow.
      let step = factor.solve(rest.map { Scalar($0 / remainder) })
      for index in solution.indices { solution[index] += remainder * Double(step[index]) }
      let product = precision.symmetricMultiplied(by: solution)
      for index in rest.indices { rest[index] = vector[index] - product[index] }
      remainder = rest.reduce(0) { max($0, abs($1)) }
      guard remainder.isFinite else { return nil }
      if remainder <= 1e-12 * size { return solution }
    }
    return remainder <= 1e-9 * size ? solution : nil
  }

  /// λ, if a matrix is `λI`.
  private static func scale(of matrix: Matrix<Double>) -> Double? {
    let value = matrix[0, 0]
    guard value > 0 else { return nil }
    for row in 0..<matrix.rowCount {
      let isScaled = matrix.withRow(row) { values in
        for column in values.indices where values[column] != (column == row ? value : 0) {
          return false
        }
        return true
      }
      guard isScaled else { return nil }
    }
    return value
  }
}
