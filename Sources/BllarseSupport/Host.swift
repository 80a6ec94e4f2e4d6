import Foundation

private typealias Files = FileSystem<SystemError>

/// What a process knows about itself and its machine.
package enum Host {
  /// Seconds since 1970.
  package static var now: Double { seconds(time(CLOCK_REALTIME)) }

  /// Milliseconds since 1970.
  package static var milliseconds: Int {
    let time = time(CLOCK_REALTIME)
    return Int(time.tv_sec) * 1000 + Int(time.tv_nsec) / 1_000_000
  }

  /// Seconds of a clock that is never set back.
  package static var monotonic: Double { seconds(time(CLOCK_MONOTONIC)) }

  private static func time(_ clock: clockid_t) -> timespec {
    var time = timespec()
    clock_gettime(clock, &time)
    return time
  }

  private static func seconds(_ time: timespec) -> Double {
    Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// `2025-03-01T12:34:56Z`.
  package static func timestamp(_ seconds: Double) -> String {
    Date(timeIntervalSince1970: seconds).formatted(.iso8601)
  }

  package static var name: String { ProcessInfo.processInfo.hostName }

  /// The most memory that this process had resident so far, in bytes; `nil` where the system does not say.
  package static var peakMemory: Int? {
    guard let text = try? Files.text(of: "/proc/self/status"),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") })
    else { return nil }
    return line.split(separator: " ").compactMap { Int($0) }.first.map { $0 * 1024 }
  }

  package static var processID: Int { Int(getpid()) }

  package static var userName: String? {
    guard let entry = getpwuid(getuid()), let name = entry.pointee.pw_name else { return nil }
    return String(cString: name)
  }

  /// When a process of this machine started, in clock ticks since boot; nil when it does not run.
  ///
  /// With the process id it names a process for good: ids are used again.
  package static func startTime(of process: Int) -> Int? {
    guard let text = try? Files.text(of: "/proc/\(process)/stat") else { return nil }
    // The command's name, in parentheses, may contain spaces and parentheses itself.
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
    return Int(fields[19])
  }

  /// The processes of this machine that were started with a variable, as far as this user may see.
  package static func processes(with variable: String) -> [Int] {
    let entry = Array(variable.utf8)
    return Files.names(in: "/proc").compactMap { name in
      guard let process = Int(name), startTime(of: process) != nil,
        let environment = try? Files.bytes(of: "/proc/\(process)/environ"),
        environment.split(separator: 0).contains(where: { $0.elementsEqual(entry) })
      else { return nil }
      return process
    }
  }

  package static var processors: [Int] {
    // The kernel's list, such as `0-3,8`; sched_getaffinity is not visible to Swift.
    let status = (try? Files.text(of: "/proc/self/status")) ?? nil
    let line = status?.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }
    let parts = line?.split(whereSeparator: { ":\t ,".contains($0) }).dropFirst() ?? []
    let processors = parts.flatMap { part -> [Int] in
      let ends = part.split(separator: "-").compactMap { Int($0) }
      guard let first = ends.first, let last = ends.last, first <= last else { return [] }
      return Array(first...last)
    }
    guard processors.isEmpty else { return processors }
    return Array(0..<max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))))
  }

  package static var environment: [String: String] { ProcessInfo.processInfo.environment }

  /// The environment of what this process starts.
  ///
  /// Without MLFLOW_RUN_ID: the one run it names is this process', and programs that inherited it would
  /// all write into that run.
  package static var inheritedEnvironment: [String: String] {
    var environment = environment
    environment["MLFLOW_RUN_ID"] = nil
    return environment
  }

  package static func variable(_ name: String) -> String? {
    guard let value = getenv(name), value.pointee != 0 else { return nil }
    return String(cString: value)
  }

  package static var executablePath: String? { target(of: "/proc/self/exe") }

  /// The namespace that this process' id is of.
  package static var processNamespace: String? { target(of: "/proc/self/ns/pid") }

  private static func target(of link: String) -> String? {
    try? FileManager.default.destinationOfSymbolicLink(atPath: link)
  }

  /// Finds a program as a shell would, after looking beside the running one.
  package static func find(_ program: String) -> String? {
    if program.contains("/") {
      return Files.isExecutableFile(program) ? Files.absolute(program) : nil
    }
    var directories = (variable("PATH") ?? "/usr/bin:/bin").split(separator: ":").map(String.init)
    if let own = executablePath, let directory = Files.parent(of: own) {
      directories.insert(directory, at: 0)
    }
    return directories.map { "\($0)/\(program)" }.first { Files.isExecutableFile($0) }
  }

  package static func sleep(seconds: Double) {
    // usleep takes no more than a second on some systems, and a UInt32 little more than an hour.
    let end = monotonic + seconds
    while case let rest = end - monotonic, rest > 0 { usleep(UInt32(min(rest, 1) * 1e6)) }
  }

  /// Waits for one of some signals, which are blocked; nil when the time passed.
  package static func signal(among signals: [Int32], seconds: Double) -> Int32? {
    var set = sigset_t()
    sigemptyset(&set)
    for signal in signals { sigaddset(&set, signal) }
    let whole = seconds.rounded(.down)
    var timeout = timespec(tv_sec: Int(whole), tv_nsec: Int((seconds - whole) * 1e9))
    let signal = sigtimedwait(&set, nil, &timeout)
    return signal > 0 ? signal : nil
  }

  package static var isTerminal: Bool { isatty(1) == 1 }
}

extension StringProtocol {
  package var trimmed: String {
    let start = drop { $0.isWhitespace }
    guard let end = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return String(start[...end])
  }
}
