import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// Asks `bllarse-finetune check` about many runs at once.
struct RunChecks {
  struct Answer: Decodable {
    let status: Int
    let message: String?
    let notes: [String]?
    let memory_bytes: Int?

    /// Everything that is said.
    var text: String { (notes ?? []).joined(separator: "\n") + (message ?? "") }
  }

  /// The answers, in the order of the lines.
  static func ask(
    _ lines: [[String]], environment: [String: String] = [:],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> [Answer] {
    let scratch = try TemporaryDirectory()
    let input = try lines.map { String(decoding: try JSONEncoder().encode($0), as: UTF8.self) }
      .joined(separator: "\n")
    return try ask(text: input, environment: environment, in: scratch)
  }

  /// The answers to lines as they are.
  static func ask(
    text: String, environment: [String: String] = [:], in scratch: TemporaryDirectory
  ) throws -> [Answer] {
    try scratch.write("in", Array(text.utf8))
    try scratch.write("out", [])
    let process = Process()
    process.executableURL = URL(fileURLWithPath: finetune.path)
    process.arguments = ["check"]
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle(forReadingAtPath: scratch.file("in"))
    process.standardOutput = FileHandle(forWritingAtPath: scratch.file("out"))
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return try String(decoding: scratch.read("out"), as: UTF8.self).split(separator: "\n").map {
      try JSONDecoder().decode(Answer.self, from: Data($0.utf8))
    }
  }
}

@Suite("bllarse-finetune: what options mean")
struct OptionMeaningTests {
  /// What a run records as its options.
  private func arguments(_ words: [String]) throws -> [String: Any] {
    let directory = try TemporaryDirectory()
    let features = try OptionFixture.features(in: directory)
    let outcome = try finetune.run(
      ["--features", features, "--output", directory.file("out")] + words)
    #expect(outcome.status == 0, "\(words) \(outcome.errors)")
    let result = try JSONSerialization.jsonObject(
      with: Data(contentsOf: URL(fileURLWithPath: directory.file("out/result.json"))))
    return try #require((result as? [String: Any])?["arguments"] as? [String: Any])
  }

  @Test(
    "the head follows from the options that belong to one",
    arguments: [
      ([], "softmax", nil), (["--posterior", "laplace"], "softmax", nil),
      (["--prior", "evidence"], "softmax", nil), (["--prior", "2"], "softmax", nil),
      (["--scaling", "rows"], "softmax", nil), (["--calibration", "folds"], "softmax", nil),
      (["-e", "7", "-lr", "0.1"], "softmax", nil), (["--head", "softmax"], "softmax", nil),
      (
        ["--loss-fn", "softmax", "-bs", "8", "-o", "adamw", "--num-update-iters", "2"], "softmax",
        nil
      ),
      (["--loss-fn", "IBProbit"], "IBProbit", "converged"),
      (["--head", "IBProbit", "--prior", "ard"], "IBProbit", "converged"),
      (["--update", "converged"], "IBProbit", "converged"),
      (["--parity", "-e", "1"], "IBProbit", "merge"),
      (["--parity", "--update", "converged"], "IBProbit", "converged"),
      (["--likelihood", "softmax"], "softmax", nil),
      (["--likelihood=probit"], "IBProbit", "converged"),
      (["--likelihood", "probit", "--parity", "-e", "1"], "IBProbit", "merge"),
      (["-o", "newton"], "CrossEntropy", nil),
      (["--optimizer", "adamw", "-e", "1"], "CrossEntropy", nil),
      (["-o", "adamw", "-bs", "8", "-e", "1"], "CrossEntropy", nil),
      (["-o", "adamw", "--loss-fn", "IBProbit"], "IBProbit", "converged"),
      (["-o", "cavi", "-e", "1"], "IBProbit", "merge"),
      (["--num-update-iters", "2", "-e", "1"], "IBProbit", "merge"),
      (["-bs", "8", "-e", "1"], "IBProbit", "merge"),
      (["--update", "cavi", "-e", "1"], "IBProbit", "cavi"),
      (["--loss-fn", "MSE"], "MSE", nil), (["--head", "MSE"], "MSE", nil),
    ] as [([String], String, String?)])
  func head(words: [String], head: String, update: String?) throws {
    let found = try arguments(words)
    #expect(found["loss_fn"] as? String == head)
    #expect(found["update"] as? String == update)
  }

