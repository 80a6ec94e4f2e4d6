import CBLAS

/// The BLAS that this package runs on.
public enum LinearAlgebraLibrary {
  /// Its name, version and kernels, as it reports them: "OpenBLAS 0.3.21 … Zen".
  public static var description: String {
    guard let text = unsafe openblas_get_config() else { return "BLAS" }
    return unsafe String(cString: text).split(separator: " ").joined(separator: " ")
  }
}
