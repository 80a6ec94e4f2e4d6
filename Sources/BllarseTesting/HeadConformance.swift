public import BllarseCore
import BllarseNumerics
import Foundation
import Synchronization

/// What every head must do, whoever wrote it: the built-in ones are checked by this, too.
///
/// Each way to fit the head is run on small features as a run of the command line would be. What it checks:
/// shapes, and probabilities that sum to 1, or scales that are positive; that a stored head predicts the same bits;
/// that neither the order of the training rows nor the numbering of the classes matters; that a weight is as good as
/// repeats; that a fit which is told to stop does; that further rows are learnt from, in batches as at once where the
/// head says so; and that what cannot be used is an error and no trap.
///
///     let faults = try HeadConformance(.nearestMean).faults()
public struct HeadConformance {
  /// What is not true of every head, and has to be claimed.
  public struct Claims: OptionSet, Sendable {
    /// One bit a claim.
    public let rawValue: Int
    /// Takes the bits.
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// The order of the training rows does not matter, but for rounding.
    public static let rowOrder = Claims(rawValue: 1)
    /// The numbering of the classes does not matter, but for rounding.
    public static let classOrder = Claims(rawValue: 2)
    /// A weight of two is as good as a row that is there twice, but for rounding.
    public static let weights = Claims(rawValue: 4)
  }

  private let method: HeadMethod
  private let options: [String: String]
  private let claims: (FittingWay) -> Claims
  private let tolerance: Double

  /// Prepares the check of a head that is registered.
  ///
  /// - Parameters:
  ///   - method: the head.
  ///   - options: values of options by their long names, "prior": "1"; given to the ways that take them.
  ///   - tolerance: how much probabilities, or target values of size 1, may differ where rounding, and where an iteration
  ///     ends, should alone tell them apart.
  ///   - claims: what a way claims; by default that neither order matters where one pass reaches the optimum,
  ///     and that weights are as good as repeats where it takes weights.
  public init(
    _ method: HeadMethod, options: [String: String] = [:], tolerance: Double = 1e-3,
    claims: @escaping (FittingWay) -> Claims = { way in
      var claims: Claims = way.traits.contains(.isOnePass) ? [.rowOrder, .classOrder] : []
      if way.takes("sample-weight") { claims.insert(.weights) }
      return claims
    }
  ) {
    (self.method, self.options, self.tolerance) = (method, options, tolerance)
    self.claims = claims
  }

