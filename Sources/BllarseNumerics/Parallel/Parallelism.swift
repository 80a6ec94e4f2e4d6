import BllarseKernels
import CBLAS
import Dispatch
import Synchronization

/// How many threads a computation may use, and the loops that use them.
///
/// Rows are divided among threads in a fixed way, so results depend on the number of threads but on
/// nothing else. BLAS runs on one thread inside such a loop; outside it, on all of them for large
/// products and factorisations and on one for small ones.
public struct Parallelism: Sendable, Equatable {
  /// The number of threads, at least 1.
  public let threadCount: Int
  /// What computations ask whether to go on; `nil` for those that always do.
  public internal(set) var cancellation: Cancellation?

  /// Allows a number of threads, at least 1.
  public init(threadCount: Int) {
    precondition(threadCount >= 1, "\(threadCount) threads cannot work")
    self.threadCount = threadCount
  }

  /// One thread for each processor that the affinity mask of this process allows.
  public static let available = Parallelism(
    threadCount: Int(bllarse_allowed_processor_count()))

  /// Calls `body` once for each worker, on threads of their own, and waits for all.
  ///
  /// - Parameter body: receives the index of the worker, `0..<threadCount`. Work is divided by this
  ///   index, never by arrival, so that the same thread count gives the same bits.
  package func run(_ body: @Sendable (_ worker: Int) -> Void) {
    BLASThreads.shared.single {
      if threadCount == 1 {
        body(0)
      } else {
        DispatchQueue.concurrentPerform(iterations: threadCount, execute: body)
      }
    }
  }

  /// Divides `0..<count` into blocks and hands every worker a contiguous run of blocks.
  ///
  /// - Parameters:
  ///   - count: how many items there are.
  ///   - blockSize: items in a block; the last may be shorter.
  ///   - body: receives the worker's index and one block at a time, in order.
  package func forEachBlock(
    of count: Int, blockSize: Int,
    _ body: @Sendable (_ worker: Int, _ range: Range<Int>) -> Void
  ) {
    precondition(blockSize > 0, "a block of \(blockSize) items")
    let blockCount = (count + blockSize - 1) / blockSize
    let workers = max(1, min(threadCount, blockCount))
    Parallelism(threadCount: workers).run { worker in
      let first = blockCount * worker / workers
      let last = blockCount * (worker + 1) / workers
      for block in first..<last {
        let start = block * blockSize
        body(worker, start..<min(start + blockSize, count))
      }
    }
  }

  /// Runs `body` with BLAS allowed on this many threads, for large products.
  package func withBLAS<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    BLASThreads.shared.prepare(threadCount)
    return try body()
  }
}

/// The one place that tells OpenBLAS how many threads to use; the setting belongs to the process.
final class BLASThreads: Sendable {
  static let shared = BLASThreads()

  private struct State {
    var regions = 0  // parallel loops of ours that are running
    var wanted = 0  // threads for products outside them; 0 until somebody asks
    var current = 0  // what OpenBLAS was told last; 0 when it was told nothing
  }
  private let state = Mutex(State())

  /// Runs a parallel loop, inside which BLAS keeps to one thread.
  func single(_ body: () -> Void) {
    state.withLock {
      $0.regions += 1
      tell(1, &$0)
    }
    body()
    state.withLock {
      $0.regions -= 1
      if $0.regions == 0 && $0.wanted > 0 { tell($0.wanted, &$0) }
    }
  }

  /// Runs one call of BLAS or LAPACK, on one thread if that is quick enough.
  ///
  /// The threads of OpenBLAS spin for milliseconds after their work, at the cost of whatever runs next:
  /// a call that takes less than that is done sooner by one thread.
  ///
  /// - Parameters:
  ///   - operations: floating-point operations of the call.
  ///   - body: the call.
  /// - Returns: what `body` returns.
  func call<Result>(operations: Double, _ body: () -> Result) -> Result {
    state.withLock {
      guard $0.regions == 0 else { return }
      let all = $0.wanted > 0 ? $0.wanted : Parallelism.available.threadCount
      tell(operations < Self.operationsOfOneThread ? 1 : all, &$0)
    }
    return body()
  }

  /// About 20 ms of one core.
  private static let operationsOfOneThread = 1e9

  func prepare(_ threads: Int) {
    state.withLock {
      $0.wanted = threads
      if $0.regions == 0 { tell(threads, &$0) }
    }
  }

  private func tell(_ threads: Int, _ state: inout State) {
    guard state.current != threads else { return }
    openblas_set_num_threads(CInt(threads))
    state.current = threads
  }
}

/// The threads of BLAS outside this package's own loops.
public enum BLASThreadCount {
  /// Lets products of large matrices use as many threads as `parallelism` allows.
  public static func set(_ parallelism: Parallelism) { parallelism.withBLAS {} }
}