  @Test("a run records what took effect and nothing else")
  func recorded() throws {
    let data: Set = ["features", "loss_fn", "tune_mode", "epochs", "seed"]
    for (words, keys) in [
      ([], ["prior", "posterior", "scaling", "calibration"]),
      (["-bs", "20", "--head", "softmax"], ["prior", "posterior", "scaling", "calibration"]),
      (["--head", "IBProbit"], ["update", "prior", "posterior", "scaling", "calibration"]),
      (
        ["--update", "cavi", "-e", "1"],
        ["update", "num_update_iters", "forgetting_rate", "parity", "prior_precision"]
      ),
      (
        ["-bs", "20", "-e", "2"],
        [
          "update", "num_update_iters", "forgetting_rate", "parity", "prior_precision",
          "batch_size",
          "reset_loss_per_epoch",
        ]
      ),
      (["-o", "newton", "-bs", "20"], ["optimizer", "l2", "label_smooth"]),
      (
        ["--loss-fn", "MSE", "-o", "lion", "-e", "1"],
        ["optimizer", "batch_size", "learning_rate", "weight_decay", "dropout"]
      ),
    ] as [([String], Set<String>)] {
      #expect(Set(try arguments(words).keys) == data.union(keys), "\(words)")
    }
    // Defaults have names, too.
    let defaults = try arguments([])
    for (name, value) in [("prior", "folds"), ("scaling", "folds"), ("calibration", "folds")] {
      #expect(defaults[name] as? String == value)
    }
    // A seed beyond what a signed number holds is not another seed.
    let seed = try arguments(["--seed", "18446744073709551615"])["seed"]
    #expect((seed as? NSNumber)?.uint64Value == .max, "\(String(describing: seed))")
  }

  @Test(
    "older spellings are read as the present ones, and a note says which",
    arguments: [
      ["--loss-function", "IBProbit", "--head"], ["--loss_fn", "IBProbit", "--head"],
      ["--train-batch-size", "8", "--batch-size"],
      ["--ibprobit-alpha", "0.1", "--forgetting-rate"], ["--dropout-rate", "0.1", "--dropout"],
      ["--finetuning-type", "last_layer", "--tune-mode"],
      ["--enable-wandb", "", "--enable-mlflow"],
      ["--enable_mlflow", "", "--enable-mlflow"], ["--log_checkpoints", "", "--log-checkpoints"],
      ["--batch_size", "8", "--batch-size"], ["--num_update_iters", "8", "--num-update-iters"],
    ])
  func spellings(words: [String]) throws {
    let old = words[1].isEmpty ? [words[0]] : [words[0], words[1]]
    let present = words[1].isEmpty ? [words[2]] : [words[2], words[1]]
    let answers = try RunChecks.ask([old, present, old.count == 2 ? ["\(old[0])=\(old[1])"] : old])
    let note = "\(words[0]) is now \(words[2])"
    for answer in [answers[0], answers[2]] {
      #expect(answer.status == 0 && answer.notes?.first == note, "\(answer)")
      #expect(Array((answer.notes ?? []).dropFirst()) == answers[1].notes)
    }
  }

  @Test("values that have another name now are read as that, and a note says which")
  func values() throws {
    let answers = try RunChecks.ask([
      ["--calibration", "loo"], ["--calibration=loo"], ["--likelihood", "softmax"],
      ["--likelihood=probit"], ["--calibration", "folds"], ["--head", "softmax"],
      ["--posterior", "kronecker"], ["--posterior=laplace"], ["--posterior", "laplace-shared"],
      ["--posterior", "laplace-diag"], ["--posterior", "block"],
    ])
    #expect(answers.allSatisfy { $0.status == 0 })
    #expect(
      answers.map { $0.notes ?? [] } == [
        ["--calibration loo is now --calibration folds"],
        ["--calibration loo is now --calibration folds"],
        ["--likelihood softmax is now --head softmax"],
        ["--likelihood probit is now --head IBProbit"], [], [],
        ["--posterior kronecker is now --posterior kron"],
        ["--posterior laplace is now --posterior block"],
        ["--posterior laplace-shared is now --posterior shared"],
        ["--posterior laplace-diag is now --posterior diag"], [],
      ])
  }