  /// Checks every way to fit the head.
  ///
  /// - Returns: what is not as it must be, a line each; none for a head that conforms.
  /// - Throws: what a fit throws that must be possible.
  public func faults() throws -> [String] {
    let directory = NSTemporaryDirectory() + "bllarse-conformance-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    return try method.ways.flatMap { way in
      try faults(of: way, in: directory).map { "\(method.name) \(way.name): \($0)" }
    }
  }

  private func faults(of head: any LatentHead, _ rows: Rows) throws -> [String] {
    let moments = try head.latent(rows.test, execution: .available)
    let (means, variances) = (moments.means, moments.variances)
    guard means.rowCount == rows.test.rowCount, variances.rowCount == means.rowCount,
      variances.columnCount == means.columnCount, means.columnCount > 0
    else { return ["the logits of 30 rows have means \(means) and variances \(variances)"] }
    guard means.firstNonFinite == nil, variances.elements.allSatisfy({ $0 >= 0 && $0.isFinite })
    else { return ["the moments of the logits are not all numbers, or a variance is negative"] }
    // The mean of n draws is within 5 standard errors of the mean of the logits.
    let count = 400
    let draws = moments.samples(count, seed: 1).map(\.elements)
    let (centres, spreads) = (means.elements, variances.elements)
    let strays = centres.indices.count { index in
      let sum = draws.reduce(0) { $0 + $1[index] }
      let error = (spreads[index] / Double(count)).squareRoot()
      return abs(sum / Double(count) - centres[index]) > 5 * error + 1e-9
    }
    return strays == 0 ? [] : ["\(strays) means of draws are not those of the logits"]
  }

  /// What is wrong with learning from further rows.
  ///
  /// - Parameters:
  ///   - head: fitted.
  ///   - stored: the same, stored and read.
  ///   - mergesExactly: what the head says of batches.
  ///   - rows: those to learn from.
  ///   - update: teaches a head rows with targets.
  /// - Returns: a line for each fault.
  /// - Throws: what predictions throw that must be possible.
  private func faults<Streaming: Head>(
    of head: Streaming, stored: any Head, mergesExactly: Bool, _ rows: Rows,
    _ update: (inout Streaming, FeatureMatrix, Targets) throws(NumericsError) -> Void
  ) throws -> [String] {
    /// The head after further rows, those of each range in a batch of its own.
    func predicted(_ head: Streaming, _ batches: [Range<Int>]) throws -> [Double] {
      var head = head
      for batch in batches {
        try update(&head, rows.test.rows(batch), rows.testTargets(Streaming.task, batch))
      }
      return try Self.predictions(head, rows.test).elements
    }
    let before = try Self.predictions(head, rows.test).elements
    let whole = try predicted(head, [0..<30])
    var faults: [String] = []
    if before == whole { faults.append("further rows change nothing") }
    if try (stored as? Streaming).map({ try predicted($0, [0..<30]) }) != whole {
      faults.append("a head that was stored and read learns otherwise")
    }
    if mergesExactly {
      let difference = try Self.difference(predicted(head, [0..<7, 7..<30]), whole)
      if !(difference < tolerance) {
        faults.append("batches and all rows at once differ by \(difference) in predictions")
      }
    }
    let narrow = FeatureMatrix(Matrix<Float>(rows: 2, columns: 4, repeating: 0))
    let (two, one) = (
      rows.testTargets(Streaming.task, 0..<2), rows.testTargets(Streaming.task, 0..<1)
    )
    for (features, targets) in [
      (narrow, two), (rows.test.rows(0..<2), Rows.unusable(Streaming.task)),
      (rows.test.rows(0..<2), one),
    ] {
      var other = head
      do throws(NumericsError) {
        try update(&other, features, targets)
        faults.append("it learns from \(features.columnCount) features and the targets \(targets)")
      } catch {
        if try Self.predictions(other, rows.test).elements != before {
          faults.append("an update that fails changes the head")
        }
      }
    }
    return faults
  }

  private func streamingFaults(
    of head: any Head, stored: any Head, _ rows: Rows
  ) throws -> [String] {
    func faults<Streaming: StreamingHead>(classifying head: Streaming) throws -> [String] {
      try self.faults(
        of: head, stored: stored, mergesExactly: Streaming.mergesExactly, rows
      ) { (head, features, targets) throws(NumericsError) in
        guard case .classes(let labels) = targets else { return }
        try head.update(features, labels: labels, execution: .available)
      }
    }
    func faults<Streaming: StreamingRegressionHead>(regressing head: Streaming) throws -> [String] {
      try self.faults(
        of: head, stored: stored, mergesExactly: Streaming.mergesExactly, rows
      ) { (head, features, targets) throws(NumericsError) in
        guard case .values(let values) = targets else { return }
        try head.update(features, values: values, execution: .available)
      }
    }
    if let head = head as? any StreamingHead { return try faults(classifying: head) }
    if let head = head as? any StreamingRegressionHead { return try faults(regressing: head) }
    return []
  }

  private func faults(of way: FittingWay, in directory: String) throws -> [String] {
    var faults: [String] = []
    let rows = Rows()
    let output = directory + "/out-" + UUID().uuidString
    let head = try fit(way, rows, in: directory, output: output)
    let outputCount = Rows.outputCount(method.task)

    // 1. Shapes, and sums.
    if head.featureCount != Rows.featureCount || head.outputCount != outputCount {
      faults.append(
        "fitted to 5 features and \(outputCount) outputs, it says \(head.featureCount) and "
          + "\(head.outputCount)")
    }
    let predicted = try Self.predictions(head, rows.test)
    let width = method.task == .regression ? 2 : outputCount
    if predicted.rowCount != rows.test.rowCount || predicted.columnCount != width {
      return faults + ["predictions of 30 rows and \(outputCount) outputs are \(predicted)"]
    }
    for row in 0..<predicted.rowCount {
      let values = predicted.row(row)
      switch method.task {
      case .regression:
        if !(values[0].isFinite && values[1] > 0) { faults.append("row \(row) has \(values)") }
      case .multilabel:
        if !values.allSatisfy({ 0...1 ~= $0 }) { faults.append("row \(row) has \(values)") }
      case .classification:
        let sum = values.reduce(0, +)
        if !((sum - 1).magnitude < 1e-4) {
          faults.append("probabilities of row \(row) sum to \(sum)")
        }
      }
    }
    if try Self.predictions(head, rows.test.rows(0..<0)).rowCount != 0 {
      faults.append("no rows have predictions")
    }

    if let head = head as? any LatentHead { faults += try self.faults(of: head, rows) }

    // 2. A stored head.
    let stored = try HeadCheckpoint(path: output + "/head.safetensors").head
    faults += try streamingFaults(of: head.uncalibrated, stored: stored.uncalibrated, rows)
    if try Self.predictions(stored, rows.test).elements != predicted.elements {
      faults.append("a head that was stored and read predicts other bits")
    }

    // 3. What must not matter.
    func compare(_ other: Rows, _ claim: String, columns: [Int]) throws {
      let values = try Self.predictions(try fit(way, other, in: directory), rows.test)
      let reordered = (0..<values.rowCount).flatMap { row in columns.map { values[row, $0] } }
      let difference = Self.difference(reordered, predicted.elements)
      if !(difference < tolerance) {
        faults.append("\(claim) changes predictions by \(difference)")
      }
    }
    let claimed = claims(way)
    if claimed.contains(.rowOrder) {
      try compare(rows.reordered, "another order of the rows", columns: Array(0..<width))
    }
    if claimed.contains(.classOrder), method.task == .classification {
      try compare(rows.renumbered, "another numbering of the classes", columns: [2, 0, 1])
    }
    if claimed.contains(.weights) {
      let weighted = try Self.predictions(fit(way, rows.weighted, in: directory), rows.test)
      let repeated = try Self.predictions(fit(way, rows.repeated, in: directory), rows.test)
      let difference = Self.difference(weighted.elements, repeated.elements)
      if !(difference < tolerance) {
        faults.append("weights of two and repeated rows differ by \(difference) in predictions")
      }
    }

    // 4. A fit that is told to stop.
    do {
      _ = try fit(way, rows, in: directory, shouldStop: { true })
      faults.append("a fit that was told to stop came to its end")
    } catch is RunInterrupted {
    }

    // 5. What cannot be used.
    for width in [Rows.featureCount - 1, Rows.featureCount + 1] {
      let wrong = FeatureMatrix(Matrix<Float>(rows: 2, columns: width, repeating: 0))
      if (try? Self.predictions(head, wrong)) != nil {
        faults.append("rows of \(width) features are predicted by a head of 5")
      }
    }
    let unusable = try FeatureSplit(
      features: rows.test.rows(0..<2), targets: Rows.unusable(method.task))
    if (try? head.scores(of: unusable, execution: .available)) != nil {
      faults.append("a target that cannot be is scored")
    }
    return faults
  }

  /// What a head predicts, a row for each: probabilities of classes or of labels, or locations and scales.
  private static func predictions(
    _ head: any Head, _ features: FeatureMatrix
  ) throws -> Matrix<Double> {
    if let head = head as? any RegressionHead {
      let predicted = try head.predict(features)
      return Matrix(
        rows: predicted.rowCount, columns: 2 * predicted.targetCount,
        elements: (0..<predicted.rowCount).flatMap {
          predicted.locations.row($0) + predicted.scales.row($0)
        })
    }
    if let head = head as? any MultiLabelHead {
      let odds = try head.logOdds(features)
      return Matrix(
        rows: odds.rowCount, columns: odds.columnCount,
        elements: odds.elements.map { 1 / (1 + exp(-Double($0))) })
    }
    let logs = try head.classifier().logProbabilities(features)
    return Matrix(
      rows: logs.rowCount, columns: logs.columnCount,
      elements: logs.elements.map { exp(Double($0)) })
  }

  /// The largest difference; infinite where one is not a number.
  private static func difference(_ first: [Double], _ second: [Double]) -> Double {
    zip(first, second).map { ($0 - $1).magnitude }.reduce(0) {
      $0 >= $1 ? $0 : $1.isNaN ? .infinity : $1
    }
  }

  private func fit(
    _ way: FittingWay, _ rows: Rows, in directory: String, output: String? = nil,
    shouldStop: @escaping @Sendable () -> Bool = { false }
  ) throws -> any Head {
    let path = directory + "/rows.safetensors"
    try rows.write(to: path, method.task)
    var given = GivenOptions()
    given["head"] = method.name
    given["features"] = path
    given["threads"] = "1"
    if method.task == .classification { given["calibration"] = "none" }
    if let selector = method.selector { given[selector.name] = way.name }
    if let name = way.requiredSwitch { given[name] = "" }
    if !way.traits.contains(.isOnePass) { given["epochs"] = "2" }
    for (name, value) in options where way.takes(name) { given[name] = value }
    if rows.weights != nil { given["sample-weight"] = "times" }
    given["output"] = output
    return try FineTuning(try RunConfiguration(given), shouldStop: shouldStop).run().head
  }
}

