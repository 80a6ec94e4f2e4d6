public import BllarseNumerics

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
