package import BllarseNumerics

/// How features are brought to a common scale before a head with one prior for all weights sees them.
///
/// All scalings end with mean 0 over the training rows, so that the bias has a meaning of its own.
public enum FeatureScaling: String, Sendable, Equatable, CaseIterable, Codable {
  /// Each column to mean 0 and variance 1; columns that do not vary are ignored.
  case columns
  /// Each column to mean 0, and all divided by one number, so that the mean variance of those that vary is 1.
  case global
  /// Each row to mean 0 and variance 1 (layer normalisation), then each column to mean 0.
  case rows
  /// The features as they are: of weights that were given.
  case unscaled = "none"

  /// Those that a fit chooses among.
  public static let allCases: [FeatureScaling] = [.columns, .global, .rows]

  /// The one that another has to be plainly better than to be taken: standardised columns.
  static let standard = FeatureScaling.columns

  /// What layer normalisation adds to the variance of a row: as the Python original does, but never more
  /// than that part of the mean variance, beside which small features would all but vanish.
  private static let layerNormEpsilon = 1e-5

  /// The transform that training rows define.
  ///
  /// - Parameters:
  ///   - features: the training rows, N x D.
  ///   - weights: how often each row counts; `nil` for once.
  ///   - execution: the threads to work with.
  /// - Returns: the transform.
  package func transform(
    of features: FeatureMatrix, weights: [Double]? = nil, execution: Execution
  ) -> FeatureTransform {
    switch self {
    case .unscaled: return .identity
    case .rows:
      let variance = features.meanRowVariance(execution: execution)
      let epsilon = Self.layerNormEpsilon * (variance > 0 ? min(1, variance) : 1)
      let statistics = ColumnStatistics(
        features, transform: .layerNorm(epsilon: epsilon), weights: weights,
        execution: execution)
      return .centredLayerNorm(epsilon: epsilon, mean: statistics.means)
    case .columns, .global:
      let statistics = ColumnStatistics(features, weights: weights, execution: execution)
      let varies = statistics.variation
      let global = statistics.globalDeviation
      let scale = varies.indices.map { j in
        varies[j] ? 1 / (self == .columns ? statistics.deviations[j] : global) : 0
      }
      return .columns(scale: scale, shift: zip(scale, statistics.means).map { -$0 * $1 })
    }
  }
}

extension ColumnStatistics {
  /// Whether a column varies by more than the rounding of its values.
  ///
  /// A column that does not is multiplied by 0: a new row may hold any value there without effect.
  var variation: [Bool] {
    zip(deviations, magnitudes).map { deviation, magnitude in deviation > resolution * magnitude }
  }

  /// The root of the mean variance of the columns that vary.
  var globalDeviation: Double {
    let variances = zip(deviations, variation).compactMap { $1 ? $0 * $0 : nil }
    return (variances.reduce(0, +) / Double(max(variances.count, 1))).squareRoot()
  }
}

extension FeatureMatrix {
  /// The mean over the rows of the variance of a row's elements.
  func meanRowVariance(execution: Execution) -> Double {
    guard columnCount > 0 else { return 0 }
    // About the first element, so that a common offset costs no accuracy.
    let design = DesignMatrix<Double>(self, transform: .identity, hasBias: false)
    let parts = execution.map(rowCount, blockSize: 256) { range in
      let rows = design.matrix(rows: range)
      var sum = 0.0
      for row in 0..<rows.rowCount {
        sum += rows.withRow(row) { values in
          let origin = values[0]
          var (total, squares) = (0.0, 0.0)
          for column in values.indices {
            let difference = values[column] - origin
            total += difference
            squares += difference * difference
          }
          let count = Double(values.count)
          return max(0, squares / count - total / count * (total / count))
        }
      }
      return [sum]
    }
    return parts.reduce(0, +) / Double(max(rowCount, 1))
  }
}

