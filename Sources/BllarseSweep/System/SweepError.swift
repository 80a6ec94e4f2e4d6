@_exported public import BllarseSupport

package typealias Files = FileSystem<SweepError>

/// A failure told to the user: one line that says what was found, where, and what to do.
public struct SweepError: Error, Equatable, CustomStringConvertible {
  /// The exit code an executable ends with.
  public enum Code: Int32, Sendable {
    /// A run or a cluster's command failed.
    case failed = 1
    /// The command line asks for something that does not exist or contradicts itself.
    case usage = 64
    /// A file's content is wrong.
    case data = 65
    /// Interrupted; the same command goes on where this one stopped.
    case interrupted = 75
  }

  /// The exit code.
  public let code: Code
  /// One line, or one a fault when a file has several.
  public let description: String

  /// Makes an error.
  public init(_ code: Code, _ description: String) {
    (self.code, self.description) = (code, description)
  }

  package static func failed(_ text: String) -> SweepError { SweepError(Code.failed, text) }
  package static func usage(_ text: String) -> SweepError { SweepError(Code.usage, text) }
  package static func data(_ text: String) -> SweepError { SweepError(Code.data, text) }
  package static func interrupted(_ text: String) -> SweepError {
    SweepError(Code.interrupted, text)
  }
}

extension SweepError: SystemFailure {
  package init(_ error: SystemError) { self.init(.failed, error.description) }

  /// An index that the sweep does not have.
  package static func noConfiguration(_ index: Int, of count: Int) -> SweepError {
    let range = count == 0 ? "has none" : "has \(count) (0 to \(count - 1))"
    return SweepError.usage("there is no configuration \(index); the sweep \(range)")
  }
}
