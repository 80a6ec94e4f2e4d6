import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("bllarse-finetune on CIFAR")
struct CIFARRunTests {
  private let directory: TemporaryDirectory
  private let backbone: String

  init() throws {
    directory = try TemporaryDirectory()
    backbone = directory.file("backbone.safetensors")
    try BackboneFixture().write(to: backbone)
  }

  private func arguments(_ dataset: String = "cifar10", _ more: [String] = []) -> [String] {
    ["--dataset", dataset, "--data-dir", directory.path, "--backbone", backbone, "--threads", "1"]
      + more
  }

  private func scores(_ output: String) throws -> [String: [String: Double]] {
    struct Result: Decodable { let train, test: [String: Double] }
    let data = try Data(contentsOf: URL(fileURLWithPath: output + "/result.json"))
    let result = try JSONDecoder().decode(Result.self, from: data)
    return ["train": result.train, "test": result.test]
  }

  /// Has OpenBLAS take the kernels in the program that it took in this process, where they are a choice: the program
  /// chooses better ones for a processor that OpenBLAS does not know, and products differ in their last bits then.
  private static var kernels: [String: String] {
    let words = LinearAlgebraLibrary.description.split(separator: " ")
    guard words.contains("DYNAMIC_ARCH"), let core = words.last(where: { !$0.contains("=") }) else {
      return [:]
    }
    return ["OPENBLAS_CORETYPE": String(core)]
  }

  /// Runs, and gives the scores of both splits.
  private func run(
    _ arguments: [String], _ name: String, environment: [String: String] = [:]
  ) throws -> [String: [String: Double]] {
    let output = directory.file(name)
    let outcome = try finetune.run(arguments + ["--output", output], environment: environment)
    #expect(outcome.status == 0, "\(outcome.errors)")
    return try scores(output)
  }

  @Test("images become the backbone's features, and those become a head")
  func features() throws {
    try CIFARFixture.writeCIFAR10(to: directory)
    let found = try run(arguments(), "out", environment: Self.kernels)
    #expect(try #require(found["test"]?["acc"]) > 0.6)
    // The same by hand: the features in a file.
    let data = try CIFARDataset.cifar10.load(from: directory.path)
    var writer = SafetensorsWriter()
    for name in ["train", "test"] {
      let split = try #require(data[name])
      writer.add(
        "X_\(name)",
        try ResidualMLP(path: backbone).features(
          of: split.images, normalization: .cifar, execution: Execution(threadCount: 1)))
      writer.add("y_\(name)", split.labels)
    }
    try writer.write(to: directory.file("features.safetensors"))
    let byHand = try run(
      ["--features", directory.file("features.safetensors"), "--threads", "1"], "byhand",
      environment: Self.kernels)
    #expect(found == byHand)

    let head = try SafetensorsFile(path: directory.file("out/head.safetensors"))
    #expect(head.metadata["class_names"]?.contains("kind 7") == true)
    let evaluated = try finetune.run(
      ["evaluate", "--head", directory.file("out/head.safetensors")] + arguments()
        + ["--output", directory.file("again")], environment: Self.kernels)
    #expect(evaluated.status == 0, "\(evaluated.errors)")
    let again = try JSONDecoder().decode(
      [String: [String: Double]].self,
      from: Data(contentsOf: URL(fileURLWithPath: directory.file("again/evaluation.json"))))
    #expect(again == found)
  }

  @Test("epochs of batches see other images each time, unless --nodataaug is given")
  func augmentation() throws {
    try CIFARFixture.writeCIFAR10(to: directory)
    let steps = ["--loss-fn", "CrossEntropy", "-o", "adamw", "-bs", "50", "-lr", "0.05", "-e", "6"]
    let plain = try run(arguments("cifar10", steps + ["--nodataaug"]), "plain")
    let changed = try run(arguments("cifar10", steps), "changed")
    #expect(plain != changed)
    #expect(try #require(changed["test"]?["acc"]) > 0.3)
    #expect(try run(arguments("cifar10", steps), "again") == changed)
    // Fits to the optimum, and sites, take images as they are.
    for (index, method) in [["--update", "sites"], ["--loss-fn", "CrossEntropy"]].enumerated() {
      let method = method + ["-e", "2"]
      let kept = try run(arguments("cifar10", method + ["--nodataaug"]), "kept\(index)")
      #expect(try run(arguments("cifar10", method), "same\(index)") == kept)
    }
  }

