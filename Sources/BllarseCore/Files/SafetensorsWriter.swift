public import BllarseNumerics

/// The content of a safetensors file that is going to be written.
///
/// The same content gives the same bytes: tensors are ordered by element size, largest first, and then
/// by name (as the reference implementation does), metadata by name. So every tensor is aligned for its
/// type, and readers can map it.
///
///     var file = SafetensorsWriter(metadata: ["format_version": "1"])
///     file.add("mean", mean)
///     try file.write(to: "head.safetensors")
public struct SafetensorsWriter: Sendable {
  /// The text metadata.
  public var metadata: [String: String]

  /// Takes the bytes of a tensor, piece by piece.
  private typealias Sink = (UnsafeRawBufferPointer) throws(DataError) -> Void

  private struct Entry: Sendable {
    let name: String
    let type: SafetensorsType
    let shape: [Int]
    let write: @Sendable (Sink) throws(DataError) -> Void

    var byteCount: Int { shape.reduce(type.size, *) }
  }
  private var entries: [Entry] = []

  /// Starts with no tensors.
  ///
  /// - Parameter metadata: the text metadata.
  public init(metadata: [String: String] = [:]) { self.metadata = metadata }

  /// Adds a matrix under a name that was not used before; its memory is shared until the file is written.
  public mutating func add<Element: SafetensorsElement>(_ name: String, _ matrix: Matrix<Element>) {
    append(name, Element.safetensorsType, [matrix.rowCount, matrix.columnCount]) {
      (sink) throws(DataError) in
      // Rows that follow one another without gaps are one piece.
      let (pieces, count) =
        matrix.isContiguous
        ? (1, matrix.rowCount * matrix.columnCount) : (matrix.rowCount, matrix.columnCount)
      try matrix.withUnsafePointer { (pointer, stride) throws(DataError) in
        for piece in 0..<pieces {
          try sink(
            UnsafeRawBufferPointer(
              UnsafeBufferPointer(start: pointer + piece * stride, count: count)))
        }
      }
    }
  }

  /// Adds a matrix in the precision in which it is stored.
  public mutating func add(_ name: String, _ features: FeatureMatrix) {
    switch features.storage {
    case .float16(let matrix): add(name, matrix)
    case .float32(let matrix): add(name, matrix)
    case .float64(let matrix): add(name, matrix)
    }
  }

  /// Adds a tensor of any shape, or of one dimension, by its elements in row-major order.
  public mutating func add<Element: SafetensorsElement>(
    _ name: String, _ elements: [Element], shape: [Int]? = nil
  ) {
    let shape = shape ?? [elements.count]
    precondition(
      shape.reduce(1, *) == elements.count,
      "\(elements.count) elements do not fill the shape \(shape)")
    append(name, Element.safetensorsType, shape) { (sink) throws(DataError) in
      try elements.withUnsafeBufferPointer { (buffer) throws(DataError) in
        try sink(UnsafeRawBufferPointer(buffer))
      }
    }
  }

  private mutating func append(
    _ name: String, _ type: SafetensorsType, _ shape: [Int],
    _ write: @escaping @Sendable (Sink) throws(DataError) -> Void
  ) {
    precondition(
      name != "__metadata__" && !entries.contains { $0.name == name },
      "a tensor \(name.quoted()) cannot be added (twice)")
    entries.append(Entry(name: name, type: type, shape: shape, write: write))
  }
}

// MARK: - Writing

extension SafetensorsWriter {
  /// Writes the file, complete or not at all.
  ///
  /// - Throws: `DataError.Code.unwritableFile`.
  public func write(to path: String) throws(DataError) {
    let entries = orderedEntries
    let file = try AtomicFile(path: path)
    try file.write(header(entries))
    for entry in entries {
      try entry.write { (bytes) throws(DataError) in try file.write(bytes) }
    }
    try file.commit()
  }

  /// Hands over the tensors' bytes, in pieces, in the order of the file.
  func forEachTensor(
    _ body: (_ name: String, _ bytes: UnsafeRawBufferPointer) throws(DataError) -> Void
  ) throws(DataError) {
    for entry in orderedEntries {
      try entry.write { (bytes) throws(DataError) in try body(entry.name, bytes) }
    }
  }

  private var orderedEntries: [Entry] {
    entries.sorted { ($1.type.size, $0.name) < ($0.type.size, $1.name) }
  }

  private func header(_ entries: [Entry]) -> [UInt8] {
    var members: [JSON.Member] = []
    if !metadata.isEmpty {
      let texts = metadata.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .string($0.value)) }
      members.append(JSON.Member("__metadata__", .object(texts)))
    }
    var offset = 0
    for entry in entries {
      let value: JSON = .object([
        "dtype": .string(entry.type.name), "shape": .array(entry.shape.map { .int($0) }),
        "data_offsets": .array([.int(offset), .int(offset + entry.byteCount)]),
      ])
      members.append(JSON.Member(entry.name, value))
      offset += entry.byteCount
    }
    var text = Array(JSON.object(members).compact.utf8)
    // Spaces after the header put the first tensor on a multiple of eight bytes.
    while !text.count.isMultiple(of: 8) { text.append(UInt8(ascii: " ")) }
    return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text
  }
}
