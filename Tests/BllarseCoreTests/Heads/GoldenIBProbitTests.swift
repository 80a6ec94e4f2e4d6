import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// The reference numbers of the Python original, in float64; see Fixtures/golden/README.md.
enum Golden {
  /// The directory of the golden files: BLLARSE_GOLDEN_DIR if it is set.
  static var directory: String {
    ProcessInfo.processInfo.environment["BLLARSE_GOLDEN_DIR"] ?? Fixtures.path("golden")
  }

  static func files(prefix: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return names.filter { $0.hasPrefix(prefix) && $0.hasSuffix(".safetensors") }.sorted()
  }

  static func open(_ name: String) throws -> SafetensorsFile {
    try SafetensorsFile(path: directory + "/" + name)
  }
}

extension SafetensorsFile {
  /// A metadata entry that is a number.
  fileprivate func number<Value>(_ name: String, _ parse: (String) -> Value?) throws -> Value {
    try #require(parse(try metadata(name)))
  }
}

/// Bounds on differences relative to an array's largest entry.
struct GoldenTolerance {
  let parameters: Double
  let outputs: Double

  init<Scalar: BLASScalar>(_ type: Scalar.Type) {
    // Double: the reference is float64. Float: single-precision products, double sums.
    (parameters, outputs) = Scalar.self == Double.self ? (1e-8, 1e-8) : (1e-3, 5e-3)
  }
}

@Suite("Golden: IBProbit head")
struct GoldenIBProbitTests {
  @Test("golden files are there")
  func filesExist() {
    #expect(Golden.files(prefix: "ibprobit_").count >= 3)
  }

  @Test("double precision equals the reference", arguments: Golden.files(prefix: "ibprobit_"))
  func double(name: String) throws { try check(name, Double.self) }

  @Test("single precision is close to the reference", arguments: Golden.files(prefix: "ibprobit_"))
  func single(name: String) throws { try check(name, Float.self) }

  private func check<Scalar: BLASScalar>(_ name: String, _ type: Scalar.Type) throws {
    let file = try Golden.open(name)
    let tolerance = GoldenTolerance(type)
    let features = try file.features("features")
    let labels = try file.labels("labels")
    var head = IBProbitHead<Scalar>(
      .init(
        featureCount: features.columnCount,
        classCount: try file.number("num_classes", Int.init),
        usesBias: try file.metadata("use_bias") == "True", transform: .standardLayerNorm),
      cdfForm: try file.metadata("use_approx_cdf") == "True" ? .approximate : .exact)
    let iterations = try file.number("num_iters", Int.init)
    let forgetting = try file.number("alpha", Double.init)

    let batchCount = try file.number("num_batches", Int.init)
    for batch in 0..<batchCount {
      let rows = try file.labels("batch\(batch).indices").map(Int.init)
      try head.update(
        features: features.gatheringRows(rows), labels: rows.map { labels[$0] },
        iterations: iterations, forgettingRate: forgetting,
        start: .naturalMean(try file.matrix("batch\(batch).eta_init", as: Double.self)))
      let expected = try file.matrix("batch\(batch).mu", as: Double.self)
      #expect(
        relativeDifference(try head.mean().elements, expected.elements) < tolerance.parameters,
        "mu after batch \(batch)")
    }
    let precision = try file.matrix("Lambda", as: Double.self)
    #expect(
      relativeDifference(head.posterior.precision.elements, precision.elements)
        < tolerance.parameters)

    let testFeatures = try file.features("test_features")
    let testLabels = try file.labels("test_labels")
    for loss in BinaryLoss.allCases {
      let result = try head.lossesAndLogits(
        features: testFeatures, labels: testLabels, loss: loss)
      let losses = try file.array("loss_type\(loss.rawValue).loss", as: Double.self)
      let logits = try file.matrix("loss_type\(loss.rawValue).logits", as: Double.self)
      #expect(relativeDifference(result.losses, losses) < tolerance.outputs, "losses of \(loss)")
      #expect(
        relativeDifference(Matrix<Double>(result.logits).elements, logits.elements)
          < tolerance.outputs, "logits of \(loss)")
    }
    guard Scalar.self == Double.self else { return }
    try checkCalibration(&head, file, testFeatures, testLabels)
  }

  private func checkCalibration<Scalar: BLASScalar>(
    _ head: inout IBProbitHead<Scalar>, _ file: SafetensorsFile, _ features: FeatureMatrix,
    _ labels: [Int32]
  ) throws {
    func expected(_ key: String) throws -> Double { try file.number(key, Double.init) }
    let mixture = try head.lossesAndLogits(features: features, labels: labels, loss: .mixture)
    let nll = mixture.losses.reduce(0, +) / Double(labels.count)
    #expect(nll.isClose(to: try expected("loss_type3_nll"), relative: 1e-8))
    var probabilities = Matrix<Double>(mixture.logits)
    probabilities.formLogSoftmaxRows()
    let before = SplitScores(try Predictions(logProbabilities: probabilities, labels: labels))
    #expect(before.acc.isClose(to: try expected("loss_type3_acc"), relative: 1e-12))
    #expect(before.ece.isClose(to: try expected("loss_type3_ece20"), relative: 1e-8))

    let beta = try head.calibrate(features: features, labels: labels)
    #expect(
      beta.isClose(to: try expected("calibrated_beta_loss_type2_8_newton_steps"), relative: 1e-8))
    let calibrated = try head.lossesAndLogits(
      features: features, labels: labels, loss: .conditionals)
    var scaled = Matrix<Double>(calibrated.logits)
    scaled.scale(by: beta)
    scaled.formLogSoftmaxRows()
    let after = SplitScores(try Predictions(logProbabilities: scaled, labels: labels))
    #expect(after.nll.isClose(to: try expected("calibrated_nll"), relative: 1e-8))
    #expect(after.ece.isClose(to: try expected("calibrated_ece20"), relative: 1e-8))
  }
}
