import BllarseTestSupport
import Foundation
import Synchronization
import Testing

extension SweepEndToEnd {
  @Suite("whose processes are killed")
  struct SweepFaultTests {
    /// Seconds of the storm: a minute with BLLARSE_SWEEP_STORM=60.
    static let seconds =
      Double(ProcessInfo.processInfo.environment["BLLARSE_SWEEP_STORM"] ?? "") ?? 15

    @Test("64 processes write state and are killed at random: status is always readable and right")
    func storm() throws {
      let tool = try SweepTool()
      let count = 300
      try FileManager.default.createDirectory(
        atPath: tool.temporary.file("lock"), withIntermediateDirectories: true)
      try tool.write(
        "sweep.yaml",
        "base: {steps: 2, pause: 0.1, lock: \(tool.temporary.file("lock"))}\nseeds: \(count)")
      // Freezes the manifest.
      #expect(try tool.run("run-config", "sweep.yaml", "0").status == 0)
      // A slow machine gets more time to have been through enough.
      let least = Date() + Self.seconds
      let most = least + 180
      let kills = Mutex(0)
      let isOver = Mutex(false)
      let workers = (0..<64).map { worker in
        Thread {
          var generator = SplitMix64(seed: 1000 + worker)
          while !isOver.withLock({ $0 }) {
            let index = Int.random(in: 0..<count, using: &generator)
            guard let started = try? tool.start(["run-config", "sweeps/sweep", "\(index)"]) else {
              continue
            }
            if Bool.random(using: &generator) {
              Thread.sleep(forTimeInterval: Double.random(in: 0...1, using: &generator))
              kill(started.process.processIdentifier, SIGKILL)
              kills.withLock { $0 += 1 }
            }
            started.process.waitUntilExit()
            for path in [started.output, started.errors] {
              try? FileManager.default.removeItem(atPath: path)
            }
          }
        }
      }
      for worker in workers { worker.start() }
      var done: Set<Int> = []
      var readings = 0
      while Date() < least || (Date() < most && (readings <= 3 || kills.withLock { $0 } <= 50)) {
        let states = try tool.states("sweeps/sweep")
        #expect(states.count == count)
        let now = Set(states.filter { $0.state == "done" }.map(\.index))
        #expect(done.isSubset(of: now), "a finished configuration became unfinished")
        for index in now {
          #expect(tool.text("sweeps/sweep/runs/0/\(index)/result.json").contains("\"metrics\""))
        }
        done = now
        readings += 1
      }
      isOver.withLock { $0 = true }
      while workers.contains(where: { !$0.isFinished }) { Thread.sleep(forTimeInterval: 0.1) }
      print("storm: \(kills.withLock { $0 }) kills, \(readings) readings, \(done.count) done")
      #expect(readings > 3 && kills.withLock { $0 } > 50)
      // Programs whose wrapper was killed end by themselves.
      _ = try tool.wait(60, "the orphans' end") {
        try FileManager.default.contentsOfDirectory(atPath: tool.temporary.file("lock"))
          .allSatisfy { $0 == "violations" } ? true : nil
      }
      let rest = try tool.run("run", "sweeps/sweep", "--failed", "--jobs", "4")
      #expect(rest.status == 0, "\(rest.errors)")
      #expect(try tool.words("sweeps/sweep").allSatisfy { $0 == "done" })
      #expect(tool.text("lock/violations") == "", "a configuration ran twice at once")
      let table = try tool.run("collect", "sweeps/sweep", "--format", "csv")
      #expect(table.output.split(separator: "\n").count == count + 1)
    }
  }
}
