package import BllarseNumerics
import Glibc

/// Which covariance of the weights stands behind the predictions of a Laplace head.
///
/// With h the curvatures of the log-likelihood at the optimum (N x C):
public enum CovarianceStructure: Sendable, Hashable, CaseIterable, Codable, RawRepresentable {
  /// `Λ = Σᵢ Bᵢ ⊗ xᵢxᵢᵀ + Λ₀`, all classes coupled: the Hessian, of order D·C.
  case full
  /// `Λ = B ⊗ A + λ·I`: one matrix between features, one between classes; the default.
  case kronecker
  /// `Λ_k = Λ₀ + Xᵀ·diag(h_ik)·X`, one for each class.
  case block
  /// `Λ = Λ₀ + Xᵀ·diag(mean_k h_ik)·X`, one for all classes.
  case shared
  /// The diagonal of `Λ_k` alone.
  case diagonal
  /// `Λ = Λ₀ + XᵀX`: unit curvature for every row, as in mean-field variational inference.
  case meanField

  /// The name that the command line and files know it by.
  public var rawValue: String {
    switch self {
    case .full: "full"
    case .kronecker: "kron"
    case .block: "block"
    case .shared: "shared"
    case .diagonal: "diag"
    case .meanField: "meanfield"
    }
  }

  /// Names of before, which are read as the present ones.
  public static let formerNames: [String: CovarianceStructure] = [
    "kronecker": .kronecker, "laplace": .block, "laplace-shared": .shared,
    "laplace-diag": .diagonal,
  ]

  /// Takes a name, or one of before.
  public init?(rawValue: String) {
    guard
      let found = Self.allCases.first(where: { $0.rawValue == rawValue })
        ?? Self.formerNames[rawValue]
    else { return nil }
    self = found
  }
}

