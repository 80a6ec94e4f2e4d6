public import BllarseNumerics

/// A safetensors file, mapped into memory: named tensors and text metadata.
///
/// Opening reads and checks the header only. ``matrix(_:as:)`` and ``features(_:)`` give views of the
/// mapped bytes where type and alignment allow, so that opening costs nothing and a file may be larger
/// than memory.
///
/// - Note: Source: the format's description in github.com/huggingface/safetensors: eight bytes with
///   the header's length (little-endian), a JSON header, the tensors' bytes without gaps.
public struct SafetensorsFile: Sendable {
  /// One tensor of the header.
  public struct Tensor: Sendable, Equatable {
    /// The tensor's name.
    public let name: String
    /// Its number format.
    public let type: SafetensorsType
    /// Its sizes, outermost first; empty for a single number.
    public let shape: [Int]
    /// Where its bytes are in the file.
    public let byteRange: Range<Int>

    /// The number of elements.
    public var count: Int { byteRange.count / type.size }
    /// The number format and the shape, "F32 (1797, 128)".
    public var description: String {
      "\(type.rawValue) (\(shape.map(String.init).joined(separator: ", ")))"
    }
  }

  /// The file, as the caller named it.
  public var path: String { file.path }
  /// The text metadata.
  public let metadata: [String: String]
  /// The tensors in the order of their bytes.
  public let tensors: [Tensor]

  let file: MappedFile
  private let index: [String: Int]

  /// Opens a file and checks its header.
  ///
  /// - Parameter path: the file.
  /// - Throws: `DataError` when the file is missing, unreadable, or not a sound safetensors file: a
  ///   truncated header, a header that is not JSON or names a tensor twice, a shape that contradicts
  ///   the number of bytes, bytes outside the file, shared by two tensors or belonging to none.
  public init(path: String) throws(DataError) {
    let file = try MappedFile(path: path)
    let header = try SafetensorsHeader(reading: file)
    self.file = file
    metadata = header.metadata
    tensors = header.tensors
    index = Dictionary(uniqueKeysWithValues: zip(tensors.map(\.name), tensors.indices))
  }

  /// Whether there is a tensor of this name.
  public func contains(_ name: String) -> Bool { index[name] != nil }

  /// The header's entry for a tensor.
  ///
  /// - Throws: `DataError.Code.missingKey`, with the names that are there.
  public func tensor(_ name: String) throws(DataError) -> Tensor {
    guard let position = index[name] else {
      throw DataError(
        .missingKey, file: path, key: name,
        found: DataError.absence("tensor", among: tensors.map(\.name)))
    }
    return tensors[position]
  }

  /// The metadata entry of a name.
  ///
  /// - Throws: `DataError.Code.missingKey`, with the names that are there.
  public func metadata(_ name: String) throws(DataError) -> String {
    guard let value = metadata[name] else {
      throw DataError(
        .missingKey, file: path, key: "metadata \(name)",
        found: DataError.absence("entry", among: metadata.keys.sorted()))
    }
    return value
  }
}

// MARK: - Reading tensors

extension SafetensorsFile {
  /// A tensor of two dimensions as a matrix.
  ///
  /// The matrix is a view of the mapped file when the tensor is stored as `Element` and aligned for it;
  /// otherwise its elements are converted and copied. A tensor of one dimension is one column.
  ///
  /// - Parameters:
  ///   - name: the tensor.
  ///   - type: `Float16`, `Float` or `Double`; `Float16` is given only for tensors stored as such.
  /// - Returns: a matrix of the tensor's shape.
  /// - Throws: `DataError`: no such tensor, more than two dimensions, a type that cannot be converted.
  public func matrix<Element: SafetensorsFloat>(
    _ name: String, as type: Element.Type = Element.self
  ) throws(DataError) -> Matrix<Element> { try stored(name).matrix() }

