import BllarseNumerics

/// Which rows of a split a run takes when it is to take only some.
struct RowSubset: Sendable, Equatable {
  /// The rows to take, in the order in which they are stored.
  let rows: [Int]

  /// The first rows.
  init(first count: Int, of rowCount: Int) { rows = Array(0..<min(count, rowCount)) }

  /// Random rows, each class by its share of all rows.
  ///
  /// A class gets the whole part of its share, and the largest remainders get one row more; then a class
  /// that has got none gets one from the class that has most, as long as there are rows enough. With the
  /// same seed, a class's rows in a smaller subset are among those in a larger one.
  ///
  /// - Parameters:
  ///   - count: how many rows, at least 1.
  ///   - labels: the class of each row.
  ///   - seed: of the choice.
  init(stratified count: Int, of labels: [Int32], seed: UInt64) {
    guard count < labels.count else {
      rows = Array(labels.indices)
      return
    }
    var members: [Int32: [Int]] = [:]
    for (row, label) in labels.enumerated() { members[label, default: []].append(row) }
    let classes = members.keys.sorted()
    let sizes = classes.map { members[$0]?.count ?? 0 }
    var chosen: [Int] = []
    for (index, quota) in Self.quotas(count, sizes).enumerated() {
      guard let rows = members[classes[index]] else { continue }
      var generator = Philox(
        seed: seed, purpose: .subset, index: UInt64(bitPattern: Int64(classes[index])))
      chosen += generator.permutation(count: rows.count).prefix(quota).map { rows[$0] }
    }
    rows = chosen.sorted()
  }

  /// How many rows each class gets.
  ///
  /// - Parameters:
  ///   - count: the rows to share out, fewer than there are.
  ///   - sizes: the rows of each class.
  /// - Returns: the rows to take of each class.
  static func quotas(_ count: Int, _ sizes: [Int]) -> [Int] {
    let total = sizes.reduce(0, +)
    // Whole numbers: sizes times count stay far below 2⁶³.
    var quotas = sizes.map { $0 * count / total }
    let byRemainder = sizes.indices.sorted {
      let (a, b) = (sizes[$0] * count % total, sizes[$1] * count % total)
      return a != b ? a > b : $0 < $1
    }
    for index in byRemainder.prefix(count - quotas.reduce(0, +)) { quotas[index] += 1 }
    for index in quotas.indices where quotas[index] == 0 && sizes[index] > 0 {
      guard let largest = quotas.indices.max(by: { quotas[$0] < quotas[$1] }), quotas[largest] > 1
      else { break }
      quotas[largest] -= 1
      quotas[index] += 1
    }
    return quotas
  }
}

extension FeatureSplit {
  /// The rows of a subset: a view where they are the first, otherwise a copy.
  func rows(_ subset: RowSubset) -> FeatureSplit {
    subset.rows.last.map { $0 == subset.rows.count - 1 } ?? true
      ? rows(0..<subset.rows.count) : gatheringRows(subset.rows)
  }
}

extension ImageSplit {
  /// The images of a subset.
  func rows(_ subset: RowSubset) -> ImageSplit {
    ImageSplit(
      images: ImageSet(
        pixels: images.pixels.gatheringRows(subset.rows), channels: images.channels,
        height: images.height, width: images.width, maximum: images.maximum),
      labels: subset.rows.map { labels[$0] })
  }
}

// MARK: - As a run asks for it

extension RunConfiguration {
  /// The rows of a split that the run takes.
  ///
  /// - Parameters:
  ///   - name: the split.
  ///   - labels: of all its rows.
  ///   - roles: which split is which.
  ///   - file: the file they are in, for messages.
  /// - Returns: the rows; `nil` for all.
  /// - Throws: `DataError.Code.insufficientData` when the training rows taken are of one class.
  func subset(
    of name: String, _ labels: [Int32], _ roles: SplitRoles, file: String?
  ) throws(DataError) -> RowSubset? {
    guard name == SplitRoles.training else {
      guard let limit = data.maxValidationSamples, roles.isValidation(name), limit < labels.count
      else {
        return nil
      }
      return RowSubset(first: limit, of: labels.count)
    }
    guard let limit = data.maxTrainSamples, limit < labels.count else { return nil }
    let subset =
      data.trainSubsetSeed.map { RowSubset(stratified: limit, of: labels, seed: $0) }
      ?? RowSubset(first: limit, of: labels.count)
    let classes = Set(subset.rows.map { labels[$0] })
    guard classes.count > 1 || Set(labels).count < 2 else {
      throw DataError(
        .insufficientData, file: file, key: "\(name) split labels",
        found: "the \(subset.rows.count) rows of --max-train-samples are of one class",
        expected: "at least two classes",
        advice: data.trainSubsetSeed == nil
          ? "give --train-subset-seed, for random rows of every class" : "take more rows")
    }
    return subset
  }

  /// What the user should know about limits that are above what there is.
  func limitNotes(rowCounts: [String: Int], _ roles: SplitRoles) -> [String] {
    var notes: [String] = []
    if let limit = data.maxTrainSamples, let count = rowCounts[SplitRoles.training], limit > count {
      notes.append("--max-train-samples \(limit): there are \(count) rows, all are taken")
    }
    if let limit = data.maxValidationSamples {
      let names = rowCounts.keys.filter(roles.isValidation).sorted()
      if names.isEmpty {
        notes.append("--max-val-samples has no effect here: there is no validation split")
      }
      for name in names {
        if let count = rowCounts[name], limit > count {
          notes.append(
            "--max-val-samples \(limit): there are \(count) rows of \(name), all are taken")
        }
      }
    }
    return notes
  }
}

extension ImageDataset {
  /// The images that a run takes.
  ///
  /// - Throws: as ``RunConfiguration/subset(of:_:_:file:)``.
  func limited(
    to configuration: RunConfiguration, _ roles: SplitRoles
  ) throws(DataError) -> ImageDataset {
    var limited: [(name: String, split: ImageSplit)] = []
    for (name, split) in splits {
      let subset = try configuration.subset(of: name, split.labels, roles, file: nil)
      limited.append((name, subset.map { split.rows($0) } ?? split))
    }
    return ImageDataset(
      name: name, splits: limited, classNames: classNames, normalization: normalization)
  }
}

extension SplitRoles {
  /// Whether `--max-val-samples` is about a split: the validation split, and those that such a file names
  /// so.
  func isValidation(_ name: String) -> Bool {
    guard name != Self.training else { return false }
    return name == validation || Self.validationNames.contains(name) || name.hasPrefix("val_")
  }
}
