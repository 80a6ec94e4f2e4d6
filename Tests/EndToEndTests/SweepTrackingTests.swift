import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  @Suite(
    "tracked by a real MLflow server",
    .withMLflow)
  struct SweepTrackingTests {
    /// The configurations' program: runs of the tests' own tracking program.
    static let program = """
      #!/usr/bin/env bash
      mkdir -p "$BLLARSE_OUTPUT_DIR/journal"
      "\(SweepTool.product("mlflow-test-program"))" "$BLLARSE_OUTPUT_DIR/journal" 3 "name=run-$BLLARSE_CONFIG_INDEX"
      if [[ -e $BLLARSE_SWEEP_DIR/../../fail-$BLLARSE_CONFIG_INDEX ]]; then exit 3; fi
      echo "{\\"test\\": {\\"nll\\": 0.5, \\"acc\\": $BLLARSE_CONFIG_INDEX}}" >"$BLLARSE_OUTPUT_DIR/result.json"
      """

    private func server(_ tool: SweepTool) throws -> MLflowServer {
      let folder = tool.temporary.file("server")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      return try MLflowServer.start(in: folder, arguments: ["--workers", "1"])
    }

    private func writeSweep(_ tool: SweepTool, seeds: Int) throws {
      let path = try tool.temporary.write("child.sh", Array(Self.program.utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          program: {run: ./child.sh, options: false}
          base: {enable_mlflow: true, group_id: twenty}
          seeds: \(seeds)
          """.utf8))
    }

    @Test("a parent has 20 nested children with their metrics and ends as they ended")
    func nested() throws {
      let tool = try SweepTool()
      let server = try server(tool)
      defer { server.kill() }
      try writeSweep(tool, seeds: 20)
      let tracked = ["MLFLOW_TRACKING_URI": server.address]
      let run = try tool.run("run", "sweep.yaml", "--jobs", "2", extra: tracked)
      #expect(run.status == 0, "\(run.errors)\(tool.childErrors())")
      let runs = try TrackedRuns(server: server).all()
      let parents = runs.filter { $0.tags["is_parent"] == "true" }
      #expect(parents.count == 1 && parents[0].info.run_name == "twenty")
      #expect(parents[0].info.status == "FINISHED")
      #expect(
        parents[0].tags["sweep_size_total"] == "20" && parents[0].tags["group_id"] == "twenty")
      let children = runs.filter { $0.tags["mlflow.parentRunId"] == parents[0].info.run_id }
      #expect(children.count == 20 && runs.count == 21)
      #expect(children.allSatisfy { $0.metrics.count == 1 && $0.info.status == "FINISHED" })
      let values = parents[0].values
      #expect(values["sweep/total"] == 20 && values["sweep/done"] == 20)
      #expect(values["best/test.acc"] == 19 && values["mean/test.acc"] == 9.5)
      #expect(values["best/test.nll"] == 0.5 && values["sweep/failed"] == 0)
    }

    @Test("collect tells a parent what changed, once, and ends it as its children ended")
    func collected() throws {
      let tool = try SweepTool()
      let server = try server(tool)
      defer { server.kill() }
      try writeSweep(tool, seeds: 3)
      try tool.temporary.write("fail-2", [])
      let tracked = ["MLFLOW_TRACKING_URI": server.address]
      #expect(try tool.run("run", "sweep.yaml", "--jobs", "2", extra: tracked).status == 1)
      func parent() throws -> TrackedRuns.Run {
        try #require(
          TrackedRuns(server: server).all().first { $0.tags["is_parent"] == "true" })
      }
      var found = try parent()
      #expect(found.info.status == "FAILED")
      #expect(found.values["sweep/done"] == 2 && found.values["sweep/failed"] == 1)
      #expect(found.values["mean/test.acc"] == 0.5)

      try tool.temporary.remove("fail-2")
      let retry = try tool.run("retry", "sweep.yaml", extra: tracked)
      #expect(retry.status == 0, "\(retry.errors)\(tool.childErrors())")
      #expect(retry.errors.contains(found.info.run_id), "\(retry.errors)")
      #expect(
        try TrackedRuns(server: server).all().count { $0.tags["is_parent"] == "true" } == 1)
      for _ in 0..<2 {
        let collect = try tool.run("collect", "sweep.yaml", extra: tracked)
        #expect(collect.status == 0, "\(collect.errors)")
      }
      found = try #require(
        TrackedRuns(server: server).all().first { $0.info.run_id == found.info.run_id })
      #expect(found.info.status == "FINISHED")
      #expect(found.values["sweep/done"] == 3 && found.values["sweep/failed"] == 0)
      #expect(found.values["mean/test.acc"] == 1 && found.values["best/test.acc"] == 2)
      let tracker = TrackedRuns(server: server)
      #expect(try tracker.steps(found, "sweep/done") == [2, 3])
      // The record of what was told is lost: it is told again, and nothing is there twice.
      try tool.temporary.edit("sweeps/sweep/parents/0001.json") {
        $0.replacing("FINISHED", with: "FAILED")
      }
      #expect(try tool.run("collect", "sweep.yaml", extra: tracked).status == 0)
      #expect(try tracker.steps(found, "sweep/done") == [2, 3])
      #expect(try tracker.steps(found, "mean/test.acc") == [2, 3])
    }

    @Test("a run that MLFLOW_RUN_ID names is the sweep's parent, and no child's run")
    func resumedParent() throws {
      let tool = try SweepTool()
      let server = try server(tool)
      defer { server.kill() }
      try writeSweep(tool, seeds: 2)
      var tracked = ["MLFLOW_TRACKING_URI": server.address]
      let made = try tool.run(
        tool.temporary.path, "1", "name=outer", executable: "mlflow-test-program", extra: tracked)
      #expect(made.status == 0, "\(made.errors)")
      let outer = try #require(TrackedRuns(server: server).all().first)
      tracked["MLFLOW_RUN_ID"] = outer.info.run_id
      let run = try tool.run("run", "sweep.yaml", extra: tracked)
      #expect(run.status == 0, "\(run.errors)\(tool.childErrors())")
      let runs = try TrackedRuns(server: server).all()
      let parent = try #require(runs.first { $0.info.run_id == outer.info.run_id })
      let children = runs.filter { $0.tags["mlflow.parentRunId"] == outer.info.run_id }
      #expect(runs.count == 3 && children.count == 2)
      #expect(children.allSatisfy { $0.metrics == ["m0"] && $0.info.status == "FINISHED" })
      #expect(parent.info.run_name == "outer" && parent.info.status == "FINISHED")
      #expect(parent.tags["is_parent"] == "true" && parent.values["sweep/done"] == 2)
    }

    @Test("with the server away the sweep runs all the same, under a parent kept on disk")
    func offline() throws {
      let tool = try SweepTool()
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          program: {run: [/bin/sh, -c, "echo \\"$MLFLOW_PARENT_RUN_ID\\" >&2"], output: null, options: false}
          base: {enable_mlflow: true}
          seeds: 1
          """.utf8))
      let run = try tool.run(
        "run", "sweep.yaml", extra: ["MLFLOW_TRACKING_URI": "http://127.0.0.1:9"])
      #expect(run.status == 0, "\(run.errors)")
      let line = try #require(
        run.errors.split(separator: "\n").first { $0.hasPrefix("MLflow parent run ") })
      let parent = line.dropFirst("MLflow parent run ".count)
      #expect(parent.count == 32)
      #expect(tool.text("sweeps/sweep/runs/0/0/attempt-1/stderr.log") == "\(parent)\n")
      #expect(FileManager.default.fileExists(atPath: tool.temporary.file("mlflow-journal")))
    }
  }
}