  @Test("a run on changed images that is interrupted goes on with the same ones")
  func resume() throws {
    try CIFARFixture.writeCIFAR10(to: directory)
    let steps = ["--update", "merge", "-bs", "25", "--num-update-iters", "40", "-e", "30"]
    let reference = try run(arguments("cifar10", steps), "reference")
    let output = directory.file("output")
    let process = Process()
    process.executableURL = URL(fileURLWithPath: finetune.path)
    process.arguments = arguments("cifar10", steps) + ["--output", output]
    let log = directory.file("log")
    try Data().write(to: URL(fileURLWithPath: log))
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle(forWritingAtPath: log)
    try process.run()
    for _ in 0..<4000 {
      if try String(contentsOfFile: log, encoding: .utf8).contains("epoch 2 ") { break }
      Thread.sleep(forTimeInterval: 0.005)
    }
    kill(process.processIdentifier, SIGTERM)
    #expect(process.finish() == 75)
    let resumed = try finetune.run(arguments("cifar10", steps) + ["--resume", output])
    #expect(resumed.status == 0, "\(resumed.errors)")
    #expect(try scores(output) == reference)
    let heads = try ["reference", "output"].map { name in
      try Data(contentsOf: URL(fileURLWithPath: directory.file(name) + "/head.safetensors"))
    }
    #expect(heads[0] == heads[1])
  }

  @Test("CIFAR-100 is read by its fine labels")
  func cifar100() throws {
    let folder = "cifar-100-binary"
    try FileManager.default.createDirectory(
      atPath: directory.file(folder), withIntermediateDirectories: true)
    try directory.write(
      folder + "/train.bin", CIFARFixture.records(300, classes: 100, labelBytes: 2, seed: 1))
    try directory.write(
      folder + "/test.bin", CIFARFixture.records(100, classes: 100, labelBytes: 2, seed: 2))
    let output = directory.file("out")
    let outcome = try finetune.run(
      arguments("cifar100", ["--loss-fn", "MSE", "--l2", "1", "--output", output]))
    #expect(outcome.status == 0, "\(outcome.errors)")
    let head = try SafetensorsFile(path: output + "/head.safetensors")
    #expect(head.metadata["class_count"] == "100")
  }

  // MARK: - Bad input

  private func expectError(_ arguments: [String], status: Int32 = 65, _ texts: [String]) throws {
    let outcome = try finetune.run(arguments)
    #expect(outcome.status == status, "\(outcome.errors)")
    #expect(outcome.errorLines.count == 1, "\(outcome.errors)")
    for text in texts { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
  }

  @Test("missing and damaged files are an error of one line that says what to do")
  func faults() throws {
    try expectError(
      arguments(), ["there is no test_batch.bin here nor in cifar-10-batches-bin", "unpack"])
    try expectError(
      [
        "--dataset", "cifar100", "--data-dir", directory.file("nowhere"), "--backbone", backbone,
      ], ["nowhere", "cifar-100-binary.tar.gz"])
    try CIFARFixture.writeCIFAR10(to: directory)
    let path = "cifar-10-batches-bin/data_batch_3.bin"
    let sound = try directory.read(path)
    try directory.write(path, Array(sound.dropLast(100)))
    try expectError(arguments(), ["data_batch_3.bin", "whole records of 3073 bytes"])
    try directory.write(path, [200] + sound.dropFirst())
    try expectError(arguments(), ["data_batch_3.bin", "row 0", "the label is 200"])
    try directory.remove(path)
    try expectError(arguments(), ["data_batch_3.bin", "does not exist"])
    try directory.write(path, sound)
    try BackboneFixture(channels: 1).write(to: backbone)
    try expectError(arguments(), ["backbone.safetensors", "the images have 3 channels"])
    try directory.remove("backbone.safetensors")
    try expectError(arguments(), ["backbone.safetensors", "does not exist"])
  }

  @Test("a command line that cannot work is refused before anything is read")
  func usage() throws {
    try expectError(
      ["--dataset", "cifar10", "--backbone", backbone], status: 64, ["needs --data-dir"])
    try expectError(
      ["--dataset", "cifar10", "--data-dir", directory.path], status: 64, ["needs --backbone"])
    try expectError(
      ["--dataset", "digits", "--data-dir", directory.path], status: 64, ["--data-dir goes with"])
    try expectError(["--dataset", "cifar"], status: 64, ["digits, cifar10, cifar100"])
  }
}
