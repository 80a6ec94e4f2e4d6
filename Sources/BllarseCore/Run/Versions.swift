import BllarseNumerics

/// The versions of what takes part in a run.
public enum Versions {
  /// The version of this package.
  public static let bllarse = "0.1.0"

  /// By name: the package, the linear algebra, the machine.
  public static var current: [String: String] {
    [
      "bllarse": bllarse,
      "blas": LinearAlgebraLibrary.description,
      "checkpoint_format": String(HeadCheckpoint.formatVersion),
    ]
  }
}
