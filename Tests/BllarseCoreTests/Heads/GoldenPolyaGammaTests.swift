import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Golden: Polya-Gamma heads")
struct GoldenPolyaGammaTests {
  @Test("golden files are there")
  func filesExist() {
    #expect(!Golden.files(prefix: "ibpolyagamma").isEmpty)
    #expect(!Golden.files(prefix: "multinomial_polyagamma").isEmpty)
  }

  @Test("one against the rest, double", arguments: Golden.files(prefix: "ibpolyagamma"))
  func oneAgainstRestDouble(name: String) throws { try checkOneAgainstRest(name, Double.self) }

  @Test("one against the rest, single", arguments: Golden.files(prefix: "ibpolyagamma"))
  func oneAgainstRestSingle(name: String) throws { try checkOneAgainstRest(name, Float.self) }

  @Test("stick-breaking, double", arguments: Golden.files(prefix: "multinomial_polyagamma"))
  func stickBreakingDouble(name: String) throws { try checkStickBreaking(name, Double.self) }

  @Test("stick-breaking, single", arguments: Golden.files(prefix: "multinomial_polyagamma"))
  func stickBreakingSingle(name: String) throws { try checkStickBreaking(name, Float.self) }

  private func checkOneAgainstRest<Scalar: BLASScalar>(
    _ name: String, _ type: Scalar.Type
  ) throws {
    let file = try Golden.open(name)
    // The start is the running posterior: it is the prior of the update, too.
    let head = try updated(file, OneAgainstRest.self, Scalar.self, startIsPrior: true)
    for loss in BinaryLoss.allCases {
      let (losses, logits) = try head.lossesAndLogits(
        features: file.features("test_features"), labels: file.labels("test_labels"), loss: loss)
      try compare(file, "loss_type\(loss.rawValue)", losses, logits, Scalar.self)
    }
  }

  private func checkStickBreaking<Scalar: BLASScalar>(_ name: String, _ type: Scalar.Type) throws {
    let file = try Golden.open(name)
    // The reference drops the running posterior's mean: its prior has mean 0 wherever it starts.
    let head = try updated(file, StickBreaking.self, Scalar.self, startIsPrior: false)
    for loss in StickBreakingLoss.allCases {
      let (losses, logits) = try head.lossesAndLogits(
        features: file.features("test_features"), labels: file.labels("test_labels"), loss: loss)
      try compare(file, "loss_type\(loss.rawValue)", losses, logits, Scalar.self)
    }
  }

  /// Updates a head as the file says, and compares its posterior.
  private func updated<Scalar: BLASScalar, Coding: BinaryCoding>(
    _ file: SafetensorsFile, _ coding: Coding.Type, _ type: Scalar.Type, startIsPrior: Bool
  ) throws -> PolyaGammaHead<Scalar, Coding> {
    let features = try file.features("features")
    let start = try file.matrix("mu_init", as: Double.self)
    let precisions = try file.matrices("Sigma_init", as: Double.self).map {
      try Cholesky($0).inverse()
    }
    var natural = Matrix<Double>.zeros(start.rowCount, start.columnCount)
    if startIsPrior {
      for (column, precision) in precisions.enumerated() {
        let values = precision.symmetricMultiplied(by: start.column(column))
        for (row, value) in values.enumerated() { natural[row, column] = value }
      }
    }
    var head = PolyaGammaHead<Scalar, Coding>(
      .init(
        featureCount: features.columnCount,
        classCount: try #require(Int(file.metadata("num_classes"))),
        usesBias: try file.metadata("use_bias") == "True", transform: .identity),
      precisions: precisions, naturalMean: natural)
    try head.update(
      features: features, labels: try file.labels("labels"),
      iterations: try #require(Int(file.metadata("num_iters"))), start: start)

    let bound = GoldenTolerance(Scalar.self).parameters
    #expect(
      relativeDifference(
        try head.mean().elements, try file.matrix("mu", as: Double.self).elements) < bound)
    for (precision, expected) in zip(
      head.precisions, try file.matrices("Sigma", as: Double.self))
    {
      #expect(
        relativeDifference(try Cholesky(precision).inverse().elements, expected.elements) < bound)
    }
    return head
  }

  private func compare<Scalar: BLASScalar>(
    _ file: SafetensorsFile, _ name: String, _ losses: [Double], _ logits: Matrix<Double>,
    _ type: Scalar.Type
  ) throws {
    let bound = GoldenTolerance(Scalar.self).outputs
    let expectedLosses = try file.array("\(name).loss", as: Double.self)
    let expectedLogits = try file.matrix("\(name).logits", as: Double.self)
    #expect(relativeDifference(losses, expectedLosses) < bound, "losses of \(name)")
    #expect(relativeDifference(logits.elements, expectedLogits.elements) < bound, "\(name)")
  }
}
