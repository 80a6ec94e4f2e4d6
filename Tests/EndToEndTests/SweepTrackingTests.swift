import BllarseTestSupport
import Foundation
import Testing

/// The MLflow server that Scripts/setup-mlflow.sh installs.
enum SweepTrackingServer {
  static let path =
    (ProcessInfo.processInfo.environment["BLLARSE_MLFLOW_VENV"]
      ?? Fixtures.packageRoot + "/.venv-mlflow") + "/bin/mlflow"
  static let python = String(path.dropLast("mlflow".count)) + "python"
  /// In continuous integration a missing server is a failure, not a reason to skip.
  static let isWanted =
    FileManager.default.isExecutableFile(atPath: path)
    || ProcessInfo.processInfo.environment["CI"] == "true"
}

extension SweepEndToEnd {
  @Suite(
    "tracked by a real MLflow server",
    .enabled(if: SweepTrackingServer.isWanted, "Scripts/setup-mlflow.sh has not been run"))
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
      let port = 20000 + Int(getpid()) % 9000
      let uri = "http://127.0.0.1:\(port)"
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
      let (server, _, _) = try tool.start(
        [
          // A test's thread blocks the signals that end a server, and its children inherit that.
          "-c",
          "import os, signal, sys; signal.pthread_sigmask(signal.SIG_SETMASK, []); os.execv(sys.argv[1], sys.argv[1:])",
          SweepTrackingServer.path, "server", "--host", "127.0.0.1", "--port", "\(port)",
          "--workers", "1",
          "--backend-store-uri", "sqlite:///\(tool.temporary.file("server.db"))",
        ], executable: SweepTrackingServer.python)
      defer {
        kill(server.processIdentifier, SIGTERM)
        for _ in 0..<100 where server.isRunning { Thread.sleep(forTimeInterval: 0.1) }
        if server.isRunning { kill(server.processIdentifier, SIGKILL) }
      }
      _ = try tool.wait(60, "the server") {
        try tool.run(
          "--silent", "--fail", "--max-time", "5", "\(uri)/health", executable: "/usr/bin/curl"
        ).status == 0
          ? true : nil
      }
      let tracked = ["MLFLOW_TRACKING_URI": uri]
      let run = try tool.run("run", "sweep.yaml", "--jobs", "2", extra: tracked)
      #expect(run.status == 0, "\(run.errors)")
      let answer = try tool.run(
        "--silent", "--max-time", "20", "--header", "Content-Type: application/json", "--data",
        #"{"experiment_ids": ["1"], "max_results": 100}"#, "\(uri)/api/2.0/mlflow/runs/search",
        executable: "/usr/bin/curl")
      let runs = try JSONDecoder().decode(Answer.self, from: Data(answer.output.utf8)).runs
      let parents = runs.filter { $0.tag("is_parent") == "true" }
      #expect(parents.count == 1 && parents[0].info.run_name == "twenty")
      #expect(parents[0].info.status == "FINISHED")
      #expect(parents[0].tag("sweep_size_total") == "20" && parents[0].tag("group_id") == "twenty")
      let children = runs.filter { $0.tag("mlflow.parentRunId") == parents[0].info.run_id }
      #expect(children.count == 20 && runs.count == 21)
      #expect(children.allSatisfy { $0.data.metrics?.count == 1 && $0.info.status == "FINISHED" })
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

    struct Answer: Decodable {
      struct Run: Decodable {
        struct Info: Decodable {
          let run_id: String
          let run_name: String
          let status: String
        }
        struct Pair: Decodable {
          let key: String
          let value: String
        }
        struct Metric: Decodable { let key: String }
        struct Content: Decodable {
          let tags: [Pair]?
          let metrics: [Metric]?
        }
        let info: Info
        let data: Content
        func tag(_ name: String) -> String? { data.tags?.first { $0.key == name }?.value }
      }
      let runs: [Run]
    }
  }
}