/// A Gaussian's covariance over the weights of C columns, in the form that leverages are computed from.
package struct PosteriorCovariance<Scalar: BLASScalar>: Sendable {
  package let structure: CovarianceStructure
  /// The number of columns of the weights.
  let columnCount: Int
  /// Of the precisions: one, or one for each column; none for diagonals.
  package let factors: [Cholesky<Scalar>]
  /// For diagonals: variances, D x C.
  package let variances: Matrix<Double>?
  /// For a Kronecker product.
  package let kronecker: KroneckerCovariance<Scalar>?
  /// For the whole Hessian.
  package let full: FullCovariance?
  /// `log|Λ| - log|Λ₀|`, of as many directions as mean something; `nil` after reading a checkpoint.
  package private(set) var logDeterminantRatio: Double?

  /// Keeps a covariance as a checkpoint holds it.
  package init(
    structure: CovarianceStructure, columnCount: Int, factors: [Cholesky<Scalar>],
    variances: Matrix<Double>?
  ) {
    self.structure = structure
    self.columnCount = columnCount
    self.factors = factors
    self.variances = variances
    (kronecker, full) = (nil, nil)
  }

  /// Wraps a Kronecker product.
  package init(_ kronecker: KroneckerCovariance<Scalar>) {
    structure = .kronecker
    columnCount = kronecker.outputShares.rowCount
    factors = []
    (variances, full) = (nil, nil)
    self.kronecker = kronecker
    logDeterminantRatio = kronecker.logDeterminantRatio
  }

  /// Wraps the inverse of a whole Hessian.
  package init(_ full: FullCovariance) {
    structure = .full
    columnCount = full.columnCount
    factors = []
    (variances, kronecker) = (nil, nil)
    self.full = full
    logDeterminantRatio = full.logDeterminantRatio
  }

  /// The covariance in another precision.
  func converted<Other: BLASScalar>(to type: Other.Type = Other.self) -> PosteriorCovariance<Other>
  {
    if let full { return PosteriorCovariance<Other>(full) }
    if let kronecker { return PosteriorCovariance<Other>(kronecker.converted()) }
    var result = PosteriorCovariance<Other>(
      structure: structure, columnCount: columnCount, factors: factors.map { $0.converted() },
      variances: variances)
    result.logDeterminantRatio = logDeterminantRatio
    return result
  }

  /// Computes the covariance at the optimum.
  ///
  /// - Parameters:
  ///   - structure: which, but for `kronecker` and `full`.
  ///   - design: N x D.
  ///   - curvatures: h, N x C.
  ///   - prior: the diagonals of Λ₀, D x C.
  ///   - gram: XᵀX.
  ///   - directionShare: the directions in which logits have a meaning, for each column: the log determinants of the
  ///     columns count so much.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError.notPositiveDefinite` when rounding made a precision indefinite.
  init(
    _ structure: CovarianceStructure, design: DesignMatrix<Scalar>, curvatures: Matrix<Scalar>,
    prior: Matrix<Double>, gram: Matrix<Double>, directionShare: Double = 1, execution: Execution
  ) throws(NumericsError) {
    self.structure = structure
    columnCount = curvatures.columnCount
    (kronecker, full) = (nil, nil)
    func factor(_ gram: Matrix<Double>, _ column: Int) throws(NumericsError) -> Cholesky<Double> {
      var precision = gram
      precision.addToDiagonal(prior.column(column))
      return try Cholesky(precision)
    }
    let isShared = (1..<max(columnCount, 1)).allSatisfy { prior.column($0) == prior.column(0) }
    var factors: [Cholesky<Double>] = []
    var variances = Matrix<Double>?.none
    switch structure {
    case .meanField, .kronecker, .full:
      for k in 0..<(isShared ? 1 : columnCount) { factors.append(try factor(gram, k)) }
    case .shared:
      let means = (0..<curvatures.rowCount).map { row in
        curvatures.withRow(row) { h in
          var sum = 0.0
          for k in h.indices { sum += Double(h[k]) }
          return sum / Double(h.count)
        }
      }
      let weighted = design.gram(rowWeights: means, execution: execution)
      for k in 0..<(isShared ? 1 : columnCount) { factors.append(try factor(weighted, k)) }
    case .block:
      // The two logits of two classes have the same curvature.
      for k in 0..<(columnCount == 2 && isShared ? 1 : columnCount) {
        try execution.checkCancellation()
        let weights = curvatures.column(k).map(Double.init)
        factors.append(
          try factor(design.gram(rowWeights: weights, execution: execution), k))
      }
    case .diagonal:
      variances = Self.diagonal(design, curvatures, prior)
    }
    // A factor alone stands for all columns.
    var determinants = factors.reduce(0) { $0 + $1.logDeterminant }
    if factors.count == 1 { determinants *= Double(columnCount) }
    for variance in variances?.elements ?? [] { determinants -= log(variance) }
    logDeterminantRatio =
      directionShare * (determinants - prior.elements.reduce(0) { $0 + log($1) })
    self.variances = variances
    self.factors = factors.map { $0.converted() }
  }

  /// 1 / (Λ₀ + Σᵢ h_ik x_ij²), D x C.
  private static func diagonal(
    _ design: DesignMatrix<Scalar>, _ curvatures: Matrix<Scalar>, _ prior: Matrix<Double>
  ) -> Matrix<Double> {
    var sums = prior
    for start in stride(from: 0, to: design.rowCount, by: 2048) {
      let range = start..<min(start + 2048, design.rowCount)
      let squares = design.matrix(rows: range).map { $0 * $0 }
      sums.add(
        Matrix<Double>(squares.multiplied(by: curvatures.rows(range).compact(), transposing: true)))
    }
    return sums.map { 1 / $0 }
  }

  /// The variances `x_iᵀΛ_k⁻¹x_i` of the logits of rows.
  ///
  /// - Parameter rows: n x D.
  /// - Returns: n x C.
  func leverages(_ rows: Matrix<Scalar>) -> Matrix<Scalar> {
    if let kronecker { return kronecker.leverages(rows) }
    if let full { return Matrix<Scalar>(full.leverages(Matrix<Double>(rows))) }
    var result = Matrix<Scalar>.zeros(rows.rowCount, columnCount)
    if let variances {
      Matrix.multiply(rows.map { $0 * $0 }, Matrix<Scalar>(variances), into: &result)
      return result
    }
    for (k, factor) in factors.enumerated() {
      var whitened = rows
      factor.whiten(rows: &whitened)
      for (row, norm) in whitened.rowSquaredNorms().map({ Scalar($0) }).enumerated() {
        if factors.count == 1 {
          for column in 0..<columnCount { result[row, column] = norm }
        } else {
          result[row, k] = norm
        }
      }
    }
    return result
  }

  /// The covariances of the logits of rows, with those directions in which all logits shift together.
  ///
  /// - Parameters:
  ///   - rows: n x D.
  ///   - isCentred: whether only variances are asked for, without what all logits of a row have in common.
  /// - Returns: of each row.
  func logitCovariance(_ rows: Matrix<Scalar>, isCentred: Bool = false) -> LogitCovariance {
    if isCentred { return .diagonal(Matrix<Double>(leverages(rows))) }
    if let full { return .full(full.logitCovariances(Matrix<Double>(rows))) }
    if let kronecker, let vectors = kronecker.outputVectors {
      return .factored(kronecker.directionVariances(rows), vectors: vectors)
    }
    return .diagonal(Matrix<Double>(leverages(rows)))
  }

  /// The same for the rows of a design, block by block on all threads.
  func leverages(of design: DesignMatrix<Scalar>, execution: Execution) -> Matrix<Scalar> {
    Matrix(rows: design.rowCount, columns: columnCount, blockSize: 256, execution: execution) {
      leverages(design.matrix(rows: $0))
    }
  }
}

