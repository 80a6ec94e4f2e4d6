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
  }
}
