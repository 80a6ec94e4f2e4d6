import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Residual MLP backbone")
struct ResidualMLPTests {
  @Test("features of all 1,797 digits agree with the reference to 1e-4")
  func digits() throws {
    let expected = try SafetensorsFile(
      path: Fixtures.path("digits/digits_backbone_features_expected.safetensors"))
    let reference: Matrix<Float> = try expected.matrix("features")
    let labels = try expected.labels("labels")
    // For every row of "train" and then of "test", its position in the published order of the images.
    let order = try SafetensorsFile(
      path: Fixtures.packageRoot + "/Sources/BllarseCore/Resources/digits/digits.safetensors"
    ).labels("order")
    let data = try DigitsDataset.images().features(through: DigitsDataset.backbone())
    #expect(Set(order) == Set(0..<1797))
    var row = 0
    var differences: [Float] = []
    for name in ["train", "test"] {
      let split = try data.split(name)
      guard case .float32(let features) = split.features.storage else {
        Issue.record("features are not in single precision")
        continue
      }
      for index in 0..<split.rowCount {
        let position = Int(order[row])
        #expect(labels[position] == split.labels[index])
        for column in 0..<features.columnCount {
          differences.append((features[index, column] - reference[position, column]).magnitude)
        }
        row += 1
      }
    }
    #expect(row == 1797)
    #expect(differences.count == 1797 * 128)
    #expect(differences.allSatisfy { $0 <= 1e-4 })
  }

  @Test("the number of threads changes no feature")
  func threads() throws {
    let images = try #require(try DigitsDataset.images()["test"]).images
    let backbone = try DigitsDataset.backbone()
    let one = try backbone.features(of: images, execution: Execution(threadCount: 1))
    let two = try backbone.features(of: images, execution: Execution(threadCount: 2))
    #expect(one == two)
  }

  @Test("the backbone's own classifier knows the digits, zero-shot")
  func zeroShot() throws {
    let split = try #require(try DigitsDataset.images()["test"])
    let backbone = try DigitsDataset.backbone()
    let logits = try #require(backbone.logits(of: backbone.features(of: split.images)))
    var correct = 0
    for (row, label) in split.labels.enumerated() {
      let scores = logits.row(row)
      if scores.firstIndex(of: scores.max() ?? 0) == Int(label) { correct += 1 }
    }
    #expect(Double(correct) / Double(split.labels.count) > 0.9)
  }
}