/// A Gaussian over the weights around their optimum.
package struct LaplacePosterior: Sendable {
  /// The optimum, inputs x C; the bias is the last row.
  package let mean: Matrix<Double>
  package let covariance: PosteriorCovariance<Float>
  /// λ, of the prior of the weights; a geometric mean if there are many.
  package let priorPrecision: Double
  /// The optimum as products with rows take it.
  private let singleMean: Matrix<Float>

  package init(
    mean: Matrix<Double>, covariance: PosteriorCovariance<Float>, priorPrecision: Double
  ) {
    (self.mean, self.covariance, self.priorPrecision) = (mean, covariance, priorPrecision)
    singleMean = Matrix<Float>(mean)
  }

  /// Means and covariances of the logits of rows.
  ///
  /// - Parameters: as ``moments(_:squaredNormsOutside:)`` takes them; and whether only variances are asked for, without
  ///   what all logits of a row have in common.
  func covariances(
    _ inputs: Matrix<Float>, squaredNormsOutside: [Double]?, isCentred: Bool
  ) -> (means: Matrix<Double>, covariance: LogitCovariance) {
    var found = covariance.logitCovariance(inputs, isCentred: isCentred)
    if let squaredNormsOutside { found.add(squaredNormsOutside.map { $0 / priorPrecision }) }
    return (Matrix<Double>(inputs.multiplied(by: singleMean)), found)
  }

  /// Means and variances of the logits of rows.
  ///
  /// - Parameters:
  ///   - inputs: n rows of inputs of the weights.
  ///   - squaredNormsOutside: of what lies outside the space of the training rows, which has the prior's variance.
  /// - Returns: n x C.
  func moments(_ inputs: Matrix<Float>, squaredNormsOutside: [Double]?) -> LatentMoments {
    var variances = Matrix<Double>(covariance.leverages(inputs))
    for (row, norm) in (squaredNormsOutside ?? []).enumerated() {
      let variance = Double(Float(norm / priorPrecision))
      variances.withMutableRow(row) { for k in $0.indices { $0[k] += variance } }
    }
    return LatentMoments(
      means: Matrix<Double>(inputs.multiplied(by: singleMean)), variances: variances)
  }
}

