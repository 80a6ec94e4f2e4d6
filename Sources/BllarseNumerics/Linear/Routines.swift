internal import BllarseKernels
internal import CBLAS
internal import CLAPACKE

/// A number type that BLAS, LAPACK and the vector kernels exist for: `Float` or `Double`, and no other.
public protocol BLASScalar: BinaryFloatingPoint, BitwiseCopyable, Sendable
where RawSignificand: FixedWidthInteger {
  /// The C functions of this type.
  static var _routines: Routines<Self> { get }
}

/// The C functions of one number type; an object, so that a call loads one address and copies no table.
public final class Routines<Scalar>: Sendable {
  let blas: BLASRoutines<Scalar>
  let kernels: Kernels<Scalar>

  init(blas: BLASRoutines<Scalar>, kernels: Kernels<Scalar>) {
    self.blas = blas
    self.kernels = kernels
  }
}

/// The routines of BLAS and LAPACK that the package calls, under their names without the type's letter.
@safe
struct BLASRoutines<Scalar>: Sendable {
  typealias Input = UnsafePointer<Scalar>?
  typealias Output = UnsafeMutablePointer<Scalar>?

  let gemm:
    @Sendable (
      CBLAS_ORDER, CBLAS_TRANSPOSE, CBLAS_TRANSPOSE, CInt, CInt, CInt, Scalar, Input, CInt, Input,
      CInt, Scalar, Output, CInt
    ) -> Void
  let syrk:
    @Sendable (
      CBLAS_ORDER, CBLAS_UPLO, CBLAS_TRANSPOSE, CInt, CInt, Scalar, Input, CInt, Scalar, Output,
      CInt
    ) -> Void
  let gemv:
    @Sendable (
      CBLAS_ORDER, CBLAS_TRANSPOSE, CInt, CInt, Scalar, Input, CInt, Input, CInt, Scalar, Output,
      CInt
    ) -> Void
  let symv:
    @Sendable (
      CBLAS_ORDER, CBLAS_UPLO, CInt, Scalar, Input, CInt, Input, CInt, Scalar, Output, CInt
    ) -> Void
  let trsm:
    @Sendable (
      CBLAS_ORDER, CBLAS_SIDE, CBLAS_UPLO, CBLAS_TRANSPOSE, CBLAS_DIAG, CInt, CInt, Scalar, Input,
      CInt, Output, CInt
    ) -> Void
  let potrf: @Sendable (CInt, CChar, CInt, Output, CInt) -> CInt
  let potri: @Sendable (CInt, CChar, CInt, Output, CInt) -> CInt
  let trtri: @Sendable (CInt, CChar, CChar, CInt, Output, CInt) -> CInt
  let syevd: @Sendable (CInt, CChar, CChar, CInt, Output, CInt, Output) -> CInt
}

extension Float: BLASScalar {
  /// The routines in single precision.
  public static let _routines = unsafe Routines<Float>(
    blas: BLASRoutines(
      gemm: cblas_sgemm, syrk: cblas_ssyrk, gemv: cblas_sgemv, symv: cblas_ssymv,
      trsm: cblas_strsm, potrf: LAPACKE_spotrf_work, potri: LAPACKE_spotri_work,
      trtri: LAPACKE_strtri_work, syevd: LAPACKE_ssyevd), kernels: .single)
}

extension Double: BLASScalar {
  /// The routines in double precision.
  public static let _routines = unsafe Routines<Double>(
    blas: BLASRoutines(
      gemm: cblas_dgemm, syrk: cblas_dsyrk, gemv: cblas_dgemv, symv: cblas_dsymv,
      trsm: cblas_dtrsm, potrf: LAPACKE_dpotrf_work, potri: LAPACKE_dpotri_work,
      trtri: LAPACKE_dtrtri_work, syevd: LAPACKE_dsyevd), kernels: .double)
}

/// An index or size as the C libraries take it; sizes beyond 2³¹ - 1 are a caller's bug.
func blasInteger(_ value: Int) -> CInt {
  guard let result = CInt(exactly: value) else {
    preconditionFailure("\(value) does not fit the 32-bit integers of this BLAS")
  }
  return result
}

/// A positive `info` of LAPACK is about the data; a negative one is an argument of ours.
private func checked(_ info: CInt, _ routine: StaticString) -> Int {
  precondition(info >= 0, "argument \(-info) of \(routine) is wrong")
  return Int(info)
}

