/// The matrix that a head works on: transformed features, with a last column of ones if wanted.
///
/// The rows are made block by block from the features as they are stored, so the design matrix itself
/// need not exist; ``makeResident(limit:parallelism:)`` keeps it in memory where that is affordable.
public struct DesignMatrix<Scalar: BLASScalar>: Sendable {
  /// The features as they are stored, N x D (without the column of ones).
  public let features: FeatureMatrix
  /// How a row of features becomes a row of the design.
  public let transform: FeatureTransform
  /// Whether every row ends with a 1.
  public let hasBias: Bool

  /// Rows in memory, `paddedColumnCount` apart, or `nil` when they are made on demand.
  private var resident: Matrix<Scalar>?

  /// The number of rows.
  public var rowCount: Int { features.rowCount }
  /// The number of columns, including that of ones.
  public var columnCount: Int { features.columnCount + (hasBias ? 1 : 0) }

  /// Elements between the starts of two rows of a block: whole vectors of 64 bytes, zero at the end.
  package var paddedColumnCount: Int {
    let lanes = 64 / MemoryLayout<Scalar>.size
    return (columnCount + lanes - 1) / lanes * lanes
  }

  /// Describes a design matrix.
  ///
  /// - Parameters:
  ///   - features: N x D, finite.
  ///   - transform: how a row becomes a row of the design.
  ///   - hasBias: whether a column of ones is appended.
  public init(_ features: FeatureMatrix, transform: FeatureTransform, hasBias: Bool) {
    if case .columns(let scale, let shift) = transform {
      precondition(
        scale.count == features.columnCount && shift.count == features.columnCount,
        "\(scale.count) scales and \(shift.count) shifts for \(features.columnCount) features")
    }
    if case .centredLayerNorm(_, let mean) = transform {
      precondition(
        mean.count == features.columnCount,
        "\(mean.count) means for \(features.columnCount) features")
    }
    self.features = features
    self.transform = transform
    self.hasBias = hasBias
  }

  /// A view of a range of rows, sharing memory.
  public func rows(_ range: Range<Int>) -> DesignMatrix {
    var view = DesignMatrix(features.rows(range), transform: transform, hasBias: hasBias)
    view.resident = resident?.rows(range)
    return view
  }

