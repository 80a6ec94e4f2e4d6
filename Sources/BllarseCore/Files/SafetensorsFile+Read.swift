public import BllarseNumerics

// MARK: - Matrices

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
  ) throws(DataError) -> Matrix<Element> {
    let tensor = try tensor(name)
    guard (1...2).contains(tensor.shape.count) else {
      throw wrongShape(tensor, expected: "a matrix (rows, columns)")
    }
    return try matrix(
      tensor, rows: tensor.shape[0], columns: tensor.shape.count == 2 ? tensor.shape[1] : 1)
  }

  /// A tensor of three dimensions as a list of matrices, one for each entry of the first.
  ///
  /// - Parameters:
  ///   - name: the tensor, (count, rows, columns).
  ///   - type: `Float16`, `Float` or `Double`.
  /// - Returns: `count` matrices; they share memory.
  /// - Throws: `DataError`: no such tensor, not three dimensions, a type that cannot be converted.
  public func matrices<Element: SafetensorsFloat>(
    _ name: String, as type: Element.Type = Element.self
  ) throws(DataError) -> [Matrix<Element>] {
    let tensor = try tensor(name)
    guard tensor.shape.count == 3 else {
      throw wrongShape(tensor, expected: "a list of matrices (count, rows, columns)")
    }
    let (count, rows) = (tensor.shape[0], tensor.shape[1])
    let all: Matrix<Element> = try matrix(tensor, rows: count * rows, columns: tensor.shape[2])
    return (0..<count).map { all.rows($0 * rows..<($0 + 1) * rows) }
  }

  /// A tensor of two dimensions in the precision in which it is stored; brain floats and integers
  /// become single precision.
  ///
  /// - Parameter name: the tensor, (rows, features).
  /// - Returns: a view of the mapped file where type and alignment allow.
  /// - Throws: `DataError`: no such tensor, not two dimensions, a type that is no number's.
  public func features(_ name: String) throws(DataError) -> FeatureMatrix {
    let tensor = try tensor(name)
    guard tensor.shape.count == 2 else {
      throw wrongShape(tensor, expected: "a matrix (rows, features)")
    }
    switch tensor.type {
    case .float16: return FeatureMatrix(try matrix(name, as: Float16.self))
    case .float64: return FeatureMatrix(try matrix(name, as: Double.self))
    default: return FeatureMatrix(try matrix(name, as: Float.self))
    }
  }

  private func matrix<Element: SafetensorsFloat>(
    _ tensor: Tensor, rows: Int, columns: Int
  ) throws(DataError) -> Matrix<Element> {
    let bytes = self.bytes(of: tensor)
    if tensor.type == Element.safetensorsType, let base = bytes.baseAddress,
      Int(bitPattern: base).isMultiple(of: MemoryLayout<Element>.alignment)
    {
      let elements = bytes.bindMemory(to: Element.self)
      return Matrix(rows: rows, columns: columns, readOnly: elements, owner: file)
    }
    return try Matrix(rows: rows, columns: columns) { (target) throws(DataError) in
      try fill(target, from: tensor)
    }
  }
}

// MARK: - Lists

extension SafetensorsFile {
  /// All elements of a tensor of any shape, in row-major order.
  ///
  /// - Parameters:
  ///   - name: the tensor.
  ///   - type: `Float16`, `Float` or `Double`; `Float16` is given only for tensors stored as such.
  /// - Returns: a copy.
  /// - Throws: `DataError`: no such tensor, or a type that cannot be converted.
  public func array<Element: SafetensorsFloat>(
    _ name: String, as type: Element.Type = Element.self
  ) throws(DataError) -> [Element] {
    let tensor = try tensor(name)
    var fault: DataError?
    let elements = [Element](unsafeUninitializedCapacity: tensor.count) { buffer, count in
      do throws(DataError) {
        try fill(UnsafeMutableBufferPointer(rebasing: buffer[..<tensor.count]), from: tensor)
        count = tensor.count
      } catch { fault = error }
    }
    if let fault { throw fault }
    return elements
  }

