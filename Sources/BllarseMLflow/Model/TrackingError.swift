@_exported public import BllarseSupport

package typealias Files = FileSystem<TrackingError>

/// A failure of tracking, as one line: what happened, where, what was expected, what to do.
public struct TrackingError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What kind of failure it is.
  public struct Code: Sendable, Hashable {
    let rawValue: String
    /// A setting (variable, option, credentials file) cannot be used.
    public static let settings = Code(rawValue: "settings")
    /// A file of the journal, or the SQLite file, cannot be read or written.
    public static let storage = Code(rawValue: "storage")
    /// Something asked for does not exist.
    public static let notFound = Code(rawValue: "notFound")
    /// The server refused a request, or could not be reached.
    public static let server = Code(rawValue: "server")
  }

  /// What kind of failure it is.
  public let code: Code
  /// The whole message, without any secret.
  public let description: String

  package init(_ code: Code, _ description: String) {
    self.code = code
    self.description = description
  }
}

extension TrackingError: SystemFailure {
  package init(_ error: SystemError) {
    let advice =
      error.operation == .makeDirectory
      ? "; choose another with BLLARSE_MLFLOW_JOURNAL, or free space" : ""
    self.init(.storage, error.description + advice)
  }
}
