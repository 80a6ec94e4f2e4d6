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