  /// Class labels: a list of integers, whatever type they are stored as.
  ///
  /// - Parameter name: the tensor, (rows) or (rows, 1); floating-point labels are accepted when each is
  ///   an integer.
  /// - Returns: a copy.
  /// - Throws: `DataError`: no such tensor, another shape, or a value that is no 32-bit integer (its row
  ///   is named).
  public func labels(_ name: String) throws(DataError) -> [Int32] {
    let tensor = try tensor(name)
    guard tensor.shape.count == 1 || (tensor.shape.count == 2 && tensor.shape[1] == 1) else {
      throw wrongShape(
        tensor, expected: "one label a row (rows)",
        advice: "store class indices, not one-hot rows")
    }
    let bytes = self.bytes(of: tensor)
    switch tensor.type {
    case .bool, .uint8: return try integers(tensor, bytes, UInt8.self)
    case .int8: return try integers(tensor, bytes, Int8.self)
    case .int16: return try integers(tensor, bytes, Int16.self)
    case .uint16: return try integers(tensor, bytes, UInt16.self)
    case .int32: return try integers(tensor, bytes, Int32.self)
    case .uint32: return try integers(tensor, bytes, UInt32.self)
    case .int64: return try integers(tensor, bytes, Int64.self)
    case .uint64: return try integers(tensor, bytes, UInt64.self)
    default:
      let values: [Double] = try array(name)
      var labels: [Int32] = []
      labels.reserveCapacity(values.count)
      for (row, value) in values.enumerated() {
        guard let label = Int32(exactly: value) else { throw notALabel(tensor, row, "\(value)") }
        labels.append(label)
      }
      return labels
    }
  }

  private func integers<Stored: FixedWidthInteger & BitwiseCopyable>(
    _ tensor: Tensor, _ bytes: UnsafeRawBufferPointer, _: Stored.Type
  ) throws(DataError) -> [Int32] {
    var labels: [Int32] = []
    labels.reserveCapacity(tensor.count)
    for row in 0..<tensor.count {
      let value = bytes.loadUnaligned(
        fromByteOffset: row * MemoryLayout<Stored>.size, as: Stored.self)
      guard let label = Int32(exactly: value) else { throw notALabel(tensor, row, "\(value)") }
      labels.append(label)
    }
    return labels
  }

  private func notALabel(_ tensor: Tensor, _ row: Int, _ value: String) -> DataError {
    DataError(
      .invalidLabel, file: path, key: tensor.name, row: row, found: "the label is \(value)",
      expected: "a class index, an integer from 0 on", advice: "correct or remove the row")
  }
}

// MARK: - Bytes

extension SafetensorsFile {
  /// The stored bytes of a tensor.
  func bytes(of tensor: Tensor) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: file.bytes[tensor.byteRange])
  }

  private func wrongShape(
    _ tensor: Tensor, expected: String, advice: String? = nil
  ) -> DataError {
    DataError(
      .wrongShape, file: path, key: tensor.name,
      found: "the shape is (\(tensor.shape.map(String.init).joined(separator: ", ")))",
      expected: expected, advice: advice)
  }

  /// Converts all elements of a tensor.
  private func fill<Element: SafetensorsFloat>(
    _ target: UnsafeMutableBufferPointer<Element>, from tensor: Tensor
  ) throws(DataError) {
    let bytes = self.bytes(of: tensor)
    if tensor.type == Element.safetensorsType {
      UnsafeMutableRawBufferPointer(target).copyMemory(from: bytes)
      return
    }
    guard Element.self != Float16.self else {
      throw DataError(
        .wrongType, file: path, key: tensor.name,
        found: "the tensor is stored as "
          + tensor.type.rawValue, expected: "F16")
    }
    func convert<Stored: BitwiseCopyable>(_: Stored.Type, _ body: (Stored) -> Element) {
      for position in target.indices {
        let stored = bytes.loadUnaligned(
          fromByteOffset: position * MemoryLayout<Stored>.size, as: Stored.self)
        target.initializeElement(at: position, to: body(stored))
      }
    }
    switch tensor.type {
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
        .wrongType, file: path, key: tensor.name,
        found: "the tensor is stored as \(tensor.type.rawValue)", expected: "F16, F32 or F64",
        advice: "convert it before it is saved")
    }
  }
}

// MARK: - Pixels

extension SafetensorsFile {
  /// A tensor of bytes as a matrix with one row for each entry of its first dimension.
  ///
  /// - Parameter name: the tensor, `U8`, at least one dimension.
  /// - Returns: a view of the mapped file.
  /// - Throws: `DataError`: no such tensor, or another type.
  func pixels(_ name: String) throws(DataError) -> Matrix<UInt8> {
    let tensor = try tensor(name)
    guard tensor.type == .uint8, let rows = tensor.shape.first else {
      throw DataError(
        .wrongType, file: path, key: name, found: "the tensor is \(tensor.description)",
        expected: "U8 images")
    }
    let bytes = self.bytes(of: tensor).bindMemory(to: UInt8.self)
    return Matrix(
      rows: rows, columns: tensor.shape.dropFirst().reduce(1, *), readOnly: bytes, owner: file)
  }
}
