/// An array in NumPy's npy format: a magic number, a header that is a Python dictionary, the elements.
///
/// - Note: Source: numpy.lib.format, versions 1.0 to 3.0.
struct NpyArray {
  let tensor: StoredTensor

  /// Reads an array from bytes that `owner` keeps alive.
  ///
  /// - Parameters:
  ///   - bytes: the whole array, header included.
  ///   - path: the file, for messages.
  ///   - name: what messages call the array.
  ///   - owner: what keeps the bytes alive.
  /// - Throws: `DataError`: not npy, cut short, or of a type that holds no numbers.
  init(
    bytes: UnsafeRawBufferPointer, path: String, name: String, owner: AnyObject
  ) throws(DataError) {
    let (header, type, start) = try Self.header(
      bytes, count: bytes.count, path: path, name: name)
    let elements = UnsafeRawBufferPointer(rebasing: bytes[start...])
    if header.isFortranOrder && header.shape.count > 1 {
      let copy = ByteStorage(count: elements.count, for: "an array of \(path)")
      NpyArray.copyRowMajor(elements, header.shape, type.size, into: copy.bytes)
      tensor = StoredTensor(
        path: path, name: name, type: type, shape: header.shape,
        bytes: UnsafeRawBufferPointer(copy.bytes), owner: copy)
    } else {
      tensor = StoredTensor(
        path: path, name: name, type: type, shape: header.shape, bytes: elements, owner: owner)
    }
  }

  /// Reads and checks the header of an array.
  ///
  /// - Parameters:
  ///   - bytes: the beginning of the array, with the whole header.
  ///   - count: the number of bytes of the whole array.
  ///   - path: the file, for messages.
  ///   - name: what messages call the array.
  /// - Returns: the header, the type of the elements, and where they begin.
  /// - Throws: `DataError`, as the initialiser.
  static func header(
    _ bytes: UnsafeRawBufferPointer, count: Int, path: String, name: String
  ) throws(DataError) -> (header: NpyHeader, type: SafetensorsType, start: Int) {
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
    guard let header = NpyHeader(text) else {
      throw malformed(
        "the header is \(text.printable.quoted())", "descr, fortran_order and shape")
    }
    guard let type = header.type else {
      throw DataError(
        .wrongType, file: path, key: name, found: "the type is \(header.description.quoted())",
        expected: "little-endian numbers (f2, f4, f8, i1 to i8, u1 to u8, b1)",
        advice: "convert the array with astype before it is saved")
    }
    var size = type.size
    for extent in header.shape {
      let (product, overflow) = size.multipliedReportingOverflow(by: extent)
      guard !overflow else { throw malformed("the shape \(header.shape) is larger than any file") }
      size = product
    }
    guard count - start - length == size else {
      throw malformed(
        "the shape \(header.shape) needs \(size) bytes but there are \(count - start - length)")
    }
    return (header, type, start + length)
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

/// The Python dictionary at the start of an npy array:
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
struct NpyHeader: Equatable {
  let description: String
  let isFortranOrder: Bool
  let shape: [Int]

  init?(_ text: String) {
    // The three values are all that is read, each after its quoted name.
    func value(_ name: String) -> Substring? {
      for quote in ["'", "\""] {
        guard let found = text.firstRange(of: "\(quote)\(name)\(quote)") else { continue }
        let rest = text[found.upperBound...].drop { $0 == " " }
        guard rest.first == ":" else { continue }
        return rest.dropFirst().drop { $0 == " " }
      }
      return nil
    }
    guard let order = value("fortran_order"), let shape = value("shape"), shape.first == "(",
      let end = shape.firstIndex(of: ")"), let description = value("descr")
    else { return nil }
    if order.hasPrefix("True") {
      isFortranOrder = true
    } else if order.hasPrefix("False") {
      isFortranOrder = false
    } else {
      return nil
    }
    var sizes: [Int] = []
    for part in shape[shape.index(after: shape.startIndex)..<end].split(separator: ",") {
      let digits = part.filter { $0 != " " && $0 != "L" }  // Python 2 wrote 3L
      if digits.isEmpty { continue }
      guard let size = Int(digits), size >= 0 else { return nil }
      sizes.append(size)
    }
    self.shape = sizes
    if let quote = description.first, quote == "'" || quote == "\"" {
      self.description = String(description.dropFirst().prefix { $0 != quote })
    } else {
      self.description = String(description.prefix { $0 != "]" })  // fields: refused later
    }
  }

  /// The type of the elements; `nil` when they are no little-endian numbers.
  var type: SafetensorsType? {
    let names: [String: SafetensorsType] = [
      "f2": .float16, "f4": .float32, "f8": .float64, "i1": .int8, "i2": .int16, "i4": .int32,
      "i8": .int64, "u1": .uint8, "u2": .uint16, "u4": .uint32, "u8": .uint64, "b1": .bool,
    ]
    guard let order = description.first, let type = names[String(description.dropFirst())],
      order == "<" || order == "=" || (order == "|" && type.size == 1)
    else { return nil }
    return type
  }
}
