import BllarseTestSupport
import Foundation
import Testing

/// A real SLURM on the loopback interface, up while the suite runs.
struct SlurmCluster: SuiteTrait, TestScoping {
  static let directory = "/tmp/bllarse-slurm-\(getpid())"
  static let configuration = "\(directory)/slurm.conf"
  static let variables = [
    "SLURM_DEV_DIR": directory, "SLURM_DEV_PORT": "\(27000 + Int(getpid()) % 500 * 2)",
    "SLURM_CONF": configuration, "SLURM_DEV_OWNER": "\(getpid())",
  ]
  static let isInstalled =
    FileManager.default.isExecutableFile(atPath: "/usr/sbin/slurmctld")
    && geteuid() == 0
  /// In continuous integration a missing SLURM is a failure, not a reason to skip.
  static let isWanted = isInstalled || ProcessInfo.processInfo.environment["CI"] == "true"

  @concurrent func provideScope(
    for test: Test, testCase: Test.Case?,
    performing function: @Sendable @concurrent () async throws -> Void
  ) async throws {
    guard Self.isWanted else { return try await function() }
    let tool = try SweepTool(environment: Self.variables)
    let script = Fixtures.packageRoot + "/Scripts/slurm-dev.sh"
    let up = try tool.run("up", executable: script)
    guard up.status == 0 else { throw SweepTool.Timeout(description: "no SLURM: \(up.errors)") }
    do {
      try await function()
    } catch {
      _ = try tool.run("down", executable: script)
      throw error
    }
    let down = try tool.run("down", executable: script)
    #expect(down.status == 0)
    try? FileManager.default.removeItem(atPath: Self.directory)
  }

  static func node(_ verb: String) throws {
    let tool = try SweepTool(environment: variables)
    let result = try tool.run(verb, executable: Fixtures.packageRoot + "/Scripts/slurm-dev.sh")
    try #require(result.status == 0, "\(result.errors)")
  }

  static func tool() throws -> SweepTool { try SweepTool(environment: variables) }
}

extension SweepEndToEnd {
  @Suite(
    "on a real SLURM", SlurmCluster(),
    .enabled(if: SlurmCluster.isWanted, "slurm-wlm and munge are not installed, or not root"))
  struct SweepSlurmTests {
    let tool: SweepTool

    init() throws { tool = try SlurmCluster.tool() }

    @Test("an array of 20 runs at most 2 at a time, fails truly, is retried and collected")
    func array() throws {
      try tool.write(
        "sweep.yaml",
        """
        base: {pause: 0.15, steps: 2}
        grid: {code: [0, 4]}
        seeds: 18
        exclude: {code: 4, seed: {ge: 2}}
        slurm: {max_concurrent: 2}
        """)
      let dry = try tool.run("submit", "sweep.yaml", "--dry-run")
      #expect(dry.status == 0 && dry.output.contains("--array 0-19%2"), "\(dry.errors)")
      #expect(!FileManager.default.fileExists(atPath: tool.temporary.file("sweeps")))
      let submit = try tool.run("submit", "sweep.yaml")
      #expect(submit.status == 0, "\(submit.errors)")
      #expect(submit.output.hasSuffix("configurations 0-19\n"))
      #expect(try tool.run("submit", "sweep.yaml").errors.hasPrefix("0 to run, "))
      let states = try tool.settled()
      #expect(states.map(\.state) == Array(repeating: "done", count: 18) + ["failed", "failed"])
      #expect(states[18].exit_code == 4 && states[19].reason == "steps.sh: told to fail with 4")
      let most = SweepTool.overlap(try tool.intervals("sweep"))
      #expect(most == 2, "\(most) at once")
      #expect(
        try tool.run("logs", "sweep.yaml", "18", "--job").output.contains("told to fail with 4"))
      let job = try #require(states[19].task).split(separator: "_")[0]
      #expect(tool.text("slurm_logs/sweep.\(job)_19.err").contains("told to fail with 4"))
      #expect(
        try tool.run("submit", "sweep.yaml").errors
          == "0 to run, 18 done before, 2 failed before ('retry' runs them)\n")

