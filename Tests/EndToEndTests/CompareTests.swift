import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("bllarse-finetune compare: heads side by side")
struct CompareTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private struct Table: Decodable {
    struct Head: Decodable {
      struct Excess: Decodable { let mean, lower, upper: Double }
      struct Ends: Decodable { let lower, upper: Double }
      let head: String
      let test: [String: Double]?
      let intervals: [String: Ends]?
      let nll_excess: Excess?
      let peak_bytes: Int?
      let failure: String?
    }
    let heads: [Head]
    let replicates: Int
  }

  private func compare(_ words: [String], _ format: String = "json") throws -> Outcome {
    try finetune.run(
      ["compare", "--threads", "1", "--format", format] + words, directory: directory.path)
  }
  private typealias Outcome = BuiltExecutable.Outcome

  private func table(_ outcome: Outcome) throws -> Table {
    #expect(outcome.status == 0, "\(outcome.errors)")
    return try JSONDecoder().decode(Table.self, from: Data(outcome.output.utf8))
  }

  @Test("all heads of the task, the best first, with the scores that their runs have")
  func classification() throws {
    let features = try OptionFixture.features(in: directory)
    let table = try table(compare(["--features", features, "--output", directory.file("out")]))
    let expected = HeadRegistry.methods.filter { $0.task == .classification }
      .flatMap { method in method.variants.map { _ in method.name } }
    #expect(
      table.heads.map { String($0.head.prefix { $0 != " " }) }.sorted() == expected.sorted())
    let excesses = table.heads.compactMap { $0.nll_excess?.mean }
    #expect(excesses.count == table.heads.count && excesses == excesses.sorted())
    #expect(excesses.first == 0)
    let best = try #require(table.heads.first)
    for head in table.heads {
      // The excess is the difference of the scores.
      let (nll, least) = (try #require(head.test?["nll"]), try #require(best.test?["nll"]))
      let excess = try #require(head.nll_excess)
      #expect(abs(excess.mean - (nll - least)) < 1e-5, "\(head.head)")
      #expect(excess.lower <= excess.mean && excess.mean <= excess.upper)
      let ends = try #require(head.intervals?["nll"])
      #expect(ends.lower <= nll && nll <= ends.upper)
      #expect(try #require(head.peak_bytes) > 1 << 22)
    }
    // Each is an ordinary run, whose files are there.
    let run = try finetune.run(
      ["--features", features, "--head", "MSE", "--threads", "1", "--output", "mse"],
      directory: directory.path)
    #expect(run.status == 0)
    let alone = try RunOutput.decode([String: Double].self, from: part("mse/result.json", "test"))
    #expect(table.heads.first { $0.head == "MSE" }?.test == alone)
    #expect(
      FileManager.default.fileExists(atPath: directory.file("out/heads/MSE/head.safetensors")))
    let csv = String(decoding: try directory.read("out/compare.csv"), as: UTF8.self)
    #expect(csv.split(separator: "\n").count == table.heads.count + 1)
    #expect(csv.hasPrefix("head,acc,acc_lower,acc_upper,nll,"))
  }

  @Test("a head of ordered classes takes part where it is named, with columns of its own")
  func ordered() throws {
    let features = try OptionFixture.features(in: directory)
    let both = ["--features", features, "--head", "OrderedProbit", "MSE"]
    let table = try table(compare(both))
    #expect(table.heads.map(\.head).sorted() == ["MSE", "OrderedProbit"])
    for head in table.heads {
      #expect((head.test?["rps"] != nil) == (head.head == "OrderedProbit"), "\(head)")
    }
    let csv = try compare(both, "csv").output.split(separator: "\n").first ?? ""
    #expect(csv.contains(",rps,") && csv.contains(",class_mae,"))
  }

  private func part(_ path: String, _ key: String) throws -> String {
    let json = try JSONSerialization.jsonObject(with: Data(directory.read(path))) as? [String: Any]
    return String(
      decoding: try JSONSerialization.data(withJSONObject: json?[key] as Any), as: UTF8.self)
  }

  @Test("what was fitted is kept, and fitted again when options or the file have changed")
  func goingOn() throws {
    let features = try OptionFixture.features(in: directory)
    let words = ["--features", features, "--head", "MSE", "CrossEntropy", "--output", "out"]
    func written(_ head: String) throws -> Date? {
      let path = directory.file("out/heads/\(head)/result.json")
      return try FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
    }
    let first = try compare(words)
    let (mse, entropy) = (try written("MSE"), try written("CrossEntropy"))
    try FileManager.default.removeItem(atPath: directory.file("out/heads/CrossEntropy/result.json"))
    let second = try compare(words)
    #expect(try table(first).heads.map(\.test) == table(second).heads.map(\.test))
    #expect(try written("MSE") == mse && written("CrossEntropy") != entropy)
    // Other options are another comparison's.
    let other = try compare(words + ["--seed", "3"])
    #expect(other.status == 65 && other.errors.contains("seed"), "\(other.errors)")
    // Another file of the same name is another comparison's, too, and its heads are fitted again, however old it is.
    _ = try OptionFixture.features(in: directory, seed: 9)
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: 1e9)], ofItemAtPath: features)
    let third = try compare(words)
    #expect(try table(third).heads.map(\.test) != table(first).heads.map(\.test))
  }

  @Test("sets of labels are predicted by every head of classes, in the words of the command line")
  func multilabel() throws {
    let features = directory.file("labels.safetensors")
    var generator = SplitMix64(seed: 2)
    var writer = SafetensorsWriter(metadata: ["label_names": #"["red", "round"]"#])
    for (name, count) in [("train", 60), ("test", 40)] {
      let x = (0..<3 * count).map { _ in Float(generator.normal()) }
      writer.add("X_\(name)", Matrix<Float>(rows: count, columns: 3, elements: x))
      let y = (0..<count).flatMap { row in
        (0..<2).map { Double(x[3 * row + $0]) + 0.5 * generator.normal() > 0 ? Int32(1) : 0 }
      }
      writer.add("y_\(name)", y, shape: [count, 2])
    }
    try writer.write(to: features)
    let words = ["--features", features, "--task", "multilabel", "--head", "softmax", "MSE"]
    let table = try table(compare(words))
    #expect(table.heads.map(\.head).sorted() == ["MSE", "softmax"])
    for head in table.heads {
      let scores = try #require(head.test)
      #expect(Set(scores.keys) == ["nll", "ece", "brier", "hamming_loss", "subset_acc"])
      let ends = try #require(head.intervals?["hamming_loss"])
      let loss = try #require(scores["hamming_loss"])
      #expect(ends.lower <= loss && loss <= ends.upper && loss < 0.35)
    }
    // Another word for it, and the stored head's own commands.
    let run = try finetune.run(
      [
        "--features", features, "--likelihood", "bernoulli", "--threads", "1", "--output", "out",
      ], directory: directory.path)
    #expect(run.status == 0, "\(run.errors)")
    #expect(run.errors.contains("--likelihood bernoulli is now --task multilabel"))
    #expect(run.output.contains("hamming_loss") && run.output.contains("left out; NLL"))
    for (words, text) in [
      (["evaluate"], "subset_acc"), (["predict", "--out", "p.csv"], "40 rows written"),
    ] {
      let outcome = try finetune.run(
        words + ["--head", "out/head.safetensors", "--features", features],
        directory: directory.path)
      #expect(outcome.status == 0 && outcome.output.contains(text), "\(outcome.errors)")
    }
    for (words, status) in [
      (["--calibration", "validation"], Int32(64)), (["--target", "none"], 65),
    ] {
      let refused = try finetune.run(
        ["--features", features, "--task", "multilabel"] + words, directory: directory.path)
      #expect(refused.status == status, "\(refused.errors)")
    }
  }

  @Test("target values, further fits, and the forms of the table")
  func regression() throws {
    let features = try OptionFixture.features(in: directory)
    let words = ["--features", features, "--task", "regression"]
    let table = try table(
      compare(
        words + [
          "--with", "--head gaussian --prior 1e+3", "--with", "--head gaussian --prior 1e-3",
        ]))
    #expect(
      Set(table.heads.map(\.head)) == [
        "gaussian", "gaussian --prior bayesian-ridge", "gaussian --prior ard",
        "gaussian --prior variational", "gaussian --prior 1e+3", "gaussian --prior 1e-3",
      ])
    #expect(table.heads.allSatisfy { $0.test?["crps"] != nil && $0.failure == nil })
    let text = try compare(words, "text")
    #expect(text.status == 0 && text.output.hasPrefix("head "))
    #expect(text.output.contains("best") && text.output.contains("paired bootstrap"))
    let csv = try compare(words, "csv")
    #expect(csv.output.hasPrefix("head,nll,nll_lower,nll_upper,crps,"))
  }

  @Test(
    "what cannot be compared is refused",
    arguments: [
      (["--head", "softmaxx"], 64, "softmaxx"), (["--head", "gaussian", "MSE"], 64, "one task"),
      (["--with", "--head MSE"], 64, "compared with itself"), (["--resume", "x"], 64, "--resume"),
      (["--with", "--l2 -1"], 64, "--l2"), (["--head", "MSE", "--group", "family"], 64, "--group"),
      (["--target", "none"], 65, "none_train"),
      (["--with", "--head MSE --max-train-samples 20"], 64, "the same for all"),
      (["--with", "--head MSE --output x"], 64, "the same for all"),
      (["--with", "--head gaussian"], 64, "one task"), (["--task", "ranking"], 64, "ranking"),
    ])
  func refused(words: [String], status: Int32, message: String) throws {
    let features = try OptionFixture.features(in: directory)
    let outcome = try compare(["--features", features] + words)
    #expect(outcome.status == status && outcome.errors.contains(message), "\(outcome.errors)")
    #expect(outcome.output.isEmpty)
  }

  @Test("heads that do not take an option that all are given are left out, and said to be")
  func leftOut() throws {
    let features = try OptionFixture.features(in: directory)
    let outcome = try compare(["--features", features, "--group", "family"])
    let heads = try table(outcome).heads.map(\.head)
    #expect(heads.contains("softmax") && !heads.contains("MSE"))
    #expect(outcome.errors.contains("MSE is left out: --group does not go with"))
  }

  @Test("a comparison that is told to stop ends with 75, and goes on with the heads that are left")
  func interrupted() throws {
    let features = try OptionFixture.features(in: directory, rows: 4000, columns: 60, classes: 8)
    let words = [
      "compare", "--features", features, "--head", "MSE", "softmax", "IBProbit", "--threads", "1",
      "--output", directory.file("out"),
    ]
    let process = Process()
    process.executableURL = URL(fileURLWithPath: finetune.path)
    process.arguments = words
    let errors = Pipe()
    (process.standardOutput, process.standardError) = (FileHandle.nullDevice, errors)
    try process.run()
    let first = directory.file("out/heads/softmax")
    for _ in 0..<6000 where !FileManager.default.fileExists(atPath: first) {
      Thread.sleep(forTimeInterval: 0.005)
    }
    kill(process.processIdentifier, SIGTERM)
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 75 && text.contains("go on with:"), "\(text)")
    let outcome = try finetune.run(words + ["--format", "json"], directory: directory.path)
    #expect(try table(outcome).heads.count == 3)
  }

  @Test("in MLflow it is a parent run with a child for each head")
  func tracked() throws {
    let server = try MLflowServer.start(in: directory.path, arguments: ["--workers", "1"])
    defer { withExtendedLifetime(server) {} }
    let features = try OptionFixture.features(in: directory)
    let outcome = try compare([
      "--features", features, "--head", "MSE", "CrossEntropy", "--enable-mlflow",
      "--mlflow-tracking-uri", server.address, "--uid", "both", "--output", directory.file("out"),
    ])
    _ = try table(outcome)
    let runs = try TrackedRuns(server: server).all()
    let parent = try #require(runs.first { $0.tags["is_parent"] == "true" })
    #expect(parent.info.run_name == "both" && parent.info.status == "FINISHED")
    #expect(parent.tags["mlflow.note.content"]?.contains("| MSE |") == true)
    let children = runs.filter { $0.tags["mlflow.parentRunId"] == parent.info.run_id }
    #expect(children.map(\.info.run_name).sorted() == ["CrossEntropy", "MSE"])
    #expect(children.allSatisfy { $0.info.status == "FINISHED" && $0.values["test.nll"] != nil })
  }
}
