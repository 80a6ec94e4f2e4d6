import BllarseKernels

/// The threads of a program, once it is certain that the machine has room for them.
///
/// OpenBLAS takes a buffer for each thread that works and retries for ever where it does not get one, and
/// a thread that cannot be started stops the others. So both are tried before, and kept: with fewer
/// threads when the limits ask for that, or not at all.
public struct ThreadReservation: Sendable {
  /// The threads that computations may use.
  public let parallelism: Parallelism
  /// What the user should know: that there are fewer threads than were asked for, and why.
  public let note: String?

  /// The threads that may be asked for on any machine.
  ///
  /// A run repeats another's bits with the same number of threads; more than this many are of use only
  /// where there are as many processors.
  static let mostBeyondProcessors = 64

  /// The number of threads that are of use, whatever memory there is.
  package static func usable(_ wanted: Int?) -> Int {
    let processors = Parallelism.available.threadCount
    guard let wanted else { return processors }
    return wanted > max(processors, mostBeyondProcessors) ? processors : max(wanted, 1)
  }

  /// Whether the machine lets this program start so many more threads.
  ///
  /// A library that starts its own waits for ever where it does not: this is asked before.
  public static func canStart(_ threads: Int) -> Bool {
    bllarse_can_have(CInt(threads), 0, 1) != 0
  }

  /// Finds the number of threads and reserves what they need.
  ///
  /// - Parameters:
  ///   - wanted: the number of threads, or `nil` for one a processor.
  ///   - workingBytes: memory that the work itself will need, which is left for it where that is possible.
  /// - Throws: `NumericsError.outOfMemory` where there is not even room for one thread.
  public init(_ wanted: Int?, workingBytes: Int = 0) throws(NumericsError) {
    let count = Self.usable(wanted)
    var note: String?
    if let wanted, count < wanted {
      note =
        "\(wanted) threads are more than this machine's processors can use: \(count) are used"
    }
    let fitting = BLASThreads.shared.reserve(count, workingBytes: workingBytes)
    guard fitting > 0 else {
      throw .outOfMemory(
        bytes: BLASThreads.bufferBytes, purpose: "the working buffer of the linear algebra",
        limit: MachineLimits.current.memoryDescription)
    }
    if fitting < count {
      let reason =
        MachineLimits.current.memoryDescription
        ?? "memory or the number of processes is limited (ulimit -u)"
      note =
        "\(fitting) of \(count) threads are used: there is no room for more, as \(reason)"
    }
    parallelism = Parallelism(threadCount: fitting)
    self.note = note
  }
}