  @Test("a refusal says whose an option is, and which head was meant")
  func refusals() throws {
    let answers = try RunChecks.ask([
      ["--head", "softmax", "--update", "converged"], ["--head", "softmax", "--parity"],
      ["--head", "softmax", "-o", "cavi"], ["--head", "Softmax"], ["--head", "logistic"],
      ["--head", "MSE", "--prior", "folds"], ["--update", "cavi", "--prior", "folds"],
      ["--update", "merge", "--calibration", "loo"],
    ])
    for (answer, text) in zip(
      answers,
      [
        "--update does not go with --head softmax: it is for IBProbit, IBPolyaGamma and Multinomial",
        "--parity does not go with --head softmax: it is for IBProbit",
        "softmax takes no --optimizer", "did you mean softmax?",
        "expected one of softmax, IBProbit",
        "--prior does not go with --head MSE",
        "--prior folds does not go with --head IBProbit --update cavi",
        "--calibration folds goes with softmax and a converged IBProbit",
      ])
    {
      #expect(answer.status == 64 && answer.text.contains(text), "\(answer)")
    }
  }

  @Test("spellings that contradict one another, and options said twice")
  func twice() throws {
    let answers = try RunChecks.ask([
      ["--batch-size", "8", "--train-batch-size", "9"],
      ["--batch-size", "8", "--train-batch-size", "8"], ["-e", "3", "-bs", "8", "--epochs", "4"],
      ["--loss-fn", "IBProbit", "--loss-function", "MSE"],
      ["--head", "IBProbit", "--loss-fn", "CrossEntropy"],
      ["--head", "IBProbit", "--loss-fn", "IBProbit"],
      ["--loss-fn", "IBProbit", "--likelihood", "softmax"],
      ["--likelihood=probit", "--head=softmax"],
      ["--likelihood", "probit", "--loss-fn", "IBProbit"], ["--likelihood", "logit"],
      ["--calibration", "loo", "--calibration", "none"],
    ])
    #expect(answers.map(\.status) == [64, 0, 0, 64, 64, 0, 64, 64, 0, 64, 0])
    #expect(answers[0].text.contains("--train-batch-size 9"))
    #expect(answers[4].text.contains("--head IBProbit and --loss-fn CrossEntropy are one option"))
    #expect(answers[6].text.contains("--loss-fn IBProbit and --likelihood softmax are one option"))
    #expect(answers[7].text.contains("--likelihood probit and --head softmax are one option"))
    #expect(answers[9].text.contains("--likelihood is 'logit'"), "\(answers[9])")
    #expect(answers[2].text.contains("--epochs is given twice: 4"), "\(answers[2])")
  }

  @Test("cavi, a device without a value, and an update of the whole network")
  func others() throws {
    let answers = try RunChecks.ask([
      ["--optimizer", "cavi"], ["--device"], ["--device", ""], ["--device", "cuda"],
      ["--device", "tpu"], ["--loss-fn", "MSE", "-o", "cavi"], ["-o", "cavi", "--update", "sites"],
      ["--sequential-update"], ["--finetuning-type", "full_network"],
      ["--mlflow-tracking-uri", "", "--mlflow-experiment", ""],
    ])
    #expect(answers.map(\.status) == [0, 0, 0, 0, 64, 64, 64, 64, 64, 0])
    #expect(answers[0].text == "--optimizer cavi is now --head IBProbit --update merge")
    for answer in answers[1...3] { #expect(answer.text.contains("everything runs on the CPU")) }
    #expect(
      answers[7].text.contains("full_network") && answers[8].text.contains("does not exist yet"))
    #expect(answers[9].notes == [])
  }

  @Test("a check has the status and the message that the run has, and fits nothing")
  func check() throws {
    let directory = try TemporaryDirectory()
    let features = try OptionFixture.features(in: directory)
    let output = directory.file("out")
    for (words, status) in [
      (["--features", features], 0), (["--features", directory.file("none")], 65),
      (["--features", features, "--ood", directory.file("none")], 65),
      (["--features", features, "--resume", output], 65), (["--epochs", "x"], 64),
      (["--batchsize", "3"], 64), (["--features", features, "--parity", "--scaling", "rows"], 64),
      (["--dataset", "cifar10", "--data-dir", directory.path, "--pretrained", "in21k"], 65),
    ] as [([String], Int32)] {
      let words = words.contains("--resume") ? words : words + ["--output", output]
      let flagged = try finetune.run(words + ["--check"])
      #expect(flagged.status == status, "\(words) \(flagged.errors)")
      #expect(!FileManager.default.fileExists(atPath: output))
      let answer = try RunChecks.ask([words])[0]
      #expect(answer.status == status)
      if status == 0 {
        #expect(flagged.output.split(separator: "\n").count == 1)
        continue
      }
      let run = try finetune.run(words)
      #expect(run.status == status && run.errors == flagged.errors)
      #expect(run.errors.contains(answer.message ?? "none"), "\(run.errors) \(answer)")
      try? FileManager.default.removeItem(atPath: output)
    }
  }

