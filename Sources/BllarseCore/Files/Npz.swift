import CZlib

/// The header of an array in NumPy's npy format: a magic number, a Python dictionary, then the elements.
///
///     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
///
/// - Note: Source: numpy.lib.format, versions 1.0 to 3.0.
struct NpyHeader: Equatable {
  let type: SafetensorsType
  let isFortranOrder: Bool
  let shape: [Int]
  let start: Int  // of the elements

  /// Reads and checks the header of an array of `count` bytes, of which the first, with the header, are given.
  ///
  /// - Throws: `DataError`: not npy, cut short, or of a type that holds no numbers.
  init(
    of bytes: UnsafeRawBufferPointer, count: Int, path: String, name: String
  ) throws(DataError) {
    func malformed(_ found: String, _ expected: String? = nil) -> DataError {
      DataError(
        .malformedFile, file: path, key: name, found: found, expected: expected,
        advice: FileSignature.advice(bytes, wanted: "npy"))
    }
    guard bytes.count >= 10, bytes.starts(with: [0x93] + Array("NUMPY".utf8)) else {
      throw malformed("the array does not start with the magic number of npy", "an npy array")
    }
    let (lengthSize, start) = bytes[6] == 1 ? (2, 10) : (4, 12)
    guard (1...3).contains(bytes[6]), bytes.count >= start else {
      throw malformed("the version of the format is \(bytes[6]).\(bytes[7])", "1.0 to 3.0")
    }
    var length = 0
    for index in 0..<lengthSize { length |= Int(bytes[8 + index]) << (8 * index) }
    guard length <= bytes.count - start else {
      throw malformed(
        "the header should be \(length) bytes long but the array ends after "
          + "\(bytes.count - start)")
    }
    let text = String(decoding: bytes[start..<start + length], as: UTF8.self)
    guard let (description, isFortranOrder, shape) = Self.parse(text) else {
      throw malformed("the header is \(text.printable.quoted())", "descr, fortran_order and shape")
    }
    guard let type = Self.type(description) else {
      throw DataError(
        .wrongType, file: path, key: name, found: "the type is \(description.quoted())",
        expected: "little-endian numbers (f2, f4, f8, i1 to i8, u1 to u8, b1)",
        advice: "convert the array with astype before it is saved")
    }
    guard let size = type.byteCount(of: shape) else {
      throw malformed("the shape \(shape) is larger than any file")
    }
    guard count - start - length == size else {
      throw malformed(
        "the shape \(shape) needs \(size) bytes but there are \(count - start - length)")
    }
    (self.type, self.isFortranOrder, self.shape) = (type, isFortranOrder, shape)
    self.start = start + length
  }

  /// The three values of the dictionary, each after its quoted name; nothing else is read.
  static func parse(
    _ text: String
  ) -> (description: String, isFortranOrder: Bool, shape: [Int])? {
    func value(_ name: String) -> Substring? {
      for quote in ["'", "\""] {
        guard let found = text.firstRange(of: "\(quote)\(name)\(quote)") else { continue }
        let rest = text[found.upperBound...].drop { $0 == " " }
        guard rest.first == ":" else { continue }
        return rest.dropFirst().drop { $0 == " " }
      }
      return nil
    }
    guard let order = value("fortran_order"), order.hasPrefix("True") || order.hasPrefix("False"),
      let shape = value("shape"), shape.first == "(", let end = shape.firstIndex(of: ")"),
      let description = value("descr")
    else { return nil }
    var sizes: [Int] = []
    for part in shape[..<end].dropFirst().split(separator: ",") {
      let digits = part.filter { $0 != " " && $0 != "L" }  // Python 2 wrote 3L
      if digits.isEmpty { continue }
      guard let size = Int(digits), size >= 0 else { return nil }
      sizes.append(size)
    }
    let text =
      if let quote = description.first, quote == "'" || quote == "\"" {
        description.dropFirst().prefix { $0 != quote }
      } else {
        description.prefix { $0 != "]" }  // fields: refused later
      }
    return (String(text), order.hasPrefix("True"), sizes)
  }

  /// The type of the elements; `nil` when they are no little-endian numbers.
  static func type(_ description: String) -> SafetensorsType? {
    guard let order = description.first,
      let type = SafetensorsType(npy: String(description.dropFirst())),
      order == "<" || order == "=" || (order == "|" && type.size == 1)
    else { return nil }
    return type
  }
}

extension StoredTensor {
  /// Reads an npy array from bytes that `owner` keeps alive.
  ///
  /// - Throws: `DataError`, as ``NpyHeader``.
  init(
    npy bytes: UnsafeRawBufferPointer, path: String, name: String, owner: AnyObject
  ) throws(DataError) {
    let header = try NpyHeader(of: bytes, count: bytes.count, path: path, name: name)
    var (elements, owner) = (UnsafeRawBufferPointer(rebasing: bytes[header.start...]), owner)
    if header.isFortranOrder && header.shape.count > 1 {
      let copy = ByteStorage(count: elements.count, for: "an array of \(path)")
      Self.copyRowMajor(elements, header.shape, header.type.size, into: copy.bytes)
      (elements, owner) = (UnsafeRawBufferPointer(copy.bytes), copy)
    }
    self.init(
      header: ArrayHeader(path: path, name: name, type: header.type, shape: header.shape),
      bytes: elements, owner: owner)
  }