/// The Gaussian around an optimum whose precision is a Kronecker product.
///
///     Λ = B ⊗ A + λ·I,   A = Xᵀ·diag(h/h̄)·X,   B = mean_i B_i,   h_i = tr B_i
///
/// B_i is the curvature of the log-likelihood of a row between its logits: `diag(p) - ppᵀ` for the softmax.
/// For two classes, and wherever all rows have the same B_i up to a factor, this is the Hessian itself.
/// With the eigenvalues a of A and b of B, V the eigenvectors of B, the variance of a logit is
///
///     v_k = Σ_j V_kj² Σ_d z_d² / (a_d b_j + λ),   z = Uᵀ(x - x̄)
///
/// and two products for all rows. The bias has a prior of its own: rows are centred at x̄, their mean weighted
/// with h, where it has no covariance with the other weights and a precision of `N·b_j + λ_bias`.
///
/// - Note: Source: Ritter, Botev and Barber, "A scalable Laplace approximation for neural networks", ICLR
///   2018, for the form.
package struct KroneckerCovariance<Scalar: BLASScalar>: Sendable {
  /// Of the features.
  package let inputs: Inputs
  /// b, of the directions that mean something.
  package let outputValues: [Double]
  /// V_kj², C x J.
  package let outputShares: Matrix<Double>
  /// V with all its directions, ascending by their eigenvalues, C x C: those of ``outputValues`` are the last.
  ///
  /// `nil` where a checkpoint has none, as it needs none.
  package let outputVectors: Matrix<Double>?
  /// λ.
  let priorPrecision: Double
  /// λ of the bias.
  package let biasPrecision: Double

  /// The curvature between features: x̄, and A without the bias, as an eigendecomposition.
  package struct Inputs: Sendable {
    /// x̄, D numbers.
    package let center: [Scalar]
    /// U, D x D: column d belongs to a_d.
    package let vectors: Matrix<Scalar>
    /// a, not negative.
    package let values: [Double]
    /// N, the sum of the rows' weights.
    package let rowTotal: Double

    package init(center: [Scalar], vectors: Matrix<Scalar>, values: [Double], rowTotal: Double) {
      self.center = center
      self.vectors = vectors
      self.values = values
      self.rowTotal = rowTotal
    }

    /// `(Uᵀ(x - x̄))²` of rows.
    ///
    /// - Parameter rows: n x (D + 1), the last column ones.
    /// - Returns: n x D.
    func squares(of rows: Matrix<Scalar>) -> Matrix<Scalar> {
      var centred = rows.columns(0..<values.count).compact()
      centred.addToRows(center, times: -1)
      var squares = centred.multiplied(by: vectors)
      squares.formSquares()
      return squares
    }

    /// Decomposes a Gram matrix as KFAC does: rows as they are, their curvatures all alike, and the bias for itself.
    ///
    /// - Parameter gram: XᵀX, the bias in the last row and column.
    /// - Throws: `NumericsError` when the eigendecomposition fails.
    /// - Note: Source: Martens and Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature",
    ///   ICML 2015; with the bias apart as laplace-torch has it.
    init(uncentred gram: Matrix<Double>) throws(NumericsError) {
      let size = gram.rowCount - 1
      let eigen = try SymmetricEigen(gram.rows(0..<size).columns(0..<size).compact())
      rowTotal = gram[size, size]
      center = [Scalar](repeating: 0, count: size)
      vectors = Matrix<Scalar>(eigen.rowVectors.transposed())
      values = eigen.values.map { max($0, 0) }
    }

    /// Decomposes a Gram matrix.
    ///
    /// - Parameter gram: `Xᵀ·diag(h/h̄)·X`, the bias in the last row and column.
    /// - Throws: `NumericsError` when the eigendecomposition fails.
    init(gram: Matrix<Double>) throws(NumericsError) {
      let size = gram.rowCount - 1
      let total = gram[size, size]
      let mean = (0..<size).map { total > 0 ? gram[size, $0] / total : 0 }
      var inner = gram.rows(0..<size).columns(0..<size).compact()
      for row in 0..<size {
        let factor = mean[row] * total
        inner.withMutableRow(row) { values in
          for column in values.indices { values[column] -= factor * mean[column] }
        }
      }
      let eigen = try SymmetricEigen(inner)
      rowTotal = total
      center = mean.map { Scalar($0) }
      vectors = Matrix<Scalar>(eigen.rowVectors.transposed())
      values = eigen.values.map { max($0, 0) }
    }
  }

  /// Puts the two factors together.
  ///
  /// - Parameters:
  ///   - inputs: of the features.
  ///   - outputCurvature: B, C x C.
  ///   - directionCount: how many of its directions mean something: those of its largest eigenvalues.
  ///   - priorPrecision: λ.
  ///   - biasPrecision: of the bias.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  package init(
    _ inputs: Inputs, outputCurvature: Matrix<Double>, directionCount: Int,
    priorPrecision: Double, biasPrecision: Double
  ) throws(NumericsError) {
    let eigen = try SymmetricEigen(outputCurvature)
    let kept = eigen.values.indices.suffix(directionCount)
    self.init(
      inputs, outputValues: kept.map { max(eigen.values[$0], 0) },
      outputShares: eigen.rowVectors.gatheringRows(kept).transposed().map { $0 * $0 },
      outputVectors: eigen.rowVectors.transposed(), priorPrecision: priorPrecision,
      biasPrecision: biasPrecision)
  }

  package init(
    _ inputs: Inputs, outputValues: [Double], outputShares: Matrix<Double>,
    outputVectors: Matrix<Double>? = nil, priorPrecision: Double, biasPrecision: Double
  ) {
    self.inputs = inputs
    self.outputValues = outputValues
    self.outputShares = outputShares
    self.outputVectors = outputVectors
    self.priorPrecision = priorPrecision
    self.biasPrecision = biasPrecision
  }

  /// The product with other numbers behind it.
  func with(priorPrecision: Double, biasPrecision: Double) -> KroneckerCovariance {
    KroneckerCovariance(
      inputs, outputValues: outputValues, outputShares: outputShares, outputVectors: outputVectors,
      priorPrecision: priorPrecision, biasPrecision: biasPrecision)
  }

  /// The product in another precision.
  func converted<Other: BLASScalar>(to type: Other.Type = Other.self) -> KroneckerCovariance<Other>
  {
    KroneckerCovariance<Other>(
      KroneckerCovariance<Other>.Inputs(
        center: inputs.center.map { Other(Double($0)) }, vectors: Matrix<Other>(inputs.vectors),
        values: inputs.values, rowTotal: inputs.rowTotal),
      outputValues: outputValues, outputShares: outputShares, outputVectors: outputVectors,
      priorPrecision: priorPrecision, biasPrecision: biasPrecision)
  }

  /// The factor that makes the variances those of logits whose differences have twice the variance.
  ///
  /// Where only differences of logits mean something, a logit less the mean of all has (C-1)/C of it.
  var factor: Double {
    let (columns, directions) = (outputShares.rowCount, outputValues.count)
    return directions < columns ? Double(columns) / Double(directions) : 1
  }

  /// `log|Λ|` less that of the prior: Σ log(1 + a_d b_j / λ), with the bias.
  var logDeterminantRatio: Double {
    var sum = 0.0
    for b in outputValues {
      for a in inputs.values { sum += log1p(a * b / priorPrecision) }
      sum += log1p(inputs.rowTotal * b / biasPrecision)
    }
    return sum
  }

  /// What does not depend on the rows whose variances are asked for.
  private struct Factors {
    /// 1 / (a_d b_j + λ), D x J.
    let variances: Matrix<Scalar>
    /// Of the bias, J numbers.
    let biases: [Scalar]
    /// V_kj², J x C, times ``factor``.
    let shares: Matrix<Scalar>
  }

  private var factors: Factors {
    let variances = Matrix<Double>(rows: inputs.values.count, columns: outputValues.count) {
      target in
      for row in inputs.values.indices {
        for (j, b) in outputValues.enumerated() {
          target[row * outputValues.count + j] = 1 / (inputs.values[row] * b + priorPrecision)
        }
      }
    }
    var shares = outputShares.transposed()
    shares.scale(by: factor)
    return Factors(
      variances: Matrix<Scalar>(variances),
      biases: outputValues.map { Scalar(1 / (inputs.rowTotal * $0 + biasPrecision)) },
      shares: Matrix<Scalar>(shares))
  }

  /// The variances of the logits of rows.
  ///
  /// - Parameter rows: n x (D + 1), the last column ones.
  /// - Returns: n x C.
  func leverages(_ rows: Matrix<Scalar>) -> Matrix<Scalar> {
    leverages(squares: inputs.squares(of: rows), factors)
  }

  /// The variances of the rows along all directions of ``outputVectors``, those without a meaning under the prior alone.
  ///
  /// - Parameter rows: n x (D + 1), the last column ones.
  /// - Returns: n x C.
  func directionVariances(_ rows: Matrix<Scalar>) -> Matrix<Double> {
    let columns = outputShares.rowCount
    let values = [Double](repeating: 0, count: columns - outputValues.count) + outputValues
    var factors = Matrix<Double>.zeros(inputs.values.count, columns)
    for (d, a) in inputs.values.enumerated() {
      for (j, b) in values.enumerated() { factors[d, j] = 1 / (a * b + priorPrecision) }
    }
    var result = Matrix<Double>(inputs.squares(of: rows)).multiplied(by: factors)
    result.addToRows(values.map { 1 / (inputs.rowTotal * $0 + biasPrecision) })
    return result
  }

  /// The same, from the squares of what the rows are along the eigenvectors, n x D.
  private func leverages(squares: Matrix<Scalar>, _ factors: Factors) -> Matrix<Scalar> {
    var alongOutputs = squares.multiplied(by: factors.variances)  // (n, J)
    alongOutputs.addToRows(factors.biases)
    return alongOutputs.multiplied(by: factors.shares)
  }
}

