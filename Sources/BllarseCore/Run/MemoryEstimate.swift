import BllarseNumerics

/// An estimate of the memory that a run needs at its peak: what is mapped and what is allocated.
///
/// Most of it is the features and at most two copies of them in single precision; for wide rows it is
/// matrices of D x D. The factors are what runs of 40 to 100,000 rows, 5 to 1,024 features and 3 to 50
/// classes took at their peaks (release build, resident size).
struct MemoryEstimate {
  /// Bytes.
  let bytes: Int

  init(_ configuration: RunConfiguration, _ data: FileHeaders.Data) {
    let header = data.header
    let shape = MemoryShape(header, threads: ThreadReservation.usable(configuration.threadCount))
    let rows = shape.rows
    let fit = configuration.method.knownWay?.memory(shape, configuration.method) ?? 0
    // Weights, and groups while they are numbered.
    let values =
      (configuration.rowArrays.weights == nil ? 0 : 16 * rows)
      + (configuration.rowArrays.groups == nil ? 0 : 64 * rows)
    let features = header.splits.reduce(0) { $0 + Double($1.byteCount) }
    // The first is the program, its libraries, and what every small run takes.
    bytes = Int(
      MemoryShape.megabytes(36) + features + values + fit
        + Self.images(data, threads: shape.threads, isAugmented: configuration.mayAugment))
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
  let rows, classes, threads: Double
  /// D, bias included.
  let columns: Double

  init(_ header: FeatureHeader, threads: Int) {
    rows = Double(header[SplitRoles.training]?.rowCount ?? 0)
    (columns, classes) = (Double(header.featureCount + 1), Double(header.classCount))
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
