public import BllarseNumerics
import Foundation

/// The number format of a tensor.
public enum SafetensorsType: Sendable, CaseIterable {
  case bool, uint8, int8, float8e5m2, float8e4m3, int16, uint16, float16, bfloat16
  case int32, uint32, float32, int64, uint64, float64

  /// The name in safetensors files, the size in bytes, the name in npy files, and the Swift type.
  private var traits: (name: String, size: Int, npy: String?, element: Any.Type?) {
    switch self {
    case .bool: ("BOOL", 1, "b1", Bool.self)
    case .uint8: ("U8", 1, "u1", UInt8.self)
    case .int8: ("I8", 1, "i1", Int8.self)
    case .float8e5m2: ("F8_E5M2", 1, nil, nil)
    case .float8e4m3: ("F8_E4M3", 1, nil, nil)
    case .int16: ("I16", 2, "i2", Int16.self)
    case .uint16: ("U16", 2, "u2", UInt16.self)
    case .float16: ("F16", 2, "f2", Float16.self)
    case .bfloat16: ("BF16", 2, nil, nil)
    case .int32: ("I32", 4, "i4", Int32.self)
    case .uint32: ("U32", 4, "u4", UInt32.self)
    case .float32: ("F32", 4, "f4", Float.self)
    case .int64: ("I64", 8, "i8", Int64.self)
    case .uint64: ("U64", 8, "u8", UInt64.self)
    case .float64: ("F64", 8, "f8", Double.self)
    }
  }

  /// The name in a safetensors file.
  public var name: String { traits.name }
  /// The size of an element in bytes, which is also its alignment.
  public var size: Int { traits.size }
  var isInteger: Bool { traits.element is any FixedWidthInteger.Type || self == .bool }

  /// The bytes of a tensor; `nil` for more than there can be.
  func byteCount(of shape: [Int]) -> Int? {
    var count = size
    for extent in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      if overflow { return nil }
      count = product
    }
    return count
  }

  /// The type of a name in safetensors files.
  init?(name: String) { self.init { $0.name == name } }
  /// The type of a name in npy files, without its byte order.
  init?(npy: String) { self.init { $0.npy == npy } }
  fileprivate init?(_ element: Any.Type) { self.init { $0.element == element } }

  private init?(
    where isIt: (_ traits: (name: String, size: Int, npy: String?, element: Any.Type?)) -> Bool
  ) {
    guard let found = Self.allCases.first(where: { isIt($0.traits) }) else { return nil }
    self = found
  }
}

/// A Swift number type that a safetensors file stores as it is.
///
/// The protocol is closed: it is there for the conformances below.
public protocol SafetensorsElement: BitwiseCopyable, Sendable {}

extension SafetensorsElement {
  /// The number format in the file.
  public static var safetensorsType: SafetensorsType {
    guard let type = SafetensorsType(self) else { preconditionFailure("\(self) is not stored") }
    return type
  }
}

/// A floating-point type that tensors are read as: `Float16`, `Float` or `Double`.
public protocol SafetensorsFloat: SafetensorsElement, BinaryFloatingPoint {}

extension Float16: SafetensorsFloat {}
extension Float: SafetensorsFloat {}
extension Double: SafetensorsFloat {}
extension UInt8: SafetensorsElement {}
extension Int8: SafetensorsElement {}
extension Int32: SafetensorsElement {}
extension UInt32: SafetensorsElement {}
extension Int64: SafetensorsElement {}
extension UInt64: SafetensorsElement {}
extension Bool: SafetensorsElement {}

/// What the header of an array says.
struct ArrayHeader: Sendable, Equatable {
  /// The file, as the caller named it.
  let path: String
  /// What messages call the array.
  let name: String
  let type: SafetensorsType
  /// Sizes, outermost first.
  let shape: [Int]

  func wrongShape(expected: String, advice: String? = nil) -> DataError {
    DataError(
      .wrongShape, file: path, key: name,
      found: "the shape is (\(shape.map(String.init).joined(separator: ", ")))", expected: expected,
      advice: advice)
  }
}

/// A tensor as a file stores it: bytes that something keeps alive, with their type and shape.
///
/// Every file format gives its tensors as this; reading them as matrices, lists and labels is here.
/// Unchecked sendability is safe because the bytes are never written.
public struct StoredTensor: @unchecked Sendable {
  let header: ArrayHeader
  /// The elements in row-major order, little-endian.
  let bytes: UnsafeRawBufferPointer
  let owner: AnyObject

