internal import BllarseKernels

/// The vector kernels of one number type; the headers of BllarseKernels document them.
///
/// Arguments are counts, then addresses, each followed by the distance between its rows.
@safe
package struct Kernels<Scalar>: Sendable {
  package typealias Input = UnsafePointer<Scalar>?
  package typealias Output = UnsafeMutablePointer<Scalar>?
  package typealias Labels = UnsafePointer<Int32>?
  package typealias Sums = UnsafeMutablePointer<Double>?

  // One row, from each of the stored precisions to this one.
  let fromHalf: @Sendable (Int, UnsafePointer<UInt16>, UnsafeMutablePointer<Scalar>) -> Void
  let fromSingle: @Sendable (Int, UnsafePointer<Float>, UnsafeMutablePointer<Scalar>) -> Void
  let fromDouble: @Sendable (Int, UnsafePointer<Double>, UnsafeMutablePointer<Scalar>) -> Void

  // The layer normalisation of rows of each stored precision, where there is a kernel for it.
  let normaliseHalf: LayerNorm<UInt16>?
  let normaliseSingle: LayerNorm<Float>?
  let normaliseDouble: LayerNorm<Double>?
  let normalise: LayerNorm<Scalar>
  typealias LayerNorm<Source> =
    @Sendable (
      Int, Int, UnsafePointer<Source>?, Int, Double, Input, Input, Output, Int, CInt
    ) -> Void

  /// Residuals S·r(S·M), latent means and curvatures, and sums of log Φ(S·M).
  package let probitResidual:
    @Sendable (Int, Int, Input, Int, Labels, Output, Int, Output, Int, Output, Int, Sums, CInt) ->
      Double
  /// Moves logits along a direction; residuals and sums there.
  package let probitAdvance:
    @Sendable (Int, Int, Output, Int, Input, Int, Input, Labels, Output, Int, Sums, CInt) -> Double
  /// The log-likelihood of each class along a direction, with two derivatives.
  package let probitLine:
    @Sendable (Int, Int, Input, Int, Input, Int, Input, Labels, Sums, Sums, Sums) -> Void
  /// Residuals Y - softmax(logits); returns the sum of log p at the labels.
  package let softmaxResidual: @Sendable (Int, Int, Input, Int, Labels, Output, Int) -> Double
  /// Moves logits along a direction; residuals there, returns the sum of log p.
  package let softmaxAdvance:
    @Sendable (Int, Int, Output, Int, Input, Int, Scalar, Labels, Output, Int) -> Double
  /// Adds two derivatives of the sum of log p along a direction.
  package let softmaxLine:
    @Sendable (Int, Int, Input, Int, Input, Int, Scalar, Labels, Sums, Sums) -> Void

  /// The elementwise functions, in the order of ``ElementwiseFunction``; the target may be the source.
  let maps: [@Sendable (Int, Input, Output) -> Void]
  /// log Σ exp of rows.
  let logSumExpRows: @Sendable (Int, Int, Input, Int, Output) -> Void
  /// Softmax of rows; the target may be the source.
  let softmaxRows: @Sendable (Int, Int, Input, Int, Output, Int) -> Void
  /// Rows less the logarithm of the sum of their exponentials; the target may be the source.
  let logSoftmaxRows: @Sendable (Int, Int, Input, Int, Output, Int) -> Void
  /// log Φ(x) and log Φ(-x) of an array.
  let logNormalCDFs: @Sendable (Int, Input, Output, Output) -> Void
  /// The same of the approximation of Φ.
  let logApproximateNormalCDFs: @Sendable (Int, Input, Output, Output) -> Void

  /// Adds a factor times each element to sums in double precision.
  package let accumulate: @Sendable (Int, Double, Input, Sums) -> Void
  /// Rearranges weights (classes x columns) for `forward`.
  package let packWeights: @Sendable (Int, Int, Input, Int, Output) -> Void
  /// `logits = rows · weightsᵀ` with packed weights; columns are whole vectors of 64 bytes.
  package let forward: @Sendable (Int, Int, Int, Input, Int, Input, Output, Int) -> Void
  /// `products += residualsᵀ · rows`, classes x columns, added in double precision; meanwhile bytes that
  /// the caller reads next are fetched into cache.
  package let backward:
    @Sendable (Int, Int, Int, Input, Int, Input, Int, Sums, Int, UnsafeRawPointer?, Int) -> Void
  /// The lower triangle of `rows · rowsᵀ` for some tens of rows; columns are whole vectors.
  package let smallGram: @Sendable (Int, Int, Input, Int, Output, Int) -> Void
}

