import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  @Suite("checked before anything is sent")
  struct SweepCheckTests {
    static let program = Fixtures.path("sweeps/programs/checked.sh")
    let tool: SweepTool

    init() throws { tool = try SweepTool() }

    private func write(_ yaml: String) throws {
      try tool.temporary.write("sweep.yaml", Array("program: \(Self.program)\n\(yaml)".utf8))
    }

    private func exists(_ path: String) -> Bool {
      FileManager.default.fileExists(atPath: tool.temporary.file(path))
    }

    @Test("one that cannot run keeps all from being started, and leaves no trace")
    func refusal() throws {
      try write("base: {pause: 0}\ngrid: {code: [0, 64, 65]}\nseeds: 2")
      let reasons = """
        2 configurations (2-3): --code 64 does not exist yet
        2 configurations (4-5): there is no file code-65.npz

        """
      let told = reasons.split(separator: "\n").map { "bllarse-sweep: \($0)\n" }.joined()
      for words in [["run"], ["run", "--dry-run"]] {
        let (process, _, errors) = try tool.start([words[0], "sweep.yaml"] + words.dropFirst())
        process.waitUntilExit()
        #expect(process.terminationStatus == 65)
        #expect(
          try String(contentsOfFile: errors, encoding: .utf8) == """
            6 to run
            note: 2 configurations: --pause changes no result
            \(told)bllarse-sweep: 4 of 6 configurations cannot run, and none is started; --skip-invalid leaves them out

            """)
        #expect(!exists("sweeps"))
      }
      let listed = try tool.run("list", "sweep.yaml", "--check")
      #expect(listed.status == 65)
      #expect(
        listed.output == reasons + "4 of 6 configurations that were asked about cannot run\n")
      #expect(
        try tool.run("list", "sweep.yaml", "--check", "--format", "csv").output
          .contains("\n5,65,there is no file code-65.npz\n"))
      let good = try tool.run("list", "sweep.yaml", "--check", "--set", "code=0")
      #expect(good.status == 0 && good.output.hasPrefix("0 of 2 configurations"))
    }

    @Test("--skip-invalid runs the others, and the status of those left out says why")
    func skipping() throws {
      try write("grid: {code: [0, 64]}\nseeds: 2")
      let run = try tool.run("run", "sweep.yaml", "--skip-invalid")
      #expect(run.status == 0, "\(run.errors)")
      #expect(run.errors.contains("2 of 4 configurations cannot run and are left out\n"))
      let states = try tool.states()
      #expect(states.map(\.state) == ["done", "done", "new", "new"])
      #expect(states[3].reason == "cannot run: --code 64 does not exist yet")
      // What is done is not asked about again; all that is left cannot run.
      let again = try tool.run("run", "sweep.yaml", "--skip-invalid")
      #expect(again.status == 65)
      #expect(again.errors.hasPrefix("2 to run, 2 done before\n"))
      #expect(again.errors.hasSuffix("2 of 2 configurations cannot run, and none is started\n"))
      // Without the check a run says so itself.
      #expect(try tool.run("run", "sweep.yaml", "--no-check", "--index", "2").status == 1)
      #expect(try tool.states()[2].exit_code == 64)
    }

    @Test("bllarse-finetune knows of heads, modes and files which cannot run, before any does")
    func finetune() throws {
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          base: {epochs: 1}
          grid: {loss_fn: [IBProbit, CrossEntropy, MSE], tune_mode: [last_layer, full_network]}
          list: [{dataset: digits}, {features: missing.npz}]
          """.utf8))
      let refused = try tool.run("list", "sweep.yaml", "--check", "--format", "json")
      #expect(refused.status == 65, "\(refused.errors)")
      struct Report: Decodable {
        struct Refusal: Decodable {
          let indices: [Int]
          let status: Int
          let message: String
        }
        struct Memory: Decodable { let bytes: Int }
        let refused: [Refusal]
        let largest_memory: Memory?
      }
      let report = try JSONDecoder().decode(Report.self, from: Data(refused.output.utf8))
      #expect(report.refused.flatMap(\.indices).sorted() == [1, 2, 3, 5, 6, 7, 9, 10, 11])
      let mode = report.refused.first { $0.message.contains("full_network does not exist yet") }
      #expect(mode?.status == 64 && mode?.indices.contains(2) == true)
      let file = report.refused.first { $0.message.contains("missing.npz") }
      #expect(file?.indices == [1, 5, 9])
      #expect(report.largest_memory.map { $0.bytes > 1_000_000 } == true)
    }

    @Test("--set overrides YAML, Python and printed lists, and is recorded")
    func overriding() throws {
      try write("grid: {steps: [1, 2]}\nseeds: 2")
      let listed = try tool.run("list", "sweep.yaml", "--set", "steps=3", "--set", "pause=0")
      #expect(listed.output.split(separator: "\n").count == 2)
      #expect(listed.output.contains("steps=3 pause=0 seed=0"))
      #expect(try tool.run("run", "sweep.yaml", "--index", "3").status == 0)
      // 1 is the second of the file's with --set, wherever it is frozen.
      let run = try tool.run("run-config", "sweep.yaml", "1", "--set", "steps=3")
      #expect(run.status == 0)
      #expect(run.errors.contains("note: with --set, 1 of the file is 5 in "), "\(run.errors)")
      #expect(
        tool.text("sweeps/sweep/runs/0/5/attempt-1/output/result.json").contains("\"steps\": 3"))
      #expect(try tool.run("run", "sweep.yaml", "--set", "steps=3", "--index", "0").status == 0)
      #expect(try tool.words() == ["new", "new", "new", "done", "done", "done"])
      let provenance = try JSONSerialization.jsonObject(
        with: Data(tool.text("sweeps/sweep/provenance/0003.json").utf8))
      #expect(((provenance as? [String: Any])?["set"] as? [String: Int]) == ["steps": 3])

      for wrong in [
        ["run", "sweep.yaml", "--set", "stpes=3"], ["run", "sweeps/sweep", "--set", "steps=3"],
        ["run-config", "sweep.yaml", "2", "--set", "steps=3"],
        ["list", "sweep.yaml", "--set", "x"],
      ] {
        let (process, _, errors) = try tool.start(wrong)
        process.waitUntilExit()
        #expect(process.terminationStatus == 64, "\(wrong)")
        #expect(try !String(contentsOfFile: errors, encoding: .utf8).isEmpty)
      }
      // A value that is no part of the content cannot change what is frozen.
      let tracked = try tool.run("run", "sweep.yaml", "--set", "save_every=3", "--dry-run")
      #expect(tracked.status == 64 && tracked.errors.contains("has no option --save-every"))

      try tool.temporary.write(
        "old.py", Array("def create_configs():\n  return [dict(epochs=e) for e in (1, 2)]\n".utf8))
      #expect(
        try tool.run("show", "old.py", "1", "--set", "lr=1e-3").output
          .contains("bllarse-finetune --lr 0.001 --epochs 2"))
      let list = try tool.temporary.write(
        "make-list", Array("#!/bin/sh\necho '[{\"aa\": 1}, {\"aa\": 2}]'\n".utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: list)
      #expect(try tool.run("list", "make-list", "--set", "aa=3").output.contains("aa=3"))
    }

    @Test("values that change no result are refused where they would not take effect")
    func frozenValue() throws {
      let yaml = "program: {run: [/bin/sh, -c, ':'], output: null, options: false}\nseeds: 2"
      try tool.temporary.write("sweep.yaml", Array(yaml.utf8))
      #expect(try tool.run("run", "sweep.yaml", "--index", "0").status == 0)
      try tool.temporary.write("sweep.yaml", Array((yaml + "\nbase: {uid: u}").utf8))
      #expect(
        try tool.run("run", "sweep.yaml", "--dry-run").errors
          .contains("note: 2 configurations keep the uid that "))
      let run = try tool.run("run", "sweep.yaml", "--set", "group_id=g")
      #expect(run.status == 64)
      #expect(
        run.errors.contains(
          "--set group_id=g: it does not change what is computed, and 2 of these configurations (0, …) are frozen in"
        ), "\(run.errors)")
      let other = try tool.run(
        "run", "sweep.yaml", "--set", "group_id=g", "--sweep-dir", tool.temporary.file("other"))
      #expect(other.status == 0, "\(other.errors)")
    }

    @Test("--force runs a finished one again; its result stays until there is another")
    func force() throws {
      try tool.write("sweep.yaml", "base: {pause: 0}\nseeds: 2")
      #expect(try tool.run("run", "sweep.yaml").status == 0)
      let done = try tool.run("run-config", "sweep.yaml", "1")
      #expect(done.status == 0 && done.errors.contains("nothing to do (--force runs it again)"))
      func result() throws -> Int? {
        let text = tool.text("sweeps/sweep/runs/0/1/result.json")
        let json = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
        return json?["attempt"] as? Int
      }
      #expect(try tool.run("run-config", "sweep.yaml", "1", "--force").status == 0)
      #expect(try result() == 2)
      let failing = try tool.temporary.write(
        "failing", Array("#!/bin/sh\necho no luck >&2\nexit 3\n".utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: failing)
      let failed = try tool.run(
        "run-config", "sweep.yaml", "1", "--force", "--program", failing)
      #expect(failed.status == 3)
      #expect(try result() == 2)
      let state = try tool.states()[1]
      #expect(
        state.state == "done" && state.reason == "result of attempt 2; attempt 3 failed: no luck")
      let all = try tool.run("run", "sweep.yaml", "--force")
      #expect(all.status == 0 && all.errors.hasPrefix("2 to run\n"), "\(all.errors)")
      #expect(try result() == 4)
      #expect(try tool.states().map(\.attempts) == [2, 4])
    }
  }
}
