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
  }

  /// The file, as the caller named it.
  public var path: String { prefix.isEmpty ? file.path : "\(file.path) (\(prefix)*)" }
  /// The text metadata.
  public private(set) var metadata: [String: String] = [:]
  /// The tensors in the order of their bytes.
  public private(set) var tensors: [Tensor] = []

  private let file: MappedFile
  private var index: [String: Int]
  /// What is in front of the names in the file, of a part of it.
  private var prefix = ""

  /// Opens a file and checks its header.
  ///
  /// - Throws: `DataError` when the file is missing, unreadable, or not a sound safetensors file: a
  ///   truncated header, a header that is not JSON or names a tensor twice, a shape that contradicts
  ///   the number of bytes, bytes outside the file, shared by two tensors or belonging to none.
  public init(path: String) throws(DataError) {
    file = try MappedFile(path: path)
    let bytes = file.bytes
    func malformed(
      _ key: String? = nil, _ found: String, _ expected: String? = nil, _ advice: String? = nil
    ) -> DataError {
      DataError(
        .malformedFile, file: path, key: key, found: found, expected: expected,
        advice: advice ?? FileSignature.advice(bytes, wanted: "safetensors"))
    }
    // 1. The length of the header.
    guard bytes.count >= 8 else {
      throw malformed(
        "header", "the file ends after \(bytes.count) bytes", "a safetensors file (8 bytes or more)"
      )
    }
    let announced = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    // The reference implementation refuses longer headers, too.
    let limit = 100_000_000
    guard announced <= UInt64(limit) else {
      throw malformed(
        "header", "the length of the header is given as \(announced) bytes", "at most \(limit)")
    }
    let dataStart = 8 + Int(announced)
    guard dataStart <= bytes.count else {
      throw malformed(
        "header",
        "the header should be \(announced) bytes long but the file ends after \(bytes.count - 8)")
    }
    // 2. Its JSON text.
    let json: JSON
    do throws(JSONSyntaxError) {
      json = try JSON.parse(UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart]))
    } catch {
      throw malformed("header", "byte \(error.offset): \(error.problem)", "JSON")
    }
    guard case .object(let members) = json else {
      throw malformed("header", "the header is not a JSON object", "names and tensors")
    }
    // 3. Its entries.
    for member in members {
      if member.key == "__metadata__" {
        metadata = try Self.metadata(member.value, in: path)
      } else {
        tensors.append(try Tensor(member, dataStart: dataStart, size: bytes.count, in: path))
      }
    }
    // 4. The bytes: every one belongs to exactly one tensor.
    tensors.sort {
      ($0.byteRange.lowerBound, $0.byteRange.upperBound)
        < ($1.byteRange.lowerBound, $1.byteRange.upperBound)
    }
    var (end, previous) = (dataStart, "the header")
    for tensor in tensors {
      let start = tensor.byteRange.lowerBound
      guard start == end else {
        throw malformed(
          tensor.name,
          start < end
            ? "its bytes overlap those of \(previous)"
            : "\(start - end) bytes before it belong to no tensor")
      }
      (end, previous) = (tensor.byteRange.upperBound, tensor.name)
    }
    guard end == bytes.count else {
      throw malformed(
        nil, "\(bytes.count - end) bytes after the last tensor belong to no tensor", nil,
        "write the file again")
    }
    index = Dictionary(uniqueKeysWithValues: zip(tensors.map(\.name), tensors.indices))
  }

  private static func metadata(
    _ value: JSON, in path: String
  ) throws(DataError) -> [String: String] {
    func malformed(_ found: String) -> DataError {
      DataError(
        .malformedFile, file: path, key: "__metadata__", found: found, expected: "names and texts")
    }
    guard case .object(let members) = value else {
      throw malformed("the metadata are not an object")
    }
    var metadata: [String: String] = [:]
    for member in members {
      guard let text = member.value.stringValue else {
        throw malformed("the entry \(member.key.quoted()) is not a text")
      }
      metadata[member.key] = text
    }
    return metadata
  }

  /// The tensors and entries whose names begin with a prefix, under what follows it.
  ///
  /// - Parameters:
  ///   - prefix: the beginning of names.
  ///   - common: further entries.
  /// - Returns: a view of the same file; messages name it with the prefix.
  func part(_ prefix: String, with common: [String: String] = [:]) -> SafetensorsFile {
    func rest(_ name: String) -> String? {
      name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : nil
    }
    var part = self
    part.prefix += prefix
    part.metadata = common
    for (name, text) in metadata {
      if let name = rest(name) { part.metadata[name] = text }
    }
    part.tensors = tensors.compactMap { tensor in
      rest(tensor.name).map {
        Tensor(name: $0, type: tensor.type, shape: tensor.shape, byteRange: tensor.byteRange)
      }
    }
    part.index = Dictionary(
      uniqueKeysWithValues: part.tensors.enumerated().map { ($1.name, $0) })
    return part
  }

  /// Whether there is a tensor of this name.
  public func contains(_ name: String) -> Bool { index[name] != nil }

  /// The header's entry for a tensor.
  ///
  /// - Throws: `DataError.Code.missingKey`, with the names that are there.
  public func tensor(_ name: String) throws(DataError) -> Tensor {
    tensors[try DataError.find(index[name], "tensor", name, in: path, among: tensors.map(\.name))]
  }

  /// The metadata entry of a name.
  ///
  /// - Throws: `DataError.Code.missingKey`, with the names that are there.
  public func metadata(_ name: String) throws(DataError) -> String {
    try DataError.find(
      metadata[name], "entry", "metadata \(name)", in: path, among: metadata.keys.sorted())
  }

  func stored(_ name: String) throws(DataError) -> StoredTensor {
    let tensor = try tensor(name)
    return StoredTensor(
      header: ArrayHeader(path: path, name: name, type: tensor.type, shape: tensor.shape),
      bytes: UnsafeRawBufferPointer(rebasing: file.bytes[tensor.byteRange]), owner: file)
  }
}

