import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

/// The bytes of a safetensors file, written by hand.
func safetensors(_ header: String, data: [UInt8] = []) -> [UInt8] {
  withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) } + header.utf8 + data
}

@Suite("Safetensors reader: what a file may hold")
struct SafetensorsReaderTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  func open(_ header: String, _ data: [UInt8] = []) throws -> SafetensorsFile {
    try SafetensorsFile(path: directory.write("file.safetensors", safetensors(header, data: data)))
  }

  @Test("aligned float32 tensors are read, in place, as the matrices they are")
  func aligned() throws {
    let header = #"{"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#
    let padded = header + String(repeating: " ", count: (8 - header.utf8.count % 8) % 8)
    let data = [1, -2, 3.5, 0.25].flatMap { withUnsafeBytes(of: $0 as Float) { Array($0) } }
    let file = try open(padded, data)
    let matrix: Matrix<Float> = try file.matrix("x")
    #expect(matrix == Matrix(rows: 2, columns: 2, elements: [1, -2, 3.5, 0.25]))
    let mapped = try file.matrix("x", as: Float.self).withUnsafePointer { pointer, _ in pointer }
    #expect(matrix.withUnsafePointer { pointer, _ in pointer } == mapped)
    #expect(try file.matrix("x", as: Double.self)[1, 0] == 3.5)
  }

  @Test("tensors that are not aligned are copied and read right", arguments: 0..<9)
  func misaligned(shift: Int) throws {
    let header =
      #"{"p":{"dtype":"U8","shape":[\#(shift)],"data_offsets":[0,\#(shift)]},"x":"#
      + #"{"dtype":"F64","shape":[1,2],"data_offsets":[\#(shift),\#(shift + 16)]}}"#
    let numbers = [Double.pi, -1e300]
    let data =
      [UInt8](repeating: 7, count: shift)
      + numbers.flatMap { number in withUnsafeBytes(of: number) { Array($0) } }
    #expect(try open(header, data).matrix("x", as: Double.self).elements == numbers)
  }

  @Test("a matrix outlives the file object, and the file's name")
  func owner() throws {
    var writer = SafetensorsWriter()
    writer.add("x", Matrix<Float>(rows: 100, columns: 7, repeating: 2))
    let path = directory.file("gone.safetensors")
    try writer.write(to: path)
    let matrix: Matrix<Float> = try {
      defer { try? directory.remove("gone.safetensors") }
      return try SafetensorsFile(path: path).matrix("x")
    }()
    #expect(matrix == Matrix(rows: 100, columns: 7, repeating: 2))
  }

  @Test("changing a matrix over a mapped file changes neither the file nor other views")
  func copyOnWrite() throws {
    var writer = SafetensorsWriter()
    writer.add("x", Matrix<Float>(rows: 3, columns: 3, repeating: 2))
    let path = directory.file("kept.safetensors")
    try writer.write(to: path)
    let file = try SafetensorsFile(path: path)
    var matrix: Matrix<Float> = try file.matrix("x")
    matrix[1, 1] = 9
    #expect(try file.matrix("x", as: Float.self)[1, 1] == 2)
    #expect(matrix[1, 1] == 9)
  }

  @Test(
    "labels are read from every integer type",
    arguments: zip(
      ["U8", "I8", "BOOL", "I16", "U16", "I32", "U32", "I64", "U64"],
      [1, 1, 1, 2, 2, 4, 4, 8, 8]))
  func labels(type: String, size: Int) throws {
    let data = [0, 1, 1].flatMap { [UInt8($0)] + [UInt8](repeating: 0, count: size - 1) }
    let header =
      #"{"y":{"dtype":"\#(type)","shape":[3],"data_offsets":[0,\#(3 * size)]}}"#
    #expect(try open(header, data).labels("y") == [0, 1, 1])
  }

  @Test("labels may be stored as whole floating-point numbers, and in one column")
  func floatLabels() throws {
    var writer = SafetensorsWriter()
    writer.add("y", [3, 0, 2] as [Float], shape: [3, 1])
    writer.add("half", [3, 0.5] as [Float])
    try writer.write(to: directory.file("y"))
    let file = try SafetensorsFile(path: directory.file("y"))
    #expect(try file.labels("y") == [3, 0, 2])
    #expect {
      try file.labels("half")
    } throws: { error in
      "\(error)".hasSuffix(
        "half, row 1 (from 0): the label is 0.5, expected a class index, an integer from 0 on; "
          + "correct or remove the row; for targets that are no classes, give --task regression")
    }
  }

  @Test("labels beyond 32 bits are refused by row")
  func hugeLabels() throws {
    var writer = SafetensorsWriter()
    writer.add("y", [3, 1 << 40] as [Int64])
    try writer.write(to: directory.file("y"))
    #expect {
      try SafetensorsFile(path: directory.file("y")).labels("y")
    } throws: { error in
      "\(error)".contains("y, row 1 (from 0): the label is 1099511627776, expected a class index")
    }
  }

  @Test("half, brain and integer tensors become single or double precision exactly")
  func conversions() throws {
    // 1.5 is 0x3E00 in half precision and 0x3FC0 as a brain float; -2 is 0xC000 in both.
    let half = #"{"x":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#
    let brain = #"{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#
    #expect(try open(half, [0, 0x3E, 0, 0xC0]).array("x", as: Float.self) == [1.5, -2])
    #expect(try open(half, [0, 0x3E, 0, 0xC0]).array("x", as: Double.self) == [1.5, -2])
    #expect(try open(brain, [0xC0, 0x3F, 0, 0xC0]).array("x", as: Float.self) == [1.5, -2])
    let bytes = #"{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#
    #expect(try open(bytes, [0, 255]).array("x", as: Double.self) == [0, 255])
  }

  @Test("features keep the precision in which they are stored")
  func features() throws {
    var writer = SafetensorsWriter()
    writer.add("half", Matrix<Float16>(rows: 2, columns: 1, elements: [1, 2]))
    writer.add("double", Matrix<Double>(rows: 2, columns: 1, elements: [1, 2]))
    try writer.write(to: directory.file("x"))
    let file = try SafetensorsFile(path: directory.file("x"))
    #expect(try file.features("half").byteCount == 4)
    #expect(try file.features("double").byteCount == 16)
  }

  @Test("a tensor of three dimensions is a list of matrices")
  func rankThree() throws {
    var writer = SafetensorsWriter()
    writer.add("s", (0..<12).map { Double($0) }, shape: [3, 2, 2])
    try writer.write(to: directory.file("s"))
    let file = try SafetensorsFile(path: directory.file("s"))
    let matrices: [Matrix<Double>] = try file.matrices("s")
    #expect(matrices.count == 3)
    #expect(matrices[2].elements == [8, 9, 10, 11])
  }

  @Test("a file with no tensors, and tensors with no elements, are sound")
  func empty() throws {
    #expect(try open("{}").tensors.isEmpty)
    let file = try open(#"{"x":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}}"#)
    #expect(try file.matrix("x", as: Float.self).columnCount == 5)
  }

  @Test("a name that is not there is answered with those that are")
  func missingTensor() throws {
    let file = try open(#"{"x":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}}"#)
    #expect {
      try file.matrix("X_train", as: Float.self)
    } throws: { error in
      "\(error)".hasSuffix("X_train: there is no such tensor among x")
    }
  }
}

