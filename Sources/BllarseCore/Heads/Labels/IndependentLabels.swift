public import BllarseNumerics
import Glibc

/// A head for sets of labels: each is predicted by a head of two classes of its own, whatever head that is, as if it
/// were alone.
///
/// The likelihood of a row's set is the product of the probabilities of its answers, independent Bernoulli variables
/// given the features. Any head of classes serves (``HeadRegistry``), with its prior, posterior, calibration and estimate,
/// chosen for each label by its own rows.
public struct IndependentLabels: MultiLabelHead {
  /// The name that checkpoints store.
  public static let kind = "IndependentLabels"

  /// The head of each label, L; class 1 is that a row has the label.
  public let labels: [any ClassificationHead]
  /// The number of features of a row.
  public let featureCount: Int
  /// L.
  public var labelCount: Int { labels.count }

  /// Joins heads.
  ///
  /// - Parameter labels: at least one head of two classes, all of the same number of features.
  public init(_ labels: [any ClassificationHead]) {
    precondition(
      !labels.isEmpty
        && labels.allSatisfy {
          $0.classCount == 2 && $0.featureCount == labels[0].featureCount
        }, "heads of two classes and the same features are needed")
    (self.labels, featureCount) = (labels, labels[0].featureCount)
  }

  /// The log-odds of the labels, n x L.
  public func logOdds(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    var odds: [[Float]] = []
    for head in labels {
      let logs = try head.logProbabilities(features, execution: execution)
      odds.append((0..<logs.rowCount).map { logs[$0, 1] - logs[$0, 0] })
    }
    return Matrix(
      rows: features.rowCount, columns: labelCount,
      elements: (0..<features.rowCount).flatMap { row in odds.map { $0[row] } })
  }
}

// MARK: - Storage

extension IndependentLabels {
  /// What is in front of the names of what is a label's own.
  static func prefix(_ label: Int) -> String { "label\(label)." }
  private static let kindKey = "head"

  /// Adds the head of each label, what is its own under `labelN.`.
  public func encode(into writer: inout SafetensorsWriter) {
    for (label, head) in labels.enumerated() {
      var part = SafetensorsWriter(metadata: [Self.kindKey: type(of: head).kind])
      head.encode(into: &part)
      writer.add(part, prefix: Self.prefix(label))
    }
  }

  /// Reads the head of each label.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let features = try file.integer("feature_count", atLeast: 1)
    let count = try file.integer(LearningTask.multilabel.countKey, atLeast: 1)
    let common = ["feature_count": String(features), LearningTask.classification.countKey: "2"]
    var labels: [any ClassificationHead] = []
    for label in 0..<count {
      let part = file.part(Self.prefix(label), with: common)
      let name = try part.metadata(Self.kindKey)
      let kind =
        name == ConstantLabel.kind ? ConstantLabel.self : HeadRegistry.kind(named: name)
      guard let kind else {
        throw DataError(
          .wrongType, file: part.path, key: Self.kindKey, found: "the kind of head is '\(name)'",
          expected: oneOf(HeadRegistry.names), advice: "update bllarse to read it")
      }
      let head = try kind.init(decoding: part).classifier()
      try DataError.require(
        head.classCount == 2 && head.featureCount == features, .wrongShape, file: part.path,
        key: Self.kindKey, found: "it has \(head.classCount) classes",
        expected: "2: without the label, and with it")
      labels.append(head)
    }
    self.init(labels)
  }
}

/// The head of a label that all training rows have, or none: the share of rows that have it, by Jeffreys' prior,
/// `(n + 1/2)/(N + 1)`.
///
/// - Note: Source: Jeffreys, "Theory of Probability", third edition 1961, section 3.6: the prior Beta(1/2, 1/2).
struct ConstantLabel: ClassificationHead {
  static let kind = "ConstantLabel"

  let featureCount: Int
  var classCount: Int { 2 }
  /// The rows that count without the label, and with it; one of them is 0.
  private let counts: [Double]
  /// The mean NLL of training rows, each under the others, and their number; `nil` of a stored head.
  private(set) var estimate: (nll: Double, rows: Int)?

  /// Whether all rows that count have a label, or none has; `nil` where some have it.
  ///
  /// - Parameters:
  ///   - classes: 1 for rows that have it, 0 for the others.
  ///   - weights: how often each row counts.
  /// - Returns: which of the two it is.
  static func value(of classes: [Int32], weights: [Double]?) -> Bool? {
    let rows = classes.indices.filter { (weights?[$0] ?? 1) > 0 }
    guard let first = rows.first, rows.allSatisfy({ classes[$0] == classes[first] }) else {
      return nil
    }
    return classes[first] == 1
  }

  /// Counts rows, N of which some count; `nil` where some have the label and some have not.
  init?(_ split: FeatureSplit) {
    guard let value = Self.value(of: split.labels, weights: split.weights) else { return nil }
    featureCount = split.featureCount
    let weights = split.weights ?? [Double](repeating: 1, count: split.rowCount)
    let total = weights.reduce(0, +)
    counts = value ? [0, total] : [total, 0]
    let losses = weights.map { weight in
      let rest = max(total - weight, 0)
      return weight * (log(rest + 1) - log(rest + 0.5))
    }
    estimate = (losses.reduce(0, +) / total, weights.count { $0 > 0 })
  }

  func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    guard features.columnCount == featureCount else {
      throw .sizeMismatch(
        of: "features of a row", found: features.columnCount, expected: featureCount,
        reason: "as the head was fitted to")
    }
    let total = counts[0] + counts[1] + 1
    let logs = counts.map { Float(log(($0 + 0.5) / total)) }
    return Matrix(
      rows: features.rowCount, columns: 2,
      elements: (0..<features.rowCount).flatMap { _ in logs })
  }

  func encode(into writer: inout SafetensorsWriter) { writer.add("counts", counts) }

  init(decoding file: SafetensorsFile) throws(DataError) {
    featureCount = try file.integer("feature_count", atLeast: 1)
    counts = try file.vector("counts", count: 2)
    try DataError.require(
      counts.allSatisfy { $0 >= 0 }, .outOfRange, file: file.path, key: "counts",
      found: "a count is negative", expected: "numbers of rows")
  }
}