private func transposition(_ transposed: Bool) -> CBLAS_TRANSPOSE {
  transposed ? CblasTrans : CblasNoTrans
}

// A row-major lower triangle is a column-major upper one, so LAPACK is called in its own column-major
// order with 'U' and copies nothing.
private let upper = CChar(UInt8(ascii: "U"))
private let nonUnit = CChar(UInt8(ascii: "N"))

// All matrices are row-major.
extension BLASScalar {
  /// `c = alpha * op(a) * op(b) + beta * c`, op(a) m x k, op(b) k x n (cblas_?gemm).
  package static func gemm(
    _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Self,
    _ a: UnsafePointer<Self>, _ lda: Int, _ b: UnsafePointer<Self>, _ ldb: Int, _ beta: Self,
    _ c: UnsafeMutablePointer<Self>, _ ldc: Int
  ) {
    unsafe _routines.blas.gemm(
      CblasRowMajor, transposition(transposeA), transposition(transposeB), blasInteger(m),
      blasInteger(n), blasInteger(k), alpha, a, blasInteger(lda), b, blasInteger(ldb), beta, c,
      blasInteger(ldc))
  }

  /// `c = alpha * aᵀa + beta * c` (or `a aᵀ`), lower triangle of the n x n matrix c (cblas_?syrk).
  package static func syrk(
    _ transpose: Bool, _ n: Int, _ k: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int,
    _ beta: Self, _ c: UnsafeMutablePointer<Self>, _ ldc: Int
  ) {
    unsafe _routines.blas.syrk(
      CblasRowMajor, CblasLower, transposition(transpose), blasInteger(n), blasInteger(k), alpha,
      a, blasInteger(lda), beta, c, blasInteger(ldc))
  }

  /// `y = alpha * op(a) * x + beta * y`, a m x n (cblas_?gemv).
  static func gemv(
    _ transpose: Bool, _ m: Int, _ n: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int,
    _ x: UnsafePointer<Self>, _ beta: Self, _ y: UnsafeMutablePointer<Self>
  ) {
    unsafe _routines.blas.gemv(
      CblasRowMajor, transposition(transpose), blasInteger(m), blasInteger(n), alpha, a,
      blasInteger(lda), x, 1, beta, y, 1)
  }

  /// `y = a * x`, a symmetric n x n, lower triangle read (cblas_?symv).
  static func symv(
    _ n: Int, _ a: UnsafePointer<Self>, _ lda: Int, _ x: UnsafePointer<Self>,
    _ y: UnsafeMutablePointer<Self>
  ) {
    unsafe _routines.blas.symv(
      CblasRowMajor, CblasLower, blasInteger(n), 1, a, blasInteger(lda), x, 1, 0, y, 1)
  }

  /// Solves `op(l) x = b` or `x op(l) = b` in place, l lower triangular (cblas_?trsm).
  static func trsm(
    _ fromRight: Bool, _ transpose: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Self>, _ ldl: Int,
    _ b: UnsafeMutablePointer<Self>, _ ldb: Int
  ) {
    unsafe _routines.blas.trsm(
      CblasRowMajor, fromRight ? CblasRight : CblasLeft, CblasLower, transposition(transpose),
      CblasNonUnit, blasInteger(m), blasInteger(n), 1, l, blasInteger(ldl), b, blasInteger(ldb))
  }

  /// Factors the lower triangle of a symmetric matrix in place; 0, or the failing minor (?potrf).
  static func potrf(_ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int) -> Int {
    unsafe checked(
      _routines.blas.potrf(LAPACK_COL_MAJOR, upper, blasInteger(n), a, blasInteger(lda)), "potrf")
  }

  /// From a factor, the lower triangle of the inverse, in place; 0, or the failing minor (?potri).
  static func potri(_ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int) -> Int {
    unsafe checked(
      _routines.blas.potri(LAPACK_COL_MAJOR, upper, blasInteger(n), a, blasInteger(lda)), "potri")
  }

  /// Inverts a lower triangular matrix in place; 0, or the singular position (?trtri).
  static func trtri(_ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int) -> Int {
    unsafe checked(
      _routines.blas.trtri(LAPACK_COL_MAJOR, upper, nonUnit, blasInteger(n), a, blasInteger(lda)),
      "trtri")
  }

