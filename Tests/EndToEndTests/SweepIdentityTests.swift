import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  @Suite("and what they are known by")
  struct SweepIdentityTests {
    @Test("a sweep is found by its name; several of one name are named")
    func names() throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "name: one\nseeds: 1")
      #expect(try tool.run("run", "sweep.yaml").status == 0)
      for command in [
        ["status", "one"], ["show", "one", "0"], ["run", "one"], ["collect", "one"],
      ] {
        let (process, _, errors) = try tool.start(command)
        process.waitUntilExit()
        let said = try String(contentsOfFile: errors, encoding: .utf8)
        #expect(process.terminationStatus == 0, "\(said)")
      }
      for name in ["two-12ab34cd", "two-98ef76ab"] {
        let run = try tool.run("run", "sweep.yaml", "--sweep-dir", "sweeps/\(name)")
        #expect(run.status == 0, "\(run.errors)")
      }
      let several = try tool.run("status", "two")
      #expect(several.status == 64)
      #expect(
        several.errors.contains("two names 2 sweeps: sweeps/two-12ab34cd, sweeps/two-98ef76ab"),
        "\(several.errors)")
      // The directory of that name comes before others whose sweep is called so.
      #expect(try tool.run("status", "one").status == 0)
      #expect(try tool.run("status", "two-12ab34cd").status == 0)
      let missing = try tool.run("status", "onee")
      #expect(missing.status == 64 && missing.errors.contains("did you mean 'one'?"))
    }

    @Test("a program that has changed since the submission is noted, and refused with --strict")
    func changedProgram() throws {
      let tool = try SweepTool()
      let text = try Data(contentsOf: URL(fileURLWithPath: SweepTool.steps))
      func write(_ name: String, _ more: String = "") throws {
        let path = try tool.temporary.write(name, Array(text) + Array(more.utf8))
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
      }
      try write("program.sh")
      try tool.temporary.write("sweep.yaml", Array("program: ./program.sh\nseeds: 4".utf8))
      #expect(try tool.run("run", "sweep.yaml", "--index", "0").status == 0)
      #expect(!tool.text("sweeps/sweep/runs/0/0/attempt-1/stderr.log").contains("note:"))
      try write("program.sh", "# another\n")
      let change = "program.sh is not what was submitted: its SHA-256 was "
      let noted = try tool.run("run-config", "sweeps/sweep", "1")
      #expect(noted.status == 0 && noted.errors.contains(change), "\(noted.errors)")
      #expect(tool.text("sweeps/sweep/runs/0/1/attempt-1/stderr.log").contains(change))
      let refused = try tool.run("run-config", "sweeps/sweep", "2", "--strict")
      #expect(refused.status == 1 && refused.errors.contains("--strict refuses that"))
      var states = try tool.states()
      #expect(states.map(\.state) == ["done", "done", "failed", "new"])
      #expect(states[1].reason.contains(change) && states[2].reason.contains(change))
      // A submission's tasks compare with their own record, whatever was recorded later.
      #expect(try tool.run("retry", "sweeps/sweep", "--failed").status == 0)
      #expect(try tool.run("run", "sweeps/sweep", "--index", "3", "--dry-run").status == 0)
      let (process, _, errors) = try tool.start(
        ["run-config", "sweeps/sweep", "3"],
        extra: [
          "BLLARSE_SWEEP_DIR": tool.temporary.file("sweeps/sweep"),
          "BLLARSE_SWEEP_PROVENANCE": "0001", "BLLARSE_STRICT": "1",
        ])
      process.waitUntilExit()
      #expect(process.terminationStatus == 1)
      #expect(try String(contentsOfFile: errors, encoding: .utf8).contains(change))
      // Who runs it again submits the present one.
      #expect(try tool.run("run", "sweep.yaml", "--failed", "--strict").status == 0)
      states = try tool.states()
      #expect(states[3].state == "done" && states[3].reason == "")
    }

    @Test("a script that an interpreter reads is a part of the program")
    func changedScript() throws {
      let tool = try SweepTool()
      try tool.temporary.write("s.sh", Array("echo '{\"nll\": 1}'\n".utf8))
      try tool.temporary.write(
        "sweep.yaml",
        Array("program: {run: [/bin/sh, ./s.sh], output: null, options: false}\nseeds: 2".utf8))
      #expect(try tool.run("run", "sweep.yaml", "--index", "0").status == 0)
      try tool.temporary.write("s.sh", Array("echo '{\"nll\": 2}'\n".utf8))
      let run = try tool.run("run-config", "sweeps/sweep", "1", "--strict")
      #expect(run.status == 1 && run.errors.contains("./s.sh is not what was submitted"))
    }

    @Test("a seed of 2^64 - 1 is exact from the file to the program's result and back")
    func largestSeed() throws {
      let tool = try SweepTool()
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          "\u{FEFF}base: {dataset: digits, max_train_samples: 50}\nseeds: [18446744073709551615]"
            .utf8))
      let run = try tool.run("run", "sweep.yaml")
      #expect(run.status == 0, "\(run.errors)")
      let seed = "18446744073709551615"
      #expect(tool.text("sweeps/sweep/manifest/000000000.jsonl").contains("\"seed\":\(seed)"))
      #expect(tool.text("sweeps/sweep/runs/0/0/attempt-1/output/result.json").contains(seed))
      #expect(try tool.run("show", "sweeps/sweep", "0").output.contains("--seed \(seed)"))
      try tool.temporary.write(
        "large.yaml", Array("base: {dataset: digits}\nseeds: [18446744073709551616]".utf8))
      let refused = try tool.run("run", "large.yaml")
      #expect(refused.status == 65 && refused.errors.contains("18446744073709551616"))
      #expect(refused.errors.contains("--seed"), "\(refused.errors)")
    }
  }
}