  var path: String { header.path }
  var name: String { header.name }
  var type: SafetensorsType { header.type }
  var shape: [Int] { header.shape }
  var count: Int { bytes.count / type.size }

  func wrongType(expected: String, advice: String? = nil) -> DataError {
    DataError(
      .wrongType, file: path, key: name, found: "the tensor is stored as \(type.name)",
      expected: expected, advice: advice)
  }
}

extension StoredTensor {
  /// Takes an array that was read, in row-major order; messages name it and the file.
  public init<Element: SafetensorsElement>(
    path: String, name: String, elements: [Element], shape: [Int]
  ) {
    precondition(
      shape.reduce(1, *) == elements.count,
      "\(elements.count) elements do not fill the shape \(shape)")
    let copy = ByteStorage(
      count: elements.count * MemoryLayout<Element>.stride, for: "an array of \(path)")
    elements.withUnsafeBytes { copy.bytes.copyMemory(from: $0) }
    self.init(
      header: ArrayHeader(path: path, name: name, type: Element.safetensorsType, shape: shape),
      bytes: UnsafeRawBufferPointer(copy.bytes), owner: copy)
  }
}

// MARK: - Matrices

extension StoredTensor {
  // What `SafetensorsFile` gives by name is documented there.

  func matrix<Element: SafetensorsFloat>() throws(DataError) -> Matrix<Element> {
    guard (1...2).contains(shape.count) else {
      throw header.wrongShape(expected: "a matrix (rows, columns)")
    }
    return try matrix(rows: shape[0], columns: shape.count == 2 ? shape[1] : 1)
  }

  func matrices<Element: SafetensorsFloat>() throws(DataError) -> [Matrix<Element>] {
    guard shape.count == 3 else {
      throw header.wrongShape(expected: "a list of matrices (count, rows, columns)")
    }
    let (count, rows) = (shape[0], shape[1])
    let all: Matrix<Element> = try matrix(rows: count * rows, columns: shape[2])
    return (0..<count).map { all.rows($0 * rows..<($0 + 1) * rows) }
  }

  /// The tensor of two dimensions in the precision in which it is stored; integers of more digits than
  /// single precision has, in double precision.
  func features() throws(DataError) -> FeatureMatrix {
    guard shape.count == 2 else { throw header.wrongShape(expected: "a matrix (rows, features)") }
    switch type {
    case .float16: return FeatureMatrix(try matrix() as Matrix<Float16>)
    case .float64, .int32, .uint32, .int64, .uint64:
      return FeatureMatrix(try matrix() as Matrix<Double>)
    default: return FeatureMatrix(try matrix() as Matrix<Float>)
    }
  }

  /// Bytes as a matrix with one row for each entry of the first dimension.
  func pixels() throws(DataError) -> Matrix<UInt8> {
    guard type == .uint8, let rows = shape.first else {
      throw DataError(
        .wrongType, file: path, key: name, found: "the tensor is \(type.name) of shape \(shape)",
        expected: "U8 images")
    }
    return Matrix(
      rows: rows, columns: rows > 0 ? count / rows : 0,
      readOnly: bytes.bindMemory(to: UInt8.self), owner: owner)
  }

  /// All elements, in row-major order: a view where type and alignment allow.
  func matrix<Element: SafetensorsFloat>(
    rows: Int, columns: Int
  ) throws(DataError) -> Matrix<Element> {
    if type == Element.safetensorsType, let base = bytes.baseAddress,
      Int(bitPattern: base).isMultiple(of: MemoryLayout<Element>.alignment)
    {
      return Matrix(
        rows: rows, columns: columns, readOnly: bytes.bindMemory(to: Element.self), owner: owner)
    }
    return try Matrix(rows: rows, columns: columns) { (target) throws(DataError) in
      try fill(target)
    }
  }

