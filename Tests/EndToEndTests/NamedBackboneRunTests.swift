import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("bllarse-finetune with a backbone by name")
struct NamedBackboneRunTests {
  private let directory: TemporaryDirectory
  private var models: String { directory.file("models") }

  init() throws {
    directory = try TemporaryDirectory()
    try CIFARFixture.writeCIFAR10(to: directory)
    try BackboneFixture(imageSize: 64, classes: 10)
      .write(to: models + "/B_1-Wi_16_res_64_in21k_cifar10.safetensors")
    try BackboneFixture(imageSize: 64, classes: 21, hasMetadata: false, seed: 13)
      .write(to: models + "/B_1-Wi_16_res_64_in21k.safetensors")
  }

  private var data: [String] {
    ["--dataset", "cifar10", "--data-dir", directory.path, "--threads", "1"]
  }
  private var size: [String] { ["--embed-dim", "16", "--num-blocks", "1"] }
  private var named: [String] { data + size + ["--model-dir", models] }

  private func run(_ arguments: [String], _ output: String? = nil) throws
    -> BuiltExecutable.Outcome
  {
    try finetune.run(
      arguments + (output.map { ["--output", directory.file($0)] } ?? []),
      directory: directory.path)
  }

  private func scores(
    _ output: String, _ file: String = "result.json"
  ) throws -> [String: [String: Double]] {
    struct Result: Decodable { let train, test: [String: Double] }
    let result = try JSONDecoder().decode(
      Result.self,
      from: Data(contentsOf: URL(fileURLWithPath: directory.file("\(output)/\(file)"))))
    return ["train": result.train, "test": result.test]
  }

  private func expectError(
    _ arguments: [String], status: Int32 = 65, _ texts: String...
  ) throws {
    let outcome = try run(arguments)
    #expect(outcome.status == status, "\(outcome.errors)")
    #expect(outcome.errorLines.count == 1, "\(outcome.errors)")
    for text in texts { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
  }

  @Test("the file is found by name, and gives what --backbone with that file gives")
  func found() throws {
    let method = ["--loss-fn", "MSE", "--l2", "1"]
    for (index, pretrained) in ["in21k", "in21k_cifar"].enumerated() {
      let byName = try run(named + method + ["--pretrained", pretrained], "name\(index)")
      #expect(byName.status == 0, "\(byName.errors)")
      let suffix = pretrained == "in21k" ? "in21k" : "in21k_cifar10"
      let file = "\(models)/B_1-Wi_16_res_64_\(suffix).safetensors"
      #expect(try run(data + method + ["--backbone", file], "file\(index)").status == 0)
      #expect(try scores("name\(index)") == scores("file\(index)"))
      let head = try SafetensorsFile(path: directory.file("name\(index)/head.safetensors"))
      #expect(head.metadata["backbone"] == file)
      #expect(head.metadata["backbone_digest"] == (try ResidualMLP(path: file).digest))
    }
    #expect(try scores("name0") != scores("name1"))
    // The default is in21k_cifar, in the directory of the original.
    try FileManager.default.moveItem(atPath: models, toPath: directory.file(".checkpoints"))
    #expect(try run(data + size + method, "default").status == 0)
    #expect(try scores("default") == scores("name1"))
  }

  @Test("with in21k_cifar steps start from the classifier, with --reinitialize from zero")
  func start() throws {
    // A step too small to change anything shows the start.
    let steps = ["--loss-fn", "CrossEntropy", "-o", "adamw", "-lr", "1e-30", "-wd", "0", "-e", "1"]
    let warm = try run(named + steps, "warm")
    #expect(
      warm.status == 0 && warm.errors.contains("starts from the classifier"), "\(warm.errors)")
    let backbone = try ResidualMLP(path: models + "/B_1-Wi_16_res_64_in21k_cifar10.safetensors")
    let test = try #require(CIFARDataset.cifar10.load(from: directory.path)["test"])
    let features = try backbone.features(of: test.images, normalization: .cifar)
    let logits = try #require(backbone.logits(of: features))
    var nll = 0.0
    for (row, label) in test.labels.enumerated() {
      let values = logits.row(row).map(Double.init)
      let largest = values.max() ?? 0
      let total = values.reduce(0) { $0 + exp($1 - largest) }
      nll += largest + log(total) - values[Int(label)]
    }
    nll /= Double(test.labels.count)
    #expect(abs(try #require(scores("warm")["test"]?["nll"]) - nll) < 1e-4)

    let cold = try run(named + steps + ["--reinitialize"], "cold")
    #expect(cold.status == 0 && !cold.errors.contains("starts from"), "\(cold.errors)")
    #expect(abs(try #require(scores("cold")["test"]?["nll"]) - log(10)) < 1e-6)
    // Backbones that were not trained on the data set have no classifier for it.
    let other = try run(named + steps + ["--pretrained", "in21k"], "other")
    #expect(other.status == 0 && !other.errors.contains("starts from"), "\(other.errors)")
    let optimum = try run(named + ["--loss-fn", "MSE", "--reinitialize"])
    #expect(optimum.errors.contains("--reinitialize has no effect"), "\(optimum.errors)")
  }

