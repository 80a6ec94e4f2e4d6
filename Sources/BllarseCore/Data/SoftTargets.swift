public import BllarseNumerics

// Class probabilities as targets: how they are checked, read, fitted and scored.

extension ClassDistributions {
  /// The largest distance of a row's sum from 1: half precision rounds a thousand probabilities less.
  static var tolerance: Double { 1e-3 }

  /// Checks class probabilities, and divides every row by its sum.
  ///
  /// ```swift
  /// let teacher = try ClassDistributions(head.logProbabilities(features).exponentials())
  /// let split = try FeatureSplit(features: features, targets: .distributions(teacher))
  /// ```
  ///
  /// - Parameters:
  ///   - probabilities: N x K, K at least 2: numbers from 0 on, the sum of each row 1 within 0.001.
  ///   - file: where they are from, for messages.
  ///   - key: what a message calls them.
  /// - Throws: `DataError` with the row, its sum, or the number that is none.
  public init(
    _ probabilities: Matrix<Double>, file: String? = nil, key: String = "class probabilities"
  ) throws(DataError) {
    let classes = probabilities.columnCount
    guard classes >= 2 else {
      throw DataError(
        .wrongShape, file: file, key: key, found: "there is \(classes) column",
        expected: "a probability for each of at least two classes")
    }
    var normalized = Matrix<Float>.zeros(probabilities.rowCount, classes)
    for row in 0..<probabilities.rowCount {
      let values = probabilities.row(row)
      if let column = values.firstIndex(where: { !($0 >= 0 && $0.isFinite) }) {
        let value = values[column]
        throw DataError(
          value.isFinite ? .outOfRange : .notFinite, file: file, key: key, row: row,
          column: column, found: "the class probability is \(value)",
          expected: "a number from 0 to 1", advice: Self.advice)
      }
      let sum = values.reduce(0, +)
      guard abs(sum - 1) <= Self.tolerance else {
        throw DataError(
          .outOfRange, file: file, key: key, row: row,
          found: "the \(classes) class probabilities sum to \(sum)",
          expected: "1, within \(Self.tolerance)", advice: Self.advice)
      }
      normalized.withMutableRow(row) { target in
        for k in target.indices { target[k] = Float(values[k] / sum) }
      }
    }
    self.init(checked: normalized)
  }

  /// The same for numbers in single precision.
  ///
  /// - Throws: as ``init(_:file:key:)-(Matrix<Double>,_,_)``.
  public init(_ probabilities: Matrix<Float>) throws(DataError) {
    try self.init(Matrix<Double>(probabilities))
  }

  /// Takes the probabilities of class 1 of two.
  ///
  /// - Throws: as ``init(_:file:key:)-(Matrix<Double>,_,_)``, for a number that is not in 0...1.
  public init(
    ofClassOne probabilities: [Double], file: String? = nil, key: String = "class probabilities"
  ) throws(DataError) {
    if let row = probabilities.firstIndex(where: { !($0 >= 0 && $0 <= 1) }) {
      throw DataError(
        probabilities[row].isFinite ? .outOfRange : .notFinite, file: file, key: key, row: row,
        found: "the probability of class 1 is \(probabilities[row])",
        expected: "a number from 0 to 1", advice: "correct or remove the row")
    }
    self.init(
      checked: Matrix<Float>(
        Matrix<Double>(
          rows: probabilities.count, columns: 2,
          elements: probabilities.flatMap { [1 - $0, $0] })))
  }

  private static var advice: String {
    "correct or remove the row; class probabilities are divided by their sum before they are stored; "
      + "for targets that are no classes, give --task regression"
  }

  /// A view of a range of rows.
  func rows(_ range: Range<Int>) -> ClassDistributions {
    ClassDistributions(checked: probabilities.rows(range))
  }
}

extension StoredTensor {
  /// Labels; or class probabilities, where floating-point numbers have a column for each class, or are fractions from 0
  /// to 1, the probabilities of class 1 of two.
  func classTargets() throws(DataError) -> Targets {
    guard !type.isInteger else { return .classes(try labels()) }
    if shape.count == 2, shape[1] > 1 {
      return .distributions(try ClassDistributions(try matrix(), file: path, key: name))
    }
    guard shape.count == 1 || shape.count == 2 && shape[1] == 1 else {
      return .classes(try labels())  // says what is wrong with the shape
    }
    let values: [Double] = try array()
    guard values.allSatisfy({ $0 >= 0 && $0 <= 1 }),
      values.contains(where: { $0 != $0.rounded() })
    else { return .classes(try labels()) }
    return .distributions(try ClassDistributions(ofClassOne: values, file: path, key: name))
  }
}

