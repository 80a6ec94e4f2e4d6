import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Weights and groups of training rows")
struct RowArrayTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// Writes a file with six training rows and four test rows.
  private func write(
    _ name: String = "set.safetensors", _ add: (inout SafetensorsWriter) -> Void
  ) throws -> FeatureFile {
    var writer = SafetensorsWriter()
    for (split, rows) in [("train", 6), ("test", 4)] {
      writer.add(
        "X_\(split)",
        Matrix<Float>(rows: rows, columns: 2, elements: (0..<2 * rows).map { Float($0) }))
      writer.add("y_\(split)", (0..<Int32(rows)).map { $0 % 3 })
    }
    add(&writer)
    try writer.write(to: directory.file(name))
    return try FeatureFile(path: directory.file(name))
  }

  private func train(_ file: FeatureFile, _ arrays: RowArrays) throws -> FeatureSplit {
    try file.dataset(with: arrays).split("train")
  }

  @Test("weights of any number type are read, NAME_train before NAME")
  func weights() throws {
    let file = try write { writer in
      writer.add("a_train", [0.5, 0, 1, 2, 3, 1e12] as [Double])
      writer.add("a", [9, 9, 9, 9, 9, 9] as [Double])
      writer.add("b", [0.5, 0, 1, 2, 3, 4] as [Float16])
      writer.add("c_train", [0, 1, 2, 3, 4, 5] as [UInt8])
      writer.add("d", [1, 0, 0, 1, 1, 0] as [Int64], shape: [6, 1])
      writer.add("e", [true, true, false, true, true, true])
    }
    for (name, expected) in [
      ("a", [0.5, 0, 1, 2, 3, 1e12]), ("b", [0.5, 0, 1, 2, 3, 4]), ("c", [0, 1, 2, 3, 4, 5]),
      ("c_train", [0, 1, 2, 3, 4, 5]), ("d", [1, 0, 0, 1, 1, 0]), ("e", [1, 1, 0, 1, 1, 1]),
    ] {
      let split = try train(file, RowArrays(weights: name))
      #expect(split.weights == expected, "\(name)")
      #expect(split.groups == nil)
      // A check sees the same.
      #expect(try file.header(with: RowArrays(weights: name))["train"]?.rowCount == 6)
    }
    #expect(try train(file, RowArrays()).weights == nil)
    #expect(try file.dataset(with: RowArrays(weights: "a")).split("test").weights == nil)
  }

  @Test("groups of any type are numbered in the order of their rows")
  func groups() throws {
    let file = try write { writer in
      writer.add("a_train", [7, -3, 7, 5, -3, 7] as [Int64])
      writer.add("b", [2, 1, 2, 0, 1, 2] as [Float])
      writer.add("text", Array("abacabbaabab".utf8), shape: [6, 2])
      // Longer than a number: told apart in the last byte alone.
      writer.add(
        "long",
        "xyxzyx".utf8.flatMap { [UInt8](repeating: 7, count: 11) + [$0] }, shape: [6, 12])
    }
    #expect(try train(file, RowArrays(groups: "a")).groups == [0, 1, 0, 2, 1, 0])
    #expect(try train(file, RowArrays(groups: "b")).groups == [0, 1, 0, 2, 1, 0])
    #expect(try train(file, RowArrays(groups: "text")).groups == [0, 1, 0, 2, 0, 0])
    #expect(try train(file, RowArrays(groups: "long")).groups == [0, 1, 0, 2, 1, 0])
  }

  @Test("weights and groups follow their rows into subsets")
  func subsets() throws {
    let file = try write { writer in
      writer.add("w", [1, 2, 3, 4, 5, 6] as [Int32])
      writer.add("g", [4, 4, 5, 6, 5, 6] as [Int32])
    }
    let split = try train(file, RowArrays(weights: "w", groups: "g"))
    let gathered = split.gatheringRows([5, 2, 4])
    #expect(gathered.weights == [6, 3, 5] && gathered.groups == [0, 1, 1])
    let view = split.rows(2..<5)
    #expect(view.weights == [3, 4, 5] && view.groups == [0, 1, 0])
    #expect(split.rows(RowSubset(first: 2, of: 6)).weights == [1, 2])
    // Both tell data apart.
    let plain = try train(file, RowArrays())
    let weighted = try train(file, RowArrays(weights: "w"))
    #expect(Set([split, plain, weighted].map(\.fingerprint)).count == 3)
  }

  @Test("an array that is none of weights or groups is refused, with file, array and row")
  func faults() throws {
    let file = try write { writer in
      writer.add("short", [1, 1, 1, 1] as [Float])
      writer.add("wide", [Float](repeating: 1, count: 12), shape: [6, 2])
      writer.add("negative_train", [1, 1, -0.5, 1, 1, 1] as [Float])
      writer.add("nan_train", [1, .nan, 1, 1, 1, 1] as [Double])
      writer.add("infinite", [1, 1, 1, 1, 1, .infinity] as [Float])
      writer.add("huge", [1, 2e12, 1, 1, 1, 1] as [Double])
      writer.add("zero", [0, 0, 0, 0, 0, 0] as [Int32])
      writer.add("one_class", [1, 0, 0, 1, 0, 0] as [Int32])
      writer.add("fraction", [1, 1, 1, 2.5, 1, 1] as [Float])
      writer.add("one_group", [1, 1, 1, 1, 1, 1] as [Int32])
    }
    let path = directory.file("set.safetensors")
    func expect(_ arrays: RowArrays, _ message: String) {
      for read in [
        { _ = try file.dataset(with: arrays) }, { _ = try file.header(with: arrays) },
      ] as [() throws -> Void] {
        #expect {
          try read()
        } throws: { error in
          #expect("\(error)" == "\(path): \(message)")
          return error is DataError
        }
      }
    }
    let absence = DataError.absence("array", among: file.source.names)
    expect(
      RowArrays(weights: "none"),
      "none_train: \(absence), expected one weight a training row, in none_train or none")
    expect(
      RowArrays(weights: "short"),
      "short: the shape is (4), expected one weight for each of the 6 training rows")
    expect(
      RowArrays(weights: "wide"),
      "wide: the shape is (6, 2), expected one weight for each of the 6 training rows")
    expect(
      RowArrays(groups: "short"),
      "short: the shape is (4), expected one group for each of the 6 training rows")
    expect(
      RowArrays(weights: "negative"),
      "negative_train, row 2 (from 0): the weight is -0.5, expected a number from 0 to "
        + "1000000000000; correct it, or give 0 for a row that is not to count")
    expect(
      RowArrays(weights: "nan"),
      "nan_train, row 1 (from 0): the weight is nan, expected a number from 0 to 1000000000000; "
        + "correct it, or give 0 for a row that is not to count")
    expect(
      RowArrays(weights: "infinite"),
      "infinite, row 5 (from 0): the weight is inf, expected a number from 0 to 1000000000000; "
        + "correct it, or give 0 for a row that is not to count")
    expect(
      RowArrays(weights: "huge"),
      "huge, row 1 (from 0): the weight is 2000000000000.0, expected a number from 0 to "
        + "1000000000000; divide all weights by their mean")
    expect(
      RowArrays(weights: "zero"), "zero: all 6 weights are 0, expected rows that count")
    expect(
      RowArrays(weights: "one_class"),
      "train split labels: all rows of positive weight have the label 0, expected at least two "
        + "classes; add rows of another class")
    expect(
      RowArrays(groups: "fraction"),
      "fraction, row 3 (from 0): the group is 2.5, expected integers; number the groups, with "
        + "numpy.unique(groups, return_inverse=True)[1]")
    expect(
      RowArrays(groups: "one_group"),
      "train split groups: all 6 rows are of one group, expected at least two groups; leave the "
        + "groups out, or take rows of more of them")
    expect(
      RowArrays(weights: "one_class", groups: "wide"),
      "wide: the shape is (6, 2), expected one group a row (rows)")
  }

  @Test("a split made in code is checked as a file is")
  func library() throws {
    let features = FeatureMatrix(Matrix<Float>(rows: 3, columns: 1, repeating: 1))
    func make(_ weights: [Double]?, _ groups: [Int]?) throws -> FeatureSplit {
      try FeatureSplit(features: features, labels: [0, 1, 0], weights: weights, groups: groups)
    }
    #expect(try make(nil, [9, 2, 9]).groups == [0, 1, 0])
    for (weights, groups, code) in [
      ([1, 2], nil, DataError.Code.wrongShape), ([1, -2, 1], nil, .outOfRange),
      ([1, .nan, 1], nil, .notFinite), ([0, 0, 0], nil, .insufficientData),
      (nil, [1, 2], .wrongShape),
    ] as [([Double]?, [Int]?, DataError.Code)] {
      let error = try #require(throws: DataError.self) { try make(weights, groups) }
      #expect(error.code == code, "\(error)")
    }
  }

  @Test("a directory of npz and npy files may hold them, too")
  func directoryOfArrays() throws {
    // The bytes of an npy array of six 32-bit integers.
    func npy(_ descr: String, _ shape: String, _ elements: [UInt8]) -> [UInt8] {
      var header = "{'descr': '\(descr)', 'fortran_order': False, 'shape': \(shape), }"
      header += String(repeating: " ", count: 118 - 1 - header.utf8.count) + "\n"
      return [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8) + elements
    }
    try FileManager.default.createDirectory(
      atPath: directory.file("cache"), withIntermediateDirectories: true)
    for (name, rows) in [("train", 6), ("test", 3)] {
      try directory.write(
        "cache/X_\(name).npy",
        npy("|u1", "(\(rows), 2)", (0..<UInt8(2 * rows)).map { $0 }))
      try directory.write(
        "cache/y_\(name).npy", npy("|u1", "(\(rows),)", (0..<UInt8(rows)).map { $0 % 3 }))
    }
    try directory.write("cache/w_train.npy", npy("|u1", "(6,)", [1, 2, 3, 4, 5, 6]))
    try directory.write("cache/family.npy", npy("|u1", "(6,)", [1, 1, 3, 3, 5, 1]))
    try directory.write("cache/names.npy", npy("<U1", "(6,)", [UInt8](repeating: 65, count: 24)))
    let file = try FeatureFile(path: directory.file("cache"))
    #expect {
      try file.header(with: RowArrays(groups: "names"))
    } throws: { error in
      "\(error)".hasSuffix(
        "names: the type is '<U1', expected integers; number the groups, with "
          + "numpy.unique(groups, return_inverse=True)[1]")
    }
    let split = try train(file, RowArrays(weights: "w", groups: "family"))
    #expect(split.weights == [1, 2, 3, 4, 5, 6] && split.groups == [0, 0, 1, 1, 2, 0])
  }
}