  private func fill<Element: SafetensorsFloat>(
    _ target: UnsafeMutableBufferPointer<Element>
  ) throws(DataError) {
    defer { withExtendedLifetime(owner) {} }
    if type == Element.safetensorsType {
      UnsafeMutableRawBufferPointer(target).copyMemory(from: bytes)
      return
    }
    guard Element.self != Float16.self else { throw wrongType(expected: "F16") }
    func convert<Stored: BitwiseCopyable>(_: Stored.Type, _ body: (Stored) -> Element) {
      for position in target.indices {
        let stored = bytes.loadUnaligned(
          fromByteOffset: position * MemoryLayout<Stored>.size, as: Stored.self)
        target.initializeElement(at: position, to: body(stored))
      }
    }
    switch type {
    case .bool, .uint8: convert(UInt8.self) { Element($0) }
    case .int8: convert(Int8.self) { Element($0) }
    case .int16: convert(Int16.self) { Element($0) }
    case .uint16: convert(UInt16.self) { Element($0) }
    case .int32: convert(Int32.self) { Element($0) }
    case .uint32: convert(UInt32.self) { Element($0) }
    case .int64: convert(Int64.self) { Element($0) }
    case .uint64: convert(UInt64.self) { Element($0) }
    case .float16: convert(Float16.self) { Element($0) }
    // A brain float is the upper half of a single-precision number.
    case .bfloat16: convert(UInt16.self) { Element(Float(bitPattern: UInt32($0) << 16)) }
    case .float32: convert(Float.self) { Element($0) }
    case .float64: convert(Double.self) { Element($0) }
    case .float8e4m3, .float8e5m2:
      throw wrongType(expected: "F16, F32 or F64", advice: "convert it before it is saved")
    }
  }
}

// MARK: - Lists

extension StoredTensor {
  func array<Element: SafetensorsFloat>() throws(DataError) -> [Element] {
    try (matrix(rows: 1, columns: count) as Matrix<Element>).elements
  }

  /// Labels or class probabilities, values, (rows) or (rows, T), or sets of labels, (rows, L).
  func targets(of task: LearningTask) throws(DataError) -> Targets {
    switch task {
    case .classification: return try classTargets()
    case .multilabel: return .labelSets(try labelSets())
    case .regression: break
    }
    guard shape.count == 1 || shape.count == 2 && shape[1] > 0 else {
      throw header.wrongShape(expected: "one target a row (rows), or several (rows, targets)")
    }
    return .values(try matrix())
  }

  func labels() throws(DataError) -> [Int32] {
    guard shape.count == 1 || (shape.count == 2 && shape[1] == 1) else {
      throw header.wrongShape(
        expected: "one label a row (rows)", advice: "store class indices, not one-hot rows")
    }
    // What is rounded to double precision is far from a label.
    let values: [Double] = try array()
    return try values.enumerated().map { (row, value) throws(DataError) in
      if let label = Int32(exactly: value) { return label }
      let integer = type.isInteger ? Int(exactly: value) : nil
      let isFraction = value.isFinite && value != value.rounded()
      throw DataError(
        .invalidLabel, file: path, key: name, row: row,
        found: "the label is \(integer.map(String.init) ?? "\(value)")",
        expected: "a class index, an integer from 0 on",
        advice: "correct or remove the row"
          + (isFraction ? "; for targets that are no classes, give --task regression" : ""))
    }
  }

  /// Groups, one for each entry of the first dimension, numbered from 0 in the order of their first rows.
  ///
  /// Integers of any type, floating-point numbers without a fraction, or rows of integers (texts as bytes)
  /// that are the same in every place.
  func groups() throws(DataError) -> [Int] {
    guard type.isInteger else {
      guard shape.count == 1 || shape[1] == 1 else {
        throw header.wrongShape(expected: "one group a row (rows)")
      }
      let values: [Double] = try array()
      return try values.enumerated().map { (row, value) throws(DataError) in
        if let group = Int(exactly: value) { return group }
        throw DataError(
          .wrongType, file: path, key: name, row: row, found: "the group is \(value)",
          expected: "integers")
      }.dense
    }
    defer { withExtendedLifetime(owner) {} }
    let rows = shape[0]
    let size = rows == 0 ? 0 : bytes.count / rows
    func entry(_ row: Int) -> Slice<UnsafeRawBufferPointer> { bytes[row * size..<(row + 1) * size] }
    // Numbers are told apart by their bits, which takes less memory than lists.
    guard size > 8 else {
      return (0..<rows).map { row in entry(row).reduce(0 as UInt64) { $0 << 8 | UInt64($1) } }.dense
    }
    return (0..<rows).map { [UInt8](entry($0)) }.dense
  }
}

/// Bytes of the package's own, aligned for every element type; the owner of inflated tensors.
///
/// Unchecked sendability is safe because they are written by their maker only.
final class ByteStorage: @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer

  init(count: Int, for purpose: @autoclosure () -> String) {
    let memory = AllocationFailure.allocate(bytes: max(count, 1), alignment: 64, for: purpose())
    bytes = UnsafeMutableRawBufferPointer(start: memory, count: count)
  }

  deinit { free(bytes.baseAddress) }
}