@Suite("Safetensors reader: what it refuses")
struct SafetensorsFaultTests {
  /// A damaged file, and what the message says after the file's name.
  struct Fault: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let bytes: [UInt8]
    let message: String

    init(_ name: String, _ bytes: [UInt8], _ message: String) {
      testDescription = name
      self.bytes = bytes
      self.message = message
    }
    init(_ name: String, header: String, data: Int = 0, _ message: String) {
      self.init(name, safetensors(header, data: [UInt8](repeating: 0, count: data)), message)
    }
  }

  static let damaged = "; the file is damaged or is not safetensors: copy or write it again"

  static let faults = [
    Fault(
      "empty file", [],
      "header: the file ends after 0 bytes, expected a safetensors file (8 bytes or more)"
        + damaged),
    Fault(
      "truncated header", Array(safetensors(#"{"x":{"dtype":"F32""#).prefix(20)),
      "header: the header should be 19 bytes long but the file ends after 12" + damaged),
    Fault(
      "huge header", [UInt8](repeating: 0xFF, count: 16),
      "header: the length of the header is given as 18446744073709551615 bytes, expected at most "
        + "100000000" + damaged),
    Fault(
      "header that is not JSON", header: "hello",
      "header: byte 0: expected a value, expected JSON" + damaged),
    Fault(
      "header that is not an object", header: "[1]",
      "header: the header is not a JSON object, expected names and tensors" + damaged),
    Fault(
      "name twice",
      header: #"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":1}"#,
      "header: byte 53: the name 'a' occurs twice, expected JSON" + damaged),
    Fault(
      "unknown dtype", header: #"{"a":{"dtype":"X1","shape":[0],"data_offsets":[0,0]}}"#,
      "a: the dtype 'X1' is unknown, expected one of BOOL, U8, I8, F8_E5M2, F8_E4M3, I16, U16, "
        + "F16, BF16, I32, U32, F32, I64, U64, F64"),
    Fault(
      "negative size", header: #"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}"#,
      "a: the shape is not a list of sizes, expected integers from 0 on"),
    Fault(
      "offsets in the wrong order",
      header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#, data: 1,
      "a: the data_offsets are not a range, expected two integers from 0 on, in order"),
    Fault(
      "offsets outside the file",
      header: #"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, data: 12,
      "a: its bytes end 16 bytes after the header but the file ends after 12; the file was cut "
        + "short: copy or write it again"),
    Fault(
      "shape and offsets that disagree",
      header: #"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}"#, data: 16,
      "a: F32 of shape [3] needs 12 bytes but the offsets span 16, expected a shape that fits the "
        + "bytes"),
    Fault(
      "shape that overflows",
      header:
        #"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#,
      "a: the shape [4611686018427387904, 4] is larger than any file, expected a shape that fits "
        + "the bytes"),
    Fault(
      "tensors that overlap",
      header: #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
        + #""b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#, data: 6,
      "b: its bytes overlap those of a" + damaged),
    Fault(
      "a gap between tensors",
      header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#
        + #""b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}"#, data: 4,
      "b: 2 bytes before it belong to no tensor" + damaged),
    Fault(
      "bytes after the tensors",
      header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, data: 4,
      "3 bytes after the last tensor belong to no tensor; write the file again"),
    Fault(
      "metadata that are not texts", header: #"{"__metadata__":{"a":1}}"#,
      "__metadata__: the entry 'a' is not a text, expected names and texts"),
    Fault(
      "a zip file", [0x50, 0x4B, 0x03, 0x04] + [UInt8](repeating: 9, count: 100),
      "header: the length of the header is given as 651061555458427728 bytes, expected at most "
        + "100000000; the file looks like npz (or another zip, such as a PyTorch checkpoint): "
        + "convert it to safetensors"),
  ]

  @Test("each damage is a one-line error that names the tensor", arguments: faults)
  func fault(fault: Fault) throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write("f.safetensors", fault.bytes)
    #expect {
      try SafetensorsFile(path: path)
    } throws: { error in
      #expect("\(error)" == "\(path): \(fault.message)")
      return (error as? DataError)?.code == .malformedFile
    }
  }

  @Test("a file cut at any byte is refused", arguments: 0..<112)
  func truncation(length: Int) throws {
    let directory = try TemporaryDirectory()
    var writer = SafetensorsWriter(metadata: ["a": "b"])
    writer.add("x", [1, 2, 3] as [Double])
    try writer.write(to: directory.file("whole"))
    let whole = try directory.read("whole")
    try #require(whole.count == 112)
    let path = try directory.write("cut", Array(whole.prefix(length)))
    #expect(throws: DataError.self) { try SafetensorsFile(path: path) }
  }

  @Test("no byte of a header, changed to anything, makes the reader trap", arguments: 0..<40)
  func mutation(seed: Int) throws {
    let directory = try TemporaryDirectory()
    var writer = SafetensorsWriter(metadata: ["key": "value"])
    writer.add("matrix", Matrix<Float>(rows: 2, columns: 3, repeating: 1))
    writer.add("labels", [1, 2] as [Int32])
    try writer.write(to: directory.file("whole"))
    let whole = try directory.read("whole")
    var generator = SplitMix64(seed: seed)
    for trial in 0..<25 {
      var bytes = whole
      for _ in 0...trial % 3 {
        bytes[Int.random(in: 0..<whole.count, using: &generator)] = UInt8.random(
          in: 0...255, using: &generator)
      }
      let path = try directory.write("changed", bytes)
      guard let file = try? SafetensorsFile(path: path) else { continue }
      for tensor in file.tensors {
        _ = try? file.features(tensor.name)
        _ = try? file.labels(tensor.name)
      }
    }
  }

  @Test("a missing file and a directory are told apart")
  func missing() throws {
    let directory = try TemporaryDirectory()
    #expect {
      try SafetensorsFile(path: "/nonexistent/x.safetensors")
    } throws: { error in
      "\(error)" == "/nonexistent/x.safetensors: the file does not exist; check the path"
    }
    #expect {
      try SafetensorsFile(path: directory.path)
    } throws: { error in
      "\(error)" == "\(directory.path): this is a directory, expected a file; name the file itself"
    }
  }
}

