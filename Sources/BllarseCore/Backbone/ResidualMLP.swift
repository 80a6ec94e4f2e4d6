public import BllarseNumerics

/// A frozen backbone: the residual bottleneck MLP ("scaling MLP"), forward only.
///
///     x ← W·flatten(image) + b
///     x ← x + linear2(GELU(linear1(LayerNorm(x))))     for each block
///
/// The features of an image are the last `x`, the input of the classifier `fc`.
///
/// - Note: Source: Bachmann, Anagnostidis and Hofmann, "Scaling MLPs: a tale of inductive bias",
///   NeurIPS 2023.
public struct ResidualMLP: Sendable {
  /// What the backbone was made for.
  public struct Configuration: Sendable, Equatable {
    /// The channels of an image, and its rows and columns, to which it is resized.
    public var channels, imageSize: Int
    /// The number of features, of residual blocks, and the width inside a block.
    public var embeddingSize, blockCount, hiddenSize: Int
    /// The constant in the layer normalisation.
    public var layerNormEpsilon: Double
    /// The channels' statistics; `nil` when the file has none.
    package var normalization: ChannelNormalization?
  }

  struct Linear: Sendable {
    let weight: Matrix<Float>  // (out, in)
    let bias: [Float]  // (out)
  }
  struct Block: Sendable {
    let gain: [Float]  // (embed)
    let shift: [Float]  // (embed)
    let linear1: Linear  // (hidden, embed)
    let linear2: Linear  // (embed, hidden)
  }

  /// What the backbone was made for.
  public let configuration: Configuration
  /// The file it came from.
  public let path: String
  let embedding: Linear  // (embed, channels · size · size)
  let blocks: [Block]
  let classifier: Linear?  // (classes, embed)

  /// The number of features of an image.
  public var featureCount: Int { configuration.embeddingSize }
}

// MARK: - Forward

extension ResidualMLP {
  /// Images in a block: enough for a product to run at speed, few enough to stay in cache.
  private static let blockSize = 128

  /// The features of images, N x `featureCount`.
  ///
  /// Images are scaled to [0, 1], perhaps changed at random, resized (bilinear, antialiased) and normalised (by
  /// the given statistics where the file has none) block by block, each block on one thread, so memory beyond
  /// the result is a block's for each thread.
  ///
  /// - Throws: `DataError.Code.wrongShape` when the channels differ. A cancelled computation returns
  ///   early, with rows of zeros.
  package func features(
    of images: ImageSet, normalization: ChannelNormalization? = nil,
    augmentation: EpochAugmentation? = nil,
    execution: Execution = .available
  ) throws(DataError) -> Matrix<Float> {
    try configuration.requireChannels(images.channels, of: path)
    let width = featureCount
    return Matrix(
      rows: images.count, columns: width, blockSize: Self.blockSize, execution: execution
    ) { range in
      guard !execution.isCancelled else { return .zeros(range.count, width) }
      var batch = images.images(range).batch
      if let augmentation { batch = batch.augmented(by: augmentation, rows: range) }
      batch = batch.resized(height: configuration.imageSize, width: configuration.imageSize)
      if let normalization = configuration.normalization ?? normalization {
        batch.normalize(normalization)
      }
      return forward(batch.pixels)
    }
  }

  /// The features, N x `featureCount`, of images, N x (channels · size · size), resized and normalised.
  func forward(_ input: Matrix<Float>) -> Matrix<Float> {
    let rows = input.rowCount
    var x = Matrix<Float>(rows: rows, columns: featureCount, repeating: 0)
    var normalized = x
    var hidden = Matrix<Float>(rows: rows, columns: configuration.hiddenSize, repeating: 0)
    embedding.apply(to: input, into: &x)
    for block in blocks {
      x.layerNormalize(
        into: &normalized, epsilon: configuration.layerNormEpsilon, gain: block.gain,
        shift: block.shift)
      block.linear1.apply(to: normalized, into: &hidden)
      hidden.formGELU()
      block.linear2.apply(to: hidden, into: &normalized)
      x.add(normalized)
    }
    return x
  }

