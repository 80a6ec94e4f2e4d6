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