  @Test(
    "evaluate takes the backbone of the run, and refuses another one", arguments: [false, true])
  func evaluate(isRandom: Bool) throws {
    let backbone =
      isRandom ? size + ["--pretrained", "random"] : size + ["--model-dir", models]
    let fitted = try run(data + backbone + ["--loss-fn", "MSE", "--l2", "1", "--seed", "5"], "out")
    #expect(fitted.status == 0, "\(fitted.errors)")
    let head = ["evaluate", "--head", directory.file("out/head.safetensors")]
    for more in [[], backbone] {
      let again = try run(head + data + more, "again")
      #expect(again.status == 0, "\(again.errors)")
      #expect(try scores("again", "evaluation.json") == scores("out"))
    }
    try BackboneFixture(seed: 77).write(to: directory.file("other.safetensors"))
    try expectError(
      head + data + ["--backbone", directory.file("other.safetensors")], "other.safetensors",
      "the backbone's weights have the digest", "give the backbone of the run")
  }

  @Test("random weights come from the seed, and a run on them that is interrupted goes on")
  func random() throws {
    let steps =
      data + size + ["--pretrained", "random", "--update", "merge", "-bs", "25", "-e", "30"]
      + ["--nodataaug"]
    for name in ["one", "two"] { #expect(try run(steps, name).status == 0) }
    #expect(try directory.read("one/head.safetensors") == directory.read("two/head.safetensors"))
    #expect(try run(steps + ["--seed", "9"], "nine").status == 0)
    #expect(try scores("nine") != scores("one"))

    let process = Process()
    process.executableURL = URL(fileURLWithPath: finetune.path)
    process.arguments = steps + ["--output", directory.file("cut")]
    try directory.write("log", [])
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle(forWritingAtPath: directory.file("log"))
    try process.run()
    let end = Date() + 120
    while Date() < end, process.isRunning,
      !String(decoding: try directory.read("log"), as: UTF8.self).contains("epoch 2 ")
    { Thread.sleep(forTimeInterval: 0.005) }
    kill(process.processIdentifier, SIGTERM)
    // It may have been over before the signal came.
    #expect([75, 0].contains(process.finish()))
    let resumed = try finetune.run(steps + ["--resume", directory.file("cut")])
    #expect(resumed.status == 0, "\(resumed.errors)")
    #expect(try directory.read("cut/head.safetensors") == directory.read("one/head.safetensors"))
    let other = try finetune.run(
      data + [
        "--embed-dim", "8", "--num-blocks", "1", "--pretrained", "random", "--update", "merge",
      ]
        + ["-bs", "25", "-e", "30", "--nodataaug", "--resume", directory.file("cut")])
    #expect(other.status == 65 && other.errors.contains("embed_dim"), "\(other.errors)")
  }

  @Test("MLflow is told the real backbone's size, whether or not the file's metadata have it")
  func tracked() throws {
    try BackboneFixture(blocks: 2, hasMetadata: false)
      .write(to: directory.file("bare.safetensors"))
    let cases = [
      ("bare", ["--backbone", directory.file("bare.safetensors")], "16", "2", "bare"),
      ("named", size + ["--model-dir", models, "--pretrained", "in21k"], "16", "1", "in21k"),
      (
        "random", ["--embed-dim", "8", "--num-blocks", "3", "--pretrained", "random"], "8", "3",
        "random"
      ),
    ]
    let environment = ["HOME": directory.path]
    for (name, options, _, _, _) in cases {
      let outcome = try Program("bllarse-finetune").run(
        data + options + ["--loss-fn", "MSE", "--l2", "1", "--enable-mlflow", "--uid", name],
        in: directory.path, environment: environment)
      #expect(outcome.status == 0, "\(outcome.error)")
    }
    struct Row: Decodable {
      let name: String
      let parameters: [String: String]
    }
    let list = try Program("bllarse-mlflow").run(
      ["runs", "bllarse", "--format", "json"], in: directory.path, environment: environment)
    let rows = try JSONDecoder().decode([Row].self, from: Data(list.output.utf8))
    for (name, _, width, blocks, pretrained) in cases {
      let found = try #require(rows.first { $0.name == name }).parameters
      #expect(found["embed_dim"] == width && found["num_blocks"] == blocks, "\(name): \(found)")
      #expect(found["pretrained"] == pretrained, "\(name): \(found)")
    }
  }

  @Test("files that are missing or of another size are an error of one line")
  func faults() throws {
    try expectError(
      data + ["--pretrained", "in21k", "--model-dir", models],
      "\(models): the directory holds B_1-Wi_16",
      "expected B_6-Wi_512_res_64_in21k.safetensors", "Scripts/convert-backbone.py")
    try BackboneFixture(imageSize: 64, width: 8)
      .write(to: models + "/B_2-Wi_16_res_64_in21k.safetensors")
    try expectError(
      data + ["--embed-dim", "16", "--num-blocks", "2", "--pretrained", "in21k"]
        + ["--model-dir", models], "B_2-Wi_16_res_64_in21k.safetensors",
      "the backbone has embed_dim 8, num_blocks 1, expected embed_dim 16, num_blocks 2")
    try BackboneFixture().write(to: directory.file("plain.safetensors"))
    try expectError(
      data + ["--backbone", directory.file("plain.safetensors"), "--embed-dim", "512"],
      "plain.safetensors", "the backbone has embed_dim 16, expected embed_dim 512")
    let steps = ["--loss-fn", "CrossEntropy", "-o", "adam"]
    let path = models + "/B_1-Wi_16_res_64_in21k_cifar10.safetensors"
    try BackboneFixture(imageSize: 64, classes: 100).write(to: path)
    try expectError(named + steps, "the classifier has 100 classes", "--reinitialize")
    try BackboneFixture(imageSize: 64).write(to: path)
    try expectError(named + steps, "the backbone has no classifier", "--reinitialize")
    #expect(try run(named + steps + ["--reinitialize", "-e", "1"]).status == 0)
  }

  @Test("command lines that contradict themselves are refused before anything is read")
  func usage() throws {
    let all = [
      (["--backbone", "f", "--pretrained", "in21k"], "exclude one another"),
      (["--pretrained", "in22k"], "in21k"), (["--embed-dim", "0"], "--embed-dim is 0"),
      (["--num-blocks", "six"], "num-blocks"),
      (["--pretrained", "random", "--model-dir", "m"], "--model-dir goes with"),
      (["--backbone", "f", "--model-dir", "m"], "--model-dir goes with"),
    ]
    for (options, text) in all { try expectError(data + options, status: 64, text) }
    try expectError(
      ["--pretrained", "in21k_cifar"], status: 64, "goes with --dataset cifar10 or cifar100")
    try expectError(
      ["--features", "f", "--embed-dim", "512"], status: 64, "--embed-dim needs images")
  }
}

@Suite("Scripts/convert-backbone.py")
struct ConvertBackboneTests {
  private let directory: TemporaryDirectory
  private let script = Fixtures.packageRoot + "/Scripts/convert-backbone.py"