  /// A tensor of three dimensions as a list of matrices, one for each entry of the first.
  ///
  /// - Parameters:
  ///   - name: the tensor, (count, rows, columns).
  ///   - type: `Float16`, `Float` or `Double`.
  /// - Returns: `count` matrices; they share memory.
  /// - Throws: `DataError`: no such tensor, not three dimensions, a type that cannot be converted.
  public func matrices<Element: SafetensorsFloat>(
    _ name: String, as type: Element.Type = Element.self
  ) throws(DataError) -> [Matrix<Element>] { try stored(name).matrices() }

  /// A tensor of two dimensions in the precision in which it is stored; brain floats and integers
  /// become single precision.
  ///
  /// - Parameter name: the tensor, (rows, features).
  /// - Returns: a view of the mapped file where type and alignment allow.
  /// - Throws: `DataError`: no such tensor, not two dimensions, a type that is no number's.
  public func features(_ name: String) throws(DataError) -> FeatureMatrix {
    try stored(name).features()
  }

  /// All elements of a tensor of any shape, in row-major order.
  ///
  /// - Parameters:
  ///   - name: the tensor.
  ///   - type: `Float16`, `Float` or `Double`; `Float16` is given only for tensors stored as such.
  /// - Returns: a copy.
  /// - Throws: `DataError`: no such tensor, or a type that cannot be converted.
  public func array<Element: SafetensorsFloat>(
    _ name: String, as type: Element.Type = Element.self
  ) throws(DataError) -> [Element] { try stored(name).array() }

  /// Class labels: a list of integers, whatever type they are stored as.
  ///
  /// - Parameter name: the tensor, (rows) or (rows, 1); floating-point labels are accepted when each is
  ///   an integer.
  /// - Returns: a copy.
  /// - Throws: `DataError`: no such tensor, another shape, or a value that is no 32-bit integer (its row
  ///   is named).
  public func labels(_ name: String) throws(DataError) -> [Int32] { try stored(name).labels() }

  /// A tensor with its bytes.
  func stored(_ name: String) throws(DataError) -> StoredTensor {
    let tensor = try tensor(name)
    return StoredTensor(
      path: path, name: name, type: tensor.type, shape: tensor.shape,
      bytes: UnsafeRawBufferPointer(rebasing: file.bytes[tensor.byteRange]), owner: file)
  }
}

/// Numbers and vectors of checkpoints, checked.
extension SafetensorsFile {
  /// A metadata entry that is an integer.
  func integer(_ name: String, atLeast minimum: Int) throws(DataError) -> Int {
    let text = try metadata(name)
    guard let value = Int(text), value >= minimum else {
      throw wrongEntry(name, text, "an integer, at least \(minimum)")
    }
    return value
  }

  /// A metadata entry that is a finite number.
  func number(_ name: String, above bound: Double) throws(DataError) -> Double {
    let text = try metadata(name)
    guard let value = Double(text), value > bound, value.isFinite else {
      throw wrongEntry(name, text, "a number above \(bound)")
    }
    return value
  }

  /// A tensor of one dimension with a known number of elements.
  func vector(_ name: String, count: Int) throws(DataError) -> [Double] {
    let values = try array(name, as: Double.self)
    guard values.count == count else {
      throw DataError(
        .wrongShape, file: path, key: name, found: "\(values.count) elements",
        expected: "\(count), as the metadata say")
    }
    return values
  }

  /// A tensor of two dimensions of a known shape.
  func matrix<Element: SafetensorsFloat>(
    _ name: String, rows: Int, columns: Int
  ) throws(DataError) -> Matrix<Element> {
    let matrix = try matrix(name, as: Element.self)
    guard matrix.rowCount == rows, matrix.columnCount == columns else {
      throw DataError(
        .wrongShape, file: path, key: name,
        found: "the shape is (\(matrix.rowCount), \(matrix.columnCount))",
        expected: "(\(rows), \(columns)), as the metadata say",
        advice: "write the checkpoint again")
    }
    return matrix
  }

  private func wrongEntry(_ name: String, _ text: String, _ expected: String) -> DataError {
    DataError(
      .wrongType, file: path, key: "metadata \(name)", found: "the entry is '\(text)'",
      expected: expected)
  }
}

