import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  @Suite("on one machine")
  struct SweepLocalTests {
    @Test("a sweep runs, is collected, and runs nothing the second time")
    func wholeSweep() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "grid: {steps: [1, 2]}\nseeds: 3")
      let listed = try tool.run("list", "sweep.yaml", "--format", "csv")
      #expect(listed.output.split(separator: "\n").count == 7)
      let run = try tool.run("run", "sweep.yaml", "--jobs", "2")
      #expect(run.status == 0, "\(run.errors)")
      #expect(run.errors.contains("6 done, 0 failed"))
      #expect(try tool.words() == Array(repeating: "done", count: 6))
      let table = try tool.run("collect", "sweep.yaml", "--format", "csv").output.split(
        separator: "\n")
      #expect(
        table.count == 7
          && table[0] == "index,steps,seed,test.nll,test.acc,steps,seconds.total,run_seconds")
      let seeds = try tool.run(
        "collect", "sweep.yaml", "--seeds", "--best", "test.nll", "--format", "json")
      let rows = try JSONSerialization.jsonObject(with: Data(seeds.output.utf8)) as? [[String: Any]]
      #expect(rows?.count == 2 && rows?[0]["n"] as? Int == 3)
      let again = try tool.run("run", "sweep.yaml")
      #expect(again.status == 0 && again.errors.hasPrefix("0 to run, 6 done before"))
      #expect(try tool.intervals("sweep").count == 6)
    }

    @Test("no run is handed MLFLOW_RUN_ID, which names one run", arguments: ["run", "run-config"])
    func runID(command: String) throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "base: {show: MLFLOW_RUN_ID MLFLOW_EXPERIMENT_NAME}\nseeds: 1")
      let more = command == "run" ? [] : ["0"]
      let (process, _, _) = try tool.start(
        [command, "sweep.yaml"] + more,
        extra: ["MLFLOW_RUN_ID": "0123456789abcdef", "MLFLOW_EXPERIMENT_NAME": "mine"])
      process.waitUntilExit()
      #expect(process.terminationStatus == 0)
      #expect(
        tool.text("sweeps/sweep/runs/0/0/attempt-1/stdout.log")
          .hasPrefix("MLFLOW_RUN_ID=\nMLFLOW_EXPERIMENT_NAME=mine\n"))
    }

    @Test("one failure harms no other run; retry runs just what failed")
    func failures() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "grid: {code: [0, 3, 0, 7]}".replacing("0, 3, 0", with: "0, 3"))
      let run = try tool.run("run", "sweep.yaml", "--retries", "1", "--retry-delay", "0.1")
      #expect(run.status == 1)
      let states = try tool.states()
      #expect(states.map(\.state) == ["done", "failed", "failed"])
      #expect(states.map(\.attempts) == [1, 2, 2])
      #expect(states[1].exit_code == 3 && states[1].reason == "steps.sh: told to fail with 3")
      #expect(try tool.run("logs", "sweep.yaml", "1").errors.contains("told to fail with 3"))
      #expect(
        try tool.run("run", "sweep.yaml").errors.contains("2 failed before ('retry' runs them)"))
      let retry = try tool.run("retry", "sweep.yaml", "--dry-run")
      #expect(retry.output.split(separator: "\n").count == 2)
      #expect(try tool.run("retry", "sweep.yaml", "--index", "2").status == 1)
      #expect(try tool.states().map(\.attempts) == [1, 2, 3])
    }

    @Test("Ctrl-C checkpoints; the same command goes on to the same result")
    func interruption() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "base: {steps: 40, pause: 0.01, hold: HOLD}\nseeds: 3")
      let (process, _, errors) = try tool.start(["run", "sweep.yaml", "--jobs", "2"])
      try tool.waitForStep(of: [0, 1])
      kill(process.processIdentifier, SIGINT)
      process.waitUntilExit()
      #expect(process.terminationStatus == 75)
      #expect(try String(contentsOfFile: errors, encoding: .utf8).contains("SIGINT: stopping"))
      #expect(try tool.words() == ["interrupted", "interrupted", "new"])
      try tool.release(0, 1, 2)
      #expect(try tool.run("run", "sweep.yaml").status == 0)
      #expect(
        tool.text("sweeps/sweep/runs/0/0/attempt-2/stdout.log").contains("resumed after step"))

      let whole = try SweepTool()
      try whole.write("sweep.yaml", "base: {steps: 40, pause: 0.01}\nseeds: 3")
      #expect(try whole.run("run", "sweep.yaml").status == 0)
      let results = try [tool, whole].map { tool in
        try tool.run("collect", "sweep.yaml", "--format", "csv").output
          .split(separator: "\n").map { $0.split(separator: ",").dropLast().joined(separator: ",") }
      }
      #expect(results[0] == results[1])
    }

    @Test("processors are divided among the runs")
    func processors() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "base: {show: OMP_NUM_THREADS, pause: 0.2}\nseeds: 4")
      #expect(try tool.run("run", "sweep.yaml", "--jobs", "2").status == 0)
      let expected = max(1, ProcessInfo.processInfo.activeProcessorCount / 2)
      #expect(
        tool.text("sweeps/sweep/runs/0/1/attempt-1/stdout.log")
          .contains("OMP_NUM_THREADS=\(expected)\n"))
      #expect(SweepTool.overlap(try tool.intervals("sweep")) == 2)
    }

    @Test("a run that ends well without a result has failed")
    func noResult() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "base: {leave: true}\nseeds: 1")
      #expect(try tool.run("run", "sweep.yaml").status == 1)
      #expect(try tool.states()[0].reason.hasPrefix("exit code 0, but there is no"))
    }

    @Test("wrong command lines exit 64, wrong files 65, each with one line")
    func exitCodes() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "grid: {stpes: [1]}")
      let unknown = try tool.run("run", "sweep.yaml")
      #expect(unknown.status == 65)
      #expect(
        unknown.errors
          == "bllarse-sweep: sweep.yaml:2:8: steps.sh has no option --stpes; did you mean 'steps'?\n"
      )
      #expect(!FileManager.default.fileExists(atPath: tool.temporary.file("sweeps")))
      #expect(try tool.run("list", "nothing.yaml").status == 64)
      #expect(try tool.run("list", "sweep.yaml", "--frmat", "csv").status == 64)
      #expect(try tool.run("show", "sweep.yaml", "1").status == 64)
      #expect(try tool.run("status", "sweep.yaml").status == 64)
      #expect(try tool.run("submit", "sweep.yaml", "--num-jobs", "0").status == 64)
    }

    @Test(
      "numbers that make no sense are a wrong command line, not a crash",
      arguments: [
        ["run", "--index", ""], ["run", "--index", ","], ["run", "--retry-delay", "nan"],
        ["run", "--retry-delay", "1e300"], ["status", "--watch", "inf"],
        ["status", "--watch", "nan"],
        ["status", "--watch", "1e10"], ["status", "--watch", "0"],
      ])
    func nonsense(words: [String]) throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "base: {pause: 0}\nseeds: 1")
      #expect(try tool.run("run", "sweep.yaml").status == 0)
      let (process, _, errors) = try tool.start([words[0], "sweep.yaml"] + words.dropFirst())
      process.waitUntilExit()
      #expect(process.terminationReason == .exit && process.terminationStatus == 64)
      #expect(try !String(contentsOfFile: errors, encoding: .utf8).isEmpty)
    }

    @Test("values with line feeds and escapes of a terminal stay in their cells")
    func controlCharacters() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "base: {seed: 1, show: \"A\\nB\\e[31m\", code: 3}")
      let list = try tool.run("list", "sweep.yaml")
      #expect(list.output.split(separator: "\n").count == 1)
      #expect(list.output.contains("show=A\\nB\\u{1B}[31m"), "\(list.output)")
      try tool.temporary.write(
        "red.yaml",
        Array(
          """
          program: {run: [/bin/sh, -c, "printf 'red \\\\033[31mtext' >&2; exit 3"], output: null, options: false}
          seeds: 1
          """.utf8))
      let run = try tool.run("run", "red.yaml")
      #expect(run.status == 1 && run.errors.contains("red \\u{1B}[31mtext"), "\(run.errors)")
      let status = try tool.run("status", "red.yaml").output
      #expect(!status.contains("\u{1B}") && status.contains("\\u{1B}[31mtext"), "\(status)")
    }

    @Test("a result that cannot be written is a failure: half a table is no table")
    func fullDisk() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "base: {pause: 0}\nseeds: 1")
      #expect(try tool.run("run", "sweep.yaml").status == 0)
      let program = SweepTool.product("bllarse-sweep")
      for command in ["list", "status", "collect"] {
        let result = try tool.run(
          "-c", "exec \"$0\" \"$@\" >/dev/full", program, command, "sweep.yaml",
          executable: "/bin/sh")
        #expect(result.status == 1, "\(command)")
        #expect(
          result.errors.contains("cannot write to standard output: No space left on device"),
          "\(command): \(result.errors)")
      }
      // Somebody who has read enough is no failure to talk about.
      let head = try tool.run(
        "-c", "\"$0\" list \"$1\" | true", program, "sweep.yaml", executable: "/bin/sh")
      #expect(head.status == 0 && head.errors.isEmpty, "\(head.errors)")
    }

    @Test("a Python module's create_configs and a program's JSON list are sweeps too")
    func otherForms() throws {
      let tool = try SweepTool()
      try tool.temporary.write(
        "old.py",
        Array(
          """
          print("noise")
          def create_configs():
              return [dict(optimizer=o, epochs=e, seed=s) for o in ("adamw", "lion") for e in (1, 2) for s in (0, 1)]
          """.utf8))
      #expect(try tool.run("list", "old.py", "--count").output == "8\n")
      #expect(
        try tool.run("show", "old.py", "5").output
          .contains("bllarse-finetune --optimizer lion --epochs 1 --seed 1"))
      try tool.temporary.write("bad.py", Array("def create_configs():\n  return [1/0]\n".utf8))
      let bad = try tool.run("list", "bad.py")
      #expect(bad.status == 65 && bad.errors.contains("ZeroDivisionError: division by zero"))
      let program = try tool.temporary.write(
        "make-list", Array("#!/bin/sh\necho '[{\"a\": 1}, {\"a\": 2}]'\n".utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program)
      #expect(try tool.run("list", "make-list", "--count").output == "2\n")
    }

    @Test("what was frozen runs, whatever the file says later")
    func frozen() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "grid: {steps: [1, 2]}")
      #expect(try tool.run("run", "sweep.yaml", "--index", "0").status == 0)
      try tool.write("sweep.yaml", "grid: {steps: [3, 2, 1]}")
      let run = try tool.run("run", "sweep.yaml")
      #expect(run.errors.contains("1 configurations added to the 2 that"))
      #expect(run.errors.contains("2 to run, 1 done before"))
      let show = try tool.run("show", "sweeps/sweep", "2")
      #expect(show.output.contains("steps: 3"))
      #expect(try tool.words() == ["done", "done", "done"])
      #expect(tool.text("sweeps/sweep/provenance/0002.json").contains("\"sha256\""))
    }

    @Test(
      "the demonstration sweeps run on digits", arguments: ["last_layer", "optimizers"])
    func demonstrations(name: String) throws {
      let tool = try SweepTool()
      let path = Fixtures.path("sweeps/\(name).yaml")
      let run = try tool.run("run", path, "--jobs", "2")
      #expect(run.status == 0, "\(run.errors)")
      let table = try tool.run("collect", path, "--seeds", "--best", "test.nll", "--format", "csv")
      #expect(table.output.split(separator: "\n").count == (name == "last_layer" ? 4 : 6))
    }

    @Test("a million configurations are counted, shown one by one, and listed as they come")
    func million() throws {
      let tool = try SweepTool()
      let axis = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
      try tool.temporary.write(
        "big.yaml",
        Array(("grid:\n" + "abcde".map { "  x\($0): \(axis)\n" }.joined() + "seeds: 10\n").utf8))
      #expect(try tool.run("list", "big.yaml", "--count").output == "1000000\n")
      let shown = try tool.run("show", "big.yaml", "765432").output
      #expect("abcde".map { "x\($0): " }.allSatisfy(shown.contains) && shown.contains("seed: 2"))
      // A listing begins at once: it does not wait for the expansion of the whole.
      let (process, output, _) = try tool.start(["list", "big.yaml"])
      _ = try tool.wait(120, "the first lines") {
        let size = try FileManager.default.attributesOfItem(atPath: output)[.size] as? Int
        return (size ?? 0) > 100_000 ? true : nil
      }
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
  }
}
