import BllarseKernels

/// A number type that the vector kernels exist for: `Float` or `Double`, and no other.
///
/// The requirements are calls into C; the headers of BllarseKernels document them.
public protocol KernelScalar: BitwiseCopyable, Sendable {
  /// Copies rows, converting them to this type.
  static func _convertRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ target: UnsafeMutablePointer<Self>,
    _ stride: Int)

  /// Normalises rows without parameters.
  static func _layerNormRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ epsilon: Double,
    _ target: UnsafeMutablePointer<Self>, _ stride: Int)

  /// Residuals S·r(S·M), latent means and curvatures, and sums of log Φ(S·M).
  static func _probitResidual(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Self>, _ logitsStride: Int,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Self>?, _ residualStride: Int,
    _ latentMean: UnsafeMutablePointer<Self>?, _ latentMeanStride: Int,
    _ curvature: UnsafeMutablePointer<Self>?, _ curvatureStride: Int,
    _ classSums: UnsafeMutablePointer<Double>?)

  /// Moves logits along a direction, and returns residuals and sums there.
  static func _probitAdvance(
    _ rows: Int, _ classes: Int, _ logits: UnsafeMutablePointer<Self>, _ logitsStride: Int,
    _ direction: UnsafePointer<Self>, _ directionStride: Int, _ step: UnsafePointer<Self>,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Self>?, _ residualStride: Int,
    _ classSums: UnsafeMutablePointer<Double>?)

  /// The log-likelihood of each class along a direction, with two derivatives.
  static func _probitLine(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Self>, _ logitsStride: Int,
    _ direction: UnsafePointer<Self>, _ directionStride: Int, _ step: UnsafePointer<Self>,
    _ labels: UnsafePointer<Int32>, _ value: UnsafeMutablePointer<Double>?,
    _ slope: UnsafeMutablePointer<Double>, _ second: UnsafeMutablePointer<Double>)

  /// Adds `factor` times each element to sums in double precision.
  static func _accumulate(
    _ count: Int, _ factor: Double, _ values: UnsafePointer<Self>,
    _ sums: UnsafeMutablePointer<Double>)

  /// log Φ(x) and log Φ(-x) of an array, by the exact function or by its approximation.
  static func _logNormalCDFs(
    approximate: Bool, _ count: Int, _ values: UnsafePointer<Self>,
    _ lower: UnsafeMutablePointer<Self>, _ upper: UnsafeMutablePointer<Self>)

  /// Rows less the logarithm of the sum of their exponentials; the target may be the source.
  static func _logSoftmaxRows(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Self>, _ stride: Int,
    _ target: UnsafeMutablePointer<Self>, _ targetStride: Int)

  /// Softmax of rows; the target may be the source.
  static func _softmaxRows(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Self>, _ stride: Int,
    _ target: UnsafeMutablePointer<Self>, _ targetStride: Int)

  /// Residuals Y - softmax(logits), and the sum of log p at the labels.
  static func _softmaxResidual(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Self>, _ logitsStride: Int,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Self>, _ residualStride: Int
  ) -> Double

  /// Moves logits along a direction, and returns residuals and the sum of log p there.
  static func _softmaxAdvance(
    _ rows: Int, _ classes: Int, _ logits: UnsafeMutablePointer<Self>, _ logitsStride: Int,
    _ direction: UnsafePointer<Self>, _ directionStride: Int, _ step: Self,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Self>, _ residualStride: Int
  ) -> Double

  /// Adds two derivatives of the sum of log p along a direction.
  static func _softmaxLine(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Self>, _ logitsStride: Int,
    _ direction: UnsafePointer<Self>, _ directionStride: Int, _ step: Self,
    _ labels: UnsafePointer<Int32>, _ slope: UnsafeMutablePointer<Double>,
    _ second: UnsafeMutablePointer<Double>)

  /// The exponentials of an array; the target may be the source.
  static func _exp(
    _ count: Int, _ values: UnsafePointer<Self>, _ target: UnsafeMutablePointer<Self>)

  /// Rearranges weights (classes x columns) for `_forward`.
  static func _packWeights(
    _ classes: Int, _ columns: Int, _ weights: UnsafePointer<Self>, _ stride: Int,
    _ packed: UnsafeMutablePointer<Self>)

  /// `logits = rows · weightsᵀ` with packed weights; columns are whole vectors of 64 bytes.
  static func _forward(
    _ rows: Int, _ classes: Int, _ columns: Int, _ values: UnsafePointer<Self>, _ stride: Int,
    _ packed: UnsafePointer<Self>, _ logits: UnsafeMutablePointer<Self>, _ logitsStride: Int)

  /// `products += residualsᵀ · rows`, classes x columns, added in double precision; meanwhile
  /// `nextBytes` bytes from `next`, which the caller reads next, are fetched into cache.
  static func _backward(
    _ rows: Int, _ classes: Int, _ columns: Int, _ values: UnsafePointer<Self>, _ stride: Int,
    _ residuals: UnsafePointer<Self>, _ residualsStride: Int,
    _ products: UnsafeMutablePointer<Double>, _ productsStride: Int, _ next: UnsafeRawPointer?,
    _ nextBytes: Int)

  /// The lower triangle of `rows · rowsᵀ` for some tens of rows; columns are whole vectors.
  static func _smallGram(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Self>, _ stride: Int,
    _ target: UnsafeMutablePointer<Self>, _ targetStride: Int)
}