/// Three classes in five features, with overlap, a target value that depends on them, and two labels, of which rows have
/// as many as their class says; the same rows whenever they are made.
private struct Rows {
  static let (featureCount, classCount) = (5, 3)
  var train: [[Float]] = []
  var labels: [Int32] = []
  var weights: [Int32]?
  let test: FeatureMatrix
  private(set) var testLabels: [Int32] = []
  private var values: [Double] = []
  private var testValues: [Double] = []

  init() {
    var generator = Philox(seed: 8, purpose: .sampling, index: 0)
    func row(_ label: Int) -> [Float] {
      (0..<Self.featureCount).map { column in
        Float(generator.normalPair().0) + (column == label ? 1.5 : 0)
      }
    }
    labels = (0..<60).map { Int32($0 % 3) }
    train = labels.map { row(Int($0)) }
    testLabels = (0..<30).map { Int32($0 % 3) }
    test = FeatureMatrix(
      Matrix(rows: 30, columns: Self.featureCount, elements: testLabels.flatMap { row(Int($0)) }))
    func value(_ row: [Float]) -> Double {
      Double(row[0] - row[2]) + 0.3 * generator.normalPair().0
    }
    values = train.map(value)
    testValues = (0..<30).map { value(test.rows($0..<$0 + 1).converted(to: Float.self).elements) }
  }

