import BllarseNumerics

// MARK: - Reading

extension ResidualMLP {
  /// How a file names the tensors.
  struct Names: Sendable {
    let embedding, classifier: String
    let norm, linear1, linear2: @Sendable (Int) -> String

    static let own = Names(
      embedding: "linear_embed", classifier: "fc", norm: { "layers.\($0).norm" },
      linear1: { "layers.\($0).linear1" }, linear2: { "layers.\($0).linear2" })
    /// The published PyTorch checkpoints.
    static let published = Names(
      embedding: "linear_in", classifier: "linear_out", norm: { "layernorms.\($0)" },
      linear1: { "blocks.\($0).block.0" }, linear2: { "blocks.\($0).block.2" })
  }

  /// Reads a backbone.
  ///
  /// Weights are (out, in). The metadata `num_blocks`, `embed_dim`, `in_chans`, `img_size`,
  /// `hidden_dim_ratio`, `layer_norm_eps`, `mean` and `std` (one number, or one for each channel
  /// separated by commas) are checked against the tensors, and inferred from them where missing.
  ///
  /// - Parameter path: a safetensors file with the tensors' names of this package or of the published
  ///   PyTorch checkpoints.
  /// - Throws: `DataError`, naming the tensor: one is missing, or its shape contradicts the metadata or
  ///   the other tensors.
  public init(path: String) throws(DataError) {
    let header = try BackboneHeader(path: path)
    let (file, names, sizes) = (header.file, header.names, header.configuration)
    configuration = sizes
    self.path = path
    embedding = try file.linear(names.embedding)
    var blocks: [Block] = []
    for index in 0..<sizes.blockCount {
      blocks.append(
        Block(
          gain: try file.vector(names.norm(index) + ".weight"),
          shift: try file.vector(names.norm(index) + ".bias"),
          linear1: try file.linear(names.linear1(index)),
          linear2: try file.linear(names.linear2(index))))
    }
    self.blocks = blocks
    classifier = header.classCount == nil ? nil : try file.linear(names.classifier)
  }
}

/// What the header of a backbone's file says.
///
/// Every tensor has the sizes that it must have. Weights are not read.
struct BackboneHeader: Sendable {
  let file: SafetensorsFile
  let names: ResidualMLP.Names
  let configuration: ResidualMLP.Configuration
  /// The classes of its own classifier, where it has one.
  let classCount: Int?

  /// Reads and checks a header.
  ///
  /// - Throws: `DataError`, as ``ResidualMLP/init(path:)``.
  init(path: String) throws(DataError) {
    file = try SafetensorsFile(path: path)
    let metadata = BackboneMetadata(file: file)
    try metadata.require("activation", "gelu")
    try metadata.require("mlp_type", "bottleneck")
    try metadata.require("layout", "c h w")

    names = file.contains("linear_in.weight") ? .published : .own
    let embedShape = try file.tensor(names.embedding + ".weight").shape
    guard embedShape.count == 2 else {
      throw file.unexpectedShape(names.embedding + ".weight", "a matrix (embed_dim, pixels)")
    }
    let embeddingSize = try metadata.integer("embed_dim") ?? embedShape[0]
    let (channels, imageSize) = try metadata.imageShape(
      pixels: embedShape[1], tensor: names.embedding + ".weight")
    let (file, names) = (file, names)
    let blockCount =
      try metadata.integer("num_blocks")
      ?? (0...).first { !file.contains(names.linear1($0) + ".weight") } ?? 0
    if file.contains(names.linear1(blockCount) + ".weight") {
      throw DataError(
        .wrongShape, file: path, key: names.linear1(blockCount) + ".weight",
        found: "there is a block \(blockCount)", expected: "\(blockCount) blocks (num_blocks)",
        advice: "correct the metadata")
    }
    var hiddenSize = 4 * embeddingSize
    if let ratio = try metadata.integer("hidden_dim_ratio") {
      hiddenSize = ratio * embeddingSize
    } else if blockCount > 0 {
      hiddenSize = try file.tensor(names.linear1(0) + ".weight").shape.first ?? hiddenSize
    }
    configuration = ResidualMLP.Configuration(
      channels: channels, imageSize: imageSize, embeddingSize: embeddingSize,
      blockCount: blockCount, hiddenSize: hiddenSize,
      layerNormEpsilon: try metadata.number("layer_norm_eps") ?? 1e-5,
      normalization: try metadata.normalization(channels: channels))

    try file.requireLinear(
      names.embedding, from: channels * imageSize * imageSize, to: embeddingSize)
    for index in 0..<blockCount {
      try file.requireVector(names.norm(index) + ".weight", count: embeddingSize)
      try file.requireVector(names.norm(index) + ".bias", count: embeddingSize)
      try file.requireLinear(names.linear1(index), from: embeddingSize, to: hiddenSize)
      try file.requireLinear(names.linear2(index), from: hiddenSize, to: embeddingSize)
    }
    guard file.contains(names.classifier + ".weight") else {
      classCount = nil
      return
    }
    let shape = try file.tensor(names.classifier + ".weight").shape
    let classes = try metadata.integer("num_classes") ?? shape.first ?? 0
    try file.requireLinear(names.classifier, from: embeddingSize, to: classes)
    classCount = classes
  }
}

extension SafetensorsFile {
  fileprivate func requireLinear(
    _ name: String, from inputs: Int, to outputs: Int
  ) throws(DataError) {
    guard try tensor(name + ".weight").shape == [outputs, inputs] else {
      throw unexpectedShape(name + ".weight", "(\(outputs), \(inputs))")
    }
    try requireVector(name + ".bias", count: outputs)
  }

  fileprivate func requireVector(_ name: String, count: Int) throws(DataError) {
    guard try tensor(name).shape == [count] else { throw unexpectedShape(name, "(\(count))") }
  }

  fileprivate func linear(_ name: String) throws(DataError) -> ResidualMLP.Linear {
    let weight = try matrix(name + ".weight", as: Float.self)
    if let (row, column) = weight.firstNonFinite {
      throw DataError(
        .notFinite, file: path, key: name + ".weight", row: row, column: column,
        found: "the weight is \(weight[row, column])", expected: "a finite number",
        advice: "export the backbone again")
    }
    return ResidualMLP.Linear(weight: weight, bias: try vector(name + ".bias"))
  }

  fileprivate func vector(_ name: String) throws(DataError) -> [Float] {
    let values: [Float] = try array(name)
    if let row = values.firstIndex(where: { !$0.isFinite }) {
      throw DataError(
        .notFinite, file: path, key: name, row: row, found: "the weight is \(values[row])",
        expected: "a finite number", advice: "export the backbone again")
    }
    return values
  }

  fileprivate func unexpectedShape(_ name: String, _ expected: String) -> DataError {
    let shape = tensors.first { $0.name == name }?.shape ?? []
    return DataError(
      .wrongShape, file: path, key: name,
      found: "the shape is (\(shape.map(String.init).joined(separator: ", ")))",
      expected: expected + " by the metadata and the other tensors",
      advice: "correct the metadata or export the backbone again")
  }
}