/// A file mapped into memory for reading.
///
/// Pages are read when they are touched and can be dropped again at any time, so a file may be larger
/// than memory. Matrices over the bytes keep the object as their owner; the mapping ends with the last
/// of them. A file that is replaced by a rename stays valid; one that is cut short while it is mapped
/// does not, which is why this package only ever replaces files.
///
/// Unchecked sendability is safe because the memory is never written.
public final class MappedFile: PagedMemory, @unchecked Sendable {
  /// The file, as the caller named it.
  public let path: String
  /// All bytes of the file; valid as long as this object lives.
  ///
  /// Only for those that keep the object (as a matrix's owner, as a property); everybody else takes
  /// ``withBytes(_:)``.
  let bytes: UnsafeRawBufferPointer

  /// Maps a regular file.
  ///
  /// - Throws: `DataError.Code.missingFile` or `.unreadableFile`.
  public init(path: String) throws(DataError) {
    self.path = path
    try DataError.require(
      !path.isEmpty && !path.utf8.contains(0), .missingFile, file: path,
      found: "the name of the file is empty or holds a null byte", expected: "a path")
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Files.failure(.read, path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw Files.failure(.read, path) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      let kind = status.st_mode & S_IFMT == S_IFDIR ? "a directory" : "not a regular file"
      throw DataError(
        .unreadableFile, file: path, found: "this is \(kind)", expected: "a file",
        advice: "name the file itself")
    }
    let size = Int(status.st_size)
    guard size > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)  // a mapping cannot be empty
      return
    }
    guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0),
      base != UnsafeMutableRawPointer(bitPattern: -1)  // MAP_FAILED
    else { throw Files.failure(.read, path) }
    bytes = UnsafeRawBufferPointer(start: base, count: size)
  }

  /// Gives all bytes of the file to `body`, which must not let them escape.
  package func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { withExtendedLifetime(self) {} }
    return try body(bytes)
  }

  /// Gives back the memory of all pages; they are read again when they are touched.
  package func dropPages() {
    guard let base = bytes.baseAddress else { return }
    // Advice only.
    _ = madvise(UnsafeMutableRawPointer(mutating: base), bytes.count, CInt(MADV_DONTNEED))
  }

  deinit {
    if let base = bytes.baseAddress {
      munmap(UnsafeMutableRawPointer(mutating: base), bytes.count)
    }
  }
}

extension JSON {
  /// The value in a file that is one JSON text; the advice says what to do about another one.
  init(file path: String, advice: String) throws(DataError) {
    let file = try MappedFile(path: path)
    do throws(JSONSyntaxError) {
      self = try file.withBytes { (bytes) throws(JSONSyntaxError) in try JSON.parse(bytes) }
    } catch {
      throw DataError(
        .malformedFile, file: path, found: "byte \(error.offset): \(error.problem)",
        expected: "JSON", advice: advice)
    }
  }
}

/// What a file is by its first bytes, to tell somebody who named the wrong one.
enum FileSignature {
  /// An advice for a file that is not what was wanted, "safetensors".
  static func advice(_ bytes: UnsafeRawBufferPointer, wanted: String) -> String {
    if let kind = kind(bytes), kind != wanted {
      return "the file looks like \(kind): convert it to \(wanted)"
    }
    return "the file is damaged or is not \(wanted): copy or write it again"
  }

  private static func kind(_ bytes: UnsafeRawBufferPointer) -> String? {
    let signatures: [(String, [UInt8])] = [
      ("npz (or another zip, such as a PyTorch checkpoint)", [0x50, 0x4B, 0x03, 0x04]),
      ("npy", [0x93] + "NUMPY".utf8),
      ("HDF5", [0x89] + "HDF".utf8),
      ("a Python pickle", [0x80, 0x02]),
      ("a Python pickle", [0x80, 0x04]),
      ("a Python pickle", [0x80, 0x05]),
      ("gzip", [0x1F, 0x8B]),
      ("Parquet", Array("PAR1".utf8)),
      ("a Git LFS pointer (run `git lfs pull`)", Array("version https://git-lfs".utf8)),
      ("a web page", Array("<!DOCTYPE".utf8)),
      ("a web page", Array("<html".utf8)),
    ]
    for (name, signature) in signatures where bytes.starts(with: signature) { return name }
    return nil
  }
}