@Suite("Backbone files")
struct BackboneFileTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  static let metadata = [
    "num_blocks": "2", "embed_dim": "3", "in_chans": "1", "img_size": "2",
    "hidden_dim_ratio": "4", "activation": "gelu", "mean": "0.5", "std": "0.25",
  ]

  /// The tensors of a small backbone, by this package's names.
  static func tensors(blocks: Int = 2) -> [(name: String, shape: [Int])] {
    var tensors: [(String, [Int])] = [
      ("linear_embed.weight", [3, 4]), ("linear_embed.bias", [3]), ("fc.weight", [5, 3]),
      ("fc.bias", [5]),
    ]
    for block in 0..<blocks {
      tensors += [
        ("layers.\(block).norm.weight", [3]), ("layers.\(block).norm.bias", [3]),
        ("layers.\(block).linear1.weight", [12, 3]), ("layers.\(block).linear1.bias", [12]),
        ("layers.\(block).linear2.weight", [3, 12]), ("layers.\(block).linear2.bias", [3]),
      ]
    }
    return tensors
  }

  func write(
    _ metadata: [String: String] = metadata,
    _ tensors: [(name: String, shape: [Int])] = tensors(),
    rename: (String) -> String = { $0 }
  ) throws -> String {
    var writer = SafetensorsWriter(metadata: metadata)
    for (index, (name, shape)) in tensors.enumerated() {
      var generator = SplitMix64(seed: index)
      let count = shape.reduce(1, *)
      writer.add(
        rename(name), (0..<count).map { _ in Float(generator.normal()) }, shape: shape)
    }
    let path = directory.file("backbone.safetensors")
    try writer.write(to: path)
    return path
  }

  func expectFault(_ path: String, _ message: String) {
    #expect {
      try ResidualMLP(path: path)
    } throws: { error in
      #expect("\(error)" == "\(path): \(message)")
      return error is DataError
    }
  }

  @Test("both naming schemes give the same features, and one pixel at a time, by hand, too")
  func names() throws {
    let images = ImageSet(
      pixels: Matrix(rows: 2, columns: 4, elements: [0, 255, 17, 90, 3, 4, 5, 6]), channels: 1,
      height: 2, width: 2)
    let own = try ResidualMLP(path: write()).features(of: images)
    let published = try ResidualMLP(
      path: write(rename: { name in
        var name = name.replacing("linear_embed", with: "linear_in")
          .replacing("fc.", with: "linear_out.")
        for block in 0..<2 {
          name = name.replacing("layers.\(block).norm", with: "layernorms.\(block)")
            .replacing("layers.\(block).linear1", with: "blocks.\(block).block.0")
            .replacing("layers.\(block).linear2", with: "blocks.\(block).block.2")
        }
        return name
      })
    ).features(of: images)
    #expect(own == published)
    #expect(own.elements.allSatisfy { $0.isFinite })

    // The forward pass again, in double precision, written out.
    let file = try SafetensorsFile(path: write())
    func values(_ name: String) throws -> [Double] { try file.array(name) }
    func linear(_ name: String, _ x: [Double]) throws -> [Double] {
      let (weight, bias) = (try values(name + ".weight"), try values(name + ".bias"))
      return bias.indices.map { row in
        bias[row] + x.indices.reduce(0) { $0 + weight[row * x.count + $1] * x[$1] }
      }
    }
    var x = try linear("linear_embed", [0, 255, 17, 90].map { ($0 / 255 - 0.5) / 0.25 })
    for block in 0..<2 {
      let mean = x.reduce(0, +) / 3
      let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 3
      let gain = try values("layers.\(block).norm.weight")
      let shift = try values("layers.\(block).norm.bias")
      let normalized = x.indices.map {
        (x[$0] - mean) / (variance + 1e-5).squareRoot() * gain[$0] + shift[$0]
      }
      let hidden = try linear("layers.\(block).linear1", normalized).map {
        $0 * normalCDF($0)
      }
      x = zip(x, try linear("layers.\(block).linear2", hidden)).map { $0 + $1 }
    }
    #expect(relativeDifference(own.row(0).map { Double($0) }, x) < 1e-5)
  }

  /// Φ by its Taylor series, independent of the C library: φ(x) Σ x^(2n+1) / (1·3·…·(2n+1)) + ½.
  func normalCDF(_ x: Double) -> Double {
    var (term, sum) = (x, x)
    for n in 1..<400 {
      term *= x * x / Double(2 * n + 1)
      sum += term
    }
    var exponential = 1.0
    // exp(-x²/2) by repeated squaring of a short series.
    let small = -x * x / 2 / 1024
    exponential = 1 + small * (1 + small / 2 * (1 + small / 3 * (1 + small / 4 * (1 + small / 5))))
    for _ in 0..<10 { exponential *= exponential }
    return 0.5 + sum * exponential / 2.5066282746310002
  }

  @Test("what the metadata leave out is inferred from the tensors")
  func inferred() throws {
    let configuration = try ResidualMLP(path: write([:])).configuration
    #expect(configuration.channels == 1)
    #expect(configuration.imageSize == 2)
    #expect(configuration.embeddingSize == 3)
    #expect(configuration.blockCount == 2)
    #expect(configuration.hiddenSize == 12)
    #expect(configuration.normalization == nil)
    #expect(configuration.layerNormEpsilon == 1e-5)
  }

  @Test("shapes that contradict the metadata name the tensor")
  func contradictions() throws {
    let by = " by the metadata and the other tensors; correct the metadata or export the backbone "
    var metadata = Self.metadata
    metadata["embed_dim"] = "4"
    expectFault(
      try write(metadata),
      "linear_embed.weight: the shape is (3, 4), expected (4, 4)\(by)again")
    metadata = Self.metadata
    metadata["hidden_dim_ratio"] = "2"
    expectFault(
      try write(metadata),
      "layers.0.linear1.weight: the shape is (12, 3), expected (6, 3)\(by)again")
    metadata = Self.metadata
    metadata["num_classes"] = "10"
    expectFault(
      try write(metadata), "fc.weight: the shape is (5, 3), expected (10, 3)\(by)again")
    metadata = Self.metadata
    metadata["img_size"] = "3"
    expectFault(
      try write(metadata),
      "linear_embed.weight: the input has 4 pixels, expected the pixels of 1 x 3 x 3 (in_chans, "
        + "img_size); correct the metadata or export the backbone again")
    metadata = Self.metadata
    metadata["num_blocks"] = "1"
    expectFault(
      try write(metadata),
      "layers.1.linear1.weight: there is a block 1, expected 1 blocks (num_blocks); correct the "
        + "metadata")
    metadata["num_blocks"] = "3"
    #expect(throws: DataError.self) { try ResidualMLP(path: write(metadata)) }
  }

  @Test("metadata that say something else than this package computes are refused")
  func foreign() throws {
    var metadata = Self.metadata
    metadata["activation"] = "relu"
    expectFault(
      try write(metadata),
      "metadata activation: the value is 'relu', expected 'gelu'; only this kind of backbone is "
        + "supported")
    metadata = Self.metadata
    metadata["std"] = "0"
    expectFault(
      try write(metadata),
      "metadata std: the value is '0', expected positive numbers; correct the metadata")
    metadata["std"] = "1,2"
    expectFault(
      try write(metadata),
      "metadata std: the value is '1,2', expected one number, or one for each of 1 channels; "
        + "correct the metadata")
    metadata["std"] = "x"
    expectFault(
      try write(metadata),
      "metadata std: the value is 'x', expected numbers separated by commas; correct the metadata")
  }

  @Test("a missing tensor is named")
  func missing() throws {
    let path = try write(Self.metadata, Self.tensors().filter { $0.name != "layers.1.norm.bias" })
    #expect {
      try ResidualMLP(path: path)
    } throws: { error in
      "\(error)".hasPrefix("\(path): layers.1.norm.bias: there is no such tensor among ")
    }
  }

  @Test("images with other channels than the backbone's are an error")
  func channels() throws {
    let images = ImageSet(
      pixels: Matrix(rows: 1, columns: 12, repeating: 1), channels: 3, height: 2, width: 2)
    let backbone = try ResidualMLP(path: write())
    #expect {
      try backbone.features(of: images)
    } throws: { error in
      "\(error)".hasSuffix(
        "the images have 3 channels, expected 1, which the backbone was made for; choose another "
          + "backbone")
    }
  }
}
