import BllarseTestSupport
import Foundation
import Testing

@Suite("Tracking options of bllarse-finetune")
struct TrackingInputTests {
  @Test(
    "an address that cannot be delivered to is a wrong command line, in one line with the alternative",
    arguments: ["file:./mlruns", "./mlruns", "postgresql://host/db", "http://", "databricks"])
  func address(uri: String) throws {
    let scratch = try TemporaryDirectory()
    let output = try Program("bllarse-finetune").run(
      ["--epochs", "1", "--enable-mlflow", "--mlflow-tracking-uri", uri], in: scratch.path,
      environment: ["HOME": scratch.path])
    #expect(output.status == 64)
    #expect(output.error.split(separator: "\n").count == 1, "\(output.error)")
    #expect(output.error.contains("sqlite") || output.error.contains("http(s)://HOST"))
    #expect(!FileManager.default.fileExists(atPath: scratch.file("mlflow-journal")))
  }

  @Test("runs, failed ones too, are in mlflow.db with the original's names of everything")
  func names() throws {
    let scratch = try TemporaryDirectory()
    let environment = [
      "HOME": scratch.path, "MLFLOW_PARENT_RUN_ID": String(repeating: "c", count: 32),
    ]
    let run = try Program("bllarse-finetune").run(
      [
        "--loss-fn", "CrossEntropy", "-o", "adamw", "-e", "2", "--enable_mlflow", "--uid", "mine",
        "--group-id", "g", "--mlflow-experiment", "names",
      ], in: scratch.path, environment: environment)
    #expect(run.status == 0, "\(run.error)")
    let failed = try Program("bllarse-finetune").run(
      ["--features", "nothing.safetensors", "--enable-wandb", "--mlflow-experiment", "names"],
      in: scratch.path, environment: environment)
    #expect(failed.status == 65)
    let list = try Program("bllarse-mlflow").run(
      ["runs", "names", "--format", "json", "--metrics", "loss,nll,acc,ece,epoch"],
      in: scratch.path, environment: environment)
    struct Row: Decodable {
      let name: String
      let status: String
      let parameters: [String: String]
      let metrics: [String: Double]
    }
    let rows = try JSONDecoder().decode([Row].self, from: Data(list.output.utf8))
    #expect(Set(rows.map(\.status)) == ["FINISHED", "FAILED"])
    let mine = try #require(rows.first { $0.name == "mine" })
    #expect(mine.metrics.count == 5 && mine.metrics["epoch"] == 2)
    for key in [
      "dataset", "seed", "batch_size", "optimizer", "loss_fn", "embed_dim", "num_blocks",
      "pretrained", "label_smooth", "epochs", "nodataaug", "tune_mode", "sequential_update",
      "reset_loss_per_epoch", "learning_rate", "weight_decay",
    ] {
      #expect(mine.parameters[key] != nil, "\(key)")
    }
  }

  @Test(
    "numbers in variables that no integer holds are named, and a seed of 64 bits arrives exactly")
  func numbers() throws {
    let scratch = try TemporaryDirectory()
    let environment = [
      "HOME": scratch.path, "SLURM_CPUS_PER_TASK": "9223372036854775808\u{1B}[2J",
      "MLFLOW_HTTP_REQUEST_TIMEOUT": "1e30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1e30",
    ]
    let seed = "18446744073709551615"
    let run = try Program("bllarse-finetune").run(
      [
        "--loss-fn", "CrossEntropy", "-o", "adamw", "-e", "1", "--seed", seed, "--enable-mlflow",
        "--mlflow-experiment", "numbers",
      ], in: scratch.path, environment: environment)
    #expect(run.status == 0, "\(run.error)")
    #expect(run.error.contains("SLURM_CPUS_PER_TASK is '9223372036854775808\\u{1B}[2J', expected"))
    #expect(
      run.error.contains("MLFLOW_HTTP_REQUEST_TIMEOUT is '1e30', expected a number from 1 to 86400")
    )
    let list = try Program("bllarse-mlflow").run(
      ["runs", "numbers", "--format", "json", "--parameters", "seed"], in: scratch.path,
      environment: environment)
    #expect(list.output.contains("\"seed\":\"\(seed)\""), "\(list.output)")
  }
}
