import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("npy arrays")
struct NpyTests {
  func open(_ path: String) throws -> StoredTensor {
    let file = try MappedFile(path: path)
    return try StoredTensor(npy: file.bytes, path: path, name: "data", owner: file)
  }

  @Test("arrays in Fortran order are read row by row")
  func fortran() throws {
    let matrix: Matrix<Float> = try open(Fixtures.path("npz/fortran.npy")).matrix()
    #expect(matrix == Matrix(rows: 3, columns: 5, elements: (0..<15).map { Float($0) }))
  }

  @Test("version 2 of the format, and arrays without dimensions, are read")
  func versions() throws {
    let matrix: Matrix<Float> = try open(Fixtures.path("npz/version2.npy")).matrix()
    #expect(matrix == Matrix(rows: 2, columns: 3, elements: (0..<6).map { Float($0) }))
    #expect(try open(Fixtures.path("npz/scalar.npy")).array() as [Double] == [2.5])
  }

  @Test(
    "types that are no little-endian numbers are refused by name",
    arguments: [
      ("big_endian", "'>f4'"), ("objects", "'|O'"), ("fields", "'[('a', '<f4'), ('b', '<i4')'"),
    ])
  func types(name: String, type: String) {
    let path = Fixtures.path("npz/\(name).npy")
    #expect {
      try open(path)
    } throws: { error in
      #expect(
        "\(error)" == "\(path): data: the type is \(type), expected little-endian numbers "
          + "(f2, f4, f8, i1 to i8, u1 to u8, b1); convert the array with astype before it is saved"
      )
      return (error as? DataError)?.code == .wrongType
    }
  }

  @Test(
    "headers are read in every spelling that Python gives them",
    arguments: [
      ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", [3, 4]),
      ("{\"shape\":(3L,),\"descr\":\"<f4\",\"fortran_order\":False}", [3]),
      ("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", []),
    ])
  func headers(text: String, shape: [Int]) throws {
    let header = try #require(NpyHeader.parse(text))
    #expect(header.shape == shape)
    #expect(NpyHeader.type(header.description) == .float32)
    #expect(!header.isFortranOrder)
  }

  @Test("a file cut at any byte is refused", arguments: 0..<152)
  func truncation(length: Int) throws {
    let directory = try TemporaryDirectory()
    let file = try MappedFile(path: Fixtures.path("npz/version2.npy"))
    #expect(file.bytes.count == 152)
    let path = try directory.write("cut.npy", Array(file.bytes.prefix(length)))
    #expect(throws: DataError.self) { try open(path) }
  }
}

@Suite("npz archives")
struct NpzTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  @Test("one archive holds all splits, deflated, in the precision in which they are stored")
  func all() throws {
    let data = try FeatureFile(path: Fixtures.path("npz/all.npz")).dataset()
    #expect(data.splitNames == ["train", "test"])
    let train = try data.split("train")
    #expect(train.features.byteCount == 96)
    #expect(train.features.converted(to: Double.self).elements == (0..<12).map { Double($0) })
    #expect(train.labels == [0, 1, 0, 1])
    #expect(try data.split("test").labels == [0, 1])
  }

  @Test("a directory of archives is a cache of the Python original")
  func cache() throws {
    let data = try FeatureFile(path: Fixtures.path("npz/cache")).dataset()
    #expect(data.name == "cache")
    #expect(data.splitNames == ["train", "val_m", "val_mm"])
    #expect(data.classNames == ["entailment", "neutral", "contradiction"])
    #expect(try data.split("train").features.byteCount == 48)
    #expect(
      try data.split("val_m").features.converted(to: Float.self).elements
        == (0..<12).map { Float(2 * $0) })
    #expect(try data.split("val_m").labels == [2, 1, 0])
    #expect(
      try data.split("val_mm").features.converted(to: Float.self).elements
        == (0..<8).map { Float(3 * $0) })
  }

  @Test("deflated members with zip64 sizes are read")
  func zip64() throws {
    let features = try FeatureFile(path: Fixtures.path("npz/zip64.npz")).features("train")
    #expect(
      features.converted(to: Float.self).elements == (0..<120_000).map { 0.25 * Float($0) })
  }

  @Test("faults name the file and the array")
  func faults() throws {
    let empty = try TemporaryDirectory()
    #expect {
      try FeatureFile(path: empty.path)
    } throws: { error in
      "\(error)" == "\(empty.path): the directory has no arrays, expected X_train.npz, "
        + "y_train.npz and so on; name a safetensors file or a cache of features"
    }
    let path = Fixtures.path("npz/zip64.npz")
    #expect {
      try FeatureFile(path: path).dataset()
    } throws: { error in
      "\(error)" == "\(path): y_train: there is no such array among X_train"
    }
    let cache = Fixtures.path("npz/cache")
    #expect {
      try FeatureFile(path: cache).dataset(requiring: ["validation"])
    } throws: { error in
      let text = "\(error)"
      return text.hasPrefix("\(cache): X_val: there is no such array among X_")
        && text.hasSuffix(", expected X_val.npz or X_val.npy")
    }
  }

  @Test("a changed byte of a deflated member is found")
  func checksum() throws {
    let file = try MappedFile(path: Fixtures.path("npz/zip64.npz"))
    for position in stride(from: 200, to: file.bytes.count - 200, by: 997) {
      var bytes = Array(file.bytes)
      bytes[position] ^= 0x10
      let path = try directory.write("changed.npz", bytes)
      #expect(throws: DataError.self) { try FeatureFile(path: path).features("train") }
    }
  }

  @Test("an archive cut at any place is refused", arguments: 0..<40)
  func truncation(part: Int) throws {
    let file = try MappedFile(path: Fixtures.path("npz/all.npz"))
    let length = file.bytes.count * part / 40
    let path = try directory.write("cut.npz", Array(file.bytes.prefix(length)))
    #expect(throws: DataError.self) { try FeatureFile(path: path).dataset() }
  }

  @Test("no changed byte makes the reader trap", arguments: 0..<30)
  func mutation(seed: Int) throws {
    let file = try MappedFile(path: Fixtures.path("npz/all.npz"))
    var generator = SplitMix64(seed: seed)
    for trial in 0..<30 {
      var bytes = Array(file.bytes)
      for _ in 0...trial % 4 {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = .random(
          in: 0...255, using: &generator)
      }
      let path = try directory.write("changed.npz", bytes)
      _ = try? FeatureFile(path: path).dataset()
    }
  }
}
