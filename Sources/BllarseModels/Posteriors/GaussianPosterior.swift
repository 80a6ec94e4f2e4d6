public import BllarseNumerics

/// A Gaussian over the weights of K classes with one precision shared by all, in natural parameters.
///
/// Natural parameters add up: merging batches, forgetting them and combining machines are sums. The
/// mean is solved for when it is asked for. D counts the columns of the design, bias included.
public struct GaussianPosterior: Sendable, Equatable {
  /// The precision `Λ`, D x D, symmetric positive definite.
  public var precision: Matrix<Double>
  /// The natural mean `η = Λ·mu`, D x K.
  public var naturalMean: Matrix<Double>

  /// Takes natural parameters as they are.
  ///
  /// - Parameters:
  ///   - precision: D x D, symmetric positive definite.
  ///   - naturalMean: D x K.
  public init(precision: Matrix<Double>, naturalMean: Matrix<Double>) {
    precondition(
      precision.rowCount == precision.columnCount && precision.rowCount == naturalMean.rowCount,
      "a precision of \(precision.rowCount) x \(precision.columnCount) for a natural mean of "
        + "\(naturalMean.rowCount) x \(naturalMean.columnCount)")
    self.precision = precision
    self.naturalMean = naturalMean
  }

  /// A prior with mean 0 and the same precision in every direction.
  ///
  /// - Parameters:
  ///   - size: D.
  ///   - classCount: K.
  ///   - precision: the precision of each weight, positive.
  public init(size: Int, classCount: Int, precision: Double) {
    self.init(
      precision: .diagonal(precision, size: size), naturalMean: .zeros(size, classCount))
  }

  /// D, the number of weights of a class.
  public var size: Int { precision.rowCount }
  /// K, the number of classes.
  public var classCount: Int { naturalMean.columnCount }

  /// The mean `mu = Λ⁻¹η`, D x K.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if the precision is not positive definite.
  /// - Complexity: D³/3 + 2·D²·K floating-point operations.
  public func mean() throws(NumericsError) -> Matrix<Double> {
    try Cholesky(precision).solve(naturalMean)
  }
}
