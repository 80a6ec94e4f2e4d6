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
      \(SweepTool.product("mlflow-test-program")) "$BLLARSE_OUTPUT_DIR/journal" 3 "name=run-$BLLARSE_CONFIG_INDEX"
      echo '{"test": {"nll": 0.5}}' >"$BLLARSE_OUTPUT_DIR/result.json"
      """

    @Test("a parent has 20 nested children with their metrics and ends as they ended")
    func nested() throws {
      let tool = try SweepTool()
      let folder = tool.temporary.file("server")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      let server = try MLflowServer.start(in: folder, arguments: ["--workers", "1"])
      defer { server.kill() }
      let path = try tool.temporary.write("child.sh", Array(Self.program.utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          program: {run: ./child.sh, options: false}
          base: {enable_mlflow: true, group_id: twenty}
          seeds: 20
          """.utf8))
      let tracked = ["MLFLOW_TRACKING_URI": server.address]
      let run = try tool.run("run", "sweep.yaml", "--jobs", "2", extra: tracked)
      #expect(run.status == 0, "\(run.errors)")
      let runs = try TrackedRuns(server: server).all()
      let parents = runs.filter { $0.tags["is_parent"] == "true" }
      #expect(parents.count == 1 && parents[0].info.run_name == "twenty")
      #expect(parents[0].info.status == "FINISHED")
      #expect(
        parents[0].tags["sweep_size_total"] == "20" && parents[0].tags["group_id"] == "twenty")
      let children = runs.filter { $0.tags["mlflow.parentRunId"] == parents[0].info.run_id }
      #expect(children.count == 20 && runs.count == 21)
      #expect(children.allSatisfy { $0.metrics.count == 1 && $0.info.status == "FINISHED" })
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