extension Kernels<Float> {
  /// The kernels in single precision.
  static let single = unsafe Kernels(
    fromHalf: { unsafe bllarse_float_from_half($0, $1, $2) },
    fromSingle: { unsafe $2.update(from: $1, count: $0) },
    fromDouble: { for index in 0..<$0 { unsafe $2[index] = Float($1[index]) } },
    normaliseHalf: bllarse_layer_norm_rows_f16_f32,
    normaliseSingle: bllarse_layer_norm_rows_f32,
    normaliseDouble: nil,
    normalise: bllarse_layer_norm_rows_f32,
    probitResidual: bllarse_probit_residual_f32,
    probitAdvance: bllarse_probit_advance_f32,
    probitLine: bllarse_probit_line_f32,
    softmaxResidual: bllarse_softmax_residual_f32,
    softmaxAdvance: bllarse_softmax_advance_f32,
    softmaxLine: bllarse_softmax_line_f32,
    maps: [
      bllarse_normal_cdf_f32, bllarse_log_normal_cdf_f32, bllarse_inverse_mills_ratio_f32,
      bllarse_probit_curvature_f32, bllarse_gelu_f32, bllarse_approximate_normal_cdf_f32,
      bllarse_softplus_f32, bllarse_sigmoid_f32, bllarse_exp_f32, bllarse_log_f32,
      bllarse_log1p_f32,
    ],
    logSumExpRows: bllarse_log_sum_exp_rows_f32,
    softmaxRows: bllarse_softmax_rows_f32,
    logSoftmaxRows: bllarse_log_softmax_rows_f32,
    logNormalCDFs: bllarse_log_normal_cdf_both_f32,
    logApproximateNormalCDFs: bllarse_log_approximate_normal_cdf_both_f32,
    accumulate: bllarse_accumulate_f32,
    packWeights: bllarse_products_pack_f32,
    forward: bllarse_products_forward_f32,
    backward: bllarse_products_backward_f32,
    smallGram: bllarse_products_gram_f32)
}

extension Kernels<Double> {
  /// The kernels in double precision.
  static let double = unsafe Kernels(
    fromHalf: { count, source, target in
      // By way of single precision, for which there is a vector kernel; the way is exact.
      unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { line in
        unsafe bllarse_float_from_half(count, source, line.baseAddress)
        for index in 0..<count { unsafe target[index] = Double(line[index]) }
      }
    },
    fromSingle: { for index in 0..<$0 { unsafe $2[index] = Double($1[index]) } },
    fromDouble: { unsafe $2.update(from: $1, count: $0) },
    normaliseHalf: nil,
    normaliseSingle: bllarse_layer_norm_rows_f32_f64,
    normaliseDouble: bllarse_layer_norm_rows_f64,
    normalise: bllarse_layer_norm_rows_f64,
    probitResidual: bllarse_probit_residual_f64,
    probitAdvance: bllarse_probit_advance_f64,
    probitLine: bllarse_probit_line_f64,
    softmaxResidual: bllarse_softmax_residual_f64,
    softmaxAdvance: bllarse_softmax_advance_f64,
    softmaxLine: bllarse_softmax_line_f64,
    maps: [
      bllarse_normal_cdf_f64, bllarse_log_normal_cdf_f64, bllarse_inverse_mills_ratio_f64,
      bllarse_probit_curvature_f64, bllarse_gelu_f64, bllarse_approximate_normal_cdf_f64,
      bllarse_softplus_f64, bllarse_sigmoid_f64, bllarse_exp_f64, bllarse_log_f64,
      bllarse_log1p_f64,
    ],
    logSumExpRows: bllarse_log_sum_exp_rows_f64,
    softmaxRows: bllarse_softmax_rows_f64,
    logSoftmaxRows: bllarse_log_softmax_rows_f64,
    logNormalCDFs: bllarse_log_normal_cdf_both_f64,
    logApproximateNormalCDFs: bllarse_log_approximate_normal_cdf_both_f64,
    accumulate: bllarse_accumulate_f64,
    packWeights: bllarse_products_pack_f64,
    forward: bllarse_products_forward_f64,
    backward: bllarse_products_backward_f64,
    smallGram: bllarse_products_gram_f64)
}

extension BLASScalar {
  /// The vector kernels of this type.
  package static var kernels: Kernels<Self> { _read { yield _routines.kernels } }

  /// Copies rows, converting them to this type.
  @specialized(where Self == Float)
  @specialized(where Self == Double)
  static func convertRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ target: UnsafeMutablePointer<Self>,
    _ stride: Int
  ) {
    switch unsafe source {
    case .half(let bits, let sourceStride):
      let (convert, bits) = unsafe (kernels.fromHalf, bits.assumingMemoryBound(to: UInt16.self))
      for row in 0..<rows {
        unsafe convert(columns, bits + row * sourceStride, target + row * stride)
      }
    case .single(let values, let sourceStride):
      let convert = unsafe kernels.fromSingle
      for row in 0..<rows {
        unsafe convert(columns, values + row * sourceStride, target + row * stride)
      }
    case .double(let values, let sourceStride):
      let convert = unsafe kernels.fromDouble
      for row in 0..<rows {
        unsafe convert(columns, values + row * sourceStride, target + row * stride)
      }
    }
  }

  /// Normalises rows without parameters.
  static func layerNormRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ epsilon: Double,
    _ target: UnsafeMutablePointer<Self>, _ stride: Int
  ) {
    func normalise<Source>(
      _ source: UnsafePointer<Source>, _ sourceStride: Int,
      _ body: Kernels<Self>.LayerNorm<Source>
    ) {
      unsafe body(rows, columns, source, sourceStride, epsilon, nil, nil, target, stride, 0)
    }
    switch unsafe source {
    case .half(let bits, let sourceStride):
      if let body = unsafe kernels.normaliseHalf {
        return unsafe normalise(bits.assumingMemoryBound(to: UInt16.self), sourceStride, body)
      }
    case .single(let values, let sourceStride):
      if let body = unsafe kernels.normaliseSingle {
        return unsafe normalise(values, sourceStride, body)
      }
    case .double(let values, let sourceStride):
      if let body = unsafe kernels.normaliseDouble {
        return unsafe normalise(values, sourceStride, body)
      }
    }
    unsafe convertRows(rows, columns, source, target, stride)
    unsafe normalise(target, stride, kernels.normalise)
  }
}
