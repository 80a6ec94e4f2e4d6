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
    /// The number of channels of an image.
    public var channels: Int
    /// Images are resized to this many rows and columns.
    public var imageSize: Int
    /// The number of features.
    public var embeddingSize: Int
    /// The number of residual blocks.
    public var blockCount: Int
    /// The width inside a block.
    public var hiddenSize: Int
    /// The constant in the layer normalisation.
    public var layerNormEpsilon: Double
    /// The channels' statistics; `nil` when the file has none.
    public var normalization: ChannelNormalization?
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

  /// The features of images.
  ///
  /// Images are scaled to [0, 1], resized (bilinear, antialiased) and normalised block by block, each
  /// block on one thread, so memory beyond the result is a block's for each thread.
  ///
  /// - Parameters:
  ///   - images: N images with as many channels as the backbone expects.
  ///   - normalization: the channels' statistics for a backbone whose file has none.
  ///   - augmentation: random changes of the images before they are resized, or `nil`.
  ///   - parallelism: the threads to work with.
  /// - Returns: N x `featureCount`.
  /// - Throws: `DataError.Code.wrongShape` when the channels differ. A cancelled computation returns
  ///   early, with rows of zeros.
  public func features(
    of images: ImageSet, normalization: ChannelNormalization? = nil,
    augmentation: EpochAugmentation? = nil,
    parallelism: Parallelism = .available
  ) throws(DataError) -> Matrix<Float> {
    try configuration.requireChannels(images.channels, of: path)
    let width = featureCount
    return Matrix(rows: images.count, columns: width) { target in
      guard let base = target.baseAddress else { return }
      let output = SharedOutput(base: base)
      parallelism.forEachBlock(of: images.count, blockSize: Self.blockSize) { _, range in
        guard !parallelism.isCancelled else {
          (output.base + range.lowerBound * width).initialize(
            repeating: 0, count: range.count * width)
          return
        }
        var batch = images.images(range).batch
        if let augmentation { batch = augmentation.apply(to: batch, rows: range) }
        batch = batch.resized(height: configuration.imageSize, width: configuration.imageSize)
        if let normalization = configuration.normalization ?? normalization {
          batch.normalize(normalization)
        }
        forward(batch.pixels).withUnsafePointer { source, _ in
          (output.base + range.lowerBound * width).update(from: source, count: range.count * width)
        }
      }
    }
  }

  /// The features of prepared images.
  ///
  /// - Parameter input: N x (channels · size · size), resized and normalised.
  /// - Returns: N x `featureCount`, contiguous.
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

/// Memory that threads fill, each a range of its own, which is why sharing it is safe.
private struct SharedOutput: @unchecked Sendable {
  let base: UnsafeMutablePointer<Float>
}