extension Targets {
  /// Class probabilities of which one row at least is not certain; `nil` where the labels say all that is known.
  public var softDistributions: ClassDistributions? {
    guard case .distributions(let distributions) = self, !distributions.areCertain else {
      return nil
    }
    return distributions
  }
}

extension FeatureSplit {
  /// Every row once for each class that it may have, weighted by its probability; copies are left out together.
  ///
  /// - Returns: hard labels; the split itself where its rows have these.
  public func copyingRows() -> FeatureSplit {
    guard let distributions = targets.softDistributions else { return self }
    let copies = RowCopies(distributions, weights: weights, groups: groups)
    return FeatureSplit(
      features.gatheringRows(copies.rows), .classes(copies.labels), copies.weights,
      copies.groups.dense)
  }
}

extension FeatureDataset {
  /// What the user should know of targets that are class probabilities; `nil` where none are.
  var distributionNote: String? {
    let names = splitNames.filter { self[$0]?.targets.softDistributions != nil }
    guard !names.isEmpty else { return nil }
    let splits = names.count == 1 ? "the split \(names[0])" : "the splits \(names.listed("and"))"
    return
      "the targets of \(splits) are class probabilities; acc and what else needs one class of each row takes "
      + "the most probable one"
      + (classCount == 2 ? "; for target values, give --task regression" : "")
  }
}

// MARK: - Fits

extension FittingWay {
  /// Whether it can be fitted to class probabilities, itself or by weighted copies of the rows.
  var fitsDistributions: Bool {
    traits.contains(.takesDistributions) || takes(FitOptions.sampleWeight.info.name)
  }

  /// Whether its rows are copied, or it copies them.
  var copiesDistributions: Bool {
    !traits.contains(.takesDistributions) || traits.contains(.copiesDistributions)
  }

  /// The rows that it is fitted to: copies of those that have class probabilities, where it takes only labels.
  func fittedRows(_ split: FeatureSplit) -> FeatureSplit {
    traits.contains(.takesDistributions) ? split : split.copyingRows()
  }

  /// Refuses class probabilities for a way that takes neither them nor weights.
  ///
  /// - Throws: `DataError.Code.wrongType`.
  func checkTargets(_ header: FeatureHeader, _ method: Method) throws(DataError) {
    guard header.softCopies != nil, !fitsDistributions else { return }
    let others = HeadRegistry.methods.filter { other in
      other.task == .classification && other.ways.contains { $0.fitsDistributions }
    }
    throw DataError(
      .wrongType, file: header.file, key: "\(SplitRoles.training) split targets",
      found: "they are class probabilities, and \(method.words) takes labels only",
      expected: "one class a row for it",
      advice: "store the most probable classes, or fit one of "
        + others.map(\.name).listed("and"))
  }
}

extension FitRequest {
  /// Class probabilities in place of ``labels``, and how often each row counts, with
  /// ``FitOptions/classWeight``; `nil` where labels are the targets.
  var weightedDistributions: (targets: ClassDistributions, weights: [Double]?)? {
    guard let distributions = targets.softDistributions else { return nil }
    guard method[FitOptions.classWeight] == .balanced else { return (distributions, weights) }
    let totals = distributions.classTotals(weights: weights)
    let share = totals.reduce(0, +) / Double(totals.count { $0 > 0 })
    let weighed = distributions.weighingClasses(
      by: totals.map { $0 > 0 ? share / $0 : 1 }, weights: weights)
    return (weighed.targets, weighed.weights)
  }
}

extension MemoryShape {
  /// The shape of a fit to class probabilities: of copies of the rows where these are made.
  init(_ header: FeatureHeader, _ way: FittingWay?, threads: Int) {
    let copies = way?.copiesDistributions == true ? header.softCopies : nil
    self.init(header, rows: copies, threads: threads)
  }

  /// What class probabilities take beside the fit, in bytes: they themselves, as they are read in double precision and
  /// kept in single, and copies of the rows.
  static func distributions(_ header: FeatureHeader, _ way: FittingWay?) -> Double {
    guard let copies = header.softCopies, let train = header[SplitRoles.training] else { return 0 }
    let targets = 16 * Double(train.rowCount * header.outputs.count)
    guard way?.copiesDistributions == true else { return 2 * targets }
    let row = Double(train.byteCount) / Double(max(train.rowCount, 1))
    return targets + Double(copies) * (row + 60)
  }
}