extension KroneckerCovariance {
  /// Rows along the eigenvectors of a curvature between features: what their variances need of both, for any prior and
  /// any curvature between logits.
  struct ProjectedRows: Sendable {
    let inputs: Inputs
    /// n x D.
    let squares: Matrix<Scalar>

    /// Projects rows, n x (D + 1), the last column ones.
    init(_ rows: Matrix<Scalar>, on inputs: Inputs, execution: Execution) {
      self.inputs = inputs
      squares = inBlocks(of: rows, columns: inputs.values.count, execution) {
        inputs.squares(of: $0)
      }
    }

    /// The variances of the rows' logits.
    ///
    /// - Parameters:
    ///   - outputCurvature: B, C x C.
    ///   - directionCount: how many of its directions mean something.
    ///   - priorPrecision: λ.
    ///   - biasPrecision: of the bias.
    ///   - execution: the threads to work with.
    /// - Returns: n x C.
    /// - Throws: `NumericsError` when an eigendecomposition fails.
    func leverages(
      outputCurvature: Matrix<Double>, directionCount: Int, priorPrecision: Double,
      biasPrecision: Double, execution: Execution
    ) throws(NumericsError) -> Matrix<Scalar> {
      let covariance = try KroneckerCovariance(
        inputs, outputCurvature: outputCurvature, directionCount: directionCount,
        priorPrecision: priorPrecision, biasPrecision: biasPrecision)
      let factors = covariance.factors
      return inBlocks(of: squares, columns: outputCurvature.rowCount, execution) {
        covariance.leverages(squares: $0, factors)
      }
    }
  }