extension SafetensorsFile.Tensor {
  /// Reads and checks an entry of the header.
  fileprivate init(
    _ member: JSON.Member, dataStart: Int, size: Int, in path: String
  ) throws(DataError) {
    let (name, value) = (member.key, member.value)
    func malformed(_ found: String, _ expected: String?, _ advice: String? = nil) -> DataError {
      DataError(
        .malformedFile, file: path, key: name, found: found, expected: expected, advice: advice)
    }
    func sizes(_ value: JSON?) -> [Int]? {
      guard let elements = value?.arrayValue else { return nil }
      let integers = elements.compactMap(\.intValue).filter { $0 >= 0 }
      return integers.count == elements.count ? integers : nil
    }
    guard case .string(let typeName)? = value["dtype"] else {
      throw malformed("the header's entry has no dtype", "dtype, shape and data_offsets")
    }
    guard let type = SafetensorsType(name: typeName) else {
      throw malformed(
        "the dtype \(typeName.quoted()) is unknown",
        "one of " + SafetensorsType.allCases.map(\.name).joined(separator: ", "))
    }
    guard let shape = sizes(value["shape"]) else {
      throw malformed("the shape is not a list of sizes", "integers from 0 on")
    }
    guard let offsets = sizes(value["data_offsets"]), offsets.count == 2, offsets[0] <= offsets[1]
    else { throw malformed("the data_offsets are not a range", "two integers from 0 on, in order") }
    guard let byteCount = type.byteCount(of: shape) else {
      throw malformed("the shape \(shape) is larger than any file", "a shape that fits the bytes")
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
    (self.name, self.type, self.shape) = (name, type, shape)
    byteRange = dataStart + offsets[0]..<dataStart + offsets[1]
  }
}

// MARK: - Reading tensors

extension SafetensorsFile {
  /// A tensor of two dimensions as a matrix; one of one dimension is a column.
  ///
  /// It is a view of the mapped file when the tensor is stored as `Element`, which is `Float16` only
  /// for tensors stored as such, and aligned for it; otherwise a copy.
  ///
  /// - Throws: `DataError`: no such tensor, more than two dimensions, a type that cannot be converted.
  public func matrix<Element: SafetensorsFloat>(
    _ name: String, as type: Element.Type = Element.self
  ) throws(DataError) -> Matrix<Element> { try stored(name).matrix() }

  /// A tensor of three dimensions as a list of matrices that share memory, as ``matrix(_:as:)``.
  public func matrices<Element: SafetensorsFloat>(
    _ name: String, as type: Element.Type = Element.self
  ) throws(DataError) -> [Matrix<Element>] { try stored(name).matrices() }

  /// A tensor of two dimensions in the precision in which it is stored; brain floats and small integers
  /// become single precision.
  ///
  /// - Throws: `DataError`: no such tensor, not two dimensions, a type that is no number's.
  public func features(_ name: String) throws(DataError) -> FeatureMatrix {
    try stored(name).features()
  }

  /// All elements of a tensor of any shape, in row-major order, as ``matrix(_:as:)``.
  public func array<Element: SafetensorsFloat>(
    _ name: String, as type: Element.Type = Element.self
  ) throws(DataError) -> [Element] { try stored(name).array() }

  /// Class labels, (rows) or (rows, 1): integers, whatever type they are stored as.
  ///
  /// - Throws: `DataError`: no such tensor, another shape, or a value that is no 32-bit integer (its row
  ///   is named).
  public func labels(_ name: String) throws(DataError) -> [Int32] { try stored(name).labels() }
}

// MARK: - What checkpoints hold, checked

extension SafetensorsFile {
  /// A metadata entry that is an integer.
  func integer(_ name: String, atLeast minimum: Int) throws(DataError) -> Int {
    // Sums and products of two sizes stay within an integer.
    try entry(name, "an integer, at least \(minimum)") {
      Int($0).flatMap { minimum...Int(Int32.max) ~= $0 ? $0 : nil }
    }
  }

