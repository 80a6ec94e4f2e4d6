import Foundation
import Synchronization

/// A file that says which process does something alone, safe on shared file systems: it is made by
/// link(2), which is atomic on NFS, and carries its holder's identity from the first moment.
///
/// A holder on this machine is alive if its process is; a holder elsewhere, if it has renewed the
/// file's time within ``lifetime``.
package final class Lease: Sendable {
  package struct Holder: Equatable, Sendable {
    package var host: String
    package var process: Int
    /// When the process started, in the kernel's clock ticks: tells a reused process id.
    package var startTicks: Int
    /// What the holder does: `run` or `sync`.
    package var role: String
    var token: String

    package var description: String { "process \(process) on \(host)" }
  }

  /// How long a lease of another machine lives without being renewed.
  package static let lifetime = 120.0

  package let path: String
  private let holder: Holder
  private let isReleased = Atomic<Bool>(false)
  private let lastRenewal = Mutex(ContinuousClock.now)

  private init(path: String, holder: Holder) {
    (self.path, self.holder) = (path, holder)
  }

  deinit { release() }

  /// Takes the lease; nil if another living process holds it.
  package static func acquire(_ path: String, role: String) throws(TrackingError) -> Lease? {
    let holder = Holder(
      host: thisHost, process: Int(getpid()), startTicks: Host.startTime(of: Int(getpid())) ?? 0,
      role: role, token: String(UInt64.random(in: 0...UInt64.max), radix: 16))
    for _ in 0..<8 {
      if try place(holder, at: path) { return Lease(path: path, holder: holder) }
      let present = self.holder(of: path)
      // Released between our two looks, or unreadable: an unreadable one counts by its age.
      let isHeld =
        present.map { isAlive($0, path: path) } ?? (Files.exists(path) && !isStaleByAge(path))
      if isHeld { return nil }
      try removeStale(path, expected: present, by: holder)
    }
    return nil
  }

  package static func holder(of path: String) -> Holder? {
    guard let json = (try? Files.bytes(of: path)).flatMap(JSON.lenient),
      let host = json["host"]?.stringValue, let process = json["process"]?.integer
    else { return nil }
    return Holder(
      host: host, process: process, startTicks: json["start"]?.integer ?? 0,
      role: json["role"]?.stringValue ?? "", token: json["token"]?.stringValue ?? "")
  }

  package static func livingHolder(of path: String) -> Holder? {
    guard let holder = holder(of: path), isAlive(holder, path: path) else { return nil }
    return holder
  }

  /// Tells other machines that the holder lives.
  package func renew() { utimensat(AT_FDCWD, path, nil, 0) }

  /// Does so every twenty seconds, however often it is called.
  func renewWhenDue() {
    let isDue = lastRenewal.withLock { last in
      guard last.duration(to: .now) > .seconds(20) else { return false }
      last = .now
      return true
    }
    if isDue { renew() }
  }

  /// Gives the lease up; only a lease that is still this one's is removed.
  package func release() {
    let isFirst = !isReleased.exchange(true, ordering: .acquiringAndReleasing)
    if isFirst, Self.holder(of: path) == holder { unlink(path) }
  }

  // MARK: - Parts

  private static func place(_ holder: Holder, at path: String) throws(TrackingError) -> Bool {
    let json = JSON.object([
      "host": .string(holder.host), "process": .int(holder.process),
      "start": .int(holder.startTicks), "role": .string(holder.role),
      "token": .string(holder.token),
    ])
    // NFS may report a link that was made as failed: the contents decide.
    return try Files.create(path, json.bytes, durability: .none) || self.holder(of: path) == holder
  }

  /// Removes a dead holder's lease.
  ///
  /// A second lease guards the removal, so that two processes cannot both see the dead one and the
  /// slower remove the faster one's new lease.
  private static func removeStale(
    _ path: String, expected: Holder?, by holder: Holder
  ) throws(TrackingError) {
    let guardPath = path + ".takeover"
    guard try place(holder, at: guardPath) else {
      if let present = self.holder(of: guardPath), !isAlive(present, path: guardPath) {
        unlink(guardPath)
      }
      usleep(20_000)
      return
    }
    defer { unlink(guardPath) }
    if self.holder(of: path) == expected { unlink(path) }
  }

  private static func isAlive(_ holder: Holder, path: String) -> Bool {
    guard holder.host == thisHost else { return !isStaleByAge(path) }
    return Host.startTime(of: holder.process) == holder.startTicks
  }

  /// Compares the file's time with that of a new file beside it: both are the file server's clock.
  private static func isStaleByAge(_ path: String) -> Bool {
    let probe = "\(path).\(UInt32.random(in: 0...UInt32.max)).clock"
    let descriptor = open(probe, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { return false }
    close(descriptor)
    defer { unlink(probe) }
    guard let now = Files.modified(probe), let then = Files.modified(path) else { return false }
    return now - then > lifetime
  }

  /// This machine and process namespace: containers with one host name do not see each other's
  /// processes, so they count as different.
  package static let thisHost: String = {
    let name = ProcessInfo.processInfo.hostName
    let boot = (try? Files.bytes(of: "/proc/sys/kernel/random/boot_id")).map { bytes in
      String(decoding: bytes.prefix(8), as: UTF8.self)
    }
    let namespace = Host.processNamespace?.filter(\.isNumber)
    return [name, boot, namespace].compactMap { $0 }.joined(separator: "/")
  }()
}
