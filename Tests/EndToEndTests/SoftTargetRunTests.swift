import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// Rows of three classes with what a noisy teacher says of them, in files of every format.
private struct SoftFixture {
  let directory: TemporaryDirectory
  let features, testFeatures: Matrix<Float>
  let shares, testShares: Matrix<Float>

  init() throws {
    directory = try TemporaryDirectory()
    var generator = SplitMix64(seed: 17)
    let centres = (0..<3).map { _ in (0..<4).map { _ in 1.5 * generator.normal() } }
    func split(_ count: Int) -> (Matrix<Float>, Matrix<Float>) {
      let rows = (0..<count).map { row in
        centres[row % 3].map { Float($0 + generator.normal()) }
      }
      let shares = (0..<count).map { row in
        let votes = (0..<3).map { ($0 == row % 3 ? 2 : 0) + generator.uniform() }
        return votes.map { Float($0 / votes.reduce(0, +)) }
      }
      return (
        Matrix(rows: count, columns: 4, elements: rows.flatMap { $0 }),
        Matrix(rows: count, columns: 3, elements: shares.flatMap { $0 })
      )
    }
    (features, shares) = split(60)
    (testFeatures, testShares) = split(45)
  }

  /// A file with these targets; labels of the test rows where there are no others.
  func file(
    _ name: String = "soft", metadata: [String: String] = [:],
    test: ((inout SafetensorsWriter) -> Void)? = nil,
    _ train: (inout SafetensorsWriter) -> Void
  ) throws -> String {
    var writer = SafetensorsWriter(metadata: metadata)
    writer.add("X_train", features)
    writer.add("X_test", testFeatures)
    train(&writer)
    if let test {
      test(&writer)
    } else {
      writer.add("y_test", (0..<45).map { Int32($0 % 3) })
    }
    let path = directory.file(name + ".safetensors")
    try writer.write(to: path)
    return path
  }

  func run(_ path: String, _ words: [String] = []) throws -> [String: Any] {
    let output = directory.file("out")
    let outcome = try finetune.run(
      ["--features", path, "--output", output, "--overwrite"] + words)
    try #require(outcome.status == 0, "\(outcome.errors)")
    let data = try Data(contentsOf: URL(fileURLWithPath: output + "/result.json"))
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }

  func refusal(
    _ path: String, _ expected: String, options words: [String] = [],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    for rest in [[], ["--check"]] {
      let outcome = try finetune.run(["--features", path] + words + rest)
      #expect(outcome.status == 65, "\(outcome.errors)", sourceLocation: sourceLocation)
      #expect(
        outcome.errors.contains(expected), "\(outcome.errors)", sourceLocation: sourceLocation)
    }
  }
}