  /// Makes all rows now and keeps them, if they take at most `limit` bytes.
  ///
  /// Iterative fits read the design many times; transforming it once saves a third of a pass over few
  /// classes.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public mutating func makeResident(limit: Int, parallelism: Parallelism) {
    let stride = paddedColumnCount
    guard resident == nil, rowCount * stride * MemoryLayout<Scalar>.size <= limit else { return }
    let columns = columnCount
    let source = self
    let whole = unsafe Matrix<Scalar>(rows: rowCount, columns: stride) { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      parallelism.forEachBlock(of: source.rowCount, blockSize: 256) { _, range in
        unsafe source.fill(range, into: address.pointer + range.lowerBound * stride)
      }
    }
    resident = whole.columns(0..<columns)
  }

  /// The design of some rows.
  ///
  /// Of a resident design it is resident, and a copy of what is in memory, not of the features.
  ///
  /// - Parameters:
  ///   - rows: any of `0..<rowCount`, in any order.
  ///   - parallelism: the threads to work with.
  /// - Returns: a design of rows.count rows.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func gathering(_ rows: [Int], parallelism: Parallelism) -> DesignMatrix {
    guard let resident else {
      return DesignMatrix(features.gatheringRows(rows), transform: transform, hasBias: hasBias)
    }
    precondition(
      rows.allSatisfy { $0 >= 0 && $0 < rowCount }, "a row of \(rowCount) does not exist")
    let stride = paddedColumnCount
    let whole = unsafe Matrix<Scalar>(rows: rows.count, columns: stride) { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      parallelism.forEachBlock(of: rows.count, blockSize: 256) { _, range in
        unsafe resident.withUnsafePointer { source, sourceStride in
          for place in range {
            unsafe (address.pointer + place * stride).update(
              from: source + rows[place] * sourceStride, count: stride)
          }
        }
      }
    }
    var design = DesignMatrix(
      FeatureMatrix(storing: whole.columns(0..<features.columnCount)), transform: .identity,
      hasBias: hasBias)
    design.resident = whole.columns(0..<columnCount)
    return design
  }

  /// The rows of a range as a matrix of their own, range.count x columnCount.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func matrix(rows range: Range<Int>) -> Matrix<Scalar> {
    let stride = paddedColumnCount
    let padded = unsafe Matrix<Scalar>(rows: range.count, columns: stride) { target in
      guard let base = target.baseAddress else { return }
      unsafe fill(range, into: base)
    }
    return padded.columns(0..<columnCount)
  }

  /// Hands over the rows of a range: from memory where they are resident, else made in `scratch`.
  ///
  /// - Parameters:
  ///   - range: the rows.
  ///   - scratch: room for `range.count · paddedColumnCount` elements, aligned to 64 bytes.
  ///   - body: receives the address of the first row; rows are `paddedColumnCount` apart and padded
  ///     with zeros.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func withBlock(
    _ range: Range<Int>, scratch: UnsafeMutablePointer<Scalar>,
    _ body: (UnsafePointer<Scalar>) -> Void
  ) {
    if let resident {
      unsafe resident.withUnsafePointer { base, stride in
        unsafe body(base + range.lowerBound * stride)
      }
    } else {
      unsafe fill(range, into: scratch)
      unsafe body(UnsafePointer(scratch))
    }
  }

  /// Whether the rows are kept in memory.
  package var isResident: Bool { resident != nil }

  /// Writes the rows of a range, padding and all, `paddedColumnCount` apart.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func copyRows(_ range: Range<Int>, into target: UnsafeMutablePointer<Scalar>) {
    unsafe withBlock(range, scratch: target) { rows in
      if unsafe rows != UnsafePointer(target) {
        unsafe target.update(from: rows, count: range.count * paddedColumnCount)
      }
    }
  }

  /// Writes transformed rows, padding and all, `paddedColumnCount` apart.
  private func fill(_ range: Range<Int>, into target: UnsafeMutablePointer<Scalar>) {
    let stride = paddedColumnCount
    let width = features.columnCount
    unsafe transformRows(range, into: target, stride: stride)
    for row in 0..<range.count {
      let end = unsafe target + row * stride
      if hasBias { unsafe end[width] = 1 }
      for column in columnCount..<stride { unsafe end[column] = 0 }
    }
  }

  private func transformRows(
    _ range: Range<Int>, into target: UnsafeMutablePointer<Scalar>, stride: Int
  ) {
    switch features.storage {
    case .float16(let matrix):
      unsafe matrix.withUnsafePointer { source, sourceStride in
        unsafe apply(
          .half(UnsafeRawPointer(source + range.lowerBound * sourceStride), sourceStride),
          rowCount: range.count, target, stride)
      }
    case .float32(let matrix):
      unsafe matrix.withUnsafePointer { source, sourceStride in
        unsafe apply(
          .single(source + range.lowerBound * sourceStride, sourceStride),
          rowCount: range.count, target, stride)
      }
    case .float64(let matrix):
      unsafe matrix.withUnsafePointer { source, sourceStride in
        let first = unsafe source + range.lowerBound * sourceStride
        if Scalar.self == Double.self || transform == .identity {
          unsafe apply(.double(first, sourceStride), rowCount: range.count, target, stride)
        } else {
          unsafe applyInDouble(first, sourceStride, rowCount: range.count, target, stride)
        }
      }
    }
  }

  /// Transforms rows in double precision and rounds what comes out.
  ///
  /// Rounded before, a feature with an offset of 1e7 would keep less than a digit of a spread of 1.
  private func applyInDouble(
    _ source: UnsafePointer<Double>, _ sourceStride: Int, rowCount: Int,
    _ target: UnsafeMutablePointer<Scalar>, _ stride: Int
  ) {
    let width = features.columnCount
    let rows = Swift.max(1, Swift.min(rowCount, Self.roundingBlock / Swift.max(width, 1)))
    let scratch = Scratch<Double>(count: rows * width)
    for start in Swift.stride(from: 0, to: rowCount, by: rows) {
      let count = Swift.min(rows, rowCount - start)
      unsafe apply(
        .double(source + start * sourceStride, sourceStride), rowCount: count, scratch.pointer,
        width)
      unsafe Scalar.convertRows(
        count, width, .double(scratch.pointer, width), target + start * stride, stride)
    }
  }

  /// Elements that are in double precision at a time: what fits into a core's cache.
  private static var roundingBlock: Int { 1 << 14 }

  private func apply<Target: BLASScalar>(
    _ source: StoredRows, rowCount: Int, _ target: UnsafeMutablePointer<Target>, _ stride: Int
  ) {
    let width = features.columnCount
    switch transform {
    case .identity:
      unsafe Target.convertRows(rowCount, width, source, target, stride)
    case .layerNorm(let epsilon):
      unsafe Target.layerNormRows(rowCount, width, source, epsilon, target, stride)
    case .centredLayerNorm(let epsilon, let mean):
      unsafe Target.layerNormRows(rowCount, width, source, epsilon, target, stride)
      let shift = mean.map { -$0 }
      let scale = [Double](repeating: 1, count: width)
      unsafe scaleRows(rowCount, width, target, stride, scale: scale, shift: shift)
    case .columns(let scale, let shift):
      unsafe Target.convertRows(rowCount, width, source, target, stride)
      unsafe scaleRows(rowCount, width, target, stride, scale: scale, shift: shift)
    }
  }
}

/// Stored rows of one of three precisions: the address of the first, and the distance between rows.
@unsafe
public enum StoredRows {
  /// Half precision, as bits.
  case half(UnsafeRawPointer, Int)
  /// Single precision.
  case single(UnsafePointer<Float>, Int)
  /// Double precision.
  case double(UnsafePointer<Double>, Int)
}

/// An address that several threads write to, each to elements of its own.
///
/// Sendability is unchecked: whoever makes one divides the elements among the threads.
@unsafe
package struct SharedAddress<Element>: @unchecked Sendable {
  package let pointer: UnsafeMutablePointer<Element>
  package init(_ pointer: UnsafeMutablePointer<Element>) { unsafe self.pointer = pointer }
}