extension SafetensorsFile {
  /// Refuses a file with a NaN or an infinity in any tensor: a head of a fit that diverged, or a damaged
  /// file.
  ///
  /// - Throws: `DataError.Code.notFinite` that names tensor, row and column.
  func requireFinite() throws(DataError) {
    for tensor in tensors {
      let stored = try stored(tensor.name)
      guard let index = stored.firstNonFinite else { continue }
      let width = tensor.shape.count > 1 ? max(tensor.shape.last ?? 1, 1) : 1
      throw DataError(
        .notFinite, file: path, key: tensor.name, row: index / width,
        column: tensor.shape.count > 1 ? index % width : nil,
        found: "the value is \(stored.value(index))", expected: "a finite number",
        advice: "fit the head again: its fit diverged, or the file was damaged")
    }
  }
}

extension StoredTensor {
  /// The index of the first element that is NaN or infinite, in row-major order; `nil` when there is none,
  /// or the elements are integers.
  var firstNonFinite: Int? {
    switch type {
    case .float16: first { $0.loadUnaligned(fromByteOffset: $1, as: Float16.self).isFinite }
    case .float32: first { $0.loadUnaligned(fromByteOffset: $1, as: Float.self).isFinite }
    case .float64: first { $0.loadUnaligned(fromByteOffset: $1, as: Double.self).isFinite }
    default: nil
    }
  }

  /// An element of a floating-point tensor, for messages.
  func value(_ index: Int) -> Double {
    let offset = index * type.size
    return switch type {
    case .float16: Double(bytes.loadUnaligned(fromByteOffset: offset, as: Float16.self))
    case .float32: Double(bytes.loadUnaligned(fromByteOffset: offset, as: Float.self))
    default: bytes.loadUnaligned(fromByteOffset: offset, as: Double.self)
    }
  }

  private func first(
    failing isFine: (_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> Bool
  ) -> Int? {
    let size = type.size
    for index in 0..<count where !isFine(bytes, index * size) { return index }
    return nil
  }
}

/// The checked header of a safetensors file.
struct SafetensorsHeader {
  /// The reference implementation refuses longer headers, too.
  static let maximumLength = 100_000_000

  private(set) var metadata: [String: String] = [:]
  private(set) var tensors: [SafetensorsFile.Tensor] = []

  init(reading file: MappedFile) throws(DataError) {
    let bytes = file.bytes
    func malformed(
      _ key: String? = nil, _ found: String, _ expected: String? = nil, _ advice: String? = nil
    ) -> DataError {
      DataError(
        .malformedFile, file: file.path, key: key, found: found, expected: expected,
        advice: advice ?? FileSignature.advice(bytes, wanted: "safetensors"))
    }
    // 1. The length of the header.
    guard bytes.count >= 8 else {
      throw malformed(
        "header", "the file ends after \(bytes.count) bytes", "a safetensors file (8 bytes or more)"
      )
    }
    let announced = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard announced <= UInt64(Self.maximumLength) else {
      throw malformed(
        "header", "the length of the header is given as \(announced) bytes",
        "at most \(Self.maximumLength)")
    }
    let length = Int(announced)
    guard length <= bytes.count - 8 else {
      throw malformed(
        "header",
        "the header should be \(length) bytes long but the file ends after \(bytes.count - 8)", nil)
    }
    // 2. Its JSON text.
    let text = UnsafeRawBufferPointer(rebasing: bytes[8..<8 + length])
    let json: JSON
    do throws(JSONSyntaxError) {
      json = try JSON.parse(text)
    } catch {
      throw malformed("header", "byte \(error.offset): \(error.problem)", "JSON")
    }
    guard case .object(let members) = json else {
      throw malformed("header", "the header is not a JSON object", "names and tensors")
    }
    // 3. Its entries.
    let dataStart = 8 + length
    for member in members {
      if member.key == "__metadata__" {
        metadata = try Self.readMetadata(member.value, in: file.path)
      } else {
        tensors.append(
          try Self.readTensor(member, dataStart: dataStart, size: bytes.count, in: file.path))
      }
    }
    // 4. The bytes: every one belongs to exactly one tensor.
    tensors.sort {
      ($0.byteRange.lowerBound, $0.byteRange.upperBound)
        < ($1.byteRange.lowerBound, $1.byteRange.upperBound)
    }
    var (end, previous) = (dataStart, "the header")
    for tensor in tensors {
      guard tensor.byteRange.lowerBound >= end else {
        throw malformed(tensor.name, "its bytes overlap those of \(previous)")
      }
      guard tensor.byteRange.lowerBound == end else {
        throw malformed(
          tensor.name,
          "\(tensor.byteRange.lowerBound - end) bytes before it belong to no tensor")
      }
      (end, previous) = (tensor.byteRange.upperBound, tensor.name)
    }
    guard end == bytes.count else {
      throw malformed(
        nil, "\(bytes.count - end) bytes after the last tensor belong to no tensor", nil,
        "write the file again")
    }
  }