@Suite("bllarse-finetune: class probabilities as targets")
struct SoftTargetRunTests {
  @Test(
    "every head that takes them is fitted and scored",
    arguments: [
      [], ["--head", "IBProbit"], ["--head", "CrossEntropy"], ["--head", "MSE"],
      ["--head", "CrossEntropy", "--optimizer", "adam", "--batch-size", "16", "--epochs", "3"],
      ["--head", "IBPolyaGamma"], ["--head", "VBLL"],
      ["--head", "VBLL", "--vbll-type", "generative"],
      ["--class-weight", "balanced"], ["--posterior", "full", "--link", "mc"],
    ])
  func heads(words: [String]) throws {
    let fixture = try SoftFixture()
    let path = try fixture.file(test: { $0.add("y_test", fixture.testShares) }) {
      $0.add("y_train", fixture.shares)
    }
    let result = try fixture.run(path, words)
    let (train, test) = (
      try #require(result["train"] as? [String: Double]),
      try #require(result["test"] as? [String: Double])
    )
    // The cross-entropy is at least the mean entropy of the targets.
    var entropy = 0.0
    for share in fixture.testShares.elements where share > 0 {
      entropy -= Double(share) * log(Double(share)) / 45
    }
    #expect(try #require(test["nll"]) > entropy)
    #expect(try #require(test["nll"]) < 1.0986)
    #expect(try #require(test["acc"]) > 0.7 && train["acc"].map { $0 > 0.7 } == true)
    let notes = try #require(result["notes"] as? [String])
    #expect(
      notes.contains {
        $0.hasPrefix("the targets of the splits train and test are class probabilities")
      }, "\(notes)")
    let check = try finetune.run(["--features", path, "--check"] + words)
    #expect(check.status == 0, "\(check.errors)")
  }

  @Test("all formats hold them, and hard and soft splits go together")
  func formats() throws {
    let fixture = try SoftFixture()
    func nll(_ path: String) throws -> Double {
      let test = try #require(try fixture.run(path)["test"] as? [String: Double])
      return try #require(test["nll"])
    }
    let expected = try nll(try fixture.file { $0.add("y_train", fixture.shares) })
    let folder = fixture.directory.file("folder")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    func npy(_ name: String, _ descr: String, _ shape: String, _ bytes: [UInt8]) throws {
      var header = "{'descr': '\(descr)', 'fortran_order': False, 'shape': (\(shape)), }"
      while (10 + header.utf8.count + 1) % 64 != 0 { header += " " }
      header += "\n"
      let size = header.utf8.count
      let all =
        [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(size & 255), UInt8(size >> 8)]
        + Array(header.utf8) + bytes
      try Data(all).write(to: URL(fileURLWithPath: folder + "/" + name + ".npy"))
    }
    func bytes<Element>(_ values: [Element]) -> [UInt8] {
      values.withUnsafeBytes { Array($0) }
    }
    try npy("X_train", "<f4", "60, 4", bytes(fixture.features.elements))
    try npy("y_train", "<f4", "60, 3", bytes(fixture.shares.elements))
    try npy("X_test", "<f4", "45, 4", bytes(fixture.testFeatures.elements))
    try npy("y_test", "<i4", "45", bytes((0..<45).map { Int32($0 % 3) }))
    #expect(try nll(folder) == expected)
  }

  @Test("fractions are the probabilities of class 1 of two, whole numbers stay labels")
  func binary() throws {
    let fixture = try SoftFixture()
    let fractions = (0..<60).map { Float($0 % 3 == 1 ? 0.9 : 0.2) }
    func classes(_ name: String, _ write: (inout SafetensorsWriter) -> Void) throws -> String {
      try fixture.file(
        name, test: { $0.add("y_test", (0..<45).map { Int32($0 % 3 == 1 ? 1 : 0) }) }, write)
    }
    let one = try fixture.run(classes("one") { $0.add("y_train", fractions) }, ["--prior", "1"])
    let two = try fixture.run(
      classes("two") {
        $0.add(
          "y_train", Matrix(rows: 60, columns: 2, elements: fractions.flatMap { [1 - $0, $0] }))
      }, ["--prior", "1"])
    let scores = try [one, two].map { try #require($0["test"] as? [String: Double]) }
    #expect(
      try #require(scores[0]["nll"]).isClose(to: try #require(scores[1]["nll"]), relative: 1e-6))
    let notes = try #require(one["notes"] as? [String])
    #expect(notes.contains { $0.contains("for target values, give --task regression") })
    let hard = try fixture.run(
      classes("hard") { $0.add("y_train", (0..<60).map { Float($0 % 3 == 1 ? 1 : 0) }) })
    #expect((hard["notes"] as? [String])?.contains { $0.contains("class probabilities") } == false)
    // Values stay values.
    let values = try fixture.run(
      try fixture.file("values", test: { $0.add("y_test", fixture.testShares) }) {
        $0.add("y_train", fixture.shares)
      }, ["--task", "regression"])
    #expect((values["test"] as? [String: Double])?["rmse"] != nil)
  }

  @Test(
    "one-hot rows give the bits of labels",
    arguments: [[], ["--head", "IBProbit"], ["--update", "merge"]])
  func oneHot(words: [String]) throws {
    let fixture = try SoftFixture()
    var rows = Matrix<Float>.zeros(60, 3)
    for row in 0..<60 { rows[row, row % 3] = 1 }
    let soft = try fixture.run(try fixture.file("one-hot") { $0.add("y_train", rows) }, words)
    let hard = try fixture.run(
      try fixture.file("hard") { $0.add("y_train", (0..<60).map { Int32($0 % 3) }) }, words)
    #expect(soft["test"] as? [String: Double] == hard["test"] as? [String: Double])
    #expect(soft["notes"] as? [String] == hard["notes"] as? [String])
  }

  @Test("a subset takes rows of every most probable class; weights and groups go on")
  func subsets() throws {
    let fixture = try SoftFixture()
    let path = try fixture.file {
      $0.add("y_train", fixture.shares)
      $0.add("times", (0..<60).map { Float($0 % 3) })
      $0.add("family", (0..<60).map { Int32($0 / 4) })
    }
    for head in ["softmax", "IBProbit"] {
      let result = try fixture.run(
        path,
        [
          "--head", head, "--max-train-samples", "30", "--train-subset-seed", "2",
          "--sample-weight", "times", "--group", "family",
        ])
      #expect((result["test"] as? [String: Double])?["acc"].map { $0 > 0.6 } == true)
    }
  }

  @Test("a calibration on soft validation rows says what it is fitted to")
  func calibration() throws {
    let fixture = try SoftFixture()
    let path = try fixture.file {
      $0.add("y_train", fixture.shares)
      $0.add("X_val", fixture.testFeatures)
      $0.add("y_val", fixture.testShares)
    }
    let result = try fixture.run(path, ["--calibration", "validation"])
    let notes = try #require(result["notes"] as? [String])
    #expect(notes.contains { $0.contains("--calibration is fitted to the most probable class") })
  }

  @Test("what is wrong with them is said, by a run and by its check")
  func faults() throws {
    let fixture = try SoftFixture()
    func altered(
      _ row: Int, _ values: [Float], _ expected: String,
      sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
      var shares = fixture.shares
      for (column, value) in values.enumerated() { shares[row, column] = value }
      let path = try fixture.file { $0.add("y_train", shares) }
      try fixture.refusal(path, expected, sourceLocation: sourceLocation)
    }
    try altered(
      7, [0.5, 0.5, 0.25],
      "y_train, row 7 (from 0): the 3 class probabilities sum to 1.25, expected 1, within 0.001; correct "
        + "or remove the row; class probabilities are divided by their sum before they are stored; for "
        + "targets that are no classes, give --task regression")
    try altered(
      2, [0.5, -0.5, 1],
      "y_train, row 2, column 1 (from 0): the class probability is -0.5, expected a number from 0 to 1"
    )
    try altered(3, [.nan, 0, 1], "y_train, row 3, column 0 (from 0): the class probability is nan")

    let narrow = try fixture.file("announced", metadata: ["num_classes": "4"]) {
      $0.add("y_train", fixture.shares)
    }
    try fixture.refusal(
      narrow,
      "train split targets: there are probabilities of 3 classes, expected 4, as many as classes are "
        + "announced in the metadata")
    let named = try fixture.file("named", metadata: ["class_names": "[\"a\", \"b\"]"]) {
      $0.add("y_train", fixture.shares)
    }
    try fixture.refusal(named, "there are probabilities of 3 classes, expected 2")
    let differing = try fixture.file(
      "differing",
      test: { $0.add("y_test", Matrix<Float>(rows: 45, columns: 2, repeating: 0.5)) }
    ) { $0.add("y_train", fixture.shares) }
    try fixture.refusal(
      differing, "test split targets: there are probabilities of 2 classes, expected 3, as in train"
    )
    let missing = try fixture.file("few") { $0.add("y_train", fixture.shares.rows(0..<59)) }
    try fixture.refusal(
      missing,
      "there are 60 rows of features and 59 class distributions, expected one class "
        + "distribution a row")
    let alone = try fixture.file("alone") {
      $0.add(
        "y_train",
        Matrix(rows: 60, columns: 3, elements: (0..<60).flatMap { _ in [0, 1, 0] as [Float] }))
    }
    try fixture.refusal(
      alone, "all 60 rows have the class 1 with probability 1, expected at least two")
    let path = try fixture.file { $0.add("y_train", fixture.shares) }
    for words in [
      ["--update", "merge"], ["--update", "sites"], ["--head", "IBPolyaGamma", "--update", "cavi"],
    ] {
      try fixture.refusal(
        path, "takes labels only, expected one class a row for it; store the most", options: words)
    }
  }
}