/// How features become inputs of the weights: scaled, and in the basis of the space of the training rows.
///
/// Where there are more features than rows, the weights lie in the space that the rows span (the prior
/// is the same in all directions), so the rows are expressed in an orthonormal basis of it.
package struct InputTransform<Scalar: BLASScalar>: Sendable {
  /// The number of features of a row, D.
  package let featureCount: Int
  /// How features are scaled.
  package let scaling: FeatureScaling
  /// The same with its numbers.
  package let features: FeatureTransform
  /// The basis of the rows' space, D x R, or `nil` for the features themselves.
  package let basis: Matrix<Scalar>?

  package init(
    featureCount: Int, scaling: FeatureScaling, features: FeatureTransform, basis: Matrix<Scalar>?
  ) {
    (self.featureCount, self.scaling) = (featureCount, scaling)
    (self.features, self.basis) = (features, basis)
  }
}

extension InputTransform<Float> {
  /// Inputs of rows.
  ///
  /// - Parameter rows: n x D.
  /// - Returns: n x (D + 1), or n x (R + 1), the last column ones; and, with a basis, the squared norms of what
  ///   lies outside its space.
  func inputs(_ rows: FeatureMatrix) -> (inputs: Matrix<Float>, squaredNormsOutside: [Double]?) {
    let all = 0..<rows.rowCount
    guard let basis else {
      return (
        DesignMatrix<Float>(rows, transform: features, hasBias: true).matrix(rows: all), nil
      )
    }
    let scaled = DesignMatrix<Float>(rows, transform: features, hasBias: false).matrix(rows: all)
    let inside = scaled.multiplied(by: basis)  // (n, R)
    return (
      DesignMatrix<Float>(FeatureMatrix(inside), transform: .identity, hasBias: true)
        .matrix(rows: all),
      all.map { row in
        max(
          0,
          scaled.rows(row..<row + 1).squaredNorm - inside.rows(row..<row + 1).squaredNorm)
      }
    )
  }
}

/// The training rows under one scaling, with what every fit to them needs.
package struct ScaledDesign<Scalar: BLASScalar> {
  /// What made them.
  let transform: InputTransform<Scalar>
  /// N x (R + 1), the last column ones.
  let design: DesignMatrix<Scalar>
  /// The Gram matrix of the design.
  let gram: Matrix<Double>

  /// The number of columns, bias included.
  var columnCount: Int { design.columnCount }
}

extension ScaledDesign {
  /// Scales the rows.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - scaling: how.
  ///   - weights: how often each row counts; `nil` for once.
  ///   - allowsRotation: whether to change the basis where there are more features than rows; not with
  ///     a prior that tells features apart.
  ///   - relevances: what each scaled feature is multiplied by, with scalings of columns.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  init(
    _ features: FeatureMatrix, _ scaling: FeatureScaling, weights: [Double]? = nil,
    allowsRotation: Bool = true, relevances: [Double]? = nil, execution: Execution
  ) throws(NumericsError) {
    var transform = scaling.transform(of: features, weights: weights, execution: execution)
    if let relevances, case .columns(let scale, let shift) = transform {
      transform = .columns(
        scale: zip(scale, relevances).map { $0 * $1 }, shift: zip(shift, relevances).map { $0 * $1 }
      )
    }
    var basis: Matrix<Scalar>?
    if allowsRotation && features.columnCount > features.rowCount {
      let rows = DesignMatrix<Scalar>(features, transform: transform, hasBias: false)
      let space = try RowSpaceBasis(rows, execution: execution)
      basis = space.vectors(of: rows, execution: execution)
      let coordinates = space.coordinates
      design = DesignMatrix(
        Scalar.self == Float.self
          ? FeatureMatrix(Matrix<Float>(coordinates)) : FeatureMatrix(coordinates),
        transform: .identity, hasBias: true)
      gram = design.gram(rowWeights: weights, execution: execution)
    } else {
      var design = DesignMatrix<Scalar>(features, transform: transform, hasBias: true)
      design.makeResident(limit: residentDesignLimit, execution: execution)
      self.design = design
      gram = design.gram(rowWeights: weights, execution: execution)
    }
    self.transform = InputTransform(
      featureCount: features.columnCount, scaling: scaling, features: transform, basis: basis)
  }
}