  private static func readMetadata(
    _ value: JSON, in path: String
  ) throws(DataError) -> [String: String] {
    guard case .object(let members) = value else {
      throw DataError(
        .malformedFile, file: path, key: "__metadata__", found: "the metadata are not an object",
        expected: "names and texts")
    }
    var metadata: [String: String] = [:]
    for member in members {
      guard case .string(let text) = member.value else {
        throw DataError(
          .malformedFile, file: path, key: "__metadata__",
          found: "the entry \(member.key.quoted()) is not a text", expected: "names and texts")
      }
      metadata[member.key] = text
    }
    return metadata
  }

  private static func readTensor(
    _ member: JSON.Member, dataStart: Int, size: Int, in path: String
  ) throws(DataError) -> SafetensorsFile.Tensor {
    let (name, value) = (member.key, member.value)
    func malformed(_ found: String, _ expected: String?, _ advice: String? = nil) -> DataError {
      DataError(
        .malformedFile, file: path, key: name, found: found, expected: expected, advice: advice)
    }
    guard case .string(let typeName)? = value["dtype"] else {
      throw malformed("the header's entry has no dtype", "dtype, shape and data_offsets")
    }
    guard let type = SafetensorsType(rawValue: typeName) else {
      throw malformed(
        "the dtype \(typeName.quoted()) is unknown",
        "one of " + SafetensorsType.allCases.map(\.rawValue).joined(separator: ", "))
    }
    guard let shape = nonNegativeIntegers(value["shape"]) else {
      throw malformed("the shape is not a list of sizes", "integers from 0 on")
    }
    guard let offsets = nonNegativeIntegers(value["data_offsets"]), offsets.count == 2,
      offsets[0] <= offsets[1]
    else {
      throw malformed("the data_offsets are not a range", "two integers from 0 on, in order")
    }
    var byteCount = type.size
    for extent in shape {
      let (product, overflow) = byteCount.multipliedReportingOverflow(by: extent)
      guard !overflow else {
        throw malformed("the shape \(shape) is larger than any file", "a shape that fits the bytes")
      }
      byteCount = product
    }
    guard byteCount == offsets[1] - offsets[0] else {
      throw malformed(
        "\(typeName) of shape \(shape) needs \(byteCount) bytes but the offsets span "
          + "\(offsets[1] - offsets[0])", "a shape that fits the bytes")
    }
    guard offsets[1] <= size - dataStart else {
      throw malformed(
        "its bytes end \(offsets[1]) bytes after the header but the file ends after "
          + "\(size - dataStart)", nil, "the file was cut short: copy or write it again")
    }
    return SafetensorsFile.Tensor(
      name: name, type: type, shape: shape,
      byteRange: dataStart + offsets[0]..<dataStart + offsets[1])
  }

  private static func nonNegativeIntegers(_ value: JSON?) -> [Int]? {
    guard let elements = value?.arrayValue else { return nil }
    let integers = elements.compactMap(\.intValue).filter { $0 >= 0 }
    return integers.count == elements.count ? integers : nil
  }
}
