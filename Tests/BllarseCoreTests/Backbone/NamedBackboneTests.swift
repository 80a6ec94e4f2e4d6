import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Backbones by name")
struct NamedBackboneTests {
  /// The table of the authors' repository (utils/download.py).
  @Test(
    "names are those of the published checkpoints",
    arguments: [
      (
        NamedBackbone.Pretraining.in21k, 1024, 12, "cifar10", "B_12-Wi_1024_res_64_in21k",
        "B-12_Wi-1024_res_64_imagenet21_epochs_800"
      ),
      (
        .in21k, 512, 12, "cifar10", "B_12-Wi_512_res_64_in21k",
        "B-12_Wi-512_res_64_imagenet21_epochs_600"
      ),
      (
        .in21k, 1024, 6, "cifar100", "B_6-Wi_1024_res_64_in21k",
        "B-6_Wi-1024_res_64_imagenet21_epochs_800"
      ),
      (
        .in21k, 512, 6, "digits", "B_6-Wi_512_res_64_in21k",
        "B-6_Wi-512_res_64_imagenet21_epochs_800"
      ),
      (
        .in21kCIFAR, 1024, 12, "cifar10", "B_12-Wi_1024_res_64_in21k_cifar10",
        "B-12_Wi-1024_res_64_cifar10_epochs_20"
      ),
      (
        .in21kCIFAR, 1024, 12, "cifar100", "B_12-Wi_1024_res_64_in21k_cifar100",
        "B-12_Wi-1024_res_64_cifar100_epochs_40"
      ),
      (
        .in21kCIFAR, 512, 12, "cifar100", "B_12-Wi_512_res_64_in21k_cifar100",
        "B-12_Wi-512_res_64_cifar100_epochs_20"
      ),
      (
        .in21kCIFAR, 1024, 6, "cifar100", "B_6-Wi_1024_res_64_in21k_cifar100",
        "B-6_Wi-1024_res_64_cifar100_epochs_20"
      ),
      (
        .in21kCIFAR, 512, 6, "cifar10", "B_6-Wi_512_res_64_in21k_cifar10",
        "B-6_Wi-512_res_64_cifar10_epochs_20"
      ),
    ])
  func names(
    pretraining: NamedBackbone.Pretraining, width: Int, blocks: Int, dataset: String, name: String,
    published: String
  ) {
    let backbone = NamedBackbone(
      pretraining: pretraining, embeddingSize: width, blockCount: blocks, dataset: dataset,
      directory: "models")
    #expect(backbone.name == name)
    #expect(backbone.publishedName == published)
    #expect(
      backbone.candidates == [
        "models/\(name).safetensors", "models/\(published).safetensors",
        "models/\(published)_weights.safetensors",
      ])
  }

  @Test("sizes that nobody published have one name")
  func other() {
    let backbone = NamedBackbone(embeddingSize: 16, blockCount: 1, dataset: "cifar10")
    #expect(backbone.publishedName == nil)
    #expect(backbone.candidates == [".checkpoints/B_1-Wi_16_res_64_in21k_cifar10.safetensors"])
  }

  private func message(_ backbone: NamedBackbone) -> String {
    do {
      _ = try backbone.load()
      return ""
    } catch { return "\(error)" }
  }

  @Test("a missing file is told with what is there, and how to make it")
  func missing() throws {
    let directory = try TemporaryDirectory()
    var backbone = NamedBackbone(dataset: "cifar10", directory: directory.file("none"))
    #expect(
      message(backbone)
        == "\(directory.path)/none: there is no such directory, expected "
        + "B_6-Wi_512_res_64_in21k_cifar10.safetensors or "
        + "B-6_Wi-512_res_64_cifar10_epochs_20.safetensors; download "
        + "B-6_Wi-512_res_64_cifar10_epochs_20_weights (github.com/gregorbachmann/scaling_mlps) and "
        + "convert it with Scripts/convert-backbone.py, or name another directory with --model-dir")
    backbone.directory = directory.path
    #expect(message(backbone).contains("the directory is empty or cannot be read"))
    for index in 0..<9 { try directory.write("file\(index)", []) }
    #expect(message(backbone).contains("the directory holds file0, file1, "))
    #expect(message(backbone).contains("file7 and 1 more"))
    try directory.write("B-6_Wi-512_res_64_cifar10_epochs_20_weights", [])
    #expect(
      message(backbone).hasSuffix(
        "; convert \(directory.path)/B-6_Wi-512_res_64_cifar10_epochs_20_weights to it with "
          + "Scripts/convert-backbone.py"))
    backbone.blockCount = 5
    #expect(message(backbone).hasSuffix("or the file itself with --backbone FILE"))
  }

  @Test("a file of another size than its name says is refused, with all that differs")
  func size() throws {
    let directory = try TemporaryDirectory()
    var backbone = NamedBackbone(
      embeddingSize: 3, blockCount: 2, dataset: "cifar10", directory: directory.path)
    var writer = SafetensorsWriter(metadata: BackboneFileTests.metadata)
    for (name, shape) in BackboneFileTests.tensors() {
      writer.add(name, [Float](repeating: 0.5, count: shape.reduce(1, *)), shape: shape)
    }
    let path = directory.file("B_2-Wi_3_res_64_in21k_cifar10.safetensors")
    try writer.write(to: path)
    #expect(
      message(backbone)
        == "\(path): the backbone has img_size 2, expected img_size 64; rename the file after what it "
        + "holds, or ask for that")
    backbone.embeddingSize = 4
    backbone.blockCount = 6
    try writer.write(to: directory.file("B_6-Wi_4_res_64_in21k_cifar10.safetensors"))
    #expect(
      message(backbone).contains(
        "the backbone has embed_dim 3, num_blocks 2, img_size 2, expected embed_dim 4, num_blocks 6, "
          + "img_size 64"))
  }
}

