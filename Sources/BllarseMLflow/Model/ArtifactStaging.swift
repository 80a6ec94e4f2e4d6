/// How an artifact is kept until it is delivered.
public enum ArtifactStaging: Sendable {
  /// By a copy: the original may be changed afterwards.
  case copy
  /// By a hard link, or a copy where the file system has none: the original may be replaced or
  /// removed, but must not be written to in place.
  case link
}
