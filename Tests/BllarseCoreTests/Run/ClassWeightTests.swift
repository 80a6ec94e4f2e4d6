import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore

@Suite("--class-weight balanced")
struct ClassWeightTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// 90 rows of three classes, 60, 20 and 10 of them, with weights of their own and balanced ones.
  private func features() throws -> String {
    var generator = SplitMix64(seed: 12)
    let labels = (0..<90).map { Int32($0 < 60 ? 0 : $0 < 80 ? 1 : 2) }
    let own = labels.indices.map { Double(1 + $0 % 2) }
    var sums = [0.0, 0, 0]
    for (label, weight) in zip(labels, own) { sums[Int(label)] += weight }
    let share = sums.reduce(0, +) / 3
    var writer = SafetensorsWriter()
    for name in ["train", "test"] {
      writer.add(
        "X_" + name,
        Matrix<Float>(
          rows: 90, columns: 4,
          elements: labels.flatMap { label in
            (0..<4).map { Float(generator.normal() + ($0 == Int(label) ? 1 : 0)) }
          }))
      writer.add("y_" + name, labels)
    }
    writer.add("once_train", labels.map { Float(30 / [60.0, 20, 10][Int($0)]) })
    writer.add("own_train", own.map { Float($0) })
    writer.add(
      "balanced_train",
      Matrix<Double>(
        rows: 90, columns: 1,
        elements: zip(labels, own).map { $1 * share / sums[Int($0)] }))
    let path = directory.file("features.safetensors")
    try writer.write(to: path)
    return path
  }

  private func weights(_ path: String, _ options: [String: String]) throws -> [Float] {
    var given = GivenOptions()
    given["features"] = path
    given["threads"] = "1"
    given["prior"] = "1"
    given["scaling"] = "global"
    for (name, value) in options { given[name] = value }
    let head = try FineTuning(try RunConfiguration(given)).run().head
    return try #require(head as? LaplaceHead).posterior.mean.elements.map { Float($0) }
  }

  @Test("balanced classes are the fit whose rows weigh N / (K·N_k)")
  func equalsWeights() throws {
    let path = try features()
    let balanced = try weights(path, ["class-weight": "balanced"])
    let given = try weights(path, ["sample-weight": "once"])
    #expect(relativeDifference(balanced.map(Double.init), given.map(Double.init)) < 1e-5)
    let plain = try weights(path, [:])
    #expect(relativeDifference(balanced.map(Double.init), plain.map(Double.init)) > 0.01)
  }

  @Test("rows with weights of their own are balanced by these")
  func multipliesWeights() throws {
    let path = try features()
    let balanced = try weights(path, ["class-weight": "balanced", "sample-weight": "own"])
    let given = try weights(path, ["sample-weight": "balanced"])
    #expect(relativeDifference(balanced.map(Double.init), given.map(Double.init)) < 1e-5)
  }
}