  /// Reorders elements from column-major to row-major order.
  private static func copyRowMajor(
    _ source: UnsafeRawBufferPointer, _ shape: [Int], _ size: Int,
    into target: UnsafeMutableRawBufferPointer
  ) {
    var index = [Int](repeating: 0, count: shape.count)
    let strides = shape.indices.map { shape[..<$0].reduce(size, *) }
    for position in 0..<shape.reduce(1, *) {
      let offset = zip(index, strides).reduce(0) { $0 + $1.0 * $1.1 }
      UnsafeMutableRawBufferPointer(rebasing: target[position * size..<(position + 1) * size])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[offset..<offset + size]))
      for axis in shape.indices.reversed() {
        index[axis] += 1
        if index[axis] < shape[axis] { break }
        index[axis] = 0
      }
    }
  }
}

/// A zip archive, mapped: what NumPy's npz files are.
///
/// Stored members are views of the mapped file; deflated ones are inflated and their checksum is
/// compared. Archives and members beyond four gigabytes (zip64) are read, too.
///
/// - Note: Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
struct ZipArchive {
  struct Member {
    let name: String
    let method: Int
    let checksum: UInt32
    let compressedSize: Int
    let size: Int
    let headerOffset: Int
    let isEncrypted: Bool
  }

  let file: MappedFile
  /// The members in the order of the directory.
  let members: [Member]

  /// Reads an archive's directory.
  ///
  /// - Throws: `DataError` when the file is missing, unreadable, or no sound zip archive.
  init(path: String) throws(DataError) {
    file = try MappedFile(path: path)
    let reader = LittleEndianReader(bytes: file.bytes)
    let bytes = file.bytes
    func malformed(_ found: String) -> DataError {
      DataError(
        .malformedFile, file: path, found: found,
        advice: FileSignature.advice(
          bytes, wanted: "npz (or another zip, such as a PyTorch checkpoint)"))
    }
    // The end record is the last 22 bytes, or further up when a comment follows it.
    let lowest = max(0, bytes.count - 22 - 0xFFFF)
    guard bytes.count >= 22,
      let end = stride(from: bytes.count - 22, through: lowest, by: -1).first(where: {
        reader.integer(4, at: $0) == 0x0605_4B50
      })
    else { throw malformed("the archive has no directory at its end") }
    var count = reader.integer(2, at: end + 10) ?? 0
    var offset = reader.integer(4, at: end + 16) ?? 0
    if count == 0xFFFF || offset == 0xFFFF_FFFF,
      reader.integer(4, at: end - 20) == 0x0706_4B50,
      let record = reader.integer(8, at: end - 12), reader.integer(4, at: record) == 0x0606_4B50
    {
      count = reader.integer(8, at: record + 32) ?? 0
      offset = reader.integer(8, at: record + 48) ?? 0
    }
    var members: [Member] = []
    for index in 0..<count {
      guard reader.integer(4, at: offset) == 0x0201_4B50,
        let (member, next) = reader.member(at: offset)
      else { throw malformed("entry \(index) of the archive's directory is damaged") }
      members.append(member)
      offset = next
    }
    self.members = members
  }

  /// The bytes of a member, all or, of a packed one, the first `limit`, and what keeps them alive.
  ///
  /// - Throws: `DataError` when the member is damaged or packed in a way that NumPy does not use.
  func content(
    of member: Member, upTo limit: Int = .max
  ) throws(DataError) -> (bytes: UnsafeRawBufferPointer, owner: AnyObject) {
    let packed = try packedBytes(of: member)
    if member.method == 0 { return (packed, file) }
    let isWhole = member.size <= limit
    let storage = ByteStorage(count: min(member.size, limit), for: "\(member.name) of \(file.path)")
    guard Self.inflate(packed, into: storage.bytes, isWhole: isWhole),
      !isWhole || CRC32.checksum(UnsafeRawBufferPointer(storage.bytes)) == member.checksum
    else { throw fault(member, "the compressed bytes are damaged") }
    return (UnsafeRawBufferPointer(storage.bytes), storage)
  }

  private func fault(_ member: Member, _ found: String) -> DataError {
    DataError(
      .malformedFile, file: file.path, key: member.name, found: found,
      advice: "the file is damaged: copy or write it again")
  }

