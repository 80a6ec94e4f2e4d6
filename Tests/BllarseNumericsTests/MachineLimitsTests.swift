@testable import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("MachineLimits")
struct MachineLimitsTests {
  private let root: TemporaryDirectory

  init() throws { root = try TemporaryDirectory() }

  private func write(_ path: String, _ text: String) throws {
    let folder = URL(fileURLWithPath: root.file(path)).deletingLastPathComponent()
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try root.write(path, Array((text + "\n").utf8))
  }

  @Test("version 2: the smallest limit of the group and of those around it")
  func version2() throws {
    try write("a/memory.max", "max")
    try write("a/cpu.max", "150000 100000")
    try write("a/b/memory.max", "1073741824")
    try write("a/b/cpu.max", "max 100000")
    let limits = MachineLimits(controlGroup: "0::/a/b\n", root: root.path)
    #expect(limits.groupMemory == 1 << 30)
    #expect(limits.groupProcessors == 1.5)
    #expect(
      limits.memoryDescription == "the control group is limited to 1024 MiB of memory")
  }

  @Test("version 1: each controller in its own tree, and a number near 2^63 is no limit")
  func version1() throws {
    try write("memory/job/memory.limit_in_bytes", "536870912")
    try write("memory/memory.limit_in_bytes", "9223372036854771712")
    try write("cpu,cpuacct/job/cpu.cfs_quota_us", "50000")
    try write("cpu,cpuacct/job/cpu.cfs_period_us", "100000")
    try write("cpu,cpuacct/cpu.cfs_quota_us", "-1")
    let list = "12:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/\n"
    let limits = MachineLimits(controlGroup: list, root: root.path)
    #expect(limits.groupMemory == 512 << 20)
    #expect(limits.groupProcessors == 0.5)
  }

  @Test("a container sees its own limits at the root, under whatever name the host gave its group")
  func container() throws {
    try write("cpu.max", "200000 100000")
    let limits = MachineLimits(controlGroup: "0::/docker/1234\n", root: root.path)
    #expect(limits.groupProcessors == 2)
  }

  @Test(
    "lists that are damaged give no limits", arguments: ["", "0::", "x", "0::/../../..", ":::::"])
  func damaged(list: String) throws {
    try write("cpu.max", "many few")
    #expect(MachineLimits(controlGroup: list, root: root.path) == MachineLimits())
  }
}

@Suite("ThreadReservation")
struct ThreadReservationTests {
  @Test("more threads than processors are taken up to 64, and lowered to the processors beyond")
  func usable() {
    let processors = Execution.available.threadCount
    #expect(ThreadReservation.usable(nil) == processors)
    #expect(ThreadReservation.usable(1) == 1)
    #expect(ThreadReservation.usable(64) == 64)
    #expect(ThreadReservation.usable(100_000) == processors)
  }
}
