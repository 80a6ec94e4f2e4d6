import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  /// What a program has done counts, whoever started it.
  @Suite("whose launcher is killed")
  struct SweepOrphanTests {
    /// A program that notes each start, and ends as `code` and `after` say once it is released.
    static let script = """
      #!/bin/bash
      echo "$BLLARSE_CONFIG_INDEX" >>starts
      for word; do case $word in code=*) code=${word#*=} ;; early) early=1 ;; esac; done
      [[ -z ${early:-} ]] || echo '{"test": {"nll": 0.5}}' >"$BLLARSE_OUTPUT_DIR/result.json"
      touch "$BLLARSE_OUTPUT_DIR/begun"
      until [[ -e hold/$BLLARSE_CONFIG_INDEX ]]; do sleep 0.05; done
      if [[ ${code:-0} == 75 && $BLLARSE_ATTEMPT == 1 ]]; then
        touch "$BLLARSE_OUTPUT_DIR/checkpoint"
        exit 75
      fi
      if [[ ${code:-0} == 3 ]]; then echo 'error: no more memory' >&2 && exit 3; fi
      [[ ${code:-0} == none ]] || echo '{"test": {"nll": 0.5}}' >"$BLLARSE_OUTPUT_DIR/result.json"

      """

    static func tool(_ list: String, program: String = "output: --output, resume: --resume")
      throws -> SweepTool
    {
      let tool = try SweepTool()
      try FileManager.default.createDirectory(
        atPath: tool.temporary.file("hold"), withIntermediateDirectories: true)
      try tool.temporary.write("program.sh", Array(script.utf8))
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          "program: {run: [/bin/bash, program.sh], \(program), options: false}\n\(list)\n".utf8))
      return tool
    }

    /// Starts `run`, kills it when all programs have begun, and returns once it is gone.
    static func killLauncher(of tool: SweepTool, _ count: Int) throws {
      let (process, _, _) = try tool.start(["run", "sweep.yaml", "--jobs", "\(count)"])
      try waitForBeginning(tool, count)
      try killAlone(process, of: tool)
    }

    /// Kills a process and nothing that it has started.
    ///
    /// Foundation's own waiting would last until those have ended too.
    static func killAlone(_ process: Process, of tool: SweepTool) throws {
      kill(process.processIdentifier, SIGKILL)
      try tool.wait(60, "the launcher's end") {
        let path = "/proc/\(process.processIdentifier)/stat"
        guard let stat = try? String(contentsOfFile: path, encoding: .utf8) else { return true }
        return stat.contains(") Z ") ? true : nil
      }
    }

    static func waitForBeginning(_ tool: SweepTool, _ count: Int, attempt: Int = 1) throws {
      try tool.wait(60, "\(count) programs to begin") {
        (0..<count).allSatisfy {
          let path = "sweeps/sweep/runs/0/\($0)/attempt-\(attempt)/output/begun"
          return FileManager.default.fileExists(atPath: tool.temporary.file(path))
        } ? true : nil
      }
    }

    static func starts(_ tool: SweepTool) -> [String] {
      tool.text("starts").split(separator: "\n").map(String.init).sorted()
    }

    @Test("programs at work are waited for, and what they leave counts as they left it")
    func atWork() throws {
      let tool = try Self.tool("list: [{code: 0}, {code: 3}, {code: 75}, {code: none}]\n")
      // Words such as `--code 3` become what the script reads.
      try tool.temporary.write(
        "program.sh",
        Array(
          Self.script.replacing(
            "for word; do", with: "for word in $(echo \"$*\" | sed 's/--code /code=/'); do"
          ).utf8))
      try Self.killLauncher(of: tool, 4)
      #expect(try tool.words() == Array(repeating: "running", count: 4))
      let (second, _, errors) = try tool.start(["run", "sweep.yaml", "--jobs", "4"])
      try tool.wait(60, "the second launcher") {
        try String(contentsOfFile: errors, encoding: .utf8).contains("3: is at work") ? true : nil
      }
      try tool.release(0, 1, 2, 3)
      second.waitUntilExit()
      let said = try String(contentsOfFile: errors, encoding: .utf8)
      #expect(second.terminationStatus == 1, "\(said)")
      #expect(said.contains("0 to run, 4 at work since an earlier call"), "\(said)")
      #expect(said.contains("2 done, 2 failed, 0 interrupted"), "\(said)")
      let states = try tool.states()
      #expect(states.map(\.state) == ["done", "failed", "done", "failed"])
      #expect(states.map(\.attempts) == [1, 1, 2, 1])
      #expect(states[1].exit_code == 3 && states[1].reason == "error: no more memory")
      #expect(states[3].reason.hasPrefix("exit code 0, but there is no"))
      #expect(Self.starts(tool) == ["0", "1", "2", "2", "3"])
      // What is left failed is no success the second time either.
      let third = try tool.run("run", "sweep.yaml")
      #expect(third.status == 1 && third.errors.contains("2 failed before"), "\(third.errors)")
      #expect(try tool.run("run", "sweep.yaml", "--index", "0,2").status == 0)
    }

    @Test("programs that have ended meanwhile are not run again; a result before a failure is none")
    func ended() throws {
      let tool = try Self.tool("list: [{code: 0}, {code: 3}]\n")
      try tool.temporary.write(
        "program.sh",
        Array(
          Self.script.replacing(
            "for word; do",
            with: "early=1\nfor word in $(echo \"$*\" | sed 's/--code /code=/'); do"
          ).utf8))
      try Self.killLauncher(of: tool, 2)
      try tool.release(0, 1)
      try tool.wait(60, "the programs' end") {
        try tool.words().contains("running") ? nil : true
      }
      #expect(try tool.words() == ["done", "failed"])
      // Who asks first makes no difference.
      #expect(
        try tool.run("collect", "sweep.yaml", "--format", "csv").output
          .split(separator: "\n").count == 2)
      let again = try tool.run("run", "sweep.yaml")
      #expect(again.status == 1 && again.errors.hasPrefix("0 to run, 1 done before, 1 failed"))
      #expect(Self.starts(tool) == ["0", "1"])
    }

    @Test("a program without a directory for results is done when it has ended well")
    func withoutOutput() throws {
      let tool = try Self.tool("list: [{a: 1}]", program: "output: null, resume: null")
      try tool.temporary.write(
        "program.sh",
        Array("touch $BLLARSE_OUTPUT_DIR/begun\nsleep 1\necho '{\"nll\": 0.25}'\n".utf8))
      try Self.killLauncher(of: tool, 1)
      let run = try tool.run("run", "sweep.yaml")
      #expect(run.status == 0, "\(run.errors)")
      #expect(try tool.states().map(\.attempts) == [1])
      #expect(tool.text("sweeps/sweep/runs/0/0/result.json").contains("0.25"))
    }

    @Test("what was killed with its launcher runs again, unless its result is whole")
    func killedTogether() throws {
      let tool = try Self.tool("list: [{code: 0}, {code: 1}]\n")
      try tool.temporary.write(
        "program.sh",
        Array(
          Self.script.replacing(
            "for word; do", with: "((BLLARSE_CONFIG_INDEX)) && early=1\nfor word; do"
          ).utf8))
      let (process, _, _) = try tool.start(["run", "sweep.yaml", "--jobs", "2"])
      try Self.waitForBeginning(tool, 2)
      try Self.killAlone(process, of: tool)
      // The keeper first: nobody may see how the program ends.
      for index in 0...1 {
        let path = "sweeps/sweep/runs/0/\(index)/attempt-1/claim.json"
        let claim =
          try JSONSerialization.jsonObject(with: Data(tool.text(path).utf8)) as? [String: Any]
        let keeper = Int32(try #require(claim?["child_pid"] as? Int))
        let program = try #require(try Self.child(of: keeper))
        kill(keeper, SIGKILL)
        if index == 0 { #expect(try tool.words()[0] == "running") }
        kill(-program, SIGKILL)
      }
      try tool.wait(60, "the programs' end") { try tool.words().contains("running") ? nil : true }
      #expect(try tool.words() == ["lost", "done"])
      try tool.release(0)
      let run = try tool.run("run", "sweep.yaml")
      #expect(run.status == 0 && run.errors.hasPrefix("1 to run, 1 done before"), "\(run.errors)")
      #expect(try tool.words() == ["done", "done"])
    }

    private static func child(of process: Int32) throws -> Int32? {
      try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { Int32($0) }.first {
        let stat = try? String(contentsOfFile: "/proc/\($0)/stat", encoding: .utf8)
        let fields = stat?.split(separator: ")").last?.split(separator: " ") ?? []
        return fields.count > 1 && fields[1] == "\(process)"
      }
    }

    @Test("Ctrl-C reaches a program whose launcher has died: it checkpoints, and goes on later")
    func interruption() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "base: {steps: 4, pause: 0.01, hold: HOLD}\nseeds: 1")
      let (first, _, _) = try tool.start(["run", "sweep.yaml"])
      try tool.waitForStep(of: [0])
      try Self.killAlone(first, of: tool)
      let (second, _, errors) = try tool.start(["run", "sweep.yaml"])
      try tool.wait(60, "the second launcher") {
        try String(contentsOfFile: errors, encoding: .utf8).contains("0: is at work") ? true : nil
      }
      kill(second.processIdentifier, SIGINT)
      second.waitUntilExit()
      #expect(second.terminationStatus == 75)
      #expect(try tool.words() == ["interrupted"])
      try tool.release(0)
      #expect(try tool.run("run", "sweep.yaml").status == 0)
      #expect(
        tool.text("sweeps/sweep/runs/0/0/attempt-2/stdout.log").contains("resumed after step 1"))
    }

    @Test("twelve sweeps whose launchers are killed at random: each configuration is done once")
    func random() throws {
      let program = """
        echo "$BLLARSE_CONFIG_INDEX" >>starts
        sleep 0.$((BLLARSE_CONFIG_INDEX % 4 + 1))
        echo '{"nll": 0.5}' >"$BLLARSE_OUTPUT_DIR/result.json"

        """
      var generator = SplitMix64(seed: 2009)
      let sweeps = try (0..<12).map { _ in
        let tool = try Self.tool("seeds: 8")
        try tool.temporary.write("program.sh", Array(program.utf8))
        return (
          tool: tool, pause: Double.random(in: 0.05...1.2, using: &generator),
          launcher: try tool.start(["run", "sweep.yaml", "--jobs", "3"]).process
        )
      }
      let began = Date()
      for sweep in sweeps.sorted(by: { $0.pause < $1.pause }) {
        Thread.sleep(until: began + sweep.pause)
        kill(sweep.launcher.processIdentifier, SIGKILL)
      }
      let second = try sweeps.map { try $0.tool.start(["run", "sweep.yaml", "--jobs", "3"]) }
      for (sweep, run) in zip(sweeps, second) {
        run.process.waitUntilExit()
        let said = try String(contentsOfFile: run.errors, encoding: .utf8)
        #expect(run.process.terminationStatus == 0, "\(said)")
        #expect(try sweep.tool.words() == Array(repeating: "done", count: 8))
        #expect(Self.starts(sweep.tool) == (0..<8).map(String.init), "\(said)")
      }
    }
  }
}
