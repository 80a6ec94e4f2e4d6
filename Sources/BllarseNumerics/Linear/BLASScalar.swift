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