  @Test("what is no run gets an answer, too, and every line has one")
  func lines() throws {
    let answers = try RunChecks.ask(
      text: "[]\nnonsense\n[1]\n\n[\"evaluate\"]\n[\"--help\"]\n[\"--version\"]",
      in: TemporaryDirectory())
    #expect(answers.map(\.status) == [0, 64, 64, 64, 64, 64, 64])
    #expect(answers[0].notes == [])
  }

  @Test(
    "the memory that a run takes is estimated within a factor of two",
    arguments: [
      ["--loss-fn", "CrossEntropy", "-o", "adamw", "-e", "1"],
      ["-bs", "500", "-e", "1", "--num-update-iters", "1"],
      ["--update", "cavi", "-e", "1", "--num-update-iters", "1"],
      ["--loss-fn", "IBPolyaGamma", "--update", "cavi", "-e", "1", "--num-update-iters", "1"],
      ["--loss-fn", "MSE"], ["--head", "VBLL"],
      ["--head", "VBLL", "--parameterization", "diagonal"],
      ["--head", "VBLL", "--parameterization", "lowrank", "--tolerance", "0.1"],
      ["--vbll-type", "generative"], ["--task", "regression", "--prior", "ard"],
    ])
  func memory(method: [String]) throws {
    let directory = try TemporaryDirectory()
    let features = try OptionFixture.features(
      in: directory, rows: 1000, columns: 512, classes: 12)
    let words = ["--features", features, "--threads", "1"] + method
    let estimate = try #require(try RunChecks.ask([words])[0].memory_bytes)
    let peak = try finetune.peakMemory(words, directory: directory)
    #expect(peak > 30 << 20)
    #expect(estimate < 2 * peak && peak < 2 * estimate, "\(estimate >> 20) and \(peak >> 20) MiB")
  }

  @Test(
    "rows of 20,000 features take a few times their own memory, and the estimate says so",
    arguments: [["--loss-fn", "CrossEntropy"], ["--loss-fn", "MSE"], []])
  func wideMemory(method: [String]) throws {
    let directory = try TemporaryDirectory()
    let features = try OptionFixture.features(in: directory, rows: 50, columns: 20_000, classes: 3)
    let words = ["--features", features, "--threads", "1"] + method
    let estimate = try #require(try RunChecks.ask([words])[0].memory_bytes)
    let peak = try finetune.peakMemory(words, directory: directory)
    // The training rows are 4 MB; a D x D matrix would be 3 GB.
    #expect(peak < 200 << 20)
    #expect(estimate < 2 * peak && peak < 2 * estimate, "\(estimate >> 20) and \(peak >> 20) MiB")
  }

  @Test("directories of data and of backbones may come from the environment")
  func environment() throws {
    let lines = [
      ["--dataset", "cifar10", "--pretrained", "in21k"], ["--dataset", "digits"],
      ["--dataset", "cifar10", "--pretrained", "in21k", "--data-dir", "/given"],
    ]
    let without = try RunChecks.ask(lines)
    #expect(without[0].status == 64 && without[0].text.contains("BLLARSE_DATA_DIR"))
    let directory = try TemporaryDirectory()
    let with = try RunChecks.ask(lines, environment: ["BLLARSE_DATA_DIR": "/surely/not/here"])
    #expect(with.map(\.status) == [65, 0, 65])
    #expect(with[0].text.contains("/surely/not/here") && with[2].text.contains("/given"))
    try CIFARFixture.writeCIFAR10(to: directory)
    let models = try RunChecks.ask(
      [lines[0]],
      environment: ["BLLARSE_DATA_DIR": directory.path, "BLLARSE_MODEL_DIR": "/no/models"])
    #expect(models[0].status == 65 && models[0].text.contains("/no/models"), "\(models)")
  }
}
