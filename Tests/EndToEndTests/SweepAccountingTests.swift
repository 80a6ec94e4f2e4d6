import BllarseTestSupport
import Foundation
import Testing

extension SlurmCluster {
  static let isAccountingWanted =
    isWanted
    && [
      "/usr/sbin/slurmdbd", "/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db",
      "/usr/bin/my_print_defaults",
    ].allSatisfy(FileManager.default.isExecutableFile)
}

extension SweepEndToEnd {
  @Suite(
    "on a real SLURM with accounting",
    .enabled(
      if: SlurmCluster.isAccountingWanted,
      "slurmdbd, mariadb-server-core and mariadb-client-core are not installed, or SLURM is not"))
  struct SweepAccountingTests {
    private static let directory = "/tmp/bllarse-slurmdbd-\(getpid())"
    private static let script = Fixtures.packageRoot + "/Scripts/slurm-dev.sh"

    /// A cluster whose controller forgets a job seconds after its end.
    private static func withCluster(_ body: (SweepTool) throws -> Void) throws {
      let tool = try SweepTool(environment: [
        "SLURM_DEV_DIR": directory, "SLURM_CONF": "\(directory)/slurm.conf",
        "SLURM_DEV_PORT": "\(28000 + Int(getpid()) % 500 * 4)", "SLURM_DEV_ACCOUNTING": "1",
        "SLURM_DEV_MIN_JOB_AGE": "2", "SLURM_DEV_OWNER": "\(getpid())",
      ])
      let up = try tool.run("up", executable: script)
      defer {
        _ = try? tool.run("down", executable: script)
        try? FileManager.default.removeItem(atPath: directory)
      }
      try #require(up.status == 0, "\(up.errors)")
      try body(tool)
    }

    private func sacctmgr(_ tool: SweepTool, _ words: String...) throws -> SweepTool.Result {
      let (process, output, errors) = try tool.start(
        ["--immediate", "--quiet"] + words, executable: "/usr/bin/sacctmgr")
      process.waitUntilExit()
      return SweepTool.Result(
        status: process.terminationStatus,
        output: try String(contentsOfFile: output, encoding: .utf8),
        errors: try String(contentsOfFile: errors, encoding: .utf8))
    }

    @Test("what the controller has forgotten is asked of sacct; an account's limit holds")
    func accounting() throws {
      try Self.withCluster { tool in
        try tool.write(
          "sweep.yaml",
          "base: {pause: 0.01}\nzip: {code: [0, 4, 0, 0], steps: [1, 1, 60000, 60001]}")
        let submit = try tool.run("submit", "sweep.yaml")
        #expect(submit.status == 0, "\(submit.errors)")
        for index in [2, 3] {
          _ = try tool.wait(60, "run \(index)") {
            tool.text("sweeps/sweep/runs/0/\(index)/attempt-1/claim.json")
              .contains("\"child_pid\": ")
              ? true : nil
          }
        }
        // One dies without a word, one is cancelled by somebody else.
        let claim = tool.text("sweeps/sweep/runs/0/2/attempt-1/claim.json")
        let object = try JSONSerialization.jsonObject(with: Data(claim.utf8)) as? [String: Any]
        kill(Int32(try #require(object?["pid"] as? Int)), SIGKILL)
        if let child = object?["child_pid"] as? Int { kill(Int32(child), SIGKILL) }
        let job = try #require(submit.output.split(separator: ":").first?.dropFirst(4))
        #expect(try tool.run("\(job)_3", executable: "/usr/bin/scancel").status == 0)
        try tool.wait(120, "the controller to forget the job") {
          let queue = try tool.run(
            "--noheader", "--states", "all", executable: "/usr/bin/squeue")
          return queue.status == 0 && queue.output.isEmpty ? () : nil
        }
        let states = try tool.states()
        #expect(states.map(\.state) == ["done", "failed", "failed", "cancelled"], "\(states)")
        #expect(states[1].exit_code == 4 && states[1].reason.contains("told to fail with 4"))
        // sacct takes 128 off exit codes: scontrol said 137 while it knew the job.
        #expect(states[2].reason == "FAILED, and the run wrote no end" && states[2].exit_code == 9)
        #expect(states[2].task == "\(job)_2")

        // sacctmgr: an account that may have two jobs at a time.
        let limit = try sacctmgr(
          tool, "modify", "user", "root", "where", "account=dev", "set", "MaxSubmitJobs=2")
        #expect(limit.status == 0, "\(limit.output)\(limit.errors)")
        try tool.write("more.yaml", "base: {pause: 0.01}\nseeds: 5")
        let more = try tool.run("submit", "more.yaml")
        #expect(more.status == 0, "\(more.errors)")
        #expect(more.output.hasSuffix("configurations 0-1\n"), "\(more.output)")
        #expect(
          more.errors.contains(
            "3 configurations are left: MaxSubmitJobs of the account allows no more now"),
          "\(more.errors)")
        #expect(
          try tool.settled("more.yaml").map(\.state) == ["done", "done", "new", "new", "new"])
      }
    }
  }
}
