import BllarseNumerics
import Synchronization

/// What a run will work on, as far as options and the headers of its files tell: everything that can be
/// known to be wrong before anything is fitted.
///
/// A run makes its plan first, so that a check and a run find the same faults in the same words. Files
/// are opened, their sizes and labels are read; features and weights are not.
public struct RunPlan: Sendable {
  /// The rows of each split, in the data set's order.
  public let rowCounts: [(split: String, rows: Int)]
  /// The number of features.
  public let featureCount: Int
  /// The classes, or the target values.
  public let outputs: Outputs
  /// An estimate of the memory that the run needs at its peak, in bytes.
  public let memoryBytes: Int

  /// Plans a run; headers are kept that were read before.
  ///
  /// - Throws: `DataError`: a file is missing or damaged, a split is missing, or sizes and labels
  ///   contradict one another or the options.
  public init(
    _ configuration: RunConfiguration, files: FileHeaders = FileHeaders()
  ) throws(DataError) {
    // 1. A run to go on with, or that is in the way.
    if configuration.output.resumes, configuration.output.resumesExistingOnly,
      let path = configuration.output.path, !Files.exists(path)
    {
      throw DataError(
        .missingFile, file: path, found: "there is no run to resume",
        expected: "the output directory of a run",
        advice: "check the path, or give --output too, to start a run there")
    }
    try OutputOwner.check(configuration)

    // 2. The data, and what the options ask of them.
    let way = try configuration.method.way()
    try configuration.checkRowArrays()
    if let text = configuration.data.text { _ = try files.content(of: text.cache) }
    let data = try files.data(of: configuration)
    let roles = try SplitRoles(of: data.header.names, configuration, file: data.header.file)
    if let path = configuration.data.featuresPath,
      !roles.required.allSatisfy({ data.header[$0] != nil })
    {
      // Says what is missing.
      _ = try FeatureFile(path: path)
        .header(requiring: roles.required, targets: configuration.targetArrays)
    }
    if configuration.calibrationOrDefault.needsValidation {
      _ = try roles.calibrationSplit(
        among: data.header.names, of: data.header.file, isChosen: configuration.data.choosesSplits)
    }
    let classes = data.backbone?.classCount
    if configuration.effectiveEpochs == 0, classes != data.header.outputs.count {
      throw RunData.missingClassifier(
        of: data.backbone?.path ?? data.header.file, classes, isBackbone: data.backbone != nil,
        classCount: data.header.outputs.count)
    }
    if configuration.startsFromClassifier, let backbone = data.backbone {
      try RunData.requireClassifier(
        backbone.classCount, classCount: data.header.outputs.count, of: backbone.path)
    }
    if let path = configuration.outOfDistributionPath {
      try OutOfDistributionRows.require(
        try files.outOfDistributionRows(path), featureCount: data.header.featureCount, of: path)
    }

    if configuration.effectiveEpochs > 0 {
      let header = configuration.asksForEachLabel ? data.header.ofOneLabel : data.header
      try way.checkTargets(header, configuration.method)
      try way.check(header, configuration.method)
    }

    rowCounts = data.header.splits.map { ($0.name, $0.rowCount) }
    (featureCount, outputs) = (data.header.featureCount, data.header.outputs)
    memoryBytes = Self.memory(configuration, data)
  }
}

extension RunPlan {
  /// Refuses an output directory that holds another run: what a program has to know before it leaves
  /// anything there.
  ///
  /// - Returns: whether the directory holds files of a run, which stay until the new one has some.
  /// - Throws: `DataError` that names the first option that differs.
  public static func checkOutput(of configuration: RunConfiguration) throws(DataError) -> Bool {
    try OutputOwner.check(configuration)
    return configuration.output.path.flatMap(OutputOwner.init(of:)) != nil
  }