  /// The scores that the backbone's own classifier gives to features, N x classes.
  ///
  /// - Returns: `nil` when the file has no classifier.
  public func logits(of features: Matrix<Float>) -> Matrix<Float>? {
    guard let classifier else { return nil }
    var result = Matrix<Float>(
      rows: features.rowCount, columns: classifier.bias.count, repeating: 0)
    classifier.apply(to: features, into: &result)
    return result
  }
}

extension ResidualMLP.Linear {
  /// `target = input · weightᵀ + bias`.
  func apply(to input: Matrix<Float>, into target: inout Matrix<Float>) {
    target.fillRows(with: bias)
    Matrix.multiply(input, weight, transposingB: true, into: &target, beta: 1)
  }
}

// MARK: - Reading

/// How a file names the tensors: as this package does, or as the published PyTorch checkpoints.
private struct TensorNames {
  let isPublished: Bool

  init(of file: SafetensorsFile) { isPublished = file.contains("linear_in.weight") }

  var embedding: String { isPublished ? "linear_in" : "linear_embed" }
  var classifier: String { isPublished ? "linear_out" : "fc" }
  func norm(_ block: Int) -> String {
    isPublished ? "layernorms.\(block)" : "layers.\(block).norm"
  }
  func linear1(_ block: Int) -> String {
    isPublished ? "blocks.\(block).block.0" : "layers.\(block).linear1"
  }
  func linear2(_ block: Int) -> String {
    isPublished ? "blocks.\(block).block.2" : "layers.\(block).linear2"
  }
}

extension ResidualMLP {
  /// Reads a backbone.
  ///
  /// Weights are (out, in). The metadata `num_blocks`, `embed_dim`, `in_chans`, `img_size`,
  /// `hidden_dim_ratio`, `layer_norm_eps`, `mean` and `std` (one number, or one for each channel
  /// separated by commas) are checked against the tensors, and inferred from them where missing. The tensors have
  /// the names of this package or of the published PyTorch checkpoints.
  ///
  /// - Throws: `DataError`, naming the tensor: one is missing, or its shape contradicts the metadata or
  ///   the other tensors.
  public init(path: String) throws(DataError) { try self.init(BackboneHeader(path: path)) }

  /// Reads the weights of a backbone.
  init(_ header: BackboneHeader) throws(DataError) {
    guard let file = header.file else { preconditionFailure("\(header.path) is no file") }
    let names = TensorNames(of: file)
    (configuration, path) = (header.configuration, header.path)
    embedding = try file.linear(names.embedding)
    blocks = try (0..<configuration.blockCount).map { (index) throws(DataError) in
      Block(
        gain: try file.finiteVector(names.norm(index) + ".weight"),
        shift: try file.finiteVector(names.norm(index) + ".bias"),
        linear1: try file.linear(names.linear1(index)),
        linear2: try file.linear(names.linear2(index)))
    }
    classifier = header.classCount == nil ? nil : try file.linear(names.classifier)
  }
}

/// The sizes of a backbone, as the header of its file says: weights are not read.
struct BackboneHeader: Sendable {
  /// The file, or what stands for it in messages.
  let path: String
  /// `nil` for random weights.
  let file: SafetensorsFile?
  let configuration: ResidualMLP.Configuration
  /// The classes of its own classifier, where it has one.
  let classCount: Int?

  /// Reads and checks a header: every tensor has the sizes that it must have.
  ///
  /// - Throws: `DataError`, as ``ResidualMLP/init(path:)``.
  init(path: String) throws(DataError) {
    let file = try SafetensorsFile(path: path)
    let names = TensorNames(of: file)
    (self.path, self.file) = (path, file)
    try file.require("activation", "gelu")
    try file.require("mlp_type", "bottleneck")
    try file.require("layout", "c h w")

    let embedShape = try file.tensor(names.embedding + ".weight").shape
    guard embedShape.count == 2 else {
      throw try file.unexpectedShape(names.embedding + ".weight", "a matrix (embed_dim, pixels)")
    }
    let embeddingSize = try file.size("embed_dim") ?? embedShape[0]
    let (channels, imageSize) = try file.imageShape(
      pixels: embedShape[1], tensor: names.embedding + ".weight")
    let blockCount =
      try file.size("num_blocks")
      ?? (0...).first { !file.contains(names.linear1($0) + ".weight") } ?? 0
    if file.contains(names.linear1(blockCount) + ".weight") {
      throw DataError(
        .wrongShape, file: path, key: names.linear1(blockCount) + ".weight",
        found: "there is a block \(blockCount)", expected: "\(blockCount) blocks (num_blocks)",
        advice: "correct the metadata")
    }
    var hiddenSize = 4 * embeddingSize
    if let ratio = try file.size("hidden_dim_ratio") {
      hiddenSize = ratio * embeddingSize
    } else if blockCount > 0 {
      hiddenSize = try file.tensor(names.linear1(0) + ".weight").shape.first ?? hiddenSize
    }
    configuration = ResidualMLP.Configuration(
      channels: channels, imageSize: imageSize, embeddingSize: embeddingSize,
      blockCount: blockCount, hiddenSize: hiddenSize,
      layerNormEpsilon: try file.parsed("layer_norm_eps", "a number from 0 on") {
        Double($0).flatMap { $0.isFinite && $0 >= 0 ? $0 : nil }
      } ?? 1e-5,
      normalization: try file.normalization(channels: channels))

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
    let classes = try file.size("num_classes") ?? shape.first ?? 0
    try file.requireLinear(names.classifier, from: embeddingSize, to: classes)
    classCount = classes
  }
}

