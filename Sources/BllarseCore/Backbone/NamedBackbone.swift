/// A backbone named by what it was trained on and by its size, as the published "Scaling MLP"
/// checkpoints are, and looked for in a directory under that name.
///
/// - Note: Source of the names: Bachmann, Anagnostidis and Hofmann, "Scaling MLPs", NeurIPS 2023,
///   github.com/gregorbachmann/scaling_mlps.
public struct NamedBackbone: Sendable, Equatable {
  /// What a backbone was trained on.
  public enum Pretraining: String, Sendable, Equatable, CaseIterable {
    /// ImageNet-21k.
    case in21k
    /// ImageNet-21k, and then the data set that the head is fitted to.
    case in21kCIFAR = "in21k_cifar"
    /// Nothing: weights drawn from the seed of the run, for comparison. There is no file.
    case random
  }

  /// The resolution that the published backbones were trained at.
  public static let imageSize = 64
  /// Where files are looked for when nobody says where: where the Python original keeps them.
  public static let defaultDirectory = ".checkpoints"

  /// What it was trained on.
  public var pretraining: Pretraining
  /// The numbers of features and of residual blocks.
  public var embeddingSize, blockCount: Int
  /// The data set that the head is fitted to, and where files are looked for.
  public var dataset, directory: String

  /// Names a backbone; the defaults are the Python original's.
  public init(
    pretraining: Pretraining = .in21kCIFAR, embeddingSize: Int = 512, blockCount: Int = 6,
    dataset: String, directory: String = NamedBackbone.defaultDirectory
  ) {
    (self.pretraining, self.embeddingSize) = (pretraining, embeddingSize)
    (self.blockCount, self.dataset, self.directory) = (blockCount, dataset, directory)
  }

  /// The name, "B_6-Wi_512_res_64_in21k_cifar10".
  public var name: String {
    let size = "B_\(blockCount)-Wi_\(embeddingSize)_res_\(Self.imageSize)"
    return switch pretraining {
    case .in21k: size + "_in21k"
    case .in21kCIFAR: size + "_in21k_" + dataset
    case .random: size + "_random"
    }
  }

  /// The name under which the authors published it, "B-6_Wi-512_res_64_cifar10_epochs_20"; `nil` for a
  /// backbone that they did not publish.
  public var publishedName: String? {
    guard [512, 1024].contains(embeddingSize), [6, 12].contains(blockCount) else { return nil }
    let size = "B-\(blockCount)_Wi-\(embeddingSize)_res_\(Self.imageSize)"
    let isLargest = embeddingSize == 1024 && blockCount == 12
    return switch (pretraining, dataset) {
    case (.in21k, _):
      size + "_imagenet21_epochs_\(embeddingSize == 512 && blockCount == 12 ? 600 : 800)"
    case (.in21kCIFAR, "cifar10"): size + "_cifar10_epochs_20"
    case (.in21kCIFAR, "cifar100"): size + "_cifar100_epochs_\(isLargest ? 40 : 20)"
    default: nil
    }
  }

  /// The files that it may be in, in the order in which they are looked for.
  public var candidates: [String] {
    var names = [name + ".safetensors"]
    if let publishedName {
      names += [publishedName + ".safetensors", publishedName + "_weights.safetensors"]
    }
    return names.map { directory + "/" + $0 }
  }
}

// MARK: - Files

extension NamedBackbone {
  /// Finds and reads the file.
  ///
  /// - Throws: `DataError`: there is no such file, it is damaged, or what it holds is of another size
  ///   than its name says.
  public func load() throws(DataError) -> ResidualMLP {
    try ResidualMLP(header())
  }

  /// Finds the file, and reads its header.
  ///
  /// - Throws: `DataError`, as ``load()``.
  func header() throws(DataError) -> BackboneHeader {
    guard let path = candidates.first(where: Files.exists) else { throw missing() }
    let header = try BackboneHeader(path: path)
    try header.require(
      embeddingSize: embeddingSize, blockCount: blockCount, imageSize: Self.imageSize)
    return header
  }

  private func missing() -> DataError {
    let files = Files.names(in: directory)
    let download = publishedName.map { $0 + "_weights" }
    let advice =
      if let download, files.contains(download) {
        "convert \(directory)/\(download) to it with Scripts/convert-backbone.py"
      } else if let download {
        "download \(download) (github.com/gregorbachmann/scaling_mlps) and convert it with "
          + "Scripts/convert-backbone.py, or name another directory with --model-dir"
      } else {
        "name the directory with --model-dir, or the file itself with --backbone FILE"
      }
    let found =
      if !Files.exists(directory) {
        "there is no such directory"
      } else if files.isEmpty {
        "the directory is empty or cannot be read"
      } else {
        "the directory holds " + files.prefix(8).joined(separator: ", ")
          + (files.count > 8 ? " and \(files.count - 8) more" : "")
      }
    return DataError(
      .missingFile, file: directory, found: found,
      expected: [name, publishedName].compactMap { $0.map { $0 + ".safetensors" } }.joined(
        separator: " or "), advice: advice)
  }
}

extension BackboneHeader {
  /// The sizes of a backbone with random weights for images of some channels.
  init(random named: NamedBackbone, channels: Int) {
    (path, file, classCount) = (named.name, nil, nil)
    configuration = ResidualMLP.Configuration(
      channels: channels, imageSize: NamedBackbone.imageSize, embeddingSize: named.embeddingSize,
      blockCount: named.blockCount, hiddenSize: 4 * named.embeddingSize, layerNormEpsilon: 1e-5,
      normalization: nil)
  }

  /// Refuses a backbone of other sizes than those that are given.
  ///
  /// - Throws: `DataError.Code.wrongShape`, which names the file and all that differs.
  func require(embeddingSize: Int?, blockCount: Int?, imageSize: Int? = nil) throws(DataError) {
    let sizes = [
      ("embed_dim", configuration.embeddingSize, embeddingSize),
      ("num_blocks", configuration.blockCount, blockCount),
      ("img_size", configuration.imageSize, imageSize),
    ].filter { $0.2 != nil && $0.2 != $0.1 }
    guard !sizes.isEmpty else { return }
    throw DataError(
      .wrongShape, file: path,
      found: "the backbone has " + sizes.map { "\($0.0) \($0.1)" }.joined(separator: ", "),
      expected: sizes.map { "\($0.0) \($0.2 ?? 0)" }.joined(separator: ", "),
      advice: "rename the file after what it holds, or ask for that")
  }
}

extension ResidualMLP.Configuration {
  /// Refuses images of other channels.
  func requireChannels(_ found: Int, of path: String) throws(DataError) {
    try DataError.require(
      found == channels, .wrongShape, file: path, found: "the images have \(found) channels",
      expected: "\(channels), which the backbone was made for", advice: "choose another backbone")
  }
}
