import BllarseNumerics
import Foundation

/// A tensor as a file stores it: bytes that something keeps alive, with their type and shape.
///
/// Every file format gives its tensors as this; reading them as matrices, lists and labels is here.
/// Unchecked sendability is safe because the bytes are never written.
struct StoredTensor: @unchecked Sendable {
  /// The file, as the caller named it.
  let path: String
  /// What messages call the tensor.
  let name: String
  let type: SafetensorsType
  /// Sizes, outermost first.
  let shape: [Int]
  /// The elements in row-major order, little-endian.
  let bytes: UnsafeRawBufferPointer
  /// What keeps the bytes alive.
  let owner: AnyObject

  var count: Int { bytes.count / type.size }

  func wrongShape(expected: String, advice: String? = nil) -> DataError {
    Self.wrongShape(shape, path: path, name: name, expected: expected, advice: advice)
  }

  static func wrongShape(
    _ shape: [Int], path: String, name: String, expected: String, advice: String? = nil
  ) -> DataError {
    DataError(
      .wrongShape, file: path, key: name,
      found: "the shape is (\(shape.map(String.init).joined(separator: ", ")))",
      expected: expected, advice: advice)
  }
}

// MARK: - Matrices

extension StoredTensor {
  /// The tensor of one or two dimensions as a matrix; see ``SafetensorsFile/matrix(_:as:)``.
  func matrix<Element: SafetensorsFloat>() throws(DataError) -> Matrix<Element> {
    guard (1...2).contains(shape.count) else {
      throw wrongShape(expected: "a matrix (rows, columns)")
    }
    return try matrix(rows: shape[0], columns: shape.count == 2 ? shape[1] : 1)
  }

  /// The tensor of three dimensions as a list of matrices.
  func matrices<Element: SafetensorsFloat>() throws(DataError) -> [Matrix<Element>] {
    guard shape.count == 3 else {
      throw wrongShape(expected: "a list of matrices (count, rows, columns)")
    }
    let (count, rows) = (shape[0], shape[1])
    let all: Matrix<Element> = try matrix(rows: count * rows, columns: shape[2])
    return (0..<count).map { all.rows($0 * rows..<($0 + 1) * rows) }
  }

  /// The tensor of two dimensions in the precision in which it is stored; integers of more digits than
  /// single precision has, in double precision.
  func features() throws(DataError) -> FeatureMatrix {
    guard shape.count == 2 else { throw wrongShape(expected: "a matrix (rows, features)") }
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
        .wrongType, file: path, key: name,
        found: "the tensor is \(type.rawValue) of shape \(shape)",
        expected: "U8 images")
    }
    return Matrix(
      rows: rows, columns: shape.dropFirst().reduce(1, *),
      readOnly: bytes.bindMemory(to: UInt8.self), owner: owner)
  }

  private func matrix<Element: SafetensorsFloat>(
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
}

// MARK: - Lists

extension StoredTensor {
  /// All elements in row-major order.
  func array<Element: SafetensorsFloat>() throws(DataError) -> [Element] {
    let matrix: Matrix<Element> = try matrix(rows: 1, columns: count)
    return matrix.elements
  }

  /// Class labels; see ``SafetensorsFile/labels(_:)``.
  func labels() throws(DataError) -> [Int32] {
    guard shape.count == 1 || (shape.count == 2 && shape[1] == 1) else {
      throw wrongShape(
        expected: "one label a row (rows)", advice: "store class indices, not one-hot rows")
    }
    switch type {
    case .bool, .uint8: return try integers(UInt8.self)
    case .int8: return try integers(Int8.self)
    case .int16: return try integers(Int16.self)
    case .uint16: return try integers(UInt16.self)
    case .int32: return try integers(Int32.self)
    case .uint32: return try integers(UInt32.self)
    case .int64: return try integers(Int64.self)
    case .uint64: return try integers(UInt64.self)
    default:
      let values: [Double] = try array()
      var labels: [Int32] = []
      labels.reserveCapacity(values.count)
      for (row, value) in values.enumerated() {
        guard let label = Int32(exactly: value) else { throw notALabel(row, "\(value)") }
        labels.append(label)
      }
      return labels
    }
  }

  private func integers<Stored: FixedWidthInteger & BitwiseCopyable>(
    _: Stored.Type
  ) throws(DataError) -> [Int32] {
    var labels: [Int32] = []
    labels.reserveCapacity(count)
    defer { withExtendedLifetime(owner) {} }
    for row in 0..<count {
      let value = bytes.loadUnaligned(
        fromByteOffset: row * MemoryLayout<Stored>.size, as: Stored.self)
      guard let label = Int32(exactly: value) else { throw notALabel(row, "\(value)") }
      labels.append(label)
    }
    return labels
  }

