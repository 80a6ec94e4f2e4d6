import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// A column is constant by the precision of the type that stored it, and what is left out is said.
@Suite("Columns far from zero, and columns that do not vary")
struct ColumnPrecisionTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  enum Storage: String, CaseIterable, Sendable {
    case double, integer, npyDouble, npyInteger
  }

  enum Fit: String, CaseIterable, Sendable {
    case recipe, globalScaling, crossEntropy, meanSquaredError, polyaGamma, stickBreaking

    func apply(to configuration: inout RunConfiguration) {
      configuration.threadCount = 1
      switch self {
      case .recipe: break
      case .globalScaling: configuration.method[FitOptions.scaling] = .global
      case .crossEntropy: configuration.method.head = "CrossEntropy"
      case .meanSquaredError: configuration.method.head = "MSE"
      case .polyaGamma: configuration.method.head = "IBPolyaGamma"
      case .stickBreaking: configuration.method.head = "MultinomialPolyaGamma"
      }
    }
  }

  /// Three classes by one column, seconds since 1970 that differ by a minute or two, beside a constant one.
  private func write(_ storage: Storage) throws -> String {
    var generator = SplitMix64(seed: 4)
    let path = directory.file(storage.rawValue)
    var writer = SafetensorsWriter()
    var arrays: [(name: String, values: [Double], shape: [Int])] = []
    for (name, rows) in [("train", 90), ("test", 60)] {
      let labels = (0..<rows).map { $0 % 3 }
      let values = labels.flatMap { label in
        [
          (1.7e9 + 80 * Double(label - 1) + 4 * generator.normal()).rounded(),
          (10 * generator.normal()).rounded(), 7,
        ]
      }
      arrays.append(("X_" + name, values, [rows, 3]))
      arrays.append(("y_" + name, labels.map(Double.init), [rows]))
      writer.add("X_" + name, Matrix<Double>(rows: rows, columns: 3, elements: values))
      writer.add("y_" + name, labels.map(Int32.init))
    }
    switch storage {
    case .double: try writer.write(to: path)
    case .integer: try Self.safetensors(arrays).write(to: URL(fileURLWithPath: path))
    case .npyDouble, .npyInteger:
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      for (name, values, shape) in arrays {
        let type = storage == .npyDouble ? "<f8" : "<i8"
        let sizes = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
        var header = "{'descr': '\(type)', 'fortran_order': False, 'shape': (\(sizes)), }"
        while (header.utf8.count + 11) % 64 != 0 { header += " " }
        header += "\n"
        var data = Data([0x93] + Array("NUMPY".utf8) + [1, 0])
        withUnsafeBytes(of: UInt16(header.utf8.count).littleEndian) { data.append(contentsOf: $0) }
        data.append(contentsOf: header.utf8)
        data.append(Self.bytes(values, asIntegers: storage == .npyInteger))
        try data.write(to: URL(fileURLWithPath: path + "/\(name).npy"))
      }
    }
    return path
  }

  private static func bytes(_ values: [Double], asIntegers: Bool) -> Data {
    asIntegers
      ? values.map(Int64.init).withUnsafeBytes { Data($0) } : values.withUnsafeBytes { Data($0) }
  }

  /// A safetensors file of I64.
  private static func safetensors(
    _ arrays: [(name: String, values: [Double], shape: [Int])]
  ) -> Data {
    var (entries, content) = ([String](), Data())
    for (name, values, shape) in arrays {
      let start = content.count
      content.append(bytes(values, asIntegers: true))
      entries.append(
        "\"\(name)\":{\"dtype\":\"I64\",\"shape\":\(shape),\"data_offsets\":[\(start),\(content.count)]}"
      )
    }
    let header = "{" + entries.joined(separator: ",") + "}"
    var data = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Data($0) }
    data.append(contentsOf: header.utf8)
    data.append(content)
    return data
  }

  @Test(
    "a column of 1.7e9 ± 80 separates the classes, however it is stored",
    arguments: Storage.allCases, Fit.allCases)
  func farFromZero(storage: Storage, fit: Fit) throws {
    var configuration = RunConfiguration()
    fit.apply(to: &configuration)
    configuration.data.featuresPath = try write(storage)
    let (result, head) = try FineTuning(configuration).run()
    // Least squares has the class in the middle of three on a line best nowhere; without the column it
    // would be a third.
    #expect(result.test.acc >= (fit == .meanSquaredError ? 0.6 : 1), "\(result.test)")
    #expect(
      result.notes.contains(
        "1 of 3 columns does not vary over the training rows and is left out: 2 (from 0)"),
      "\(result.notes)")
    // What is stored predicts the same.
    let path = directory.file("head.safetensors")
    try HeadCheckpoint(
      head: head, outputNames: ["0", "1", "2"], dataset: "", backbone: "", arguments: "{}"
    ).write(to: path)
    let test = try FeatureFile(path: configuration.data.featuresPath ?? "").dataset().split("test")
    #expect(
      try HeadCheckpoint(path: path).head.classifier().logProbabilities(test.features)
        == head.classifier().logProbabilities(test.features))
  }

  @Test("constant in single precision: left out, counted; what varies in half precision is used")
  func precisions() throws {
    let seconds = (0..<90).map { 1.7e9 + 80 * Double($0 % 3 - 1) }
    func varies(_ features: FeatureMatrix) -> [Bool] {
      ColumnStatistics(features, execution: Execution(threadCount: 1)).variation
    }
    let double = Matrix<Double>(rows: 90, columns: 1, elements: seconds)
    #expect(varies(FeatureMatrix(double)) == [true])
    // Single precision steps by 128 there.
    #expect(varies(FeatureMatrix(Matrix<Float>(double))) == [false])
    // Half precision steps by 2 at 2048: one row of a million that is a step off is no rounding of ours.
    var half = Matrix<Float16>(rows: 1_000_000, columns: 2, repeating: 2048)
    half[777_777, 1] = 2050
    #expect(varies(FeatureMatrix(half)) == [false, true])
  }

  @Test("no note where all columns are used, or the head uses them all; several are listed")
  func notes() throws {
    var generator = SplitMix64(seed: 6)
    var writer = SafetensorsWriter()
    for name in ["train", "test"] {
      writer.add(
        "X_" + name,
        Matrix<Float>(
          rows: 60, columns: 20,
          elements: (0..<1200).map { place in
            // Columns 3, 9 and 11 vary over the test rows alone.
            [3, 9, 11].contains(place % 20) && name == "train"
              ? 5 : Float(generator.normal() + (place / 20 % 2 == 0 ? 1 : 0))
          }))
      writer.add("y_" + name, (0..<60).map { Int32($0 % 2) })
    }
    let path = directory.file("constant.safetensors")
    try writer.write(to: path)
    let text =
      "3 of 20 columns do not vary over the training rows and are left out: 3, 9, 11 (from 0)"
    for fit in Fit.allCases {
      var configuration = RunConfiguration()
      fit.apply(to: &configuration)
      configuration.data.featuresPath = path
      #expect(try FineTuning(configuration).run().result.notes.contains(text), "\(fit)")
    }
    var steps = RunConfiguration()
    steps.data.featuresPath = path
    steps.method.head = "CrossEntropy"
    steps.method.wayName = "adamw"
    steps.epochs = 1
    let result = try FineTuning(steps).run().result
    #expect(!result.notes.contains { $0.contains("do not vary") }, "\(result.notes)")
  }
}
