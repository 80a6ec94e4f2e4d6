import BllarseTestSupport
import Foundation
import Testing

/// Runs on Fixtures/text, a small cache in the layout of the Python original's text script, made by
/// Scripts/make-text-cache.py.
private let caches = ["text", "--cache-dir", Fixtures.path("text")]

private struct TextResult: Decodable {
  struct Scores: Decodable { let acc, nll: Double }
  enum Argument: Decodable, Equatable {
    case number(Double), text(String)

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let value = try? container.decode(Double.self) {
        self = .number(value)
      } else if let text = try? container.decode(String.self) {
        self = .text(text)
      } else {
        self = .text("\(try container.decode(Bool.self))")
      }
    }
  }
  let train, test: Scores
  let arguments: [String: Argument]

  init(_ directory: String) throws {
    let data = try Data(contentsOf: URL(fileURLWithPath: directory + "/result.json"))
    self = try JSONDecoder().decode(TextResult.self, from: data)
  }
}

@Suite("bllarse-finetune text")
struct TextTests {
  @Test("cavi, the default, is a pass of merged batches over the cache that the options name")
  func cavi() throws {
    let scratch = try TemporaryDirectory()
    let run = try finetune.run(
      caches + [
        "--stage", "train_eval", "--train-batch-size", "60", "--num-update-iters", "8",
        "--ibprobit-alpha", "0.01", "--seed", "3", "--output", scratch.file("out"),
      ])
    #expect(run.status == 0, "\(run.errors)")
    let result = try TextResult(scratch.file("out"))
    #expect(result.test.acc > 0.6 && result.test.nll < 1)
    #expect(result.arguments["optimizer"] == .text("cavi"))
    #expect(
      result.arguments["cache_key"] == .text("FacebookAI__roberta_base_len256_float16_c23d76995195")
    )
    #expect(result.arguments["train_batch_size"] == .number(60))
    #expect(result.arguments["learning_rate"] == nil)
    // The same fit by the general options.
    let folder =
      Fixtures.path("text/roberta_activations/mnli_roberta_cls/")
      + "FacebookAI__roberta_base_len256_float16_c23d76995195"
    let general = try finetune.run(
      [
        "--features", folder, "--loss-fn", "IBProbit", "--update", "merge", "-bs", "60",
        "--num-update-iters", "8", "--forgetting-rate", "0.01", "--seed", "3", "-e", "1",
        "--output",
        scratch.file("general"),
      ])
    #expect(general.status == 0, "\(general.errors)")
    let other = try TextResult(scratch.file("general"))
    #expect(other.test.acc == result.test.acc && other.test.nll == result.test.nll)
  }

  @Test("steps are softmax regression; weight decay leaves the biases alone")
  func steps() throws {
    let scratch = try TemporaryDirectory()
    func nll(_ name: String, _ arguments: [String]) throws -> Double {
      let run = try finetune.run(
        caches + ["-e", "20", "--train-batch-size", "50", "--learning-rate", "0.01"] + arguments
          + ["--output", scratch.file(name)])
      #expect(run.status == 0, "\(run.errors)")
      return try TextResult(scratch.file(name)).train.nll
    }
    let adam = try nll("adam", ["--optimizer", "adam"])
    let without = try nll("without", ["--optimizer", "adamw", "--weight-decay", "0"])
    #expect(adam == without)
    // So strong a decay leaves nothing but the frequencies of the classes, and these it leaves.
    let strong = try nll("strong", ["--optimizer", "adamw", "--weight-decay", "90"])
    #expect(strong > without && strong < 1.0986)
    let lion = try nll("lion", ["--optimizer", "lion", "--dropout-rate", "0.1"])
    #expect(lion < 1 && lion != adam)
    let arguments = try TextResult(scratch.file("lion")).arguments
    #expect(arguments["dropout_rate"] == .number(0.1))
    #expect(arguments["weight_decay"] == .number(0.01))
    #expect(arguments["num_update_iters"] == nil)
  }

  @Test(
    "every epoch's scores have the script's names in metrics.jsonl and in MLflow; parameters too")
  func names() throws {
    let scratch = try TemporaryDirectory()
    let environment = ["HOME": scratch.path, "MLFLOW_PARENT_RUN_ID": ""]
    let run = try finetune.run(
      caches + [
        "--stage", "train_eval", "--optimizer", "adamw", "-e", "4", "--train-batch-size", "50",
        "--learning-rate", "0.3", "--enable-mlflow", "--uid", "mine", "--mlflow-tracking-uri",
        "sqlite:///\(scratch.file("mlflow.db"))", "--output", "out",
      ], environment: environment, directory: scratch.path)
    #expect(run.status == 0, "\(run.errors)")

    // 1. The lines, and the best of them by accuracy, then likelihood, then calibration error.
    let scores = ["val_matched_acc", "val_matched_nll", "val_matched_ece"]
    let names =
      ["loss", "acc", "nll", "ece", "seen_examples"] + scores
      + ["val_mismatched_acc", "val_mismatched_nll", "val_mismatched_ece"]
    let text = try String(contentsOfFile: scratch.file("out/metrics.jsonl"), encoding: .utf8)
    let lines = try text.split(separator: "\n").map { line in
      try JSONDecoder().decode([String: Double].self, from: Data(line.utf8))
    }
    #expect(lines.count == 4)
    for (epoch, line) in lines.enumerated() {
      #expect(names.allSatisfy { line[$0] != nil }, "\(line)")
      #expect(line["acc"] == line["val_matched_acc"] && line["nll"] == line["val_matched_nll"])
      #expect(line["val_matched_nll"] != line["val_mismatched_nll"])
      #expect(line["step"] == Double(epoch + 1))
    }
    let best = try #require(
      lines.indices.max {
        let (a, b) = (lines[$0], lines[$1])
        return (a[scores[0]] ?? 0, -(a[scores[1]] ?? 0), -(a[scores[2]] ?? 0))
          < (b[scores[0]] ?? 0, -(b[scores[1]] ?? 0), -(b[scores[2]] ?? 0))
      })
    let accuracy = String(format: "%.4f", lines[best]["val_mismatched_acc"] ?? 0)
    #expect(run.output.contains("best epoch \(best + 1): val_m acc "), "\(run.output)")
    #expect(run.output.contains("val_mm acc \(accuracy) "), "\(run.output)")

    // 2. The tracked run.
    let list = try Program("bllarse-mlflow").run(
      [
        "runs", "bllarse", "--format", "json", "--metrics",
        (names + ["best_epoch", "cache_seconds", "cache_extracted", "cache_total_rows"])
          .joined(separator: ","),
      ], in: scratch.path, environment: environment)
    struct Row: Decodable {
      let name: String
      let parameters: [String: String]
      let metrics: [String: Double]
    }
    let row = try #require(
      try JSONDecoder().decode([Row].self, from: Data(list.output.utf8)).first)
    #expect(row.name == "mine")
    for name in names { #expect(row.metrics[name] == lines[3][name], "\(name)") }
    #expect(row.metrics["best_epoch"] == Double(best + 1))
    #expect(row.metrics["cache_total_rows"] == 540 && row.metrics["cache_extracted"] == 0)
    #expect(row.metrics["cache_seconds"].map { $0 >= 0 && $0 < 60 } == true)
    for (key, value) in [
      "stage": "train_eval", "backbone": "FacebookAI/roberta-base", "max_length": "256",
      "cache_key": "FacebookAI__roberta_base_len256_float16_c23d76995195", "optimizer": "adamw",
      "epochs": "4", "train_batch_size": "50", "learning_rate": "0.3", "weight_decay": "0.01",
      "dropout_rate": "0.0", "seed": "0", "cache_dtype": "float16", "max_train_samples": "-1",
      "max_val_samples": "-1", "train_subset_seed": "-1",
    ] {
      #expect(row.parameters[key] == value, "\(key) \(row.parameters[key] ?? "")")
    }
    #expect(row.parameters["num_update_iters"] == nil && row.parameters["ibprobit_alpha"] == nil)
  }

  @Test("limits name another cache where all stages are asked for")
  func limits() throws {
    let run = try finetune.run(
      caches + ["--stage", "all", "--max-train-samples", "200", "--max-val-samples", "60"])
    #expect(run.status == 0, "\(run.errors)")
    #expect(run.errors.contains("_tr200_val60_92fab27aec96: 200 train"), "\(run.errors)")
    #expect(run.errors.contains("note: --stage all: the cache is there, so nothing is extracted"))
    let missing = try finetune.run(caches + ["--max-train-samples", "100"])
    #expect(missing.status == 65)
    #expect(missing.errors.contains("_tr100_valall_") && missing.errors.contains("train_eval"))
  }

  @Test("rows and places within the epoch are as many as are asked for, and logged by rows seen")
  func rows() throws {
    let scratch = try TemporaryDirectory()
    func steps(_ name: String, _ arguments: [String]) throws -> [Int] {
      let run = try finetune.run(
        caches + [
          "--stage", "train_eval", "--train-batch-size", "50", "--max-train-samples", "210",
          "--max-val-samples", "100", "--eval-every-batches", "2", "--output", scratch.file(name),
        ] + arguments)
      #expect(run.status == 0, "\(run.errors)")
      #expect(run.errors.contains(": 210 train, 100 val_m, 100 val_mm rows"), "\(run.errors)")
      #expect(
        run.errors.contains("--eval-every-batches has no effect") == arguments.contains("adam"))
      let text = try String(contentsOfFile: scratch.file("\(name)/metrics.jsonl"), encoding: .utf8)
      return try text.split(separator: "\n").map { line in
        let record = try JSONDecoder().decode([String: Double].self, from: Data(line.utf8))
        if arguments.isEmpty { #expect(record["seen_examples"] == record["step"]) }
        return Int(record["step"] ?? 0)
      }
    }
    #expect(try steps("first", []) == [100, 200, 210])
    #expect(try steps("adam", ["--optimizer", "adam", "--epochs", "2"]) == [1, 2])
    // Random rows are others than the first.
    #expect(try steps("random", ["--train-subset-seed", "2022"]) == [100, 200, 210])
    let (first, random) = (
      try TextResult(scratch.file("first")), try TextResult(scratch.file("random"))
    )
    #expect(first.train.nll != random.train.nll)
    #expect(random.arguments["max_train_samples"] == .number(210))
    #expect(random.arguments["train_subset_seed"] == .number(2022))
    #expect(random.arguments["eval_every_batches"] == .number(2))
    #expect(try TextResult(scratch.file("adam")).arguments["eval_every_batches"] == nil)
  }

  @Test("what has no effect is noted, as grids cross it with every optimiser")
  func notes() throws {
    let scratch = try TemporaryDirectory()
    let cavi = try finetune.run(
      caches + [
        "--stage", "train_eval", "--reuse-cache", "--hf-sync", "pull", "--hf-private",
        "--extract-batch-size", "32", "--learning-rate", "0.1", "--weight-decay", "0.0",
        "--dropout-rate", "0.1",
      ], directory: scratch.path)
    #expect(cavi.status == 0, "\(cavi.errors)")
    let noted = cavi.errors.split(separator: "\n").filter { $0.contains("no effect") }
    #expect(
      noted == [
        "note: --reuse-cache has no effect here: a cache that is there is always used",
        "note: --hf-sync pull has no effect here: caches are neither pulled nor pushed",
        "note: --hf-private has no effect here: caches are not pushed",
        "note: --extract-batch-size has no effect here: texts are not encoded",
        "note: --learning-rate has no effect here: cavi is fitted in closed form",
        "note: --dropout-rate has no effect here: cavi is fitted in closed form",
      ], "\(cavi.errors)")
    let adam = try finetune.run(
      caches + [
        "--optimizer", "adam", "--num-update-iters", "0", "--weight-decay", "0.01",
        "--ibprobit-alpha", "0.1", "--reset-loss-per-epoch",
      ], directory: scratch.path)
    #expect(adam.status == 0, "\(adam.errors)")
    let others = adam.errors.split(separator: "\n").filter { $0.contains("no effect") }
    #expect(
      others == [
        "note: --ibprobit-alpha has no effect here: adam takes steps",
        "note: --reset-loss-per-epoch has no effect here: adam takes steps",
        "note: --weight-decay has no effect here: adam has no weight decay",
      ], "\(adam.errors)")
  }

  @Test("extraction is refused, with where its script was looked for")
  func extraction() throws {
    let scratch = try TemporaryDirectory()
    func message(_ environment: [String: String]) throws -> String {
      let run = try finetune.run(["text", "--stage", "extract"], environment: environment)
      #expect(run.status == 64)
      return run.errors
    }
    let start =
      "Error: --stage extract is not done here: it needs a text encoder, which the Python "
      + "original's scripts/roberta_mnli.py runs"
    #expect(
      try message(["BLLARSE_REPO_ROOT": ""]).hasPrefix(
        start + "; it is looked for under BLLARSE_REPO_ROOT, which is not set\n"))
    #expect(
      try message(["BLLARSE_REPO_ROOT": scratch.path]).hasPrefix(
        start + "; there is no such file under BLLARSE_REPO_ROOT, which is \(scratch.path)\n"))
    try FileManager.default.createDirectory(
      atPath: scratch.file("scripts"), withIntermediateDirectories: true)
    try scratch.write("scripts/roberta_mnli.py", [])
    #expect(
      try message(["BLLARSE_REPO_ROOT": scratch.path]).hasPrefix(
        start + "; run: python3 \(scratch.path)/scripts/roberta_mnli.py --stage extract\n"))
  }

  @Test("a check finds what the run would: alone with --check, and for many lines at once")
  func checks() throws {
    let scratch = try TemporaryDirectory()
    let lines: [[String]] = [
      ["--stage", "train_eval"], ["--stage", "all", "--hf-sync", "pull", "--seed", "7"],
      ["--max-length", "128"], ["--stage", "extract"], ["--train-batch-size", "many"],
      ["--no-such-option"], ["--epochs"],
      ["--stage=train_eval", "--output=\(scratch.file("out"))"],
    ].map { caches + $0 }
    let answers = try RunChecks.ask(lines)
    #expect(answers.map(\.status) == [0, 0, 65, 64, 64, 64, 64, 0])
    #expect(answers[1].notes?.contains { $0.hasPrefix("--hf-sync pull has no effect") } == true)
    #expect(answers[0].memory_bytes.map { $0 > 0 } == true)
    for (line, answer) in zip(lines, answers) {
      let alone = try finetune.run(line + ["--check"])
      #expect(alone.status == Int32(answer.status), "\(alone.errors)")
      #expect(alone.output.isEmpty == (answer.status != 0), "\(alone.output)")
      if let message = answer.message {
        #expect(alone.errors.contains(message), "\(alone.errors) \(message)")
      }
      for note in answer.notes ?? [] { #expect(alone.errors.contains("note: " + note)) }
    }
    // Nothing is fitted.
    #expect(scratch.contents.isEmpty)
  }

  @Test(
    "numbers beyond sense are a wrong command line",
    arguments: [
      ["--epochs", "0"], ["--train-batch-size", "0"], ["--num-update-iters", "0"],
      ["--ibprobit-alpha", "0"], ["--ibprobit-alpha", "2"], ["--learning-rate", "-1"],
      ["--max-length", "0"], ["--dropout-rate", "1"], ["--max-train-samples", "0"],
      ["--eval-every-batches", "few"],
      ["--optimizer", "ivon"], ["--hf-sync", "both"], ["--cache-dtype", "float64"],
      ["--backbone", ""],
    ])
  func usage(arguments: [String]) throws {
    let run = try finetune.run(caches + arguments)
    #expect(run.status == 64)
    #expect(run.errors.contains(arguments[0]), "\(run.errors)")
  }
}
