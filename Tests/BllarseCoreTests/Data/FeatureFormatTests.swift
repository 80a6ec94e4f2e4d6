import BllarseCore
import BllarseTestSupport
import Foundation
import Testing

/// A text with an array a line: its name, its sizes joined by `x`, its numbers.
private let lines = FeatureFormat(name: "lines", extensions: ["lines"]) {
  (path) throws(DataError) in
  var arrays: [String: (shape: [Int], elements: [Double])] = [:]
  let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
  for (number, line) in text.split(separator: "\n").enumerated() {
    let fields = line.split(separator: " ")
    let shape = fields.count > 1 ? fields[1].split(separator: "x").compactMap { Int($0) } : []
    let elements = fields.dropFirst(2).compactMap { Double($0) }
    guard !shape.isEmpty, shape.reduce(1, *) == elements.count else {
      throw DataError(
        .malformedFile, file: path, line: number + 1, found: "\(elements.count) numbers",
        expected: "a name, a shape and its numbers")
    }
    arrays[String(fields[0])] = (shape, elements)
  }
  let found = arrays
  return FeatureArrays(path: path, names: found.keys.sorted(), metadata: ["num_classes": "2"]) {
    (name) throws(DataError) in
    StoredTensor(
      path: path, name: name, elements: found[name]?.elements ?? [],
      shape: found[name]?.shape ?? [0])
  }
}

@Suite("Feature formats")
struct FeatureFormatTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  @Test(
    "a format that a program registers is planned, fitted and predicted like those that there are")
  func registered() throws {
    let text = """
      X_train 6x2 0 0.1 0.2 0 0.1 0.3 1 0.9 0.8 1 0.9 0.7
      y_train 6 0 0 0 1 1 1
      weight 6 1 2 1 1 1 2
      X_test 2x2 0.1 0.1 0.9 0.9
      y_test 2 0 1
      """
    let path = try directory.write("data.lines", Array(text.utf8))
    #expect(throws: DataError.self) { try FeatureFile(path: path) }
    try FeatureFormat.register(lines)
    #expect(FeatureFormat.all.map(\.name) == ["directory", "npz", "lines", "safetensors"])
    #expect {
      try FeatureFormat.register(lines)
    } throws: { error in
      "\(error)"
        == "the feature format 'lines': there is one of this name, expected a new name"
    }

    let data = try FeatureFile(path: path).dataset(with: RowArrays(weights: "weight"))
    #expect(data.splitNames == ["train", "test"] && data.classCount == 2)
    #expect(try data.split("train").weights == [1, 2, 1, 1, 1, 2])
    var configuration = RunConfiguration()
    configuration.data.featuresPath = path
    #expect(try RunPlan(configuration).featureCount == 2)
    let (result, head) = try FineTuning(configuration).run()
    #expect(result.test.acc == 1 && head.featureCount == 2)

    #expect {
      try FeatureFile(path: path).dataset(requiring: ["train", "dev"])
    } throws: { error in
      "\(error)".hasPrefix("\(path): X_dev: there is no such array among X_test, X_train, weight")
    }
    let damaged = try directory.write("damaged.lines", Array("X_train 2x2 1".utf8))
    #expect {
      try FeatureFile(path: damaged)
    } throws: { error in
      "\(error)"
        == "\(damaged): line 1: 1 numbers, expected a name, a shape and its numbers"
    }
  }
}
