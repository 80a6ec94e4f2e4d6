import BllarseCore
import BllarseNumerics
import BllarseTesting
import Foundation
import Testing

@Suite("Head conformance")
struct HeadConformanceTests {
  @Test("every built-in head conforms", arguments: HeadRegistry.methodNames)
  func builtIn(name: String) throws {
    let method = try #require(HeadRegistry.method(named: name))
    // A given prior and scaling: what is chosen on folds depends on which rows a fold has.
    let weights = try Self.weights()
    defer { try? FileManager.default.removeItem(atPath: weights) }
    let conformance = HeadConformance(
      method,
      options: ["prior": "1", "scaling": "global", "batch-size": "20", "weights": weights]
    ) { way in
      var claims: HeadConformance.Claims = []
      if way.traits.contains(.isOnePass) { claims = [.rowOrder, .classOrder] }
      // The classes of given weights are numbered already; others have an order.
      if ["MultinomialPolyaGamma", "laplace", "OrderedProbit"].contains(name) {
        claims.remove(.classOrder)
      }
      if way.takes("sample-weight") { claims.insert(.weights) }
      return claims
    }
    let faults = try conformance.faults()
    #expect(faults.isEmpty, "\(faults)")
  }
}

extension HeadConformanceTests {
  /// Weights of a layer of five features and three classes.
  private static func weights() throws -> String {
    let path = NSTemporaryDirectory() + "bllarse-layer-\(UUID().uuidString).safetensors"
    var writer = SafetensorsWriter()
    writer.add(
      "weight",
      Matrix<Float>(
        rows: 3, columns: 5, elements: (0..<15).map { $0 / 5 == $0 % 5 ? 1.2 : -0.1 }))
    writer.add("bias", [0.1, -0.2, 0.1] as [Float])
    try writer.write(to: path)
    return path
  }

  @Test("the default head conforms with every posterior and link")
  func posteriorsAndLinks() throws {
    let method = try #require(HeadRegistry.method(named: HeadRegistry.softmax))
    for (posterior, link) in [
      ("full", "mean-probit"), ("full", "mc"), ("kron", "probit"), ("kron", "mc"),
      ("block", "bridge"), ("shared", "bridge-norm"), ("diag", "mc"), ("meanfield", "probit"),
    ] {
      var claims: HeadConformance.Claims = [.rowOrder, .classOrder, .weights]
      // The draws of a class are other ones where it has another number.
      if link == "mc" { claims.remove(.classOrder) }
      var options = [
        "prior": "1", "scaling": "global", "posterior": posterior, "link": link,
      ]
      if link == "mc" { options["link-samples"] = "100" }
      let faults = try HeadConformance(method, options: options) { _ in claims }.faults()
      #expect(faults.isEmpty, "\(posterior) \(link): \(faults)")
    }
  }

  @Test(
    "a head that forgets earlier batches, and says that batches do not matter, does not conform")
  func forgetful() async {
    // In a process of its own: other tests count the heads that are registered.
    await #expect(processExitsWith: .success) {
      let method = HeadMethod(
        LastLabelHead.kind,
        ways: [
          FittingWay { request in LastLabelHead(counts: LastLabelHead.counts(request.labels)) }
        ], kinds: [LastLabelHead.self])
      HeadRegistry.register(method)
      let faults = try HeadConformance(method).faults()
      // The shares of the classes are the same in the rows of the fit and in the further rows.
      let expected = [
        "further rows change nothing", "batches and all rows at once differ by",
        "it learns from 4 features",
      ]
      let isFound =
        faults.count == expected.count
        && zip(faults, expected).allSatisfy { fault, part in fault.contains(part) }
      precondition(isFound, "\(faults)")
    }
  }
}

/// Predicts the shares of the classes in the last rows that it has seen.
private struct LastLabelHead: StreamingHead {
  static let kind = "LastLabel"
  static let mergesExactly = true
  var counts: Matrix<Float>
  var featureCount: Int { 5 }
  var classCount: Int { 3 }

  static func counts(_ labels: [Int32]) -> Matrix<Float> {
    Matrix(
      rows: 1, columns: 3, elements: (0..<3).map { k in Float(1 + labels.count { $0 == k }) })
  }

  init(counts: Matrix<Float>) { self.counts = counts }

  mutating func update(
    _ features: FeatureMatrix, labels: [Int32], execution: Execution
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: features.columnCount, classCount: 3)
    counts = Self.counts(labels)
  }

  func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    try TrainingRows.checkFeatureCount(features, featureCount)
    let total = counts.elements.reduce(0, +)
    let logs = counts.elements.map { log($0 / total) }
    return Matrix(
      rows: features.rowCount, columns: 3, elements: (0..<features.rowCount).flatMap { _ in logs })
  }

  func encode(into writer: inout SafetensorsWriter) { writer.add("counts", counts) }
  init(decoding file: SafetensorsFile) throws(DataError) { counts = try file.matrix("counts") }
}