      let retry = try tool.run("retry", "sweep.yaml", "--failed")
      #expect(retry.output.hasSuffix("configurations 18-19\n"))
      #expect(try tool.settled().map(\.attempts) == Array(repeating: 1, count: 18) + [2, 2])
      let table = try tool.run("collect", "sweep.yaml", "--format", "csv")
      #expect(table.output.split(separator: "\n").count == 19)
    }

    @Test("bllarse-finetune on digits: 20 runs, at most 2 at a time, 20 rows with their scores")
    func digits() throws {
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          base: {dataset: digits, loss_fn: IBProbit, epochs: 1}
          grid: {num_update_iters: [1, 8]}
          seeds: {count: 10, start: 137}
          slurm: {max_concurrent: 2}
          """.utf8))
      #expect(try tool.run("submit", "sweep.yaml", "--cpus-per-task", "1").status == 0)
      let states = try tool.settled()
      #expect(states.map(\.state) == Array(repeating: "done", count: 20), "\(states[0].reason)")
      #expect(SweepTool.overlap(try tool.intervals("sweep")) == 2)
      let table = try tool.run("collect", "sweep.yaml", "--best", "test.nll", "--format", "csv")
        .output.split(separator: "\n").map { $0.split(separator: ",") }
      #expect(table.count == 21)
      let column = try #require(table[0].firstIndex(of: "test.acc"))
      // A linear classifier on the raw pixels reaches 0.9; chance is 0.1.
      #expect(table.dropFirst().allSatisfy { (Double($0[column]) ?? 0) > 0.85 })
      let paired = try tool.run(
        "collect", "sweep.yaml", "--best", "test.nll", "--paired", "--format", "json")
      let rows =
        try JSONSerialization.jsonObject(with: Data(paired.output.utf8)) as? [[String: Any]]
      #expect(rows?.count == 1 && rows?[0]["pairs"] as? Int == 10)
    }

    @Test("what cannot run is left out; seven run at once; too little memory is told before it is")
    func checked() throws {
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          program: \(SweepCheckTests.program)
          grid: {code: [0, 64]}
          zip: {megabytes: [1, 401], steps: [1, 2]}
          """.utf8))
      let refused = try tool.run("submit", "sweep.yaml")
      #expect(refused.status == 65)
      #expect(refused.errors.contains("2 configurations (2-3): --code 64 does not exist yet"))
      #expect(!FileManager.default.fileExists(atPath: tool.temporary.file("sweeps")))
      let dry = try tool.run("submit", "sweep.yaml", "--skip-invalid", "--dry-run")
      #expect(dry.output.contains("--array 0-1%7 "), "\(dry.errors)")
      // The cluster gives 400 MB for each processor.
      #expect(
        dry.errors.hasSuffix(
          """
          each run gets 1 processor (SLURM's default), 400M of memory (the cluster's DefMemPerCPU), time without a limit (partition dev); at most 7 at once
          warning: configuration 1 needs about 401M of memory, and a run gets 400M (the cluster's DefMemPerCPU); give --mem 500M

          """), "\(dry.errors)")
      let submit = try tool.run(
        "submit", "sweep.yaml", "--skip-invalid", "--mem", "2G", "--max-concurrent", "none",
        "--time", "10")
      #expect(submit.status == 0 && !submit.errors.contains("warning"), "\(submit.errors)")
      #expect(
        submit.errors.hasSuffix(
          "2G of memory (as asked), 00:10:00 of time (as asked); any number at once\n"))
      #expect(
        try tool.settled().map(\.state) == ["done", "done", "new", "new"])
      #expect(
        tool.text("sweeps/sweep/submissions/0001/plan.json").contains(#""max_concurrent": "none""#))
    }

    @Test("submit: the executor of the file has defaults for it, which the command line overrides")
    func executor() throws {
      try tool.write(
        "sweep.yaml",
        "seeds: 2\nexecutor: {name: slurm, cpus: 1, memory: 300M, time: '1:00:00', max_concurrent: 3}"
      )
      let dry = try tool.run("submit", "sweep.yaml", "--mem", "200M", "--dry-run")
      #expect(
        dry.output.contains(" --time 1:00:00 --mem 200M --cpus-per-task 1 --output "),
        "\(dry.errors)")
      #expect(dry.output.contains(" --array 0-1%3 "))
      #expect(!dry.errors.contains("'executor"))
      #expect(try tool.run("submit", "sweep.yaml").status == 0)
      #expect(try tool.settled().map(\.state) == ["done", "done"])
      try tool.write("local.yaml", "seeds: 1\nexecutor: {name: local, jobs: 2, memory: 300M}")
      let local = try tool.run("submit", "local.yaml", "--dry-run")
      #expect(local.output.contains(" --mem 300M "))
      #expect(
        local.errors.contains(
          "note: the file says 'executor: local'; 'submit' uses slurm, whatever it says: jobs has no effect\n"
        ), "\(local.errors)")
    }

    @Test("an offset and a number of jobs run exactly those; environment and processors arrive")
    func window() throws {
      try tool.write(
        "sweep.yaml",
        """
        base:
          show: INDEX_OFFSET VENV_NAME SLURM_CPUS_PER_TASK BLLARSE_SWEEP_SOURCE MLFLOW_PARENT_RUN_ID MLFLOW_RUN_ID SWEEP_TEST_VARIABLE
        seeds: 12
        """)
      try tool.temporary.write("venv-activate", [])
      try FileManager.default.createDirectory(
        atPath: tool.temporary.file("venv/bin"), withIntermediateDirectories: true)
      try tool.temporary.write(
        "venv/bin/activate",
        Array("export SWEEP_TEST_VARIABLE=\"$SWEEP_TEST_VARIABLE+venv\"\n".utf8))
      let (process, _, _) = try tool.start(
        [
          "submit", "sweep.yaml", "--index-offset", "5", "--num-jobs", "3", "--cpus-per-task", "2",
          "--venv", "venv", "--parent-run-id", "0123456789abcdef", "--job-name", "named",
        ], extra: ["SWEEP_TEST_VARIABLE": "a,b=c d", "MLFLOW_RUN_ID": "fedcba9876543210"])
      process.waitUntilExit()
      #expect(process.terminationStatus == 0)
      let states = try tool.settled()
      #expect(states.filter { $0.state == "done" }.map(\.index) == [5, 6, 7])
      #expect(states.filter { $0.state == "new" }.count == 9)
      let output = tool.text("sweeps/sweep/runs/0/6/attempt-1/stdout.log")
      #expect(
        output == """
          INDEX_OFFSET=5
          VENV_NAME=\(tool.temporary.file("venv"))
          SLURM_CPUS_PER_TASK=2
          BLLARSE_SWEEP_SOURCE=\(tool.temporary.file("sweep.yaml"))
          MLFLOW_PARENT_RUN_ID=0123456789abcdef
          MLFLOW_RUN_ID=
          SWEEP_TEST_VARIABLE=a,b=c d+venv

          """)
      let logs = try FileManager.default.contentsOfDirectory(
        atPath: tool.temporary.file("slurm_logs"))
      #expect(logs.count == 6 && logs.allSatisfy { $0.hasPrefix("named.") })
    }

    @Test("before its time limit a run checkpoints, requeues and ends as an uninterrupted one")
    func timeLimit() throws {
      // slurmctld looks every 30 s and warns a look ahead: 45 s before a limit of 60 s is within the first
      // 30 of the 40 s that the run takes.
      try tool.write("sweep.yaml", "base: {steps: 80, pause: 0.5}\nseeds: 1")
      #expect(
        try tool.run("submit", "sweep.yaml", "--time", "1", "--signal-seconds", "45").status == 0)
      let states = try tool.settled()
      #expect(states.map(\.state) == ["done"])
      #expect(states[0].attempts >= 2)
      let last = tool.text("sweeps/sweep/runs/0/0/attempt-\(states[0].attempts)/stdout.log")
      #expect(last.contains("resumed after step"))
      let whole = try SweepTool()
      try whole.write("sweep.yaml", "base: {steps: 80, pause: 0}\nseeds: 1")
      #expect(try whole.run("run", "sweep.yaml").status == 0)
      let nll = try [tool, whole].map {
        try $0.run("collect", "sweep.yaml", "--format", "csv").output
          .split(separator: "\n").last?.split(separator: ",").dropLast()
      }
      #expect(nll[0] == nll[1])
    }

    @Test("a cancelled task is cancelled and nothing else; it does not come back by itself")
    func cancel() throws {
      try tool.write("sweep.yaml", "base: {pause: 0.1, steps: 3, hold: HOLD}\nseeds: 4")
      #expect(try tool.run("submit", "sweep.yaml", "--max-concurrent", "2").status == 0)
      try tool.waitForStep(of: [0, 1])
      let dry = try tool.run("cancel", "sweep.yaml", "--index", "0,3", "--dry-run")
      #expect(dry.output.hasPrefix("scancel ") && dry.output.contains("_[0,3]"))
      #expect(try tool.run("cancel", "sweep.yaml", "--index", "0,3").errors == "cancelled 0,3\n")
      try tool.release(1, 2)
      #expect(try tool.settled().map(\.state) == ["cancelled", "done", "done", "cancelled"])
      try tool.release(0, 3)
      // By SLURM's own command, too.
      let again = try tool.run("submit", "sweep.yaml")
      #expect(again.errors.hasPrefix("2 to run, 2 done before"))
      #expect(try tool.settled().map(\.state) == Array(repeating: "done", count: 4))
      #expect(
        tool.text("sweeps/sweep/runs/0/0/attempt-2/stdout.log").contains("resumed after step"))
    }

    @Test("killing slurmd, and then the whole node with its jobs, loses nothing")
    func nodeFailure() throws {
      try tool.write("sweep.yaml", "base: {pause: 0.1, steps: 3, hold: HOLD}\nseeds: 5")
      #expect(try tool.run("submit", "sweep.yaml", "--max-concurrent", "2").status == 0)
      try tool.waitForStep(of: [0, 1])
      // slurmd alone: its jobs go on.
      try SlurmCluster.node("kill-slurmd")
      try SlurmCluster.node("start-node")
      #expect(try tool.words().prefix(2) == ["running", "running"])
      try tool.release(0)
      try tool.waitForStep(of: [2])
      // The whole node, with tasks 1 and 2: SLURM notices after SlurmdTimeout and requeues.
      try SlurmCluster.node("kill-node")
      Thread.sleep(forTimeInterval: 1)
      try SlurmCluster.node("start-node")
      try tool.release(1, 2, 3, 4)
      let states = try tool.settled()
      #expect(states.map(\.state) == Array(repeating: "done", count: 5))
      #expect(states.map { $0.attempts > 1 } == [false, true, true, false, false])
    }

    @Test("a task over its memory is tried again with more, without anybody waiting for it")
    func memory() throws {
      try tool.write(
        "sweep.yaml", "base: {megabytes: 300, pause: 1, steps: 6}\nseeds: 1")
      let submit = try tool.run(
        "submit", "sweep.yaml", "--mem", "150M", "--retry", "oom:2:mem*10",
        "--sbatch-arg=--comment=x")
      #expect(submit.status == 0, "\(submit.errors)")
      let states = try tool.wait(120, "the retry's result") {
        let states = try tool.states()
        return states.allSatisfy { $0.state == "done" } ? states : nil
      }
      #expect(states[0].attempts == 2)
      #expect(tool.text("sweeps/sweep/submissions/0002/plan.json").contains("\"mem\": \"1500M\""))
    }

    @Test("a task whose wrapper is killed shows as failed, with SLURM's reason")
    func silentDeath() throws {
      try tool.write("sweep.yaml", "base: {pause: 60}\nseeds: 1")
      #expect(try tool.run("submit", "sweep.yaml").status == 0)
      _ = try tool.wait(120, "the run") {
        FileManager.default.fileExists(
          atPath: tool.temporary.file("sweeps/sweep/runs/0/0/attempt-1/stdout.log")) ? true : nil
      }
      let claim = tool.text("sweeps/sweep/runs/0/0/attempt-1/claim.json")
      let object = try JSONSerialization.jsonObject(with: Data(claim.utf8)) as? [String: Any]
      kill(Int32(try #require(object?["pid"] as? Int)), SIGKILL)
      if let child = object?["child_pid"] as? Int { kill(Int32(child), SIGKILL) }
      let states = try tool.settled()
      #expect(states[0].state == "failed" && states[0].reason == "FAILED, and the run wrote no end")
      #expect(states[0].exit_code == 137)
    }

    @Test("2,500 configurations on a cluster with MaxArraySize 1001 are three arrays in a row")
    func chunks() throws {
      try tool.write("sweep.yaml", "seeds: 2500")
      let submit = try tool.run(
        "submit", "sweep.yaml", "--max-concurrent", "50", "--sbatch-arg=--hold")
      #expect(submit.status == 0, "\(submit.errors)")
      let lines = submit.output.split(separator: "\n").map { $0.split(separator: ":")[1] }
      #expect(
        lines == [
          " configurations 0-1000", " configurations 1001-2001", " configurations 2002-2499",
        ])
      let queue = try tool.run(
        "--noheader", "--array", "--states", "PENDING", "--format", "%F %K %E",
        executable: "/usr/bin/squeue")
      #expect(queue.output.split(separator: "\n").count == 2500)
      // The limit is exact over all arrays, because each waits for the one before.
      #expect(queue.output.split(separator: "\n").count { $0.contains("afterany:") } == 1499)
      let words = try tool.words()
      #expect(words.count == 2500 && words.allSatisfy { $0 == "pending" })
      #expect(try tool.run("submit", "sweep.yaml").errors == "0 to run, 2500 queued or running\n")
      #expect(try tool.run("cancel", "sweep.yaml").status == 0)
      let cancelled = try tool.words()
      #expect(cancelled.allSatisfy { $0 == "cancelled" })
    }

    @Test("orders, and the plain and Docker job scripts, run the configurations they should")
    func scripts() throws {
      try tool.write("sweep.yaml", "base: {show: BLLARSE_CONFIG_INDEX}\nseeds: 4")
      let script = Fixtures.packageRoot + "/Scripts/slurm/slurm_run_config.sh"
      #expect(
        try tool.run(
          "submit", "sweep.yaml", "--job-script", script, "--array-order", "reverse",
          "--max-concurrent", "1"
        ).status == 0)
      #expect(try tool.settled().map(\.state) == Array(repeating: "done", count: 4))
      let order = try tool.intervals("sweep").sorted { $0.start < $1.start }.map(\.index)
      #expect(order == [3, 2, 1, 0])

      // No Docker engine runs here: this one has the image or not, and runs the command itself.
      let docker = """
        #!/usr/bin/env bash
        if [[ $1 == image ]]; then exec test "$3" = there; fi
        [[ $1 == run ]] || exit 0
        printf '%s\\n' "$@" >"\(tool.temporary.file("docker-arguments"))"
        while [[ $1 != there ]]; do shift; done
        shift
        exec "$@"
        """
      try FileManager.default.createDirectory(
        atPath: tool.temporary.file("bin"), withIntermediateDirectories: true)
      let path = try tool.temporary.write("bin/docker", Array(docker.utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
      try tool.write("second.yaml", "seeds: 1")
      let dockerScript = Fixtures.packageRoot + "/Scripts/slurm/slurm_run_config_docker.sh"
      let environment = [
        "PATH": tool.temporary.file("bin") + ":/usr/sbin:/usr/bin:/bin", "HF_TOKEN": "hidden-value",
        "BLLARSE_DOCKER_IMAGE": "missing",
      ]
      #expect(
        try tool.run(
          "submit", "second.yaml", "--job-script", dockerScript, extra: environment
        ).status == 0)
      let failed = try tool.settled("second.yaml")
      #expect(failed[0].state == "failed")
      let node = ProcessInfo.processInfo.hostName.split(separator: ".")[0]
      #expect(
        try tool.run("logs", "second.yaml", "0", "--job").output
          .contains("the Docker image missing is not on node \(node)"))
      #expect(
        try tool.run(
          "retry", "second.yaml",
          extra: environment.merging(["BLLARSE_DOCKER_IMAGE": "there"]) { $1 }
        ).status == 0)
      #expect(try tool.settled("second.yaml")[0].state == "done")
      let arguments = tool.text("docker-arguments")
      #expect(arguments.contains("--shm-size\n8g\n") && arguments.contains("--env\nHF_TOKEN\n"))
      #expect(!arguments.contains("hidden-value"))
    }
  }
}
