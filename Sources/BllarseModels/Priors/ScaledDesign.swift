package import BllarseNumerics

/// The training rows under one scaling, with what every fit to them needs.
///
/// Where there are more features than rows, the weights lie in the space that the rows span (the prior
/// is the same in all directions), so the rows are expressed in an orthonormal basis of it.
package struct ScaledDesign<Scalar: BLASScalar> {
  let scaling: FeatureScaling
  /// From features to rows of the design, before the rotation.
  let transform: FeatureTransform
  /// The basis of the rows' space, D x R, or `nil` for the features themselves.
  let rotation: Matrix<Scalar>?
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
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  init(
    _ features: FeatureMatrix, _ scaling: FeatureScaling, weights: [Double]? = nil,
    allowsRotation: Bool = true, relevances: [Double]? = nil, parallelism: Parallelism
  ) throws(NumericsError) {
    self.scaling = scaling
    var transform = scaling.transform(of: features, weights: weights, parallelism: parallelism)
    if let relevances, case .columns(let scale, let shift) = transform {
      transform = .columns(
        scale: zip(scale, relevances).map { $0 * $1 }, shift: zip(shift, relevances).map { $0 * $1 }
      )
    }
    self.transform = transform
    if allowsRotation && features.columnCount > features.rowCount {
      let rows = DesignMatrix<Scalar>(features, transform: transform, hasBias: false)
      let space = try RowSpaceBasis(rows, parallelism: parallelism)
      rotation = space.vectors(of: rows, parallelism: parallelism)
      let coordinates = space.coordinates
      design = DesignMatrix(
        Scalar.self == Float.self
          ? FeatureMatrix(Matrix<Float>(coordinates)) : FeatureMatrix(coordinates),
        transform: .identity, hasBias: true)
      gram = design.gram(rowWeights: weights, parallelism: parallelism)
    } else {
      rotation = nil
      var design = DesignMatrix<Scalar>(features, transform: transform, hasBias: true)
      design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
      self.design = design
      gram = design.gram(rowWeights: weights, parallelism: parallelism)
    }
  }
}
