import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  @Suite("parents and their children, in a local file")
  struct SweepParentTests {
    /// Runs of the tests' tracking program; those with a file `fail-INDEX` fail as programs do.
    private static let program = """
      #!/usr/bin/env bash
      cd "$BLLARSE_SWEEP_DIR/../.." || exit 1
      mkdir -p "$BLLARSE_OUTPUT_DIR/journal"
      "\(SweepTool.product("mlflow-test-program"))" "$BLLARSE_OUTPUT_DIR/journal" 1 "name=run-$BLLARSE_CONFIG_INDEX" >&2
      if [[ -e fail-$BLLARSE_CONFIG_INDEX ]]; then
        printf 'Error: no such thing\\nUsage: child <thing>\\n  See "child --help"\\n' >&2
        exit 3
      fi
      echo "{\\"test\\": {\\"nll\\": 0.$BLLARSE_CONFIG_INDEX}, \\"rows\\": 7}" >"$BLLARSE_OUTPUT_DIR/result.json"
      """

    private struct Row: Decodable {
      let run_id: String
      let name: String
      let status: String
      let metrics: [String: Double]
    }

    private let tool: SweepTool
    private let tracked: [String: String]

    init() throws {
      tool = try SweepTool()
      tracked = [
        "HOME": tool.temporary.path,
        "MLFLOW_TRACKING_URI": "sqlite:///\(tool.temporary.file("runs.db"))",
      ]
      let path = try tool.temporary.write("child.sh", Array(Self.program.utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          program: {run: ./child.sh, options: false}
          base: {enable_mlflow: true, group_id: parent}
          seeds: 4
          """.utf8))
    }

    private func rows(of parent: String? = nil) throws -> [Row] {
      let extra = parent.map { ["--parent", $0] } ?? []
      let (process, output, _) = try tool.start(
        ["runs", "--format", "json"] + extra, executable: "bllarse-mlflow", extra: tracked)
      process.waitUntilExit()
      return try JSONDecoder().decode(
        [Row].self, from: Data(contentsOf: URL(fileURLWithPath: output)))
    }

    private func row(_ id: String) throws -> Row {
      try #require(rows().first { $0.run_id == id })
    }

    private func parentID(_ errors: String) throws -> String {
      let line = try #require(
        errors.split(separator: "\n").first { $0.hasPrefix("MLflow parent run ") })
      return String(line.dropFirst("MLflow parent run ".count))
    }

    private func children(_ parent: String) throws -> Int { try rows(of: parent).count }

    @Test("a parent that is named must be there, and is left open unless --close-parent ends it")
    func named() throws {
      let missing = try tool.run("run", "sweep.yaml", "--parent-run-id", "nobody", extra: tracked)
      #expect(missing.status == 64)
      #expect(
        missing.errors.contains(
          "--parent-run-id nobody: there is no such run in sqlite:///\(tool.temporary.path)/runs.db;"
        ), "\(missing.errors)")
      #expect(tool.text("sweeps/sweep/runs/0/0/attempt-1/claim.json") == "")

      // Somebody's run that goes on.
      let open = try tool.run(
        tool.temporary.path, "20", "pause=100000", "flush=1", "end=none", "name=open",
        executable: "mlflow-test-program", extra: tracked)
      let id = try #require(open.output.split(separator: "\n").first?.dropFirst(3)).description
      let run = try tool.run(
        "run", "sweep.yaml", "--index", "0-1", "--parent-run-id", id, extra: tracked)
      #expect(run.status == 0, "\(run.errors)")
      #expect(
        run.errors.hasSuffix(
          "MLflow: sqlite:///\(tool.temporary.path)/runs.db, parent run \(id), left for its owner to end\n"
        ), "\(run.errors)")
      #expect(try tool.run("collect", "sweep.yaml", extra: tracked).status == 0)
      #expect(try row(id).status == "RUNNING" && row(id).metrics["sweep/done"] == nil)
      #expect(try children(id) == 2)

      let close = try tool.run(
        "run", "sweep.yaml", "--index", "2", "--parent-run-id", id, "--close-parent",
        extra: tracked)
      #expect(close.status == 0, "\(close.errors)")
      #expect(
        close.errors.hasSuffix(
          "MLflow: \(tool.temporary.path)/runs.db, experiment 'bllarse', parent run \(id) FINISHED\n"
        ), "\(close.errors)")
      let closed = try row(id)
      #expect(closed.status == "FINISHED" && closed.metrics["sweep/total"] == 3)
      #expect(closed.metrics["best/test.nll"] == 0 && closed.metrics["mean/rows"] == nil)

      // It has ended, and stays so.
      let late = try tool.run(
        "run", "sweep.yaml", "--index", "3", "--parent-run-id", id, extra: tracked)
      #expect(late.errors.contains("note: the parent run \(id) has ended FINISHED, and stays so"))
      #expect(try row(id).status == "FINISHED" && children(id) == 4)
    }

    @Test("parents of chunks count their own children, and a retry goes on under its own")
    func chunks() throws {
      try tool.temporary.write("fail-1", [])
      let first = try tool.run("run", "sweep.yaml", "--index", "0-1", extra: tracked)
      let second = try tool.run("run", "sweep.yaml", "--index", "2-3", extra: tracked)
      #expect(first.status == 1 && second.status == 0)
      let (one, two) = (try parentID(first.errors), try parentID(second.errors))
      #expect(try one != two && row(one).status == "FAILED" && row(two).status == "FINISHED")
      #expect(try tool.states()[1].reason == "Error: no such thing")
      try tool.temporary.remove("fail-1")
      let again = try tool.run("retry", "sweep.yaml", extra: tracked)
      #expect(try again.status == 0 && parentID(again.errors) == one)
      #expect(try row(one).status == "FINISHED" && row(two).status == "FINISHED")
      for id in [one, two] {
        #expect(try row(id).metrics["sweep/total"] == 2 && row(id).metrics["sweep/done"] == 2)
      }
      #expect(try row(one).metrics["mean/test.nll"] == 0.05)
      #expect(try row(two).metrics["mean/test.nll"] == 0.25)
    }

    @Test("of tasks that end at once the last ends the parent, with nobody looking")
    func tasks() throws {
      for index in 0..<4 { try tool.temporary.write("fail-\(index)", []) }
      let run = try tool.run("run", "sweep.yaml", extra: tracked)
      let parent = try parentID(run.errors)
      #expect(try run.status == 1 && row(parent).status == "FAILED")
      for index in 0..<4 { try tool.temporary.remove("fail-\(index)") }
      let task = tracked.merging(["MLFLOW_PARENT_RUN_ID": parent]) { $1 }
      let tasks = try (0..<4).map {
        try tool.start(["run-config", "sweeps/sweep", "\($0)"], extra: task)
      }
      for task in tasks { task.process.waitUntilExit() }
      #expect(tasks.map(\.process.terminationStatus) == [0, 0, 0, 0])
      let ended = try row(parent)
      #expect(ended.status == "FINISHED" && ended.metrics["sweep/done"] == 4)
      #expect(try children(parent) == 8)
      let texts = try tasks.map { try String(contentsOfFile: $0.errors, encoding: .utf8) }
      #expect(texts.contains { $0.contains("parent run \(parent) FINISHED") }, "\(texts)")
    }

    @Test("a run without a parent says so; one that is stopped ends its parent KILLED")
    func lone() throws {
      let lone = try tool.run("run-config", "sweep.yaml", "0", extra: tracked)
      #expect(
        try lone.status == 0 && rows().map(\.name) == ["run-0"], "\(lone.errors)")
      #expect(
        lone.errors.hasPrefix(
          "note: configuration 0 is tracked and has no parent run: MLFLOW_PARENT_RUN_ID is not set"
        ))

      try tool.temporary.write(
        "hold.yaml",
        Array(
          """
          program: {run: [/bin/sh, -c, "touch held; exec sleep 60"], output: null, options: false}
          base: {enable_mlflow: true}
          seeds: 2
          """.utf8))
      let (process, _, errors) = try tool.start(
        ["run", "hold.yaml", "--jobs", "1"], extra: tracked)
      try tool.wait(60, "the run to begin") {
        FileManager.default.fileExists(atPath: tool.temporary.file("held")) ? true : nil
      }
      kill(process.processIdentifier, SIGTERM)
      process.waitUntilExit()
      #expect(process.terminationStatus == 75)
      let text = try String(contentsOfFile: errors, encoding: .utf8)
      let parent = try parentID(text)
      #expect(try row(parent).status == "KILLED", "\(text)")
    }
  }
}