  /// The variances of the logits of a few rows, without the eigendecomposition between features where
  /// there are few directions of the logits: a factorisation for each costs less.
  ///
  /// - Parameters:
  ///   - rows: n x (D + 1), the last column ones.
  ///   - gram: A with the bias, (D + 1) x (D + 1).
  ///   - outputCurvature: B, C x C.
  ///   - directionCount: how many of its directions mean something.
  ///   - priorPrecision: λ.
  ///   - biasPrecision: of the bias.
  ///   - execution: the threads to work with.
  /// - Returns: n x C.
  /// - Throws: `NumericsError` when an eigendecomposition fails or a matrix is indefinite.
  static func leverages(
    of rows: Matrix<Scalar>, gram: Matrix<Double>, outputCurvature: Matrix<Double>,
    directionCount: Int, priorPrecision: Double, biasPrecision: Double, execution: Execution
  ) throws(NumericsError) -> Matrix<Scalar> {
    let columns = outputCurvature.rowCount
    guard directionCount <= directionLimit else {
      let projected = ProjectedRows(rows, on: try Inputs(gram: gram), execution: execution)
      return try projected.leverages(
        outputCurvature: outputCurvature, directionCount: directionCount,
        priorPrecision: priorPrecision, biasPrecision: biasPrecision, execution: execution)
    }
    let eigen = try SymmetricEigen(outputCurvature)
    let kept = eigen.values.indices.suffix(directionCount)
    let size = gram.rowCount - 1
    let factor = directionCount < columns ? Double(columns) / Double(directionCount) : 1
    var prior = [Double](repeating: priorPrecision, count: size + 1)
    prior[size] = biasPrecision
    var choleskies: [(factor: Cholesky<Scalar>, shares: [Scalar])] = []
    for j in kept {
      var precision = gram
      precision.scale(by: max(eigen.values[j], 0))
      precision.addToDiagonal(prior)
      choleskies.append(
        (
          try Cholesky(precision).converted(),
          eigen.rowVectors.row(j).map { Scalar(factor * $0 * $0) }
        ))
    }
    let factors = choleskies
    return inBlocks(of: rows, columns: columns, execution) { rows in
      var result = Matrix<Scalar>.zeros(rows.rowCount, columns)
      for (factor, shares) in factors {
        var whitened = rows.compact()
        factor.whiten(rows: &whitened)
        for (row, norm) in whitened.rowSquaredNorms().enumerated() {
          for k in 0..<columns { result[row, k] += Scalar(norm) * shares[k] }
        }
      }
      return result
    }
  }

  /// Variances of rows, block by block on all threads.
  private static func inBlocks(
    of rows: Matrix<Scalar>, columns: Int, _ execution: Execution,
    _ body: @Sendable (Matrix<Scalar>) -> Matrix<Scalar>
  ) -> Matrix<Scalar> {
    Matrix(rows: rows.rowCount, columns: columns, blockSize: 256, execution: execution) {
      body(rows.rows($0))
    }
  }

  /// An eigendecomposition takes some 9·D³ operations, most of them slow ones; a factorisation D³/3.
  private static var directionLimit: Int { 16 }
}
