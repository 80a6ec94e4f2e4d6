import Synchronization

/// The headers of the files that runs work on, each read once: many runs are checked against few files.
public final class FileHeaders: Sendable {
  /// What is known of a run's data.
  struct Data: Sendable {
    let header: FeatureHeader
    /// The backbone that makes the features, where there is one.
    let backbone: Backbone?
    /// The bytes of the images, where there are some.
    let imageBytes: Int
  }

  /// A backbone's sizes.
  struct Backbone: Sendable {
    let path: String
    let configuration: ResidualMLP.Configuration
    /// The classes of its own classifier.
    let classCount: Int?
  }

  private struct Content {
    var data: [String: Result<Data, DataError>] = [:]
    var outOfDistributionRows: [String: Result<[Int], DataError>] = [:]
    var textCaches: [String: Result<TextCache.Content, DataError>] = [:]
  }
  private let content = Mutex(Content())

  /// Nothing is read yet.
  public init() {}

  /// The data of a run, whatever splits there are.
  ///
  /// - Throws: `DataError`, the same whenever it is asked for.
  func data(of configuration: RunConfiguration) throws(DataError) -> Data {
    let key = Self.key(configuration)
    if let known = content.withLock({ $0.data[key] }) { return try known.get() }
    let result = Result<Data, DataError> { () throws(DataError) in try Self.read(configuration) }
    content.withLock { $0.data[key] = result }
    return try result.get()
  }

  /// The number of features of a file of rows that belong to no class.
  ///
  /// - Throws: `DataError`: it is missing or damaged.
  func outOfDistributionRows(_ path: String) throws(DataError) -> [Int] {
    if let known = content.withLock({ $0.outOfDistributionRows[path] }) { return try known.get() }
    let result = Result<[Int], DataError> { () throws(DataError) in
      let file = try FeatureFile(path: path)
      return try file.header(of: OutOfDistributionRows.split(of: file)).shape
    }
    content.withLock { $0.outOfDistributionRows[path] = result }
    return try result.get()
  }

  /// The content of a text cache.
  ///
  /// - Throws: `DataError`: it is not there, not whole, or another.
  package func content(of cache: TextCache) throws(DataError) -> TextCache.Content {
    let path = cache.path
    if let known = content.withLock({ $0.textCaches[path] }) { return try known.get() }
    let result = Result<TextCache.Content, DataError> { () throws(DataError) in
      try cache.content()
    }
    content.withLock { $0.textCaches[path] = result }
    return try result.get()
  }

  private static func key(_ configuration: RunConfiguration) -> String {
    if let path = configuration.data.featuresPath {
      let arrays = configuration.rowArrays
      return [path, arrays.weights ?? "", arrays.groups ?? ""].joined(separator: "\0")
    }
    let named = configuration.data.namedBackbone
    let parts: [String?] = [
      configuration.data.dataset, configuration.data.directory, configuration.data.backbonePath,
      named?.name, named?.directory, configuration.data.embeddingSize.map(String.init),
      configuration.data.blockCount.map(String.init), configuration.data.resourcesPath,
    ]
    return parts.map { $0 ?? "" }.joined(separator: "\0")
  }

  private static func read(_ configuration: RunConfiguration) throws(DataError) -> Data {
    if let path = configuration.data.featuresPath {
      return Data(
        header: try FeatureFile(path: path).header(with: configuration.rowArrays),
        backbone: nil,
        imageBytes: 0)
    }
    let images = try ImageDatasets.header(configuration.data.dataset, configuration)
    let backbone = try ImageDatasets.backboneHeader(
      of: configuration.data.dataset, images, configuration)
    try backbone.configuration.requireChannels(images.channels, of: backbone.path)
    let width = backbone.configuration.embeddingSize
    return Data(
      header: FeatureHeader(
        file: nil, names: images.splits.map(\.name),
        splits: images.splits.map {
          FeatureHeader.Split(
            name: $0.name, rowCount: $0.rowCount, featureCount: width,
            byteCount: $0.rowCount * width * MemoryLayout<Float>.size, isCopied: true)
        }, classCount: images.classCount),
      backbone: backbone, imageBytes: images.byteCount)
  }
}

/// The sizes of a data set of images.
struct ImageHeader: Sendable {
  let splits: [(name: String, rowCount: Int)]
  let channels: Int
  let classCount: Int
  /// The bytes of all images.
  let byteCount: Int
}
