import BllarseKernels
import Glibc
import Synchronization

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

/// What the operating system allows this process: memory and processor time.
///
/// A limit of a control group (version 1 or 2; what containers and job schedulers set) holds for the group
/// that the process is in and for all groups around it.
package struct MachineLimits: Sendable, Equatable {
  /// The limit of the address space, in bytes (`ulimit -v`).
  package var addressSpace: Int?
  /// The limit of writable memory, in bytes (`ulimit -d`).
  package var data: Int?
  /// The limit of the control group's memory, in bytes.
  package var groupMemory: Int?
  /// The processors' worth of time that the control group has.
  package var groupProcessors: Double?

  /// No limits.
  package init() {}

  /// The limits of this process.
  package static var current: MachineLimits {
    var limits = MachineLimits(
      controlGroup: text(of: "/proc/self/cgroup") ?? "", root: "/sys/fs/cgroup")
    limits.addressSpace = Int(exactly: bllarse_memory_limit(0)).flatMap { $0 < 0 ? nil : $0 }
    limits.data = Int(exactly: bllarse_memory_limit(1)).flatMap { $0 < 0 ? nil : $0 }
    return limits
  }

  /// Reads the limits of a control group.
  ///
  /// - Parameters:
  ///   - list: the groups of the process, as `/proc/self/cgroup` lists them.
  ///   - root: where control groups are mounted.
  package init(controlGroup list: String, root: String) {
    for line in list.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let controllers = fields[1].split(separator: ",")
      if controllers.isEmpty {
        for folder in Self.folders(fields[2], in: root) { takeVersion2(folder) }
      } else {
        let mount = root + "/" + fields[1]
        if controllers.contains("memory") {
          for folder in Self.folders(fields[2], in: mount) {
            take(memory: Self.number(Self.text(of: folder + "/memory.limit_in_bytes")))
          }
        }
        if controllers.contains("cpu") {
          for folder in Self.folders(fields[2], in: mount) {
            take(
              quota: Self.number(Self.text(of: folder + "/cpu.cfs_quota_us")),
              period: Self.number(Self.text(of: folder + "/cpu.cfs_period_us")))
          }
        }
      }
    }
  }

  private mutating func takeVersion2(_ folder: String) {
    take(memory: Self.number(Self.text(of: folder + "/memory.max")))
    let parts = (Self.text(of: folder + "/cpu.max") ?? "").split(separator: " ")
    if parts.count == 2 {
      take(quota: Self.number(String(parts[0])), period: Self.number(String(parts[1])))
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

  private static func number(_ text: String?) -> Int? {
    text.flatMap { Int($0.prefix { !$0.isNewline }) }
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
}

extension MachineLimits {
  /// The smallest limit of memory, in the words of a message: "the address space is limited to 400 MiB
  /// (ulimit -v)".
  package var memoryDescription: String? {
    let limits: [(bytes: Int?, text: (String) -> String)] = [
      (addressSpace, { "the address space is limited to \($0) (ulimit -v)" }),
      (data, { "writable memory is limited to \($0) (ulimit -d)" }),
      (groupMemory, { "the control group is limited to \($0) of memory" }),
    ]
    guard
      let (bytes, text) = limits.compactMap({ limit in limit.bytes.map { ($0, limit.text) } })
        .min(by: { $0.0 < $1.0 })
    else { return nil }
    return text(Self.mebibytes(bytes))
  }

  /// The smallest limit of memory, in bytes.
  package var memory: Int? { [addressSpace, data, groupMemory].compactMap { $0 }.min() }

  /// A number of bytes as people read it, rounded up.
  package static func mebibytes(_ bytes: Int) -> String { "\((bytes + 1_048_575) >> 20) MiB" }
}

/// What happens when memory for a matrix cannot be had.
///
/// Nothing can go on without it, and no caller of `+` or `gram()` expects it: a program sets once how it
/// ends then, and without that it traps with the same message.
public enum AllocationFailure {
  private static let handler = Mutex<(@Sendable (_ message: String) -> Never)?>(nil)

  /// Sets how the program ends.
  ///
  /// - Parameter end: receives what was wanted, for what, and which limits there are.
  public static func handle(by end: @escaping @Sendable (_ message: String) -> Never) {
    handler.withLock { $0 = end }
  }

  /// Ends the program for want of memory.
  static func fail(bytes: Int, purpose: String) -> Never {
    let error = NumericsError.outOfMemory(
      bytes: bytes, purpose: purpose, limit: MachineLimits.current.memoryDescription)
    if let end = handler.withLock({ $0 }) { end("\(error)") }
    preconditionFailure("\(error)")
  }

  /// Allocates memory that `free` gives back.
  ///
  /// - Parameters:
  ///   - bytes: how much, at least 1.
  ///   - alignment: a power of two, at least the size of a pointer.
  ///   - purpose: what it is for, for the message.
  /// - Returns: the memory, uninitialised.
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