  /// Eigenvalues of a symmetric matrix, ascending, and, if wanted, eigenvectors, one a row of `a`, which is
  /// overwritten in any case (?syevd).
  static func syevd(
    _ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int, _ values: UnsafeMutablePointer<Self>,
    withVectors: Bool
  ) -> Int {
    unsafe checked(
      _routines.blas.syevd(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: withVectors ? "V" : "N")), upper, blasInteger(n), a,
        blasInteger(lda), values), "syevd")
  }
}

/// The BLAS that this package runs on.
public enum LinearAlgebraLibrary {
  /// Its name, version and kernels, as it reports them: "OpenBLAS 0.3.21 … Zen".
  public static var description: String {
    guard let text = unsafe openblas_get_config() else { return "BLAS" }
    return unsafe String(cString: text).split(separator: " ").joined(separator: " ")
  }
}

extension Matrix where Element: BLASScalar {
  /// The product with a vector, `op(self) · x` (gemv), where op transposes if that is wanted.
  public func multiplied(by vector: [Element], transposing: Bool = false) -> [Element] {
    let (count, expected) = transposing ? (columnCount, rowCount) : (rowCount, columnCount)
    precondition(vector.count == expected, "\(vector.count) elements, \(self) expects \(expected)")
    return unsafe applied(to: vector, count: count) { a, lda, x, y in
      unsafe Element.gemv(transposing, rowCount, columnCount, 1, a, lda, x, 0, y)
    }
  }

  /// The product of a symmetric matrix with a vector; only the lower triangle is read (symv).
  public func symmetricMultiplied(by vector: [Element]) -> [Element] {
    precondition(rowCount == columnCount, "\(self) is not square")
    precondition(vector.count == rowCount, "\(vector.count) elements for \(self)")
    return unsafe applied(to: vector, count: rowCount) { a, lda, x, y in
      unsafe Element.symv(rowCount, a, lda, x, y)
    }
  }

  private func applied(
    to vector: [Element], count: Int,
    _ body: (
      UnsafePointer<Element>, Int, UnsafePointer<Element>, UnsafeMutablePointer<Element>
    ) -> Void
  ) -> [Element] {
    var result = [Element](repeating: 0, count: count)
    guard rowCount > 0, columnCount > 0 else { return result }
    unsafe result.withUnsafeMutableBufferPointer { y in
      unsafe vector.withUnsafeBufferPointer { x in
        unsafe withUnsafePointer { a, lda in
          guard let px = x.baseAddress, let py = y.baseAddress else { return }
          unsafe body(a, lda, px, py)
        }
      }
    }
    return result
  }

  /// Forms `c = alpha · op(a) · op(b) + beta · c` (gemm), where op transposes if that is wanted:
  /// op(a) is m x k, op(b) is k x n, and c, m x n, is not read when `beta` is 0.
  ///
  /// - Complexity: 2·m·n·k floating-point operations.
  public static func multiply(
    _ a: Matrix, transposingA: Bool = false, _ b: Matrix, transposingB: Bool = false,
    into c: inout Matrix, alpha: Element = 1, beta: Element = 0
  ) {
    let (m, k) = transposingA ? (a.columnCount, a.rowCount) : (a.rowCount, a.columnCount)
    let (kOfB, n) = transposingB ? (b.columnCount, b.rowCount) : (b.rowCount, b.columnCount)
    precondition(
      k == kOfB && c.rowCount == m && c.columnCount == n,
      "cannot multiply \(m) x \(k) by \(kOfB) x \(n) into \(c.rowCount) x \(c.columnCount)")
    guard m > 0, n > 0 else { return }
    unsafe c.withUnsafeMutablePointer { pc, ldc in
      unsafe a.withUnsafePointer { pa, lda in
        unsafe b.withUnsafePointer { pb, ldb in
          BLASThreads.shared.call(operations: 2 * Double(m) * Double(n) * Double(k)) {
            unsafe Element.gemm(
              transposingA, transposingB, m, n, k, alpha, pa, Swift.max(lda, 1), pb,
              Swift.max(ldb, 1), beta, pc, ldc)
          }
        }
      }
    }
  }