  /// Targets of test rows.
  func testTargets(_ task: LearningTask, _ range: Range<Int>) -> Targets {
    switch task {
    case .classification: .classes(Array(testLabels[range]))
    case .regression:
      .values(Matrix(rows: range.count, columns: 1, elements: Array(testValues[range])))
    case .multilabel:
      .labelSets(
        LabelSets(
          rowCount: range.count, labelCount: 2,
          Self.sets(Array(testLabels[range])).map { $0 == 1 }))
    }
  }

  /// Which of two labels rows have: those of class 0 none, those of class 2 both.
  private static func sets(_ labels: [Int32]) -> [Int32] {
    labels.flatMap { [$0 > 0 ? 1 : 0, $0 > 1 ? 1 : 0] }
  }

  /// The outputs of a head that is fitted to these rows.
  static func outputCount(_ task: LearningTask) -> Int {
    switch task {
    case .classification: classCount
    case .regression: 1
    case .multilabel: 2
    }
  }

  /// Targets of two rows that cannot be.
  static func unusable(_ task: LearningTask) -> Targets {
    switch task {
    case .classification: .classes([0, 3])
    case .regression: .values(Matrix(rows: 2, columns: 1, elements: [0, .nan]))
    case .multilabel:
      .labelSets(LabelSets(rowCount: 2, labelCount: 3, [Bool](repeating: true, count: 6)))
    }
  }

  private func taking(_ order: [Int]) -> Rows {
    var rows = self
    (rows.train, rows.labels) = (order.map { train[$0] }, order.map { labels[$0] })
    rows.values = order.map { values[$0] }
    return rows
  }

  var reordered: Rows { taking((0..<60).map { (37 * $0 + 11) % 60 }) }

  var renumbered: Rows {
    var rows = self
    rows.labels = labels.map { ($0 + 2) % 3 }
    rows.testLabels = testLabels.map { ($0 + 2) % 3 }
    return rows
  }

  /// Every fourth row counts twice.
  var weighted: Rows {
    var rows = self
    rows.weights = (0..<60).map { $0 % 4 == 0 ? 2 : 1 }
    return rows
  }

  /// Every fourth row is there twice.
  var repeated: Rows { taking((0..<60).flatMap { $0 % 4 == 0 ? [$0, $0] : [$0] }) }

  func write(to path: String, _ task: LearningTask) throws {
    var writer = SafetensorsWriter()
    writer.add(
      "X_train",
      Matrix<Float>(rows: train.count, columns: Self.featureCount, elements: train.flatMap { $0 }))
    writer.add("X_test", test)
    switch task {
    case .classification:
      writer.add("y_train", labels)
      writer.add("y_test", testLabels)
    case .regression:
      writer.add("y_train", values)
      writer.add("y_test", testValues)
    case .multilabel:
      for (name, labels) in [("y_train", labels), ("y_test", testLabels)] {
        writer.add(name, Self.sets(labels), shape: [labels.count, 2])
      }
    }
    if let weights { writer.add("times_train", weights) }
    try writer.write(to: path)
  }
}
