import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  @Suite(
    "on a real SLURM, tracked by a real MLflow server", SlurmCluster(), .withMLflow,
    .enabled(if: SlurmCluster.isWanted, "slurm-wlm and munge are not installed, or not root"))
  struct SweepSlurmTrackingTests {
    @Test("bllarse-finetune on digits: 20 children with their metrics, nested under one parent")
    func digits() throws {
      let tool = try SlurmCluster.tool()
      let folder = tool.temporary.file("server")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      let server = try MLflowServer.start(in: folder, arguments: ["--workers", "1"])
      defer { server.kill() }
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          base: {dataset: digits, loss_fn: IBProbit, epochs: 2, enable_mlflow: true, group_id: digits-20}
          grid: {num_update_iters: [1, 8]}
          seeds: {count: 10, start: 137}
          slurm: {max_concurrent: 2}
          """.utf8))
      let submit = try tool.run(
        "submit", "sweep.yaml", "--cpus-per-task", "1",
        extra: ["MLFLOW_TRACKING_URI": server.address, "MLFLOW_EXPERIMENT_NAME": "cluster"])
      #expect(submit.status == 0, "\(submit.errors)")
      let states = try tool.settled()
      #expect(states.map(\.state) == Array(repeating: "done", count: 20), "\(states[0].reason)")

      let tracked = TrackedRuns(server: server)
      let runs = try tracked.all()
      let parents = runs.filter { $0.tags["is_parent"] == "true" }
      try #require(parents.count == 1)
      #expect(parents[0].info.run_name == "digits-20" && parents[0].info.status == "FINISHED")
      #expect(parents[0].tags["sweep_size_total"] == "20")
      #expect(submit.errors.contains(parents[0].info.run_id))
      let children = runs.filter { $0.tags["mlflow.parentRunId"] == parents[0].info.run_id }
      #expect(children.count == 20 && runs.count == 21)
      #expect(Set(children.compactMap { $0.parameters["seed"] }).count == 10)
      for child in children {
        #expect(child.info.status == "FINISHED")
        #expect(child.tags["group_id"] == "digits-20" && child.tags["loss_fn"] == "IBProbit")
        #expect(Set(child.metrics).isSuperset(of: ["acc", "ece", "loss", "nll", "test.acc"]))
        #expect(try tracked.steps(child, "acc") == [1, 2])
        let names = [
          "dataset", "seed", "batch_size", "optimizer", "loss_fn", "label_smooth", "epochs",
          "nodataaug", "tune_mode", "sequential_update", "reset_loss_per_epoch", "num_vb_iters",
        ]
        #expect(names.filter { child.parameters[$0] == nil } == [])
      }
    }

    // MARK: - Nobody looks

    private static let password = "swordfish-9471"

    /// A server that asks who it is, known by the credentials file in a home folder alone.
    private func guarded(_ tool: SweepTool) throws -> (server: MLflowServer, home: String) {
      let folder = tool.temporary.file("server")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      let server = try MLflowServer.start(
        in: folder, arguments: ["--app-name", "basic-auth", "--workers", "1"],
        environment: [
          "MLFLOW_FLASK_SERVER_SECRET_KEY": "x", "MLFLOW_AUTH_ADMIN_PASSWORD": Self.password,
        ])
      try FileManager.default.createDirectory(
        atPath: tool.temporary.file("home/.mlflow"), withIntermediateDirectories: true)
      let path = try tool.temporary.write(
        "home/.mlflow/credentials",
        Array(
          """
          [mlflow]
          mlflow_tracking_uri = \(server.address)
          mlflow_tracking_username = admin
          mlflow_tracking_password = \(Self.password)
          """.utf8))
      chmod(path, 0o600)
      return (server, tool.temporary.file("home"))
    }

    private func waitForEmptyQueue(_ tool: SweepTool) throws {
      try tool.wait(240, "the queue to be empty") {
        try tool.run("--noheader", "--all", executable: "/usr/bin/squeue").output.isEmpty
          ? true : nil
      }
    }

    @Test(
      "a parent ends with its last child, by the credentials file alone and with nobody looking")
    func unwatched() throws {
      let tool = try SlurmCluster.tool()
      let (server, home) = try guarded(tool)
      defer { server.kill() }
      let tracked = TrackedRuns(server: server, login: "admin:\(Self.password)")
      let environment = ["HOME": home]
      // Settings of the working directory reach the tasks too.
      try tool.temporary.write(".env", Array("MLFLOW_EXPERIMENT_NAME=unwatched\n".utf8))
      let program = SweepTrackingTests.program.replacing(
        "then exit 3", with: "then [[ $BLLARSE_ATTEMPT != 1 ]] || exit 3")
      let path = try tool.temporary.write("child.sh", Array(program.utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
      try tool.temporary.write("fail-2", [])
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          program: {run: ./child.sh, options: false}
          base: {enable_mlflow: true, group_id: unwatched}
          seeds: 5
          slurm: {max_concurrent: 2, retry: ["failed:1"]}
          """.utf8))

      // What is refused leaves no parent running behind.
      let refused = try tool.run(
        "submit", "sweep.yaml", "--partition", "nowhere", extra: environment)
      #expect(refused.status == 1 && refused.errors.contains("sbatch refused"), "\(refused.errors)")
      var parents = try tracked.all()
      #expect(parents.map(\.info.status) == ["KILLED"], "\(refused.errors)")

      let submit = try tool.run("submit", "sweep.yaml", extra: environment)
      #expect(submit.status == 0, "\(submit.errors)")
      try waitForEmptyQueue(tool)
      let runs = try tracked.all()
      parents = runs.filter { $0.tags["is_parent"] == "true" }
      try #require(parents.count == 1)
      // The first try of 2 failed; the job that applies the rules opened the parent again.
      let children = runs.filter { $0.tags["mlflow.parentRunId"] == parents[0].info.run_id }
      #expect(children.count == 6 && runs.count == 7)
      #expect(children.allSatisfy { $0.info.status == "FINISHED" })
      #expect(parents[0].info.status == "FINISHED")
      #expect(parents[0].values["sweep/done"] == 5 && parents[0].values["sweep/failed"] == 0)
      let page = "\(server.address)/#/experiments/"
      #expect(
        submit.errors.contains("MLflow: \(server.address), experiment 'unwatched', parent run ")
          && submit.errors.contains(page), "\(submit.errors)")
      let log = try #require(
        FileManager.default.contentsOfDirectory(atPath: tool.temporary.file("slurm_logs"))
          .map { tool.text("slurm_logs/\($0)") }
          .first { $0.contains("parent run \(parents[0].info.run_id) FINISHED") })
      #expect(!log.contains(Self.password))
    }

    @Test("what is cancelled ends its parent KILLED, with nobody looking")
    func cancelled() throws {
      let tool = try SlurmCluster.tool()
      let environment = ["MLFLOW_TRACKING_URI": "sqlite:///\(tool.temporary.file("runs.db"))"]
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          program: {run: [/bin/sh, -c, "touch held; exec sleep 100"], output: null, options: false}
          base: {enable_mlflow: true, group_id: held}
          seeds: 3
          slurm: {max_concurrent: 1}
          """.utf8))
      #expect(try tool.run("submit", "sweep.yaml", extra: environment).status == 0)
      try tool.wait(120, "a task to run") {
        FileManager.default.fileExists(atPath: tool.temporary.file("held")) ? true : nil
      }
      let cancel = try tool.run("cancel", "sweep.yaml", extra: environment)
      #expect(cancel.status == 0, "\(cancel.errors)")
      try waitForEmptyQueue(tool)
      let runs = try tool.run("runs", executable: "bllarse-mlflow", extra: environment)
      #expect(runs.output.split(separator: "\n").count == 2)
      #expect(runs.output.contains("  held  KILLED  "), "\(runs.output)")
    }
  }
}
