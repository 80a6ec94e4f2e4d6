import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// Every public fit, update and score that takes rows and labels.
@Suite("Rows and labels that cannot be: typed errors with the row, from every public fit")
struct FitErrorTests {
  /// A fit of 3 classes on 4 features.
  enum Fit: String, CaseIterable, Sendable {
    case probit, probitDouble, probitUpdate, probitEpoch, probitSites, probitCalibrate
    case oneVsRest, oneVsRestUpdate, stickBreaking, stickBreakingUpdate

    func run(_ features: FeatureMatrix, _ labels: [Int32]) throws(NumericsError) {
      var probit = IBProbitHead<Float>(
        .init(featureCount: 4, classCount: 3, transform: .standardLayerNorm))
      switch self {
      case .probit: try probit.fit(features: features, labels: labels)
      case .probitDouble:
        var head = IBProbitHead<Double>(
          .init(featureCount: 4, classCount: 3, transform: .standardLayerNorm))
        try head.fit(features: features, labels: labels)
      case .probitUpdate: try probit.update(features: features, labels: labels, iterations: 2)
      case .probitEpoch:
        try probit.update(
          features: features, labels: labels, order: Array(0..<features.rowCount), batchSize: 2,
          iterations: 2)
      case .probitSites:
        _ = try IBProbitSiteRefinement<Float>(
          probit.configuration, features: features, labels: labels)
      case .probitCalibrate: try probit.calibrate(features: features, labels: labels)
      case .oneVsRest, .oneVsRestUpdate:
        var head = IBPolyaGammaHead<Float>(
          .init(featureCount: 4, classCount: 3, transform: .identity))
        if self == .oneVsRest {
          try head.fit(features: features, labels: labels)
        } else {
          try head.update(features: features, labels: labels, iterations: 2)
        }
      case .stickBreaking, .stickBreakingUpdate:
        var head = MultinomialPolyaGammaHead<Float>(
          .init(featureCount: 4, classCount: 3, transform: .identity))
        if self == .stickBreaking {
          try head.fit(features: features, labels: labels)
        } else {
          try head.update(features: features, labels: labels, iterations: 2)
        }
      }
    }
  }

  static func rows(_ count: Int, width: Int = 4) -> Matrix<Float> {
    var generator = SplitMix64(seed: 9)
    return Matrix(
      rows: count, columns: width,
      elements: (0..<count * width).map { _ in Float(generator.normal()) })
  }
  static let labels: [Int32] = (0..<12).map { Int32($0 % 3) }

  @Test("labels, values, widths and numbers of rows", arguments: Fit.allCases)
  func faults(fit: Fit) throws {
    let good = Self.rows(12)
    try fit.run(FeatureMatrix(good), Self.labels)
    var cases: [(NumericsError, FeatureMatrix, [Int32])] = []
    for label: Int32 in [-1, 3, .max, .min] {
      var labels = Self.labels
      labels[7] = label
      cases.append(
        (.labelOutOfRange(row: 7, label: Int(label), classCount: 3), FeatureMatrix(good), labels))
    }
    for value in [Float.nan, .infinity, -.infinity] {
      var features = good
      features[5, 2] = value
      cases.append((.notFinite(row: 5, column: 2), FeatureMatrix(features), Self.labels))
      var halves = Matrix<Float16>(rows: 12, columns: 4, repeating: 1)
      halves[5, 2] = Float16(value)
      cases.append((.notFinite(row: 5, column: 2), FeatureMatrix(halves), Self.labels))
    }
    for count in [11, 13] {
      cases.append(
        (
          .sizeMismatch(of: "labels", found: count, expected: 12, reason: "one for each row"),
          FeatureMatrix(good), (0..<count).map { Int32($0 % 3) }
        ))
    }
    for width in [3, 5] {
      cases.append(
        (
          .sizeMismatch(
            of: "features a row", found: width, expected: 4, reason: "as the head has"),
          FeatureMatrix(Self.rows(12, width: width)), Self.labels
        ))
    }
    cases.append((.noRows(""), FeatureMatrix(Matrix<Float>.zeros(0, 4)), []))
    var large = good
    large[3, 1] = 1e30
    cases.append(
      (.outOfRange(row: 3, column: 1, value: 0, bound: 0), FeatureMatrix(large), Self.labels))
    for (expected, features, labels) in cases {
      let error = #expect(throws: NumericsError.self) { try fit.run(features, labels) }
      switch (expected, error) {
      case (.noRows, .noRows?): break
      case (.outOfRange(let row, let column, _, _), .outOfRange(let r, let c, let value, _)?):
        #expect(row == r && column == c && value == Double(Float(1e30)))
      default: #expect(error == expected, "\(fit)")
      }
      let text = error?.description ?? ""
      #expect(!text.contains("--") && !text.hasSuffix("."), "\(text)")
    }
  }

