import BllarseNumerics

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
