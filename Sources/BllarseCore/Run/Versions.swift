import BllarseNumerics

extension Versions {
  /// By name: the package, the linear algebra, the machine.
  public static var current: [String: String] {
    [
      "bllarse": bllarse,
      "blas": LinearAlgebraLibrary.description,
      "checkpoint_format": String(HeadCheckpoint.formatVersion),
    ]
  }
}