@Suite("Safetensors writer")
struct SafetensorsWriterTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  @Test("what is written is read back bit for bit, metadata with odd characters included")
  func roundTrip() throws {
    var generator = SplitMix64(seed: 3)
    let matrix = Matrix<Double>(
      rows: 7, columns: 5, elements: (0..<35).map { _ in generator.normal() })
    let metadata = ["classes": #"["a","ü\n"]"#, "control": "\u{1}\u{7F}\t\"\\", "empty": ""]
    var writer = SafetensorsWriter(metadata: metadata)
    writer.add("matrix", matrix)
    writer.add("view", matrix.columns(1..<3))
    writer.add("labels", [1, -2, 3] as [Int32])
    writer.add("bytes", [1, 2, 3, 4, 5, 6] as [UInt8], shape: [1, 2, 3])
    writer.add("scalar", [2.5] as [Float], shape: [])
    try writer.write(to: directory.file("f"))
    let file = try SafetensorsFile(path: directory.file("f"))
    #expect(file.metadata == metadata)
    #expect(try file.matrix("matrix", as: Double.self) == matrix)
    #expect(try file.matrix("view", as: Double.self) == matrix.columns(1..<3))
    #expect(try file.labels("labels") == [1, -2, 3])
    #expect(try file.tensor("bytes").shape == [1, 2, 3])
    #expect(try file.array("scalar", as: Float.self) == [2.5])
    #expect(directory.contents == ["f"])
  }

  @Test("the order of additions does not change the bytes, and every tensor is aligned")
  func deterministic() throws {
    let additions: [(inout SafetensorsWriter) -> Void] = [
      { $0.add("b", [1, 2, 3] as [UInt8]) }, { $0.add("a", [1] as [Float]) },
      { $0.add("c", [1] as [Double]) }, { $0.add("a2", [1, 2, 3] as [Float16]) },
    ]
    for (name, order) in [("first", [0, 1, 2, 3]), ("second", [3, 1, 0, 2])] {
      var writer = SafetensorsWriter(metadata: ["z": "1", "y": "2"])
      for index in order { additions[index](&writer) }
      try writer.write(to: directory.file(name))
    }
    #expect(try directory.read("first") == directory.read("second"))
    for tensor in try SafetensorsFile(path: directory.file("first")).tensors {
      #expect(tensor.byteRange.lowerBound.isMultiple(of: tensor.type.size))
    }
  }

  @Test("the reference implementation's layout: header and padding, byte for byte")
  func layout() throws {
    var writer = SafetensorsWriter(metadata: ["k": "v"])
    writer.add("x", [1] as [UInt8])
    try writer.write(to: directory.file("f"))
    let header = #"{"__metadata__":{"k":"v"},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#
    let padded = header + String(repeating: " ", count: 80 - header.utf8.count)
    #expect(try directory.read("f") == safetensors(padded, data: [1]))
  }
}
