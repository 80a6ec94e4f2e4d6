import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Weights of a layer that was trained elsewhere")
struct LayerWeightsTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private static let matrix = Matrix<Float>(
    rows: 3, columns: 4, elements: (0..<12).map { Float($0) })
  private static let biases: [Float] = [0.5, -1, 2]

  private func write(_ add: (inout SafetensorsWriter) -> Void) throws -> String {
    var writer = SafetensorsWriter()
    add(&writer)
    let path = directory.file("layer.safetensors")
    try writer.write(to: path)
    return path
  }

  private func read(_ path: String) throws -> LayerWeights {
    try LayerWeights(path: path, featureCount: 4, classCount: 3)
  }

  @Test(
    "names of frameworks, rows or columns of classes, any type",
    arguments: ["", "fc.", "classifier.", "head.", "model.layers.7.out."])
  func names(prefix: String) throws {
    for isTransposed in [false, true] {
      let path = try write { writer in
        writer.add(
          prefix + "weight", isTransposed ? Self.matrix.transposed().compact() : Self.matrix)
        writer.add(prefix + "bias", Self.biases.map { Float16($0) })
        // Other layers of the network.
        writer.add("conv.weight", Matrix<Float>(rows: 7, columns: 9, repeating: 1))
        writer.add("conv.bias", [Float](repeating: 0, count: 7))
        writer.add("norm.weight", [Float](repeating: 1, count: 4))
      }
      let layer = try read(path)
      #expect(layer.weights == Matrix<Double>(Self.matrix).transposed())
      #expect(layer.biases == Self.biases.map(Double.init))
    }
  }

  @Test("an npz file")
  func npz() throws {
    let layer = try LayerWeights(
      path: Fixtures.path("laplace/layer.npz"), featureCount: 3, classCount: 4)
    let fixture = try LaplaceFixture("four")
    #expect(layer.weights == fixture.weights && layer.biases == fixture.biases)
  }

  @Test("what cannot be told, or used, is refused with what the file has")
  func faults() throws {
    let square = Matrix<Float>(rows: 4, columns: 4, repeating: 1)
    let cases: [(add: (inout SafetensorsWriter) -> Void, parts: [String])] = [
      ({ $0.add("W", Self.matrix) }, ["the file has W (3, 4)", "weight, (3, 4)"]),
      ({ $0.add("weight", Self.matrix) }, ["bias", "weight (3, 4)", "save zeros"]),
      (
        {
          $0.add("weight", square)
          $0.add("bias", Self.biases)
        }, ["weight (4, 4)", "(3, 4)"]
      ),
      (
        {
          for name in ["a", "b"] {
            $0.add(name + ".weight", Self.matrix)
            $0.add(name + ".bias", Self.biases)
          }
        }, ["a.weight and b.weight", "several layers", "save the last one"]
      ),
      (
        {
          $0.add("weight", Self.matrix)
          $0.add("bias", [1, 2] as [Float])
        }, ["bias", "the shape is [2]", "one for each class"]
      ),
      (
        {
          var matrix = Self.matrix
          matrix[2, 1] = .nan
          $0.add("weight", matrix)
          $0.add("bias", Self.biases)
        }, ["weight, row 2, column 1", "nan", "finite"]
      ),
      (
        {
          $0.add("fc.weight", Self.matrix)
          $0.add("fc.bias", [0, .infinity, 1] as [Float])
        }, ["fc.bias, row 1", "inf", "finite"]
      ),
    ]
    for (add, parts) in cases {
      let path = try write(add)
      let error = try #require(throws: DataError.self) { try read(path) }
      for part in [path] + parts { #expect("\(error)".contains(part), "\(part): \(error)") }
    }
    // As many classes as features.
    let path = try write {
      $0.add("weight", square)
      $0.add("bias", [Float](repeating: 0, count: 4))
    }
    let error = try #require(throws: DataError.self) {
      try LayerWeights(path: path, featureCount: 4, classCount: 4)
    }
    #expect("\(error)".contains("as many classes as features"), "\(error)")
    // One logit of two classes.
    let one = try write {
      $0.add("weight", Matrix<Float>(rows: 1, columns: 4, repeating: 1))
      $0.add("bias", [0] as [Float])
    }
    let binary = try #require(throws: DataError.self) {
      try LayerWeights(path: one, featureCount: 4, classCount: 2)
    }
    #expect("\(binary)".contains("-w/2 and w/2"), "\(binary)")
    #expect(throws: DataError.self) {
      try LayerWeights(path: directory.file("nowhere"), featureCount: 4, classCount: 2)
    }
  }
}