  /// A metadata entry that is a finite number.
  func number(_ name: String, above bound: Double) throws(DataError) -> Double {
    try entry(name, "a number above \(bound)") {
      Double($0).flatMap { $0 > bound && $0.isFinite ? $0 : nil }
    }
  }

  /// A metadata entry that is one of a few names.
  func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String
  ) throws(DataError) -> Choice where Choice.RawValue == String {
    try entry(
      name, Choice.allCases.map(\.rawValue).joined(separator: ", "),
      advice: "update bllarse to read it"
    ) { Choice(rawValue: $0) }
  }

  /// A metadata entry that says what `parse` gives.
  func entry<Value>(
    _ name: String, _ expected: String, advice: String? = nil, _ parse: (String) -> Value?
  ) throws(DataError) -> Value {
    let text = try metadata(name)
    if let value = parse(text) { return value }
    throw DataError(
      .wrongType, file: path, key: "metadata \(name)", found: "the entry is '\(text)'",
      expected: expected, advice: advice)
  }

  /// A tensor of one dimension with a known number of elements.
  func vector(_ name: String, count: Int) throws(DataError) -> [Double] {
    let values = try array(name, as: Double.self)
    try DataError.require(
      values.count == count, .wrongShape, file: path, key: name, found: "\(values.count) elements",
      expected: "\(count), as the metadata say")
    return values
  }

  /// A tensor of two dimensions of a known shape.
  ///
  /// - Throws: as ``matrix(_:as:)``, and for another shape.
  public func matrix<Element: SafetensorsFloat>(
    _ name: String, rows: Int, columns: Int
  ) throws(DataError) -> Matrix<Element> {
    let matrix = try matrix(name, as: Element.self)
    try DataError.require(
      matrix.rowCount == rows && matrix.columnCount == columns, .wrongShape, file: path, key: name,
      found: "the shape is (\(matrix.rowCount), \(matrix.columnCount))",
      expected: "(\(rows), \(columns)), as the metadata say", advice: "write the checkpoint again")
    return matrix
  }

  /// Refuses a file with a NaN or an infinity in any tensor: a head of a fit that diverged, or a damaged
  /// file.
  ///
  /// - Throws: `DataError.Code.notFinite` that names tensor, row and column.
  func requireFinite() throws(DataError) {
    for tensor in tensors {
      guard let (index, value) = try stored(tensor.name).firstNonFinite else { continue }
      let width = tensor.shape.count > 1 ? max(tensor.shape.last ?? 1, 1) : 1
      throw DataError(
        .notFinite, file: path, key: tensor.name, row: index / width,
        column: tensor.shape.count > 1 ? index % width : nil,
        found: "the value is \(value)", expected: "a finite number",
        advice: "fit the head again: its fit diverged, or the file was damaged")
    }
  }
}

extension StoredTensor {
  /// The first element that is NaN or infinite, with its place in row-major order; `nil` when there is none,
  /// or the elements are integers.
  ///
  /// It looks at the bytes where they are.
  fileprivate var firstNonFinite: (index: Int, value: Double)? {
    switch type {
    case .float16: first { Double($0.loadUnaligned(fromByteOffset: $1, as: Float16.self)) }
    case .float32: first { Double($0.loadUnaligned(fromByteOffset: $1, as: Float.self)) }
    case .float64: first { $0.loadUnaligned(fromByteOffset: $1, as: Double.self) }
    default: nil
    }
  }

  private func first(
    _ value: (_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> Double
  ) -> (index: Int, value: Double)? {
    let size = type.size
    for index in 0..<count {
      let value = value(bytes, index * size)
      if !value.isFinite { return (index, value) }
    }
    return nil
  }
}

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

  /// Starts with text metadata and no tensors.
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

  /// Adds what another writer has, tensors and entries, with a prefix in front of their names.
  mutating func add(_ part: SafetensorsWriter, prefix: String) {
    for (name, text) in part.metadata { metadata[prefix + name] = text }
    for entry in part.entries { append(prefix + entry.name, entry.type, entry.shape, entry.write) }
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

  /// Hands over each tensor's name and then its bytes, in pieces, in the order of the file.
  func forEachPiece(
    _ body: (UnsafeRawBufferPointer) throws(DataError) -> Void
  ) throws(DataError) {
    for entry in orderedEntries {
      try Array(entry.name.utf8).withUnsafeBufferPointer { (name) throws(DataError) in
        try body(UnsafeRawBufferPointer(name))
      }
      try entry.write(body)
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