  /// The product `op(self) · op(other)` (gemm), where op transposes if that is wanted.
  public func multiplied(
    by other: Matrix, transposing: Bool = false, transposingOther: Bool = false
  ) -> Matrix {
    var result = Matrix.zeros(
      transposing ? columnCount : rowCount,
      transposingOther ? other.rowCount : other.columnCount)
    Matrix.multiply(
      self, transposingA: transposing, other, transposingB: transposingOther, into: &result)
    return result
  }

  /// The Gram matrix `selfᵀ · self`, both triangles filled (syrk).
  ///
  /// - Complexity: rowCount · columnCount² floating-point operations.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public func gram() -> Matrix {
    var result = Matrix.zeros(columnCount, columnCount)
    guard rowCount > 0, columnCount > 0 else { return result }
    result.addLowerGram(of: self, keeping: 0)
    result.mirrorLowerTriangle()
    return result
  }

  /// Forms `self = keep · self + rowsᵀ · rows` in the lower triangle (syrk); what is above the diagonal
  /// has no meaning afterwards.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package mutating func addLowerGram(of rows: Matrix, keeping keep: Element) {
    precondition(
      rowCount == columnCount && rows.columnCount == columnCount, "\(rows) added to \(self)")
    let size = rowCount
    unsafe withUnsafeMutablePointer { target, ldc in
      unsafe rows.withUnsafePointer { source, lda in
        BLASThreads.shared.call(operations: Double(rows.rowCount) * Double(size) * Double(size)) {
          unsafe Element.syrk(true, size, rows.rowCount, 1, source, lda, keep, target, ldc)
        }
      }
    }
  }

  /// Copies the lower triangle of a square matrix to the upper one.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public mutating func mirrorLowerTriangle() {
    precondition(rowCount == columnCount, "\(self) is not square")
    let size = rowCount
    unsafe withUnsafeMutablePointer { pointer, stride in
      let tile = 32
      for rowStart in Swift.stride(from: 0, to: size, by: tile) {
        for columnStart in Swift.stride(from: 0, through: rowStart, by: tile) {
          for row in rowStart..<Swift.min(rowStart + tile, size) {
            for column in columnStart..<Swift.min(columnStart + tile, row) {
              unsafe pointer[column * stride + row] = pointer[row * stride + column]
            }
          }
        }
      }
    }
  }
}

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

  /// The exponentials of an array; the target may be the source.
  let exponentials: @Sendable (Int, Input, Output) -> Void
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
    exponentials: bllarse_exp_f32,
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
    exponentials: bllarse_exp_f64,
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
  package static var kernels: Kernels<Self> { _read { yield _routines.kernels } }

  /// Copies rows, converting them to this type.
  @specialized(where Self == Float)
  @specialized(where Self == Double)
  static func convertRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ target: UnsafeMutablePointer<Self>,
    _ stride: Int
  ) {
    func convert<Source>(
      _ source: UnsafePointer<Source>, _ sourceStride: Int,
      _ body: (Int, UnsafePointer<Source>, UnsafeMutablePointer<Self>) -> Void
    ) {
      for row in 0..<rows {
        unsafe body(columns, source + row * sourceStride, target + row * stride)
      }
    }
    switch unsafe source {
    case .half(let bits, let step): unsafe convert(bits, step, kernels.fromHalf)
    case .single(let values, let step): unsafe convert(values, step, kernels.fromSingle)
    case .double(let values, let step): unsafe convert(values, step, kernels.fromDouble)
    }
  }

  /// Normalises rows without parameters.
  static func layerNormRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ epsilon: Double,
    _ target: UnsafeMutablePointer<Self>, _ stride: Int
  ) {
    func normalise<Source>(
      _ source: UnsafePointer<Source>, _ sourceStride: Int, _ body: Kernels<Self>.LayerNorm<Source>?
    ) -> Bool {
      unsafe body?(rows, columns, source, sourceStride, epsilon, nil, nil, target, stride, 0) != nil
    }
    let isDone =
      switch unsafe source {
      case .half(let bits, let step): unsafe normalise(bits, step, kernels.normaliseHalf)
      case .single(let values, let step): unsafe normalise(values, step, kernels.normaliseSingle)
      case .double(let values, let step): unsafe normalise(values, step, kernels.normaliseDouble)
      }
    if isDone { return }
    unsafe convertRows(rows, columns, source, target, stride)
    _ = unsafe normalise(target, stride, kernels.normalise)
  }
}
