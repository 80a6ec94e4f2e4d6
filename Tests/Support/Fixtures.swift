/// Where the repository's fixtures are, found from this source file, so that tests run from any
/// working directory.
public enum Fixtures {
  /// The root of the package.
  public static let packageRoot: String = {
    // Tests/Support/Fixtures.swift -> three parts up.
    #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
      .joined(separator: "/")
  }()

  /// The directory `Fixtures` of the package.
  public static var root: String { packageRoot + "/Fixtures" }

  /// The path of a fixture.
  ///
  /// - Parameter relativePath: the path below `Fixtures`, "golden/optimizers.safetensors".
  /// - Returns: the absolute path.
  public static func path(_ relativePath: String) -> String { root + "/" + relativePath }
}
