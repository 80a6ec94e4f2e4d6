/// Tells long computations that nobody waits for their result any more.
///
/// A fit to all rows asks between its iterations, and throws `NumericsError.cancelled`; what it had
/// computed is lost, what it was given is unchanged.
public final class Cancellation: Sendable {
  private let request: @Sendable () -> Bool

  /// Asks `isRequested`, from any thread and often: it should cost no more than reading a flag.
  public init(_ isRequested: @escaping @Sendable () -> Bool) { request = isRequested }

  /// Whether computations should stop.
  public var isRequested: Bool { request() }
}

extension Cancellation: Equatable {
  /// Whether both are the same object.
  public static func == (a: Cancellation, b: Cancellation) -> Bool { a === b }
}

extension Parallelism {
  /// The same, for computations that may be cancelled; or, with `nil`, that may not.
  public func cancelled(by cancellation: Cancellation?) -> Parallelism {
    var copy = self
    copy.cancellation = cancellation
    return copy
  }

  /// The same with another number of threads.
  package func with(threadCount: Int) -> Parallelism {
    Parallelism(threadCount: threadCount).cancelled(by: cancellation)
  }

  /// Whether computations should stop.
  package var isCancelled: Bool { cancellation?.isRequested ?? false }

  /// Stops here if computations should.
  ///
  /// - Throws: `NumericsError.cancelled`.
  package func checkCancellation() throws(NumericsError) {
    if isCancelled { throw .cancelled }
  }
}
