import BllarseKernels
import CBLAS
import Dispatch
import Glibc
import Synchronization

/// How many threads a computation may use and what tells it to stop, and the loops that use them.
///
/// Rows are divided among threads in a fixed way, so results depend on the number of threads but on
/// nothing else. BLAS runs on one thread inside such a loop; outside it, on all of them for large
/// products and factorisations and on one for small ones.
public struct Execution: Sendable, Equatable {
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
    return Execution(threadCount: max(min(allowed, granted ?? allowed), 1))
  }()

  /// Calls `body` once for each worker, on threads of their own, and waits for all.
  ///
  /// Work is divided by the worker's index, `0..<threadCount`, never by arrival, so that the same
  /// thread count gives the same bits.
  package func run(_ body: @Sendable (_ worker: Int) -> Void) {
    BLASThreads.shared.single {
      if threadCount == 1 {
        body(0)
      } else {
        DispatchQueue.concurrentPerform(iterations: threadCount, execute: body)
      }
    }
  }

  /// Divides `0..<count` into blocks, of which the last may be shorter, and hands every worker a
  /// contiguous run of blocks, in order.
  package func forEachBlock(
    of count: Int, blockSize: Int,
    _ body: @Sendable (_ worker: Int, _ range: Range<Int>) -> Void
  ) {
    precondition(blockSize > 0, "a block of \(blockSize) items")
    let blockCount = (count + blockSize - 1) / blockSize
    let workers = max(1, min(threadCount, blockCount))
    Execution(threadCount: workers).run { worker in
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

  /// Lists what `body` makes of each block.
  ///
  /// - Parameters:
  ///   - count: how many items there are.
  ///   - blockSize: items in a block; the last may be shorter.
  ///   - body: receives one block.
  /// - Returns: one after the other in order, whoever finished first.
  package func map<Element: Sendable>(
    _ count: Int, blockSize: Int, _ body: @Sendable (Range<Int>) -> [Element]
  ) -> [Element] {
    let blockCount = (count + blockSize - 1) / blockSize
    let blocks = Mutex([[Element]](repeating: [], count: blockCount))
    forEachBlock(of: count, blockSize: blockSize) { _, range in
      let block = body(range)
      blocks.withLock { $0[range.lowerBound / blockSize] = block }
    }
    return blocks.withLock { blocks in blocks.flatMap { $0 } }
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
  /// The threads of OpenBLAS spin for milliseconds after their work, at the cost of whatever runs
  /// next: a call that takes less than that, by its floating-point operations, is done sooner by one
  /// thread.
  func call<Result>(operations: Double, _ body: () -> Result) -> Result {
    state.withLock {
      guard $0.regions == 0 else { return }
      let all = $0.wanted > 0 ? $0.wanted : Execution.available.threadCount
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

  /// Makes certain that at least one thread, or more, can be started and have their buffers, with
  /// working memory left free; tells how many can, 0 if not even one.
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
  /// Lets products of large matrices use as many threads as `execution` allows.
  public static func set(_ execution: Execution) { execution.withBLAS {} }
}

/// Tells long computations that nobody waits for their result any more.
///
/// A fit to all rows asks between its iterations, and throws `NumericsError.cancelled`; what it had
/// computed is lost, what it was given is unchanged.
public final class Cancellation: Sendable, Equatable {
  private let request: @Sendable () -> Bool

  /// Asks `isRequested`, from any thread and often: it should cost no more than reading a flag.
  public init(_ isRequested: @escaping @Sendable () -> Bool) { request = isRequested }

  /// Whether computations should stop.
  public var isRequested: Bool { request() }

  /// Whether both are the same object.
  public static func == (a: Cancellation, b: Cancellation) -> Bool { a === b }
}

extension Execution {
  /// The same, for computations that may be cancelled; or, with `nil`, that may not.
  public func cancelled(by cancellation: Cancellation?) -> Execution {
    var copy = self
    copy.cancellation = cancellation
    return copy
  }

  package func with(threadCount: Int) -> Execution {
    Execution(threadCount: threadCount).cancelled(by: cancellation)
  }

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

/// The threads of a program, once it is certain that the machine has room for them.
///
/// OpenBLAS takes a buffer for each thread that works and retries for ever where it does not get one, and
/// a thread that cannot be started stops the others. So both are tried before, and kept: with fewer
/// threads when the limits ask for that, or not at all.
public struct ThreadReservation: Sendable {
  /// The threads that computations may use.
  public let execution: Execution
  /// What the user should know: that there are fewer threads than were asked for, and why.
  public let note: String?

  /// The threads that may be asked for on any machine.
  ///
  /// A run repeats another's bits with the same number of threads; more than this many are of use only
  /// where there are as many processors.
  static let mostBeyondProcessors = 64

  /// The number of threads that are of use, whatever memory there is.
  package static func usable(_ wanted: Int?) -> Int {
    let processors = Execution.available.threadCount
    guard let wanted else { return processors }
    return wanted > max(processors, mostBeyondProcessors) ? processors : max(wanted, 1)
  }

  /// Whether the machine lets this program start so many more threads.
  ///
  /// A library that starts its own waits for ever where it does not: this is asked before.
  public static func canStart(_ threads: Int) -> Bool {
    bllarse_can_have(CInt(threads), 0, 1) != 0
  }

  /// Finds the number of threads, one a processor unless more or fewer are wanted, and reserves what
  /// they need; memory that the work itself will need is left for it where that is possible.
  ///
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
    execution = Execution(threadCount: fitting)
    self.note = note
  }
}

/// What the operating system allows this process: memory and processor time.
///
/// A limit of a control group (version 1 or 2; what containers and job schedulers set) holds for the group
/// that the process is in and for all groups around it.
package struct MachineLimits: Sendable, Equatable {
  /// The limits of the address space (`ulimit -v`), of writable memory (`ulimit -d`), and of the
  /// control group's memory, in bytes.
  package var addressSpace, data, groupMemory: Int?
  /// The processors' worth of time that the control group has.
  package var groupProcessors: Double?

  package init() {}

  package static var current: MachineLimits {
    var limits = MachineLimits(
      controlGroup: text(of: "/proc/self/cgroup") ?? "", root: "/sys/fs/cgroup")
    limits.addressSpace = Int(exactly: bllarse_memory_limit(0)).flatMap { $0 < 0 ? nil : $0 }
    limits.data = Int(exactly: bllarse_memory_limit(1)).flatMap { $0 < 0 ? nil : $0 }
    return limits
  }

  /// Reads the limits of the control groups of the process, as `/proc/self/cgroup` lists them, from
  /// where control groups are mounted.
  package init(controlGroup list: String, root: String) {
    for line in list.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let controllers = fields[1].split(separator: ",")
      let isVersion2 = controllers.isEmpty
      for folder in Self.folders(fields[2], in: isVersion2 ? root : root + "/" + fields[1]) {
        func numbers(_ name: String) -> [Int?] {
          let text = Self.text(of: folder + "/" + name) ?? ""
          return text.prefix { !$0.isNewline }.split(separator: " ").map { Int($0) }
        }
        if isVersion2 || controllers.contains("memory") {
          take(memory: numbers(isVersion2 ? "memory.max" : "memory.limit_in_bytes").first ?? nil)
        }
        if isVersion2 || controllers.contains("cpu") {
          let parts =
            isVersion2
            ? numbers("cpu.max") : numbers("cpu.cfs_quota_us") + numbers("cpu.cfs_period_us")
          if parts.count == 2 { take(quota: parts[0], period: parts[1]) }
        }
      }
    }
  }

  private mutating func take(memory: Int?) {
    // Version 1 says "no limit" by a number near 2^63.
    guard let memory, memory > 0, memory < 1 << 60 else { return }
    groupMemory = min(groupMemory ?? memory, memory)
  }

  private mutating func take(quota: Int?, period: Int?) {
    guard let quota, let period, quota > 0, period > 0 else { return }
    let processors = Double(quota) / Double(period)
    groupProcessors = min(groupProcessors ?? processors, processors)
  }

  /// The folders of a group and of all around it.
  ///
  /// In a container the group's name may be the host's, which
  /// is not mounted; the innermost that is there is then the container's own.
  private static func folders(_ group: Substring, in root: String) -> [String] {
    var folders = [root]
    for part in group.split(separator: "/") where part != ".." && part != "." {
      folders.append((folders.last ?? root) + "/" + part)
    }
    return folders
  }

  /// The first 64 KiB of a file.
  private static func text(of path: String) -> String? {
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
      let read = unsafe buffer.withMemoryRebound(to: CChar.self) {
        unsafe bllarse_read_file(path, $0.baseAddress, $0.count)
      }
      count = max(read, 0)
    }
    return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
  }

  /// The smallest limit of memory, in the words of a message: "the address space is limited to 400 MiB
  /// (ulimit -v)".
  package var memoryDescription: String? {
    guard let memory else { return nil }
    let size = Self.mebibytes(memory)
    return memory == addressSpace
      ? "the address space is limited to \(size) (ulimit -v)"
      : memory == data
        ? "writable memory is limited to \(size) (ulimit -d)"
        : "the control group is limited to \(size) of memory"
  }

  package var memory: Int? { [addressSpace, data, groupMemory].compactMap { $0 }.min() }

  /// The memory of the machine, in bytes.
  package static var physicalMemory: Int? {
    let (pages, size) = (sysconf(CInt(_SC_PHYS_PAGES)), sysconf(CInt(_SC_PAGESIZE)))
    return pages > 0 && size > 0 ? pages * size : nil
  }

  /// A number of bytes as people read it, rounded up.
  package static func mebibytes(_ bytes: Int) -> String { "\((bytes + 1_048_575) >> 20) MiB" }
}

/// What happens when memory for a matrix cannot be had.
///
/// Nothing can go on without it, and no caller of `+` or `gram()` expects it: a program sets once how it
/// ends then, and without that it traps with the same message.
public enum AllocationFailure {
  private static let handler = Mutex<(@Sendable (_ message: String) -> Never)?>(nil)

  /// Sets how the program ends; told is what was wanted, for what, and which limits there are.
  public static func handle(by end: @escaping @Sendable (_ message: String) -> Never) {
    handler.withLock { $0 = end }
  }

  static func fail(bytes: Int, purpose: String) -> Never {
    let error = NumericsError.outOfMemory(
      bytes: bytes, purpose: purpose, limit: MachineLimits.current.memoryDescription)
    if let end = handler.withLock({ $0 }) { end("\(error)") }
    preconditionFailure("\(error)")
  }

  /// Allocates uninitialised memory, at least 1 byte, that `free` gives back; the alignment is a
  /// power of two, at least the size of a pointer.
  package static func allocate(
    bytes: Int, alignment: Int, for purpose: @autoclosure () -> String
  ) -> UnsafeMutableRawPointer {
    var memory: UnsafeMutableRawPointer?
    guard unsafe posix_memalign(&memory, alignment, bytes) == 0, let memory = unsafe memory else {
      fail(bytes: bytes, purpose: purpose())
    }
    return unsafe memory
  }
}