  private func notALabel(_ row: Int, _ value: String) -> DataError {
    DataError(
      .invalidLabel, file: path, key: name, row: row, found: "the label is \(value)",
      expected: "a class index, an integer from 0 on", advice: "correct or remove the row")
  }
}

// MARK: - Conversion

extension StoredTensor {
  /// Converts all elements.
  private func fill<Element: SafetensorsFloat>(
    _ target: UnsafeMutableBufferPointer<Element>
  ) throws(DataError) {
    defer { withExtendedLifetime(owner) {} }
    if type == Element.safetensorsType {
      UnsafeMutableRawBufferPointer(target).copyMemory(from: bytes)
      return
    }
    guard Element.self != Float16.self else {
      throw DataError(
        .wrongType, file: path, key: name, found: "the tensor is stored as \(type.rawValue)",
        expected: "F16")
    }
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
      throw DataError(
        .wrongType, file: path, key: name, found: "the tensor is stored as \(type.rawValue)",
        expected: "F16, F32 or F64", advice: "convert it before it is saved")
    }
  }
}

/// Bytes of the package's own, aligned for every element type; the owner of inflated tensors.
///
/// Unchecked sendability is safe because they are written by their maker only.
final class ByteStorage: @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer

  init(count: Int, for purpose: @autoclosure () -> String) {
    let memory = AllocationFailure.allocate(
      bytes: max(count, 1), alignment: 64, for: purpose())
    bytes = UnsafeMutableRawBufferPointer(start: memory, count: count)
  }

  deinit { free(bytes.baseAddress) }
}

/// The number format of a tensor in a safetensors file.
public enum SafetensorsType: String, Sendable, CaseIterable {
  case bool = "BOOL"
  case uint8 = "U8"
  case int8 = "I8"
  case float8e5m2 = "F8_E5M2"
  case float8e4m3 = "F8_E4M3"
  case int16 = "I16"
  case uint16 = "U16"
  case float16 = "F16"
  case bfloat16 = "BF16"
  case int32 = "I32"
  case uint32 = "U32"
  case float32 = "F32"
  case int64 = "I64"
  case uint64 = "U64"
  case float64 = "F64"

  /// The size of an element in bytes, which is also its alignment.
  public var size: Int {
    switch self {
    case .bool, .uint8, .int8, .float8e5m2, .float8e4m3: 1
    case .int16, .uint16, .float16, .bfloat16: 2
    case .int32, .uint32, .float32: 4
    case .int64, .uint64, .float64: 8
    }
  }
}

/// A Swift number type that a safetensors file stores as it is.
///
/// The protocol is closed: it is there for the conformances below.
public protocol SafetensorsElement: BitwiseCopyable, Sendable {
  /// The number format in the file.
  static var safetensorsType: SafetensorsType { get }
}

/// A floating-point type that tensors are read as: `Float16`, `Float` or `Double`.
public protocol SafetensorsFloat: SafetensorsElement, BinaryFloatingPoint {}

extension Float16: SafetensorsFloat {
  /// `F16`.
  public static var safetensorsType: SafetensorsType { .float16 }
}
extension Float: SafetensorsFloat {
  /// `F32`.
  public static var safetensorsType: SafetensorsType { .float32 }
}
extension Double: SafetensorsFloat {
  /// `F64`.
  public static var safetensorsType: SafetensorsType { .float64 }
}
extension UInt8: SafetensorsElement {
  /// `U8`.
  public static var safetensorsType: SafetensorsType { .uint8 }
}
extension Int8: SafetensorsElement {
  /// `I8`.
  public static var safetensorsType: SafetensorsType { .int8 }
}
extension Int32: SafetensorsElement {
  /// `I32`.
  public static var safetensorsType: SafetensorsType { .int32 }
}
extension UInt32: SafetensorsElement {
  /// `U32`.
  public static var safetensorsType: SafetensorsType { .uint32 }
}
extension Int64: SafetensorsElement {
  /// `I64`.
  public static var safetensorsType: SafetensorsType { .int64 }
}
extension UInt64: SafetensorsElement {
  /// `U64`.
  public static var safetensorsType: SafetensorsType { .uint64 }
}
extension Bool: SafetensorsElement {
  /// `BOOL`.
  public static var safetensorsType: SafetensorsType { .bool }
}