  /// The bytes of a member as the archive holds them.
  private func packedBytes(of member: Member) throws(DataError) -> UnsafeRawBufferPointer {
    let reader = LittleEndianReader(bytes: file.bytes)
    guard reader.integer(4, at: member.headerOffset) == 0x0403_4B50,
      let nameLength = reader.integer(2, at: member.headerOffset + 26),
      let extraLength = reader.integer(2, at: member.headerOffset + 28)
    else { throw fault(member, "the member's header is damaged") }
    let start = member.headerOffset + 30 + nameLength + extraLength
    guard start <= file.bytes.count, member.compressedSize <= file.bytes.count - start else {
      throw fault(
        member, "the member should be \(member.compressedSize) bytes long but the file ends before")
    }
    let packed = UnsafeRawBufferPointer(rebasing: file.bytes[start..<start + member.compressedSize])
    try DataError.require(
      !member.isEncrypted && (member.method == 0 || member.method == 8), .wrongType,
      file: file.path, key: member.name,
      found: member.isEncrypted
        ? "the member is encrypted" : "the compression method is \(member.method)",
      expected: "stored or deflated", advice: "write the file with numpy.savez")
    if member.method == 0 {
      guard member.size == member.compressedSize else {
        throw fault(member, "the stored member's sizes differ")
      }
      return packed
    }
    // DEFLATE packs 258 bytes into two bits at best: a larger claim is not worth its memory.
    guard member.size / 1032 <= member.compressedSize else {
      throw fault(member, "\(member.compressedSize) bytes cannot unpack to \(member.size)")
    }
    return packed
  }
}

/// Integers at byte offsets; `nil` outside the bytes.
private struct LittleEndianReader {
  let bytes: UnsafeRawBufferPointer

  func integer(_ size: Int, at offset: Int) -> Int? {
    guard offset >= 0, offset <= bytes.count - size else { return nil }
    var value: UInt64 = 0
    for index in 0..<size { value |= UInt64(bytes[offset + index]) << UInt64(8 * index) }
    return Int(exactly: value)
  }

  /// An entry of the directory, and where the next one begins.
  func member(at offset: Int) -> (ZipArchive.Member, next: Int)? {
    guard let flags = integer(2, at: offset + 8), let method = integer(2, at: offset + 10),
      let checksum = integer(4, at: offset + 16), var packed = integer(4, at: offset + 20),
      var size = integer(4, at: offset + 24), let nameLength = integer(2, at: offset + 28),
      let extraLength = integer(2, at: offset + 30), let comment = integer(2, at: offset + 32),
      var header = integer(4, at: offset + 42),
      offset + 46 + nameLength + extraLength <= bytes.count
    else { return nil }
    let name = String(decoding: bytes[offset + 46..<offset + 46 + nameLength], as: UTF8.self)
    // Field 1 of the extra data holds, in this order, those of the three that need eight bytes.
    var position = offset + 46 + nameLength
    let end = position + extraLength
    while position + 4 <= end, let id = integer(2, at: position),
      let length = integer(2, at: position + 2)
    {
      if id == 1 {
        var field = position + 4
        func widen(_ value: inout Int) -> Bool {
          guard value == 0xFFFF_FFFF else { return true }
          guard let wide = integer(8, at: field) else { return false }
          value = wide
          field += 8
          return true
        }
        guard widen(&size), widen(&packed), widen(&header) else { return nil }
      }
      position += 4 + length
    }
    let member = ZipArchive.Member(
      name: name, method: method, checksum: UInt32(truncatingIfNeeded: checksum),
      compressedSize: packed, size: size, headerOffset: header, isEncrypted: flags & 1 != 0)
    return (member, end + comment)
  }
}

extension ZipArchive {
  /// Unpacks a raw deflate stream through zlib: a whole one, which must fill the target exactly, or as much
  /// as the target takes.
  private static func inflate(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, isWhole: Bool
  ) -> Bool {
    var stream = z_stream()
    let size = Int32(MemoryLayout<z_stream>.size)
    guard inflateInit2_(&stream, -MAX_WBITS, ZLIB_VERSION, size) == Z_OK else { return false }
    defer { inflateEnd(&stream) }
    // zlib counts in 32 bits: hand it at most a gigabyte at a time.
    let portion = 1 << 30
    var (read, written) = (0, 0)
    var spare: UInt8 = 0
    while true {
      let input = min(source.count - read, portion)
      let output = min(target.count - written, portion)
      let result: CInt = withUnsafeMutablePointer(to: &spare) { spare in
        stream.next_in = UnsafeMutablePointer(
          mutating: source.baseAddress?.advanced(by: read).assumingMemoryBound(to: UInt8.self))
        stream.avail_in = UInt32(input)
        stream.next_out =
          target.baseAddress?.advanced(by: written).assumingMemoryBound(to: UInt8.self) ?? spare
        stream.avail_out = UInt32(output)
        return CZlib.inflate(&stream, Z_NO_FLUSH)
      }
      let (consumed, produced) = (input - Int(stream.avail_in), output - Int(stream.avail_out))
      read += consumed
      written += produced
      if !isWhole, written == target.count { return true }
      if result == Z_STREAM_END { return read == source.count && written == target.count }
      guard result == Z_OK, consumed > 0 || produced > 0 else { return false }
    }
  }
}