  /// What the user should know when the run will probably not have the memory that it needs.
  package var memoryNote: String? {
    let limits = MachineLimits.current
    guard let limit = limits.memory, memoryBytes > limit, let text = limits.memoryDescription else {
      return nil
    }
    return "the run needs about \(MachineLimits.mebibytes(memoryBytes)), and \(text)"
  }
}

extension RunPlan: CustomStringConvertible {
  /// The plan in one line.
  public var description: String {
    let rows = rowCounts.map { "\($0.rows) \($0.split)" }.joined(separator: ", ")
    return "\(rows) rows, \(featureCount) features, \(outputs), about "
      + "\((memoryBytes + 1_048_575) / 1_048_576) MiB of memory"
  }
}

/// The headers of the files that runs work on, each read once: many runs are checked against few files.
public final class FileHeaders: Sendable {
  /// What is known of a run's data.
  struct Data: Sendable {
    let header: FeatureHeader
    /// The backbone that makes the features, where there is one.
    var backbone: BackboneHeader?
    /// The bytes of the images, where there are some.
    var imageBytes = 0
  }

  private typealias Known<Value> = [String: Result<Value, DataError>]
  private let data = Mutex(Known<Data>())
  private let shapes = Mutex(Known<[Int]>())
  private let textCaches = Mutex(Known<TextCache.Content>())

  /// Nothing is read yet.
  public init() {}

  /// The data of a run, whatever splits there are.
  ///
  /// - Throws: `DataError`, the same whenever it is asked for.
  func data(of configuration: RunConfiguration) throws(DataError) -> Data {
    try Self.known(data, Self.key(configuration)) { () throws(DataError) in
      try Self.read(configuration)
    }
  }

  /// The shape of a file of rows that belong to no class.
  ///
  /// - Throws: `DataError`: it is missing or damaged.
  func outOfDistributionRows(_ path: String) throws(DataError) -> [Int] {
    try Self.known(shapes, path) { () throws(DataError) in
      let file = try FeatureFile(path: path)
      return try file.header(of: OutOfDistributionRows.split(of: file)).shape
    }
  }

  /// The content of a text cache.
  ///
  /// - Throws: `DataError`: it is not there, not whole, or another.
  package func content(of cache: TextCache) throws(DataError) -> TextCache.Content {
    try Self.known(textCaches, cache.path) { () throws(DataError) in try cache.content() }
  }

  private static func known<Value: Sendable>(
    _ list: borrowing Mutex<Known<Value>>, _ key: String, _ read: () throws(DataError) -> Value
  ) throws(DataError) -> Value {
    if let known = list.withLock({ $0[key] }) { return try known.get() }
    let result = Result<Value, DataError>(catching: read)
    list.withLock { $0[key] = result }
    return try result.get()
  }

  private static func key(_ configuration: RunConfiguration) -> String {
    let data = configuration.data
    let parts: [String?] =
      if let path = data.featuresPath {
        [
          path, configuration.rowArrays.weights, configuration.rowArrays.groups,
          configuration.task.rawValue, configuration.data.target,
        ]
      } else {
        [
          data.dataset, data.directory, data.backbonePath, data.namedBackbone?.name,
          data.namedBackbone?.directory, data.embeddingSize.map(String.init),
          data.blockCount.map(String.init), data.resourcesPath,
        ]
      }
    return parts.map { $0 ?? "" }.joined(separator: "\0")
  }

  private static func read(_ configuration: RunConfiguration) throws(DataError) -> Data {
    if let path = configuration.data.featuresPath {
      return Data(
        header: try FeatureFile(path: path).header(
          targets: configuration.targetArrays, with: configuration.rowArrays))
    }
    let images = try configuration.data.imageHeader()
    let backbone = try configuration.data.backboneHeader(channels: images.channels)
    try backbone.configuration.requireChannels(images.channels, of: backbone.path)
    let width = backbone.configuration.embeddingSize
    return Data(
      header: FeatureHeader(
        file: nil, names: images.splits.map(\.name),
        splits: images.splits.map {
          ($0.name, $0.rowCount, $0.rowCount * width * MemoryLayout<Float>.size)
        }, featureCount: width, outputs: Outputs(classCount: images.classCount)),
      backbone: backbone, imageBytes: images.byteCount)
  }
}