  init() throws { directory = try TemporaryDirectory() }

  private func convert(_ arguments: String...) throws -> Program.Output {
    try Program(path: script).run(arguments, in: directory.path)
  }

  @Test("a checkpoint that PyTorch wrote becomes a backbone with the same numbers")
  func checkpoint() throws {
    let source = directory.file("B-6_Wi-512_res_64_cifar10_epochs_20_weights")
    try FileManager.default.copyItem(atPath: Fixtures.path("backbone/tiny_weights"), toPath: source)
    let outcome = try convert(source)
    #expect(outcome.status == 0, "\(outcome.error)")
    #expect(outcome.output.contains("embed_dim 8, num_blocks 2, 10 classes"))
    let file = try SafetensorsFile(path: source + ".safetensors")
    let expected = try JSONDecoder().decode(
      [String: [Double]].self,
      from: Data(contentsOf: URL(fileURLWithPath: Fixtures.path("backbone/tiny.json"))))
    #expect(Set(file.tensors.map(\.name)) == Set(expected.keys))
    for (name, values) in expected {
      let found: [Double] = try file.array(name)
      #expect(found == values, "\(name)")
    }
    let backbone = try ResidualMLP(path: source + ".safetensors")
    #expect(backbone.configuration.embeddingSize == 8 && backbone.configuration.blockCount == 2)
    #expect(backbone.configuration.imageSize == 4 && backbone.configuration.channels == 3)
    #expect(directory.contents.count == 2)
  }

  @Test("other files are refused in one line, and code in them is not run")
  func refused() throws {
    try directory.write("page", Array("<!DOCTYPE html>".utf8))
    let page = try convert("page")
    #expect(page.status == 65 && page.error.contains("no zip archive"), "\(page.error)")
    #expect(page.error.split(separator: "\n").count == 1)
    try directory.write(
      "evil.py",
      Array(
        """
        import pickle, zipfile, os
        class Evil:
            def __reduce__(self):
                return os.system, ("touch harm",)
        with zipfile.ZipFile("evil", "w") as archive:
            archive.writestr("evil/data.pkl", pickle.dumps({"linear_in.weight": Evil()}))
        """.utf8))
    #expect(
      try Program(path: "/usr/bin/env").run(["python3", "evil.py"], in: directory.path).status == 0)
    let evil = try convert("evil")
    #expect(evil.status == 65 && evil.error.contains("the file asks for"), "\(evil.error)")
    #expect(!FileManager.default.fileExists(atPath: directory.file("harm")))
    #expect(try convert("nothing").status == 65)
    #expect(try convert().status == 64)
  }
}
