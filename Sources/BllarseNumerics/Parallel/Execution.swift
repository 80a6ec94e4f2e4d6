import BllarseKernels
import CBLAS
import Dispatch
import Glibc
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

  /// One thread for each processor that the affinity mask of this process and its control group allow.
  public static let available = {
    let allowed = Int(bllarse_allowed_processor_count())
    // Half a processor's worth of time is a processor, for a while.
    let granted = MachineLimits.current.groupProcessors.map { Int($0.rounded(.up)) }
    return Parallelism(threadCount: max(min(allowed, granted ?? allowed), 1))
  }()

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

  /// The same, with something of its own for every worker, such as memory.
  ///
  /// - Returns: what the workers had, in their order, whoever finished first.
  package func forEachBlock<Worker>(
    of count: Int, blockSize: Int, worker makeWorker: () -> Worker,
    _ body: @Sendable (Worker, Range<Int>) -> Void
  ) -> [Worker] {
    let blockCount = (count + blockSize - 1) / blockSize
    let workers = WorkerSlots(
      (0..<max(1, min(threadCount, blockCount))).map { _ in makeWorker() })
    forEachBlock(of: count, blockSize: blockSize) { body(workers[$0], $1) }
    return workers.values
  }

  /// Runs `body` with BLAS allowed on this many threads, for large products.
  package func withBLAS<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    BLASThreads.shared.prepare(threadCount)
    return try body()
  }
}

/// One object for each worker of a parallel loop.
///
/// Sendability is unchecked: a worker touches the slot of its own index only.
package final class WorkerSlots<Value>: @unchecked Sendable {
  package let values: [Value]
  package init(_ values: [Value]) { self.values = values }
  package subscript(worker: Int) -> Value { values[worker] }
}

/// The one place that tells OpenBLAS how many threads to use; the setting belongs to the process.
final class BLASThreads: Sendable {
  static let shared = BLASThreads()

  private struct State {
    var regions = 0  // parallel loops of ours that are running
    var wanted = 0  // threads for products outside them; 0 until somebody asks
    var current = 0  // what OpenBLAS was told last; 0 when it was told nothing
    var reserved = 0  // threads whose memory is certain; 0 until somebody needs one
    var refused: Int?  // the smallest number of threads that could not be had
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
    let count = reserve(threads, workingBytes: 0, &state)
    guard count > 0 else {
      AllocationFailure.fail(
        bytes: Self.bufferBytes, purpose: "the working buffer of the linear algebra")
    }
    openblas_set_num_threads(CInt(count))
    state.current = threads
  }

  // MARK: - What threads need

  /// A working buffer of OpenBLAS on x86-64 (`BUFFER_SIZE`; elsewhere it is smaller) and what lies around
  /// it.
  static let bufferBytes = (128 << 20) + (64 << 10)

  /// Makes certain that threads can be started and have their buffers.
  ///
  /// - Parameters:
  ///   - threads: how many, at least 1.
  ///   - workingBytes: memory to leave free.
  /// - Returns: how many can be had, at most `threads`; 0 if not even one can.
  func reserve(_ threads: Int, workingBytes: Int) -> Int {
    state.withLock { reserve(threads, workingBytes: workingBytes, &$0) }
  }

  private func reserve(_ threads: Int, workingBytes: Int, _ state: inout State) -> Int {
    guard threads > state.reserved else { return threads }
    if let refused = state.refused, state.reserved > 0, threads >= refused { return state.reserved }
    // A program that was not started by one of ours has threads of OpenBLAS's choice already.
    let present = Swift.max(Int(openblas_get_num_threads()), 1)
    // One thread first: what is tried for several must not take its place.
    if state.reserved == 0, threads > 1, reserve(1, workingBytes: 0, &state) == 0 { return 0 }
    var count = threads
    while count > state.reserved, !hasRoom(count, beside: present, workingBytes, state.reserved) {
      state.refused = count
      count /= 2
    }
    count = Swift.max(count, state.reserved)
    guard count > state.reserved else { return count }
    bllarse_allocate_blas_buffers(CInt(Self.buffers(count)))
    state.reserved = count
    return count
  }

  /// Buffers in use at once: one for each thread of OpenBLAS, and one for each of ours that calls it.
  private static func buffers(_ threads: Int) -> Int {
    threads - 1 + Swift.min(threads, Int(bllarse_allowed_processor_count()))
  }

  private func hasRoom(
    _ threads: Int, beside present: Int, _ workingBytes: Int, _ reserved: Int
  ) -> Bool {
    let processors = Int(bllarse_allowed_processor_count())
    // OpenBLAS's and those of our own loops; one of each is the thread that asks.
    let new = Swift.max(threads - present, 0) + Swift.min(threads, processors) - 1
    let buffers = Self.buffers(threads) - (reserved > 0 ? Self.buffers(reserved) : 0)
    let working = workingBytes / Self.bufferBytes + (workingBytes > 0 ? 1 : 0)
    // What one thread needs is asked for without reserve: the work then says itself what is missing.
    let free = threads > 1 ? working : 0
    return bllarse_can_have(CInt(new), CInt(buffers + free), Self.bufferBytes) != 0
  }
}

/// The threads of BLAS outside this package's own loops.
public enum BLASThreadCount {
  /// Lets products of large matrices use as many threads as `parallelism` allows.
  public static func set(_ parallelism: Parallelism) { parallelism.withBLAS {} }
}

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

/// Aligned working memory, allocated once for a loop over blocks.
///
/// Sendability is unchecked: memory that is written belongs to one thread, and memory that several
/// threads read is not written meanwhile.
@safe
package final class Scratch<Element: BitwiseCopyable>: @unchecked Sendable {
  package let pointer: UnsafeMutablePointer<Element>
  package let count: Int

  /// Allocates `count` elements, all zero, aligned to 64 bytes.
  package init(count: Int) where Element: AdditiveArithmetic {
    let bytes = max(count, 1) * MemoryLayout<Element>.stride
    let raw = unsafe AllocationFailure.allocate(
      bytes: bytes, alignment: 64, for: "the working memory of a loop over rows")
    unsafe pointer = raw.bindMemory(to: Element.self, capacity: max(count, 1))
    unsafe pointer.initialize(repeating: .zero, count: max(count, 1))
    self.count = count
  }

  deinit { unsafe free(pointer) }
}
