internal import CBLAS
internal import CLAPACKE

/// A number type that BLAS and LAPACK work in: `Float` or `Double`, and no other.
///
/// The requirements whose names begin with an underscore are the calls into the C libraries; they are
/// for ``Matrix`` and ``Cholesky`` only. All matrices are row-major.
public protocol BLASScalar: BinaryFloatingPoint, KernelScalar
where RawSignificand: FixedWidthInteger {
  /// `c = alpha * op(a) * op(b) + beta * c`, op(a) m x k, op(b) k x n (cblas_?gemm).
  static func _gemm(
    _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Self,
    _ a: UnsafePointer<Self>, _ lda: Int, _ b: UnsafePointer<Self>, _ ldb: Int, _ beta: Self,
    _ c: UnsafeMutablePointer<Self>, _ ldc: Int)

  /// `c = alpha * aᵀa + beta * c` (or `a aᵀ`), lower triangle of the n x n matrix c (cblas_?syrk).
  static func _syrk(
    _ transpose: Bool, _ n: Int, _ k: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int,
    _ beta: Self, _ c: UnsafeMutablePointer<Self>, _ ldc: Int)

  /// `y = alpha * op(a) * x + beta * y`, a m x n (cblas_?gemv).
  static func _gemv(
    _ transpose: Bool, _ m: Int, _ n: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int,
    _ x: UnsafePointer<Self>, _ beta: Self, _ y: UnsafeMutablePointer<Self>)

  /// `y = alpha * a * x + beta * y`, a symmetric n x n, lower triangle read (cblas_?symv).
  static func _symv(
    _ n: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int, _ x: UnsafePointer<Self>,
    _ beta: Self, _ y: UnsafeMutablePointer<Self>)

  /// Solves `op(l) x = b` or `x op(l) = b` in place, l lower triangular (cblas_?trsm).
  static func _trsm(
    _ fromRight: Bool, _ transpose: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Self>, _ ldl: Int,
    _ b: UnsafeMutablePointer<Self>, _ ldb: Int)

  /// `b = op(l) b` in place, l lower triangular (cblas_?trmm).
  static func _trmm(
    _ transpose: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Self>, _ ldl: Int,
    _ b: UnsafeMutablePointer<Self>, _ ldb: Int)

  /// Factors the lower triangle of a symmetric matrix in place; 0, or the failing minor (?potrf).
  static func _potrf(_ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int) -> Int

  /// From a factor, the lower triangle of the inverse, in place; 0, or the failing minor (?potri).
  static func _potri(_ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int) -> Int

  /// Inverts a lower triangular matrix in place; 0, or the singular position (?trtri).
  static func _trtri(_ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int) -> Int

  /// Eigenvalues, ascending, and eigenvectors, one a row of a, of a symmetric matrix (?syevd).
  static func _syevd(
    _ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int, _ values: UnsafeMutablePointer<Self>
  ) -> Int

  /// Eigenvalues alone, ascending; a is overwritten (?syevd).
  static func _syevdValues(
    _ n: Int, _ a: UnsafeMutablePointer<Self>, _ lda: Int, _ values: UnsafeMutablePointer<Self>
  ) -> Int
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

// A row-major lower triangle is a column-major upper one, so LAPACK is called in its own column-major
// order with 'U' and copies nothing.
private let upper = CChar(UInt8(ascii: "U"))
private let nonUnit = CChar(UInt8(ascii: "N"))
private let withVectors = CChar(UInt8(ascii: "V"))
private let withoutVectors = CChar(UInt8(ascii: "N"))

// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
extension Float: BLASScalar {
  public static func _gemm(
    _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Float,
    _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>, _ ldb: Int, _ beta: Float,
    _ c: UnsafeMutablePointer<Float>, _ ldc: Int
  ) {
    unsafe cblas_sgemm(
      CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
      blasInteger(m), blasInteger(n), blasInteger(k), alpha, a, blasInteger(lda), b,
      blasInteger(ldb), beta, c, blasInteger(ldc))
  }

  public static func _syrk(
    _ transpose: Bool, _ n: Int, _ k: Int, _ alpha: Float, _ a: UnsafePointer<Float>, _ lda: Int,
    _ beta: Float, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
  ) {
    unsafe cblas_ssyrk(
      CblasRowMajor, CblasLower, transpose ? CblasTrans : CblasNoTrans, blasInteger(n),
      blasInteger(k), alpha, a, blasInteger(lda), beta, c, blasInteger(ldc))
  }

  public static func _gemv(
    _ transpose: Bool, _ m: Int, _ n: Int, _ alpha: Float, _ a: UnsafePointer<Float>, _ lda: Int,
    _ x: UnsafePointer<Float>, _ beta: Float, _ y: UnsafeMutablePointer<Float>
  ) {
    unsafe cblas_sgemv(
      CblasRowMajor, transpose ? CblasTrans : CblasNoTrans, blasInteger(m), blasInteger(n), alpha,
      a, blasInteger(lda), x, 1, beta, y, 1)
  }

  public static func _symv(
    _ n: Int, _ alpha: Float, _ a: UnsafePointer<Float>, _ lda: Int, _ x: UnsafePointer<Float>,
    _ beta: Float, _ y: UnsafeMutablePointer<Float>
  ) {
    unsafe cblas_ssymv(
      CblasRowMajor, CblasLower, blasInteger(n), alpha, a, blasInteger(lda), x, 1, beta, y, 1)
  }

  public static func _trsm(
    _ fromRight: Bool, _ transpose: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Float>, _ ldl: Int,
    _ b: UnsafeMutablePointer<Float>, _ ldb: Int
  ) {
    unsafe cblas_strsm(
      CblasRowMajor, fromRight ? CblasRight : CblasLeft, CblasLower,
      transpose ? CblasTrans : CblasNoTrans, CblasNonUnit, blasInteger(m), blasInteger(n), 1, l,
      blasInteger(ldl), b, blasInteger(ldb))
  }

  public static func _trmm(
    _ transpose: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Float>, _ ldl: Int,
    _ b: UnsafeMutablePointer<Float>, _ ldb: Int
  ) {
    unsafe cblas_strmm(
      CblasRowMajor, CblasLeft, CblasLower, transpose ? CblasTrans : CblasNoTrans, CblasNonUnit,
      blasInteger(m), blasInteger(n), 1, l, blasInteger(ldl), b, blasInteger(ldb))
  }

  public static func _potrf(_ n: Int, _ a: UnsafeMutablePointer<Float>, _ lda: Int) -> Int {
    unsafe checked(
      LAPACKE_spotrf_work(LAPACK_COL_MAJOR, upper, blasInteger(n), a, blasInteger(lda)), "spotrf")
  }

  public static func _potri(_ n: Int, _ a: UnsafeMutablePointer<Float>, _ lda: Int) -> Int {
    unsafe checked(
      LAPACKE_spotri_work(LAPACK_COL_MAJOR, upper, blasInteger(n), a, blasInteger(lda)), "spotri")
  }

  public static func _trtri(_ n: Int, _ a: UnsafeMutablePointer<Float>, _ lda: Int) -> Int {
    unsafe checked(
      LAPACKE_strtri_work(LAPACK_COL_MAJOR, upper, nonUnit, blasInteger(n), a, blasInteger(lda)),
      "strtri")
  }

  public static func _syevd(
    _ n: Int, _ a: UnsafeMutablePointer<Float>, _ lda: Int, _ values: UnsafeMutablePointer<Float>
  ) -> Int {
    unsafe checked(
      LAPACKE_ssyevd(
        LAPACK_COL_MAJOR, withVectors, upper, blasInteger(n), a, blasInteger(lda), values),
      "ssyevd")
  }

  public static func _syevdValues(
    _ n: Int, _ a: UnsafeMutablePointer<Float>, _ lda: Int, _ values: UnsafeMutablePointer<Float>
  ) -> Int {
    unsafe checked(
      LAPACKE_ssyevd(
        LAPACK_COL_MAJOR, withoutVectors, upper, blasInteger(n), a, blasInteger(lda), values),
      "ssyevd")
  }
}

// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
extension Double: BLASScalar {
  public static func _gemm(
    _ transposeA: Bool, _ transposeB: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Double,
    _ a: UnsafePointer<Double>, _ lda: Int, _ b: UnsafePointer<Double>, _ ldb: Int, _ beta: Double,
    _ c: UnsafeMutablePointer<Double>, _ ldc: Int
  ) {
    unsafe cblas_dgemm(
      CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
      blasInteger(m), blasInteger(n), blasInteger(k), alpha, a, blasInteger(lda), b,
      blasInteger(ldb), beta, c, blasInteger(ldc))
  }

  public static func _syrk(
    _ transpose: Bool, _ n: Int, _ k: Int, _ alpha: Double, _ a: UnsafePointer<Double>, _ lda: Int,
    _ beta: Double, _ c: UnsafeMutablePointer<Double>, _ ldc: Int
  ) {
    unsafe cblas_dsyrk(
      CblasRowMajor, CblasLower, transpose ? CblasTrans : CblasNoTrans, blasInteger(n),
      blasInteger(k), alpha, a, blasInteger(lda), beta, c, blasInteger(ldc))
  }

  public static func _gemv(
    _ transpose: Bool, _ m: Int, _ n: Int, _ alpha: Double, _ a: UnsafePointer<Double>, _ lda: Int,
    _ x: UnsafePointer<Double>, _ beta: Double, _ y: UnsafeMutablePointer<Double>
  ) {
    unsafe cblas_dgemv(
      CblasRowMajor, transpose ? CblasTrans : CblasNoTrans, blasInteger(m), blasInteger(n), alpha,
      a, blasInteger(lda), x, 1, beta, y, 1)
  }

  public static func _symv(
    _ n: Int, _ alpha: Double, _ a: UnsafePointer<Double>, _ lda: Int, _ x: UnsafePointer<Double>,
    _ beta: Double, _ y: UnsafeMutablePointer<Double>
  ) {
    unsafe cblas_dsymv(
      CblasRowMajor, CblasLower, blasInteger(n), alpha, a, blasInteger(lda), x, 1, beta, y, 1)
  }

  public static func _trsm(
    _ fromRight: Bool, _ transpose: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Double>,
    _ ldl: Int,
    _ b: UnsafeMutablePointer<Double>, _ ldb: Int
  ) {
    unsafe cblas_dtrsm(
      CblasRowMajor, fromRight ? CblasRight : CblasLeft, CblasLower,
      transpose ? CblasTrans : CblasNoTrans, CblasNonUnit, blasInteger(m), blasInteger(n), 1, l,
      blasInteger(ldl), b, blasInteger(ldb))
  }

  public static func _trmm(
    _ transpose: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Double>, _ ldl: Int,
    _ b: UnsafeMutablePointer<Double>, _ ldb: Int
  ) {
    unsafe cblas_dtrmm(
      CblasRowMajor, CblasLeft, CblasLower, transpose ? CblasTrans : CblasNoTrans, CblasNonUnit,
      blasInteger(m), blasInteger(n), 1, l, blasInteger(ldl), b, blasInteger(ldb))
  }

  public static func _potrf(_ n: Int, _ a: UnsafeMutablePointer<Double>, _ lda: Int) -> Int {
    unsafe checked(
      LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, upper, blasInteger(n), a, blasInteger(lda)), "dpotrf")
  }

  public static func _potri(_ n: Int, _ a: UnsafeMutablePointer<Double>, _ lda: Int) -> Int {
    unsafe checked(
      LAPACKE_dpotri_work(LAPACK_COL_MAJOR, upper, blasInteger(n), a, blasInteger(lda)), "dpotri")
  }

  public static func _trtri(_ n: Int, _ a: UnsafeMutablePointer<Double>, _ lda: Int) -> Int {
    unsafe checked(
      LAPACKE_dtrtri_work(LAPACK_COL_MAJOR, upper, nonUnit, blasInteger(n), a, blasInteger(lda)),
      "dtrtri")
  }

  public static func _syevd(
    _ n: Int, _ a: UnsafeMutablePointer<Double>, _ lda: Int, _ values: UnsafeMutablePointer<Double>
  ) -> Int {
    unsafe checked(
      LAPACKE_dsyevd(
        LAPACK_COL_MAJOR, withVectors, upper, blasInteger(n), a, blasInteger(lda), values),
      "dsyevd")
  }

  public static func _syevdValues(
    _ n: Int, _ a: UnsafeMutablePointer<Double>, _ lda: Int, _ values: UnsafeMutablePointer<Double>
  ) -> Int {
    unsafe checked(
      LAPACKE_dsyevd(
        LAPACK_COL_MAJOR, withoutVectors, upper, blasInteger(n), a, blasInteger(lda), values),
      "dsyevd")
  }
}
