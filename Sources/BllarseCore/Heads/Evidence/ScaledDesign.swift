import BllarseNumerics

/// The training rows under one scaling, with what every fit to them needs.
///
/// Where there are more features than rows, the weights lie in the space that the rows span (the prior
/// is the same in all directions), so the rows are expressed in an orthonormal basis of it.
struct ScaledDesign<Scalar: BLASScalar> {
  let scaling: FeatureScaling
  /// From features to rows of the design, before the rotation.
  let transform: FeatureTransform
  /// The basis of the rows' space, D x R, or `nil` for the features themselves.
  let rotation: Matrix<Scalar>?
  /// N x (R + 1), the last column ones.
  let design: DesignMatrix<Scalar>
  /// The Gram matrix of the design.
  let gram: Matrix<Double>
  /// The eigenvalues of the Gram matrix without the bias, clipped at 0.
  let eigenvalues: [Double]

  /// The number of columns, bias included.
  var columnCount: Int { design.columnCount }
}

extension ScaledDesign {
  /// Scales the rows.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - scaling: how.
  ///   - allowsRotation: whether to change the basis where there are more features than rows; not with
  ///     a prior that tells features apart.
  ///   - relevances: what each scaled feature is multiplied by, with scalings of columns.
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  init(
    _ features: FeatureMatrix, _ scaling: FeatureScaling, allowsRotation: Bool = true,
    relevances: [Double]? = nil, parallelism: Parallelism
  ) throws(NumericsError) {
    self.scaling = scaling
    var transform = scaling.transform(of: features, parallelism: parallelism)
    if let relevances, case .columns(let scale, let shift) = transform {
      transform = .columns(
        scale: zip(scale, relevances).map { $0 * $1 }, shift: zip(shift, relevances).map { $0 * $1 }
      )
    }
    self.transform = transform
    if allowsRotation && features.columnCount > features.rowCount {
      let space = try RowSpace<Scalar>(
        DesignMatrix(features, transform: transform, hasBias: false), parallelism: parallelism)
      rotation = space.basis
      design = DesignMatrix(space.coordinates, transform: .identity, hasBias: true)
      gram = design.gram(rowWeights: nil, parallelism: parallelism)
      eigenvalues = space.eigenvalues
    } else {
      rotation = nil
      var design = DesignMatrix<Scalar>(features, transform: transform, hasBias: true)
      design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
      self.design = design
      let gram = design.gram(rowWeights: nil, parallelism: parallelism)
      let size = design.columnCount - 1
      self.gram = gram
      eigenvalues = try parallelism.withBLAS {
        () throws(NumericsError) in
        try SymmetricEigen.values(of: gram.rows(0..<size).columns(0..<size)).map { max($0, 0) }
      }
    }
  }
}

/// An orthonormal basis of the space that some rows span, from the eigenvectors of `XXᵀ`.
private struct RowSpace<Scalar: BLASScalar> {
  /// D x R.
  let basis: Matrix<Scalar>
  /// The rows in this basis, N x R.
  let coordinates: FeatureMatrix
  /// The squared lengths along the basis.
  let eigenvalues: [Double]

  init(_ design: DesignMatrix<Scalar>, parallelism: Parallelism) throws(NumericsError) {
    let rows = Matrix<Double>(design.matrix(rows: 0..<design.rowCount))  // (N, D)
    let (basis, coordinates, values) = try parallelism.withBLAS { () throws(NumericsError) in
      let eigen = try SymmetricEigen(rows.multiplied(by: rows, transposingOther: true))
      let largest = max(eigen.values.last ?? 0, 0)
      let kept = eigen.values.indices.filter { eigen.values[$0] > max(1e-10 * largest, 1e-300) }
      let vectors = eigen.rowVectors.gatheringRows(kept)  // (R, N)
      let lengths = kept.map { eigen.values[$0].squareRoot() }
      // R = Xᵀ U w^-1/2,  X R = U w^1/2
      var basis = vectors.multiplied(by: rows)  // (R, D)
      var coordinates = vectors
      for (index, length) in lengths.enumerated() {
        basis.withMutableRow(index) { for j in $0.indices { $0[j] /= length } }
        coordinates.withMutableRow(index) { for i in $0.indices { $0[i] *= length } }
      }
      return (basis.transposed(), coordinates.transposed(), lengths.map { $0 * $0 })
    }
    self.basis = Matrix<Scalar>(basis)
    eigenvalues = values
    let converted = Matrix<Scalar>(coordinates)
    self.coordinates =
      (converted as? Matrix<Float>).map(FeatureMatrix.init) ?? FeatureMatrix(coordinates)
  }
}
