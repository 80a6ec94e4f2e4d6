import BllarseNumerics
import BllarseTestSupport
import Foundation

@testable import BllarseCore
@testable import BllarseModels

/// A small softmax layer and what laplace-torch finds at its weights: see Scripts/make-laplace-fixture.py.
struct LaplaceFixture {
  static let names = ["four", "two"]
  static let structures: [CovarianceStructure] = [.full, .kronecker, .diagonal]
  static let path = Fixtures.path("laplace/reference.safetensors")

  let file: SafetensorsFile
  let name: String
  let features, new: FeatureMatrix
  let labels: [Int32]
  /// D x K.
  let weights: Matrix<Double>
  let biases: [Double]
  let precisions: [Double]

  init(_ name: String) throws {
    file = try SafetensorsFile(path: Self.path)
    self.name = name
    features = try file.features(name + ".x")
    new = try file.features(name + ".new")
    labels = try file.labels(name + ".y")
    weights = (try file.matrix(name + ".weight") as Matrix<Double>).transposed()
    biases = try file.array(name + ".bias")
    precisions = try file.array("precisions")
  }

  /// What laplace-torch found with a structure.
  func found(_ structure: CovarianceStructure, _ what: String) throws -> [Double] {
    try file.array("\(name).\(structure.rawValue).\(what)")
  }

  func given(_ structure: CovarianceStructure, weights other: Matrix<Double>? = nil) throws
    -> GivenWeights
  {
    let weights = other ?? self.weights
    var all = Matrix<Double>.zeros(weights.rowCount + 1, weights.columnCount)
    all.replaceBlock(row: 0, column: 0, with: weights)
    all.replaceBlock(
      row: weights.rowCount, column: 0,
      with: Matrix(rows: 1, columns: biases.count, elements: biases))
    return try GivenWeights(
      all, features, labels: labels, rowWeights: nil, structure,
      execution: Execution(threadCount: 2))
  }

  func head(_ structure: CovarianceStructure, _ link: Link = Link()) throws -> LaplaceHead {
    var configuration = GivenWeightsConfiguration()
    configuration.posterior = structure
    configuration.link = link
    configuration.priorPrecision = precisions[0]
    return try LaplaceHead(
      weights: weights, biases: biases, features: features, labels: labels, configuration)
  }

  /// The new rows with a bias.
  var newRows: Matrix<Double> {
    DesignMatrix<Double>(new, transform: .identity, hasBias: true)
      .matrix(rows: 0..<new.rowCount)
  }
}

extension LogitCovariance {
  /// n x C², whatever the form.
  func matrices(_ rowCount: Int) -> [Double] {
    (0..<rowCount).flatMap { row in
      let root = root(row)
      return root.multiplied(by: root.transposed()).elements
    }
  }
}