  @Test("a head that refused rows is as it was, and goes on")
  func unchanged() throws {
    var head = IBPolyaGammaHead<Float>(.init(featureCount: 4, classCount: 3, transform: .identity))
    let features = FeatureMatrix(Self.rows(12))
    try head.fit(features: features, labels: Self.labels)
    let before = try head.logProbabilities(features)
    var labels = Self.labels
    labels[0] = 9
    #expect(throws: NumericsError.self) { try head.fit(features: features, labels: labels) }
    #expect(throws: NumericsError.self) {
      try head.update(features: features, labels: labels, iterations: 1, forgettingRate: 0.5)
    }
    #expect(throws: NumericsError.self) {
      try head.update(
        features: features, labels: Self.labels, iterations: 1, forgettingRate: 0.5,
        start: .zeros(2, 3))
    }
    #expect(try head.logProbabilities(features) == before)
  }

  @Test("orders of rows, batch sizes, iterations, tolerances and starts that cannot be")
  func parameters() throws {
    let features = FeatureMatrix(Self.rows(12))
    var head = IBProbitHead<Float>(
      .init(featureCount: 4, classCount: 3, transform: .standardLayerNorm))
    for order in [[0, 12], [-1], [3, 3], []] {
      #expect(throws: NumericsError.self, "\(order)") {
        try head.update(
          features: features, labels: Self.labels, order: order, batchSize: 2, iterations: 1)
      }
    }
    #expect(throws: NumericsError.self) {
      try head.update(
        features: features, labels: Self.labels, order: [0, 1], batchSize: 0, iterations: 1)
    }
    for rate in [-0.1, 1.1, .nan] {
      #expect(throws: NumericsError.self) {
        try head.update(
          features: features, labels: Self.labels, iterations: 1, forgettingRate: rate)
      }
    }
    #expect(throws: NumericsError.self) {
      try head.update(features: features, labels: Self.labels, iterations: 0)
    }
    #expect(throws: NumericsError.self) {
      try head.update(
        features: features, labels: Self.labels, iterations: 1, start: .naturalMean(.zeros(4, 3)))
    }
    for tolerance in [0, -1, Double.nan] {
      #expect(throws: NumericsError.self) {
        try head.fit(features: features, labels: Self.labels, tolerance: tolerance)
      }
    }
  }

  @Test("predictions of rows of another width, and losses of labels that are no class")
  func predictions() throws {
    let narrow = FeatureMatrix(Self.rows(12, width: 3))
    let features = FeatureMatrix(Self.rows(12))
    let probit = IBProbitHead<Float>(
      .init(featureCount: 4, classCount: 3, transform: .standardLayerNorm))
    let heads: [any ClassificationHead] = [
      probit, IBProbitReferenceHead(probit),
      IBPolyaGammaHead<Float>(.init(featureCount: 4, classCount: 3, transform: .identity)),
      MultinomialPolyaGammaHead<Float>(.init(featureCount: 4, classCount: 3, transform: .identity)),
      LinearHead<CrossEntropyLoss>(featureCount: 4, classCount: 3),
      CalibratedHead(LinearHead<SquaredErrorLoss>(featureCount: 4, classCount: 3), .temperature(2)),
    ]
    for head in heads {
      #expect(throws: NumericsError.self) { try head.logProbabilities(narrow) }
      #expect(throws: NumericsError.self) { try Uncertainty(head, narrow) }
      #expect(try head.logProbabilities(features.rows(0..<0)).rowCount == 0)
      for labels in [[Int32](repeating: 3, count: 12), [-1], []] {
        #expect(throws: NumericsError.self) {
          try head.evaluation(features: features, labels: labels)
        }
      }
    }
    let wrong = [Int32](repeating: 3, count: 12)
    for loss in BinaryLoss.allCases {
      #expect(throws: NumericsError.self) {
        try probit.lossesAndLogits(features: features, labels: wrong, loss: loss)
      }
    }
    let sticks = MultinomialPolyaGammaHead<Float>(
      .init(featureCount: 4, classCount: 3, transform: .identity))
    #expect(throws: NumericsError.self) {
      try sticks.lossesAndLogits(features: features, labels: wrong, loss: .plugIn)
    }
  }

  @Test("scores, maps and sets of labels that are no class, and of predictions that are no numbers")
  func scores() throws {
    var logs = Matrix<Double>(Self.rows(12, width: 3))
    logs.formLogSoftmaxRows()
    let p = logs.exponentials()
    var broken = logs
    broken[4, 1] = .nan
    let scaling = TemperatureScaling()
    let execution = Execution(threadCount: 1)
    let calls: [(String, (Matrix<Double>, [Int32]) throws(NumericsError) -> Void)] = [
      (
        "predictions",
        { (logs, y) throws(NumericsError) in
          _ = try Predictions(logProbabilities: logs, labels: y)
        }
      ),
      (
        "probabilities",
        { (logs, y) throws(NumericsError) in _ = try Predictions(probabilities: logs, labels: y) }
      ),
      (
        "classwise",
        { (logs, y) throws(NumericsError) in
          _ = try Metrics.classwiseCalibrationError(probabilities: logs, labels: y)
        }
      ),
      (
        "conformal",
        { (logs, y) throws(NumericsError) in
          _ = try ConformalSets(.lac, level: 0.9, probabilities: logs, labels: y)
        }
      ),
      (
        "temperature",
        { (logs, y) throws(NumericsError) in
          _ = try HeldOutCalibration(.temperature, logProbabilities: logs, labels: y)
        }
      ),
      (
        "vector",
        { (logs, y) throws(NumericsError) in
          _ = try HeldOutCalibration(.vector, logProbabilities: logs, labels: y)
        }
      ),
      (
        "isotonic",
        { (logs, y) throws(NumericsError) in
          _ = try HeldOutCalibration(.isotonic, logProbabilities: logs, labels: y)
        }
      ),
      (
        "newton", { (logs, y) throws(NumericsError) in _ = try scaling.inverseTemperature(logs, y) }
      ),
      (
        "parts",
        { (logs, y) throws(NumericsError) in
          _ = try TemperatureScaling(fractions: [0.5]).rows(
            "head", logits: logs, labels: y, seed: 0, execution: execution)
        }
      ),
    ]
    for (name, call) in calls {
      try call(logs, Self.labels)
      for (row, label) in [(2, Int32(-1)), (11, 3)] {
        var labels = Self.labels
        labels[row] = label
        let error = #expect(throws: NumericsError.self, "\(name)") { try call(logs, labels) }
        #expect(error == .labelOutOfRange(row: row, label: Int(label), classCount: 3), "\(name)")
      }
      #expect(throws: NumericsError.self, "\(name)") { try call(logs, [0, 1]) }
    }
    for (name, call) in calls.dropFirst(3) {
      let error = #expect(throws: NumericsError.self, "\(name)") { try call(broken, Self.labels) }
      #expect(error == .notFinite(row: 4, column: 1), "\(name)")
    }
    let sets = try ConformalSets(.aps(), level: 0.5, probabilities: p, labels: Self.labels)
    #expect(throws: NumericsError.self) { try sets.evaluate(probabilities: p, labels: [5]) }
    for level in [0, 1, 1.5, Double.nan] {
      #expect(throws: NumericsError.self) {
        try ConformalSets(.lac, level: level, probabilities: p, labels: Self.labels)
      }
    }
    // No order among scores that are no numbers: no figure is better than a wrong one.
    let detection = Metrics.outOfDistributionDetection(
      inDistribution: [1, .nan], outOfDistribution: [2])
    #expect(detection.auroc.isNaN && detection.auprOut.isNaN)
  }

  @Test(
    "plain arrays: labels beyond 32 bits keep their value in the message; no row, no class, no prior"
  )
  func arrays() throws {
    let rows: [[Float]] = [[1, 2], [3, 4], [5, 7]]
    let error = #expect(throws: DataError.self) {
      try IBProbitHead(fitting: rows, labels: [0, 1, 5_000_000_000])
    }
    #expect(error?.row == 2 && error?.description.contains("5000000000") == true)
    for labels in [[0, 1, -1], [0, 1], [0, 0, 0]] {
      #expect(throws: DataError.self) { try IBProbitHead(fitting: rows, labels: labels) }
    }
    #expect(throws: DataError.self) { try IBProbitHead(fitting: [], labels: []) }
    #expect(throws: DataError.self) {
      try IBProbitHead(fitting: rows, labels: [0, 1, 2], classCount: 2)
    }
    for precision in [0, -1, Double.nan, .infinity] {
      #expect(throws: NumericsError.self) {
        try IBProbitHead(fitting: rows, labels: [0, 1, 0], priorPrecision: precision)
      }
    }
  }

  @Test("weights of rows")
  func weights() throws {
    let features = FeatureMatrix(Self.rows(12))
    func check(_ weights: [Double]) throws(NumericsError) {
      try TrainingRows.check(features, labels: Self.labels, classCount: 3, weights: weights)
    }
    var weights = [Double](repeating: 1, count: 12)
    try check(weights)
    for value in [-1, .nan, Double.infinity] {
      weights[6] = value
      let error = #expect(throws: NumericsError.self) { try check(weights) }
      guard case .invalidWeight(row: 6, _)? = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
    #expect(throws: NumericsError.self) { try check([1]) }
    #expect(throws: NumericsError.self) { try check([Double](repeating: 0, count: 12)) }
  }
}
