import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Feature data sets")
struct FeatureDatasetTests {
  static func split(
    _ rows: Int, _ columns: Int = 2, labels: [Int32]? = nil,
    change: (inout Matrix<Float>) -> Void = { _ in }
  ) throws -> FeatureSplit {
    var matrix = Matrix<Float>(rows: rows, columns: columns, repeating: 1)
    change(&matrix)
    return try FeatureSplit(
      features: FeatureMatrix(matrix), labels: labels ?? (0..<Int32(rows)).map { $0 % 2 })
  }

  func expectFault(
    _ message: String, _ code: DataError.Code, classCount: Int? = nil, classNames: [String]? = nil,
    _ splits: () throws -> [(name: String, split: FeatureSplit)]
  ) {
    #expect {
      try FeatureDataset(
        name: "set", splits: splits(), classCount: classCount, classNames: classNames)
    } throws: { error in
      #expect("\(error)" == message)
      return (error as? DataError)?.code == code
    }
  }

  @Test("classes are counted on the training rows, or announced")
  func classCount() throws {
    let splits = [("train", try Self.split(6, labels: [0, 3, 1, 1, 0, 2]))]
    #expect(try FeatureDataset(name: "a", splits: splits).classCount == 4)
    #expect(try FeatureDataset(name: "a", splits: splits, classCount: 7).classNames.last == "6")
    let named = try FeatureDataset(
      name: "a", splits: splits, classNames: ["a", "b", "c", "d", "e"])
    #expect(named.classCount == 5)
    #expect(named.splitNames == ["train"])
    #expect(named["test"] == nil)
  }

  @Test("a value that is not finite is named by split, row and column", arguments: [1, 2])
  func notFinite(threads: Int) throws {
    for (value, text) in [(Float.nan, "nan"), (.infinity, "inf"), (-.infinity, "-inf")] {
      #expect {
        try FeatureDataset(
          name: "set",
          splits: [
            ("train", Self.split(4)),
            (
              "test",
              Self.split(300_000) {
                $0[270_003, 0] = value
                $0[290_000, 1] = value
              }
            ),
          ], execution: Execution(threadCount: threads))
      } throws: { error in
        "\(error)" == "test split features, row 270003, column 0 (from 0): the value is \(text), "
          + "expected a finite number; remove the row or replace the value"
      }
    }
  }

  @Test(
    "a training value may be as large as the squares of all rows allow, another as those of its row"
  )
  func range() throws {
    // 300,000 rows of 2 columns: sqrt(3.4e38 / 600,000) = 2.4e16, and sqrt(3.4e38 / 2) = 1.3e19.
    for (split, value, isFine) in [
      ("train", Float(1e16), true), ("train", 1.01e16, false), ("test", 1e19, true),
      ("test", -1.01e19, false),
    ] {
      let splits = [
        ("train", try Self.split(300_000) { if split == "train" { $0[270_003, 1] = value } }),
        ("test", try Self.split(3) { if split == "test" { $0[1, 1] = value } }),
      ]
      guard !isFine else {
        #expect(try FeatureDataset(name: "set", splits: splits).featureCount == 2)
        continue
      }
      let error = try #require(throws: DataError.self) {
        try FeatureDataset(name: "set", splits: splits)
      }
      #expect(error.code == .outOfRange && error.column == 1, "\(error)")
      #expect(error.row == (split == "train" ? 270_003 : 1))
    }
  }

  @Test("half-precision infinities are found")
  func halfInfinity() throws {
    var matrix = Matrix<Float16>(rows: 3, columns: 5, repeating: 1)
    matrix[2, 4] = .infinity
    let split = try FeatureSplit(features: FeatureMatrix(matrix), labels: [0, 1, 0])
    expectFault(
      "train split features, row 2, column 4 (from 0): the value is inf, expected a finite "
        + "number; remove the row or replace the value", .notFinite
    ) { [("train", split)] }
  }

  @Test("labels that are no class are named by row")
  func labels() {
    expectFault(
      "train split labels, row 2 (from 0): the label is -1, expected a class index in 0..<2; "
        + "correct or remove the row", .invalidLabel
    ) { [("train", try Self.split(3, labels: [0, 1, -1]))] }
    expectFault(
      "test split labels, row 1 (from 0): the label is 2, expected a class index in 0..<2, as the "
        + "training rows show; correct or remove the row, or list all classes in the metadata class_names",
      .invalidLabel
    ) { [("train", try Self.split(2)), ("test", try Self.split(2, labels: [0, 2]))] }
    expectFault(
      "train split labels, row 1 (from 0): the label is 7, which makes more classes than there "
        + "are rows, expected class indices from 0 on; number the classes from 0 without gaps",
      .invalidLabel
    ) { [("train", try Self.split(2, labels: [0, 7]))] }
  }

  @Test("one row a class is enough, and so is a class count far beyond the rows when announced")
  func fewRows() throws {
    let split = try Self.split(3, labels: [0, 1, 2])
    #expect(try FeatureDataset(name: "a", splits: [("train", split)]).classCount == 3)
    #expect(
      try FeatureDataset(name: "a", splits: [("train", split)], classCount: 50).classCount == 50)
  }

  @Test("classes without training rows are named in a note, with what to do")
  func unseenClasses() throws {
    func note(_ labels: [Int32], names: [String]? = nil, count: Int? = nil) throws -> String? {
      try FeatureDataset(
        name: "a", splits: [("train", try Self.split(labels.count, labels: labels))],
        classCount: count, classNames: names
      ).unseenClassNote
    }
    #expect(try note([0, 1, 2]) == nil)
    #expect(try note([0, 3, 1, 0])?.hasPrefix("no training row is of class 2; ") == true)
    #expect(
      try note([0, 1], names: ["cat", "dog", "emu"])?.hasPrefix(
        "no training row is of class 2 (emu); ") == true)
    #expect(
      try note([0, 1], count: 50)?.hasPrefix(
        "no training row is of 48 of the 50 classes: 2, 3, 4, 5, 6, …; ") == true)
    #expect(try note([0, 3, 1, 1])?.contains("class_names") == true)
  }

  @Test("one class, no rows, no columns, and widths that differ are refused")
  func shapes() {
    expectFault(
      "train split labels: all 3 rows have the label 1, expected at least two classes; add rows "
        + "of another class", .insufficientData
    ) { [("train", try Self.split(3, labels: [1, 1, 1]))] }
    expectFault(
      "test split: there are no rows, expected at least one row; add rows or leave the split out",
      .insufficientData
    ) { [("train", try Self.split(3)), ("test", try Self.split(0))] }
    expectFault(
      "train split: the rows have no features, expected at least one column", .wrongShape
    ) { [("train", try Self.split(3, 0))] }
    expectFault(
      "test split: the rows have 3 features, expected 2 as in train; make all splits with the "
        + "same backbone", .wrongShape
    ) { [("train", try Self.split(3)), ("test", try Self.split(3, 3))] }
    expectFault("there is no split, expected train", .missingKey) { [] }
    expectFault("train split: the split occurs twice", .malformedFile) {
      [("train", try Self.split(3)), ("train", try Self.split(3))]
    }
    expectFault(
      "class_names: there are 2 names, expected 3, one for each class", .wrongShape, classCount: 3,
      classNames: ["a", "b"]
    ) { [("train", try Self.split(3))] }
  }

  @Test("a test split may have one class")
  func oneClassTest() throws {
    let data = try FeatureDataset(
      name: "a",
      splits: [("train", try Self.split(3)), ("test", try Self.split(2, labels: [1, 1]))])
    #expect(try data.split("test").rowCount == 2)
    #expect(throws: DataError.self) { try data.split("validation") }
  }

  @Test("as many labels as rows")
  func rowCounts() {
    #expect {
      try Self.split(3, labels: [0, 1])
    } throws: { error in
      "\(error)"
        == "data split: there are 3 rows of features and 2 labels, expected one label a row"
    }
  }
}