/// The metadata and the tensors of a backbone.
extension SafetensorsFile {
  /// Refuses a file that announces something else than this package computes.
  fileprivate func require(_ key: String, _ value: String) throws(DataError) {
    guard let found = metadata[key], found != value else { return }
    throw DataError(
      .wrongType, file: path, key: "metadata \(key)", found: "the value is \(found.quoted())",
      expected: value.quoted(), advice: "only this kind of backbone is supported")
  }

  /// A metadata entry, if there is one.
  fileprivate func parsed<Value>(
    _ key: String, _ expected: String, _ parse: (String) -> Value?
  ) throws(DataError) -> Value? {
    guard let text = metadata[key] else { return nil }
    if let value = parse(text) { return value }
    throw DataError(
      .wrongType, file: path, key: "metadata \(key)", found: "the value is \(text.quoted())",
      expected: expected, advice: "correct the metadata")
  }

  fileprivate func size(_ key: String) throws(DataError) -> Int? {
    try parsed(key, "a positive integer") {
      Int($0).flatMap { (1...1_000_000).contains($0) ? $0 : nil }
    }
  }

  /// Channels and size of the images, which make up the width of the embedding.
  fileprivate func imageShape(
    pixels: Int, tensor: String
  ) throws(DataError) -> (channels: Int, size: Int) {
    let size = try size("img_size")
    let candidates = try self.size("in_chans").map { [$0] } ?? [3, 1]
    for channels in candidates {
      let side = size ?? Int(Double(pixels / channels).squareRoot())
      if channels * side * side == pixels { return (channels, side) }
    }
    let shape = size.map { "\(candidates[0]) x \($0) x \($0)" } ?? "square images"
    throw DataError(
      .wrongShape, file: path, key: tensor, found: "the input has \(pixels) pixels",
      expected: "the pixels of \(shape) (in_chans, img_size)",
      advice: "correct the metadata or export the backbone again")
  }

  /// Mean and standard deviation of each channel.
  fileprivate func normalization(channels: Int) throws(DataError) -> ChannelNormalization? {
    func numbers(_ key: String) throws(DataError) -> [Float]? {
      let separators: Set<Character> = [",", " ", "[", "]", "(", ")"]
      let values = try parsed(key, "numbers separated by commas") { text -> [Float]? in
        let parts = text.split(whereSeparator: separators.contains)
        let values = parts.compactMap { Float($0) }.filter(\.isFinite)
        return values.count == parts.count ? values : nil
      }
      return try parsed(key, "one number, or one for each of \(channels) channels") { _ in
        values.flatMap { [1, channels].contains($0.count) ? $0 : nil }
      }
    }
    guard let mean = try numbers("mean"), let deviation = try numbers("std") else { return nil }
    _ = try parsed("std", "as many numbers as mean has") { _ in
      mean.count == deviation.count ? true : nil
    }
    _ = try parsed("std", "positive numbers") { _ in
      deviation.allSatisfy { $0 > 0 } ? true : nil
    }
    return ChannelNormalization(mean: mean, standardDeviation: deviation)
  }