// MARK: - Memory

extension RunPlan {
  /// An estimate of the memory that a run needs at its peak, in bytes: what is mapped and what is allocated.
  ///
  /// Most of it is the features and at most two copies of them in single precision; for wide rows it is
  /// matrices of D x D. The factors are what runs of 40 to 100,000 rows, 5 to 1,024 features and 3 to 50
  /// classes took at their peaks (release build, resident size).
  private static func memory(_ configuration: RunConfiguration, _ data: FileHeaders.Data) -> Int {
    let way = configuration.effectiveEpochs > 0 ? configuration.method.knownWay : nil
    var shape = MemoryShape(
      data.header, way, threads: ThreadReservation.usable(configuration.threadCount))
    var heads = 0.0
    if configuration.asksForEachLabel {
      // One label is fitted after the other, and the heads of all are kept.
      heads =
        shape.classes
        * (configuration.method.has(.keepsWeightsOnly) ? 16 * shape.columns : shape.square)
      shape.classes = 2
    }
    let fit =
      (configuration.method.knownWay?.memory(shape, configuration.method) ?? 0)
      + MemoryShape.distributions(data.header, way)
    // Weights, and groups while they are numbered.
    let values =
      (configuration.rowArrays.weights == nil ? 0 : 16 * shape.rows)
      + (configuration.rowArrays.groups == nil ? 0 : 64 * shape.rows)
    let features = data.header.splits.reduce(0) { $0 + Double($1.byteCount) }
    // The first is the program, its libraries, and what every small run takes.
    return Int(
      MemoryShape.megabytes(36) + features + values + fit + heads
        + images(data, threads: shape.threads, isAugmented: configuration.mayAugment))
  }

  /// Images, the backbone's weights, a block of images a thread, and the features of augmented images.
  private static func images(
    _ data: FileHeaders.Data, threads: Double, isAugmented: Bool
  ) -> Double {
    guard let sizes = data.backbone?.configuration else { return 0 }
    let pixels = Double(sizes.channels * sizes.imageSize * sizes.imageSize)
    let width = Double(sizes.embeddingSize)
    let hidden = Double(sizes.hiddenSize)
    let weights = pixels * width + 2 * Double(sizes.blockCount) * width * hidden
    let block = 128 * (2 * pixels + 2 * hidden + 3 * width)
    let augmented =
      isAugmented ? Double(data.header[SplitRoles.training]?.byteCount ?? 0) : 0
    return Double(data.imageBytes) + 4 * weights + 4 * block * threads + augmented
  }
}

/// The sizes that the memory of a fit depends on; those of matrices in bytes.
struct MemoryShape: Sendable {
  let rows, threads: Double
  var classes: Double
  /// D, bias included.
  let columns: Double

  init(_ header: FeatureHeader, rows copies: Int? = nil, threads: Int) {
    rows = Double(copies ?? header[SplitRoles.training]?.rowCount ?? 0)
    (columns, classes) = (Double(header.featureCount + 1), Double(header.outputs.count))
    self.threads = Double(threads)
  }

  /// (N, D), single precision.
  var design: Double { 4 * rows * columns }
  /// (D, D).
  var square: Double { 8 * columns * columns }
  /// Whether fits go over to the space of the rows, as features outnumber them.
  var isWide: Bool { columns - 1 > rows }
  /// The order of the matrices of a fit that does.
  var order: Double { isWide ? rows + 1 : columns }
  /// Such a matrix.
  var small: Double { 8 * order * order }
  /// Rows in double precision.
  var block: Double { min(2 * 8 * rows * columns, Self.megabytes(64)) }
  /// (N, K), single precision.
  var logits: Double { 4 * rows * classes }

  static func megabytes(_ count: Double) -> Double { count * 1_048_576 }
}