@Suite("Backbones with random weights")
struct RandomBackboneTests {
  private func backbone(seed: UInt64, width: Int = 12) -> ResidualMLP {
    ResidualMLP(
      random: ResidualMLP.Configuration(
        channels: 1, imageSize: 8, embeddingSize: width, blockCount: 2, hiddenSize: 4 * width,
        layerNormEpsilon: 1e-5, normalization: nil),
      seed: seed, name: "random")
  }

  @Test("weights are a function of the seed alone, uniform within one over the root of the inputs")
  func weights() throws {
    let one = backbone(seed: 137)
    #expect(one.digest == backbone(seed: 137).digest)
    #expect(one.digest != backbone(seed: 138).digest)
    let layers = [
      one.embedding, one.blocks[0].linear1, one.blocks[1].linear1, one.blocks[1].linear2,
    ]
    for layer in layers {
      let bound = 1 / Float(layer.weight.columnCount).squareRoot()
      let values = layer.weight.elements
      #expect(values.allSatisfy { $0.magnitude <= bound })
      // The variance of a uniform number is a third of the bound's square; 5 standard errors.
      let variance = values.reduce(0) { $0 + $1 * $1 } / Float(values.count)
      let error = 5 * (4.0 / 45 / Float(values.count)).squareRoot() * bound * bound
      #expect((variance - bound * bound / 3).magnitude < error)
    }
    #expect(one.blocks[0].linear1.weight != one.blocks[1].linear1.weight)
    let images = try #require(try DigitsDataset.images()["test"]).images
    let features = try one.features(of: images, execution: Execution(threadCount: 1))
    #expect(features.elements.allSatisfy { $0.isFinite })
    #expect(try backbone(seed: 137).features(of: images) == features)
  }

  @Test("the digest tells weights and sizes apart, wherever they differ")
  func digest() throws {
    let directory = try TemporaryDirectory()
    func digest(_ changed: String? = nil, metadata: [String: String] = [:]) throws -> String {
      var writer = SafetensorsWriter(
        metadata: BackboneFileTests.metadata.merging(metadata) { $1 })
      for (name, shape) in BackboneFileTests.tensors() {
        var values = [Float](repeating: 0.5, count: shape.reduce(1, *))
        if name == changed { values[values.count - 1] = 0.25 }
        writer.add(name, values, shape: shape)
      }
      try writer.write(to: directory.file("backbone.safetensors"))
      return try ResidualMLP(path: directory.file("backbone.safetensors")).digest
    }
    let plain = try digest()
    #expect(try digest() == plain)
    let names = BackboneFileTests.tensors().map(\.name).filter { !$0.hasPrefix("fc.") }
    for name in names { #expect(try digest(name) != plain, "\(name)") }
    #expect(try digest(metadata: ["mean": "0.25"]) != plain)
    #expect(try digest("fc.weight") == plain)
  }

  @Test("a linear head with the classifier's weights gives the classifier's scores")
  func classifier() throws {
    let backbone = try DigitsDataset.backbone()
    let images = try #require(try DigitsDataset.images()["test"]).images
    let features = try backbone.features(of: images)
    var head = LinearHead<CrossEntropyLoss>(featureCount: 128, classCount: 10)
    head.weights = try #require(backbone.classifierWeights)
    let scores = try head.logits(FeatureMatrix(features))
    let expected = try #require(backbone.logits(of: features))
    for (a, b) in zip(scores.elements, expected.elements) {
      #expect((a - b).magnitude <= 1e-4 * max(1, b.magnitude))
    }
    #expect(self.backbone(seed: 1).classifierWeights == nil)
  }
}