  fileprivate func requireLinear(
    _ name: String, from inputs: Int, to outputs: Int
  ) throws(DataError) {
    guard try tensor(name + ".weight").shape == [outputs, inputs] else {
      throw try unexpectedShape(name + ".weight", "(\(outputs), \(inputs))")
    }
    try requireVector(name + ".bias", count: outputs)
  }

  fileprivate func requireVector(_ name: String, count: Int) throws(DataError) {
    guard try tensor(name).shape == [count] else { throw try unexpectedShape(name, "(\(count))") }
  }

  fileprivate func linear(_ name: String) throws(DataError) -> ResidualMLP.Linear {
    let weight = try matrix(name + ".weight", as: Float.self)
    if let (row, column) = weight.firstNonFinite {
      throw notFinite(name + ".weight", weight[row, column], row, column)
    }
    return ResidualMLP.Linear(weight: weight, bias: try finiteVector(name + ".bias"))
  }

  fileprivate func finiteVector(_ name: String) throws(DataError) -> [Float] {
    let values: [Float] = try array(name)
    if let row = values.firstIndex(where: { !$0.isFinite }) {
      throw notFinite(name, values[row], row, nil)
    }
    return values
  }

  private func notFinite(_ name: String, _ value: Float, _ row: Int, _ column: Int?) -> DataError {
    DataError(
      .notFinite, file: path, key: name, row: row, column: column, found: "the weight is \(value)",
      expected: "a finite number", advice: "export the backbone again")
  }

  fileprivate func unexpectedShape(_ name: String, _ expected: String) throws(DataError)
    -> DataError
  {
    try stored(name).header.wrongShape(
      expected: expected + " by the metadata and the other tensors",
      advice: "correct the metadata or export the backbone again")
  }
}

// MARK: - Random weights

extension ResidualMLP {
  /// A backbone that nothing was taught: weights and biases uniform within ±1/√inputs, as PyTorch and
  /// equinox start theirs, normalisations that change nothing.
  ///
  /// The same seed gives the same weights, on every machine; the name stands for the file in messages.
  public init(random configuration: Configuration, seed: UInt64, name: String) {
    var layers: UInt64 = 0
    func linear(from inputs: Int, to outputs: Int) -> Linear {
      layers += 1
      var generator = Philox(seed: seed, purpose: .weights, index: layers)
      let bound = 1 / Double(inputs).squareRoot()
      func values(_ count: Int) -> [Float] {
        (0..<count).map { _ in Float((2 * generator.uniform() - 1) * bound) }
      }
      return Linear(
        weight: Matrix(rows: outputs, columns: inputs, elements: values(outputs * inputs)),
        bias: values(outputs))
    }
    self.configuration = configuration
    path = name
    let (width, hidden) = (configuration.embeddingSize, configuration.hiddenSize)
    let side = configuration.imageSize
    embedding = linear(from: configuration.channels * side * side, to: width)
    blocks = (0..<configuration.blockCount).map { _ in
      Block(
        gain: [Float](repeating: 1, count: width), shift: [Float](repeating: 0, count: width),
        linear1: linear(from: width, to: hidden), linear2: linear(from: hidden, to: width))
    }
    classifier = nil
  }

  /// Eight hexadecimal digits that tell backbones apart: a CRC-32 of the sizes and all weights but the
  /// classifier's.
  public var digest: String {
    var sum = CRC32()
    func add(_ vector: [Float]) { vector.withUnsafeBytes { sum.update($0) } }
    func add(_ linear: Linear) {
      add(linear.weight.elements)
      add(linear.bias)
    }
    let sizes = configuration
    add([Float(sizes.channels), Float(sizes.imageSize), Float(sizes.layerNormEpsilon)])
    if let statistics = sizes.normalization {
      add(statistics.mean)
      add(statistics.standardDeviation)
    }
    add(embedding)
    for block in blocks {
      add(block.gain)
      add(block.shift)
      add(block.linear1)
      add(block.linear2)
    }
    return sum.text
  }

  /// The weights of the backbone's own classifier as a linear head has them: (embed + 1) x classes, the
  /// biases in the last row; `nil` when there is none.
  var classifierWeights: Matrix<Float>? {
    guard let classifier else { return nil }
    return Matrix(
      rows: classifier.weight.columnCount + 1, columns: classifier.bias.count,
      elements: classifier.weight.transposed().elements + classifier.bias)
  }
}
