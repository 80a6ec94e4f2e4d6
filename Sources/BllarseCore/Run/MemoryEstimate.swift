import BllarseNumerics

/// An estimate of the memory that a run needs at its peak: what is mapped and what is allocated.
///
/// Most of it is the features and at most two copies of them in single precision; for wide rows it is
/// matrices of D x D. The factors are what runs of 40 to 100,000 rows, 5 to 1,024 features and 3 to 50
/// classes took at their peaks (release build, resident size).
struct MemoryEstimate {
  /// Bytes.
  let bytes: Int

  /// The program, its libraries, and what every small run takes.
  private static let base = megabytes(36)

  private static func megabytes(_ count: Double) -> Double { count * 1_048_576 }

  init(_ configuration: RunConfiguration, _ data: FileHeaders.Data) {
    let header = data.header
    let rows = Double(header[SplitRoles.training]?.rowCount ?? 0)
    let (columns, classes) = (Double(header.featureCount + 1), Double(header.classCount))
    let threads = Double(ThreadReservation.usable(configuration.threadCount))
    let design = 4 * rows * columns  // (N, D), single precision
    let square = 8 * columns * columns  // (D, D)
    // Fits that go over to the space of the rows where features outnumber them.
    let isWide = columns - 1 > rows
    let order = isWide ? rows + 1 : columns
    let small = 8 * order * order
    let block = min(2 * 8 * rows * columns, 64 * 1_048_576)  // rows in double precision
    let logits = 4 * rows * classes  // (N, K)

    let fit: Double
    switch (HeadRegistry.isClosedForm(configuration.lossFunction), configuration.update) {
    case (false, _):
      fit =
        configuration.optimizer == .newton
        ? 1.7 * (isWide ? 4 * rows * order : design) + 4 * small + 4 * logits
          + (isWide ? block + 4 * 8 * columns * classes : 0)
        : 0.1 * design + 32 * columns * classes
    case (true, _) where configuration.fitsEvidenceHead:
      let covariance = (configuration.evidence.posterior == .laplace ? 4 * classes : 6) * small
      if isWide {
        // The basis of the rows' space of two scalings, and one in double; the folds' rows.
        let folds = min(10, max(1, 2500 / max(rows, 1) * 10))
        fit = (5 + folds) * design + covariance + (2 + folds) * logits + block
      } else {
        // Scaled rows, and the same with those of a fold together; what is freed and not given back.
        fit =
          2.2 * design + Self.megabytes(20) + min(Self.megabytes(110), 4 * design) + covariance
          + 1.5 * logits + min(Self.megabytes(24), 1.2 * logits)
          + min(threads, 10) * Self.hessians(rows: rows, order: columns * classes, classes)
      }
    case (true, _) where configuration.lossFunction != "IBProbit":
      fit = 1.2 * design + (2.2 * classes + 5 * threads) * square
    case (true, .merge): fit = 0.1 * design + (4 + threads) * square
    case (true, .converged), (true, .sites): fit = 1.2 * design + 7 * square + 3 * logits
    case (true, .cavi): fit = 1.2 * design + 4 * square
    }
    // Weights, and groups while they are numbered.
    let values =
      (configuration.usedRowArrays.weights == nil ? 0 : 16 * rows)
      + (configuration.usedRowArrays.groups == nil ? 0 : 64 * rows)
    let features = header.splits.reduce(0) { $0 + Double($1.byteCount) }
    bytes = Int(
      Self.base + features + values + fit
        + Self.images(data, threads: threads, isAugmented: configuration.mayAugment))
  }

  /// The Hessian of a fold, its factor and a copy, where it is small enough to be formed.
  private static func hessians(rows: Double, order: Double, _ classes: Double) -> Double {
    let isFormed = classes > 2 && LikelihoodCurvature.isAffordable(Int(rows), Int(order), .some)
    return isFormed ? 3 * 8 * order * order : 0
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
