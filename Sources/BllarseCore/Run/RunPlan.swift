import BllarseNumerics

/// What a run will work on, as far as options and the headers of its files tell: everything that can be
/// known to be wrong before anything is fitted.
///
/// A run makes its plan first, so that a check and a run find the same faults in the same words. Files
/// are opened, their sizes and labels are read; features and weights are not.
public struct RunPlan: Sendable, Equatable {
  /// The rows of each split, in the data set's order.
  public let rowCounts: [(split: String, rows: Int)]
  /// The number of features.
  public let featureCount: Int
  /// The number of classes.
  public let classCount: Int
  /// An estimate of the memory that the run needs at its peak, in bytes.
  public let memoryBytes: Int

  /// Plans a run.
  ///
  /// - Parameters:
  ///   - configuration: what to do.
  ///   - files: where headers are kept that were read before.
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
    _ = try configuration.method.way()
    try configuration.checkRowArrays()
    if let text = configuration.data.text { _ = try files.content(of: text.cache) }
    let data = try files.data(of: configuration)
    let roles = try SplitRoles(of: data.header.names, configuration, file: data.header.file)
    let required = [SplitRoles.training, roles.test] + (roles.validation.map { [$0] } ?? [])
    if let path = configuration.data.featuresPath, !required.allSatisfy({ data.header[$0] != nil })
    {
      _ = try FeatureFile(path: path).header(requiring: required)  // says what is missing
    }
    if configuration.calibrationOrDefault.needsValidation {
      _ = try roles.calibrationSplit(
        among: data.header.names, of: data.header.file,
        isChosen: configuration.data.testSplit != nil && configuration.data.validationSplit != nil)
    }
    let classes = data.backbone?.classCount
    if configuration.effectiveEpochs == 0, classes != data.header.classCount {
      throw RunData.missingBaseline(
        of: data.backbone?.path ?? data.header.file, classes, isBackbone: data.backbone != nil,
        classCount: data.header.classCount)
    }
    if configuration.startsFromClassifier, let backbone = data.backbone {
      try RunData.requireClassifier(
        backbone.classCount, classCount: data.header.classCount, of: backbone.path)
    }
    if let path = configuration.outOfDistributionPath {
      try OutOfDistributionRows.require(
        try files.outOfDistributionRows(path), featureCount: data.header.featureCount, of: path)
    }

    rowCounts = data.header.splits.map { ($0.name, $0.rowCount) }
    featureCount = data.header.featureCount
    classCount = data.header.classCount
    memoryBytes = MemoryEstimate(configuration, data).bytes
  }

  /// Compares all figures.
  public static func == (a: RunPlan, b: RunPlan) -> Bool {
    a.rowCounts.elementsEqual(b.rowCounts, by: ==) && a.featureCount == b.featureCount
      && a.classCount == b.classCount && a.memoryBytes == b.memoryBytes
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
  var memoryNote: String? {
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
    return "\(rows) rows, \(featureCount) features, \(classCount) classes, about "
      + "\((memoryBytes + 1_048_575) / 1_048_576) MiB of memory"
  }
}