@Suite("Feature files")
struct FeatureFileTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  func write(
    metadata: [String: String] = [:], _ add: (inout SafetensorsWriter) -> Void
  ) throws -> String {
    var writer = SafetensorsWriter(metadata: metadata)
    add(&writer)
    let path = directory.file("features.safetensors")
    try writer.write(to: path)
    return path
  }

  static func complete(_ writer: inout SafetensorsWriter) {
    writer.add("X_train", Matrix<Float16>(rows: 3, columns: 2, elements: [1, 2, 3, 4, 5, 6]))
    writer.add("y_train", [0, 1, 2] as [Int64])
    writer.add("X_test", Matrix<Float>(rows: 1, columns: 2, elements: [1, 2]))
    writer.add("y_test", [2] as [UInt8])
    writer.add("X_val", Matrix<Double>(rows: 1, columns: 2, elements: [1, 2]))
    writer.add("y_val", [1] as [Int32])
    writer.add("X_unlabelled", Matrix<Float>(rows: 1, columns: 2, elements: [1, 2]))
    writer.add("sentiment_train", [0.5, 1, 2] as [Float])
  }

  @Test("splits keep their precision; further tensors do no harm")
  func complete() throws {
    let path = try write(metadata: ["class_names": #"["a","b","c"]"#], Self.complete)
    let file = try FeatureFile(path: path)
    #expect(file.splitNames == ["train", "validation", "test", "unlabelled"])
    let data = try file.dataset()
    #expect(data.name == "features")
    #expect(data.splitNames == ["train", "validation", "test"])
    #expect(data.classNames == ["a", "b", "c"])
    #expect(try data.split("train").features.byteCount == 12)
    #expect(try data.split("validation").features.byteCount == 16)
    #expect(try data.split("train").labels == [0, 1, 2])
    #expect(try file.features("unlabelled").rowCount == 1)
  }

  @Test("what is required and missing is named, with what is there")
  func missing() throws {
    let path = try write { $0.add("X_train", Matrix<Float>(rows: 1, columns: 2, repeating: 1)) }
    #expect {
      try FeatureFile(path: path).dataset()
    } throws: { error in
      "\(error)" == "\(path): y_train: there is no such tensor among X_train"
    }
    let half = try write {
      $0.add("X_train", Matrix<Float>(rows: 2, columns: 2, repeating: 1))
      $0.add("y_train", [0, 1] as [Int32])
    }
    #expect {
      try FeatureFile(path: half).dataset()
    } throws: { error in
      "\(error)"
        == "\(half): X_test: there is no such tensor among X_train, y_train"
    }
    #expect(try FeatureFile(path: half).dataset(requiring: ["train"]).classCount == 2)
  }

  @Test("faults in the data name the file")
  func faults() throws {
    let rows = try write {
      $0.add("X_train", Matrix<Float>(rows: 2, columns: 2, repeating: 1))
      $0.add("y_train", [0, 1, 1] as [Int32])
    }
    #expect {
      try FeatureFile(path: rows).dataset()
    } throws: { error in
      "\(error)" == "\(rows): train split: there are 2 rows of features and 3 labels, "
        + "expected one label a row"
    }
    let flat = try write {
      $0.add("X_train", [1, 2] as [Float])
      $0.add("y_train", [0, 1] as [Int32])
    }
    #expect {
      try FeatureFile(path: flat).dataset()
    } throws: { error in
      "\(error)" == "\(flat): X_train: the shape is (2), expected a matrix (rows, features)"
    }
    let hot = try write {
      $0.add("X_train", Matrix<Float>(rows: 2, columns: 2, repeating: 1))
      $0.add("y_train", [1, 1, 1, 1] as [Int32], shape: [2, 2])
    }
    #expect {
      try FeatureFile(path: hot).dataset()
    } throws: { error in
      "\(error)" == "\(hot): y_train: the shape is (2, 2), expected one label a row (rows); "
        + "store class indices, not one-hot rows"
    }
    let improbable = try write {
      $0.add("X_train", Matrix<Float>(rows: 2, columns: 2, repeating: 1))
      $0.add("y_train", Matrix<Float>(rows: 2, columns: 2, repeating: 1))
    }
    #expect {
      try FeatureFile(path: improbable).dataset()
    } throws: { error in
      "\(error)".hasPrefix(
        "\(improbable): y_train, row 0 (from 0): the 2 class probabilities sum to 2.0, expected 1, "
          + "within 0.001; ")
    }
    let names = try write(metadata: ["class_names": "a,b"], Self.complete)
    #expect {
      try FeatureFile(path: names).dataset()
    } throws: { error in
      "\(error)" == "\(names): metadata class_names: the value is 'a,b', "
        + "expected a JSON list of texts"
    }
  }
}

@Suite("Built-in digits")
struct DigitsDatasetTests {
  @Test("the splits are 1,297 and 500 images in 17 grey levels, of ten classes")
  func splits() throws {
    let data = try DigitsDataset.images()
    let (train, test) = (try #require(data["train"]), try #require(data["test"]))
    #expect(train.images.count == 1297)
    #expect(test.images.count == 500)
    #expect(Set(train.labels) == Set(0..<10))
    #expect(train.images.pixels.elements.max() == 16)
    let batch = test.images.batch.pixels
    #expect(batch.elements.max() == 1)
    #expect(batch.elements.min() == 0)
    #expect(batch.columnCount == 64 && data.classNames.count == 10)
  }

  @Test("resources are found from a directory that the user names, and missed with a list")
  func resources() throws {
    let directory = try TemporaryDirectory()
    let images = try DigitsDataset.images(resources: directory.path)
    #expect(images.name == "digits")  // falls back to the other places
  }
}
