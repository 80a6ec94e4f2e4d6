import Glibc
import Synchronization

/// The features of a set of rows, in the precision in which they are stored.
///
/// Half-precision features stay in half precision, resident or mapped from a file, and are converted
/// block by block where they are used; so a fit needs no more memory than the features themselves.
public struct FeatureMatrix: Sendable {
  /// The elements as they are stored, rowCount x columnCount.
  public enum Storage: Sendable {
    /// IEEE half precision.
    case float16(Matrix<Float16>)
    /// IEEE single precision.
    case float32(Matrix<Float>)
    /// IEEE double precision.
    case float64(Matrix<Double>)
  }

  /// The elements as they are stored.
  public let storage: Storage
  /// The number of rows, and of features of a row.
  public let rowCount, columnCount: Int

  /// Wraps half-precision features.
  public init(_ matrix: Matrix<Float16>) {
    (storage, rowCount, columnCount) = (.float16(matrix), matrix.rowCount, matrix.columnCount)
  }
  /// Wraps single-precision features.
  public init(_ matrix: Matrix<Float>) {
    (storage, rowCount, columnCount) = (.float32(matrix), matrix.rowCount, matrix.columnCount)
  }
  /// Wraps double-precision features.
  public init(_ matrix: Matrix<Double>) {
    (storage, rowCount, columnCount) = (.float64(matrix), matrix.rowCount, matrix.columnCount)
  }

  /// Wraps features in the precision of computations.
  init<Scalar: BLASScalar>(storing matrix: Matrix<Scalar>) {
    switch matrix {
    case let matrix as Matrix<Float>: self.init(matrix)
    case let matrix as Matrix<Double>: self.init(matrix)
    default: preconditionFailure("features of \(Scalar.self)")
    }
  }

  /// Gives back the memory of features that are mapped from a file, until they are touched again.
  package func dropPages() {
    let owner =
      switch storage {
      case .float16(let matrix): matrix.storage.owner
      case .float32(let matrix): matrix.storage.owner
      case .float64(let matrix): matrix.storage.owner
      }
    (owner as? any PagedMemory)?.dropPages()
  }

  /// The size of the features as stored, in bytes.
  public var byteCount: Int {
    switch storage {
    case .float16: 2 * rowCount * columnCount
    case .float32: 4 * rowCount * columnCount
    case .float64: 8 * rowCount * columnCount
    }
  }

  /// A view of a range of rows, sharing memory.
  public func rows(_ range: Range<Int>) -> FeatureMatrix {
    switch storage {
    case .float16(let matrix): FeatureMatrix(matrix.rows(range))
    case .float32(let matrix): FeatureMatrix(matrix.rows(range))
    case .float64(let matrix): FeatureMatrix(matrix.rows(range))
    }
  }

  /// A copy that holds the given rows, in the given order.
  public func gatheringRows(_ indices: some Collection<Int>) -> FeatureMatrix {
    switch storage {
    case .float16(let matrix): FeatureMatrix(matrix.gatheringRows(indices))
    case .float32(let matrix): FeatureMatrix(matrix.gatheringRows(indices))
    case .float64(let matrix): FeatureMatrix(matrix.gatheringRows(indices))
    }
  }

  /// The features converted to the precision of `Scalar`, as a matrix of their own.
  public func converted<Scalar: BLASScalar>(to type: Scalar.Type = Scalar.self) -> Matrix<Scalar> {
    switch storage {
    case .float32(let matrix as Any), .float64(let matrix as Any):
      if let matrix = matrix as? Matrix<Scalar> { return matrix }
    case .float16: break
    }
    return Matrix(converting: self)
  }

  /// Hands over the rows from one on as they are stored.
  func withStoredRows(from first: Int, _ body: (StoredRows) -> Void) {
    switch storage {
    case .float16(let matrix):
      unsafe matrix.withUnsafePointer { source, stride in
        let bits = unsafe UnsafeRawPointer(source + first * stride)
        unsafe body(.half(bits.assumingMemoryBound(to: UInt16.self), stride))
      }
    case .float32(let matrix):
      unsafe matrix.withUnsafePointer { unsafe body(.single($0 + first * $1, $1)) }
    case .float64(let matrix):
      unsafe matrix.withUnsafePointer { unsafe body(.double($0 + first * $1, $1)) }
    }
  }

  private func firstValue(beyond bound: Double) -> (row: Int, column: Int)? {
    // A bound that a precision does not reach is its largest number, not infinity.
    switch storage {
    case .float16(let matrix):
      let limit = min(Float16(bound), .greatestFiniteMagnitude).bitPattern
      return Self.firstValue(above: limit, in: matrix) { $0.bitPattern & 0x7FFF }
    case .float32(let matrix):
      let limit = min(Float(bound), .greatestFiniteMagnitude).bitPattern
      return Self.firstValue(above: limit, in: matrix) { $0.magnitude.bitPattern }
    case .float64(let matrix):
      let limit = min(bound, .greatestFiniteMagnitude).bitPattern
      return Self.firstValue(above: limit, in: matrix) { $0.magnitude.bitPattern }
    }
  }
}

extension FeatureMatrix {
  /// The largest magnitude whose square may be summed so often in single precision, rounded down to a power of
  /// ten: `sqrt(M / count)`, M = 3.4e38.
  package static func largestValue(termCount: Double) -> Double {
    let largest = Double(Float.greatestFiniteMagnitude) / max(termCount, 1)
    return pow(10, (0.5 * log10(largest)).rounded(.down))
  }

  /// The position, in row-major order, of the first value that is NaN, or larger in magnitude than a
  /// finite bound.
  package func firstValue(beyond bound: Double, execution: Execution) -> (row: Int, column: Int)? {
    let found = Mutex<(row: Int, column: Int)?>(nil)
    let blockSize = max(1, (1 << 18) / max(columnCount, 1))
    execution.forEachBlock(of: rowCount, blockSize: blockSize) { _, range in
      if found.withLock({ $0.map { $0.row < range.lowerBound } ?? false }) { return }
      guard let (place, column) = rows(range).firstValue(beyond: bound) else { return }
      let row = range.lowerBound + place
      found.withLock { best in
        if row < best?.row ?? .max { best = (row, column) }
      }
    }
    return found.withLock { $0 }
  }

  /// One element, for messages.
  package func value(_ row: Int, _ column: Int) -> Double {
    switch storage {
    case .float16(let matrix): Double(matrix[row, column])
    case .float32(let matrix): Double(matrix[row, column])
    case .float64(let matrix): matrix[row, column]
    }
  }

  /// The first element whose magnitude, as bits, is more than a limit: in this order come finite numbers by size,
  /// infinity, and NaN.
  ///
  /// Half precision is compared as it is stored: without instructions for it a conversion is a call an element.
  private static func firstValue<Element, Bits: FixedWidthInteger>(
    above limit: Bits, in matrix: Matrix<Element>, _ magnitude: (Element) -> Bits
  ) -> (row: Int, column: Int)? {
    for row in 0..<matrix.rowCount {
      let column: Int? = matrix.withRow(row) { values in
        var largest: Bits = 0
        for column in values.indices { largest = max(largest, magnitude(values[column])) }
        return largest > limit ? values.indices.first { magnitude(values[$0]) > limit } : nil
      }
      if let column { return (row, column) }
    }
    return nil
  }
}

/// How a row of features becomes a row of the design matrix, before the bias column.
public enum FeatureTransform: Sendable, Equatable {
  /// The features as they are.
  case identity

  /// Each row to mean 0 and variance 1: `(x - mean) / sqrt(variance + epsilon)`, with the population
  /// variance of the row and no parameters.
  case layerNorm(epsilon: Double)

  /// The layer normalisation of each row, less a mean for each column.
  case centredLayerNorm(epsilon: Double, mean: [Double])

  /// Each column its own way: `x · scale + shift`; both hold one number for each feature.
  case columns(scale: [Double], shift: [Double])

  /// The layer normalisation of the reference, with epsilon 1e-5.
  public static let standardLayerNorm = FeatureTransform.layerNorm(epsilon: 1e-5)
}

/// Mean, standard deviation and largest magnitude of every column of a design without bias.
package struct ColumnStatistics: Sendable, Equatable {
  /// The means, the population standard deviations, and the largest magnitudes.
  package let means, deviations, magnitudes: [Double]
  /// What a deviation must be above, in units of the magnitude, to be more than rounding.
  ///
  /// It is some units in the last place of the precision that the features are stored in: those in double
  /// precision may have an offset of 1e7 and still vary.
  package let resolution: Double

  /// Reads the rows once; sums are in double precision, about the first row, so that a mean far larger
  /// than the spread costs no accuracy.
  ///
  /// There is at least one row. Weights say how often each row counts, N numbers that are not
  /// negative, not all 0; a row of weight 0 is not looked at.
  package init(
    _ features: FeatureMatrix, transform: FeatureTransform = .identity, weights: [Double]? = nil,
    execution: Execution
  ) {
    precondition(
      weights == nil || weights?.count == features.rowCount,
      "\(weights?.count ?? 0) weights for \(features.rowCount) rows")
    let design = DesignMatrix<Double>(features, transform: transform, hasBias: false)
    let columns = features.columnCount
    let stride = design.paddedColumnCount
    let first = weights?.firstIndex { $0 > 0 } ?? 0
    let origin = design.matrix(rows: first..<first + 1).elements
    let blockSize = 256
    // Sums, sums of squares and magnitudes of each worker, after room for a block.
    let workers = execution.forEachBlock(of: features.rowCount, blockSize: blockSize) {
      (sums: Scratch<Double>(count: 3 * columns), rows: Scratch<Double>(count: blockSize * stride))
    } _: { worker, range in
      let (sum, block) = worker
      unsafe design.copyRows(range, into: block.pointer)
      unsafe origin.withUnsafeBufferPointer { origin in
        for row in 0..<range.count {
          let weight = weights?[range.lowerBound + row] ?? 1
          guard weight > 0 else { continue }
          let values = unsafe block.pointer + row * stride
          for column in 0..<columns {
            let value = unsafe values[column]
            let difference = unsafe value - origin[column]
            let weighted = weight * difference
            unsafe sum.pointer[column] += weighted
            unsafe sum.pointer[columns + column] += weighted * difference
            if unsafe value.magnitude > sum.pointer[2 * columns + column] {
              unsafe sum.pointer[2 * columns + column] = value.magnitude
            }
          }
        }
      }
    }
    var (means, deviations, magnitudes): ([Double], [Double], [Double]) = ([], [], [])
    let count = weights?.reduce(0, +) ?? Double(features.rowCount)
    for column in 0..<columns {
      var (sum, square, magnitude) = (0.0, 0.0, 0.0)
      for (part, _) in workers {
        sum += unsafe part.pointer[column]
        square += unsafe part.pointer[columns + column]
        magnitude = unsafe Swift.max(magnitude, part.pointer[2 * columns + column])
      }
      let mean = sum / count
      means.append(origin[column] + mean)
      deviations.append(Swift.max(0, square / count - mean * mean).squareRoot())
      magnitudes.append(magnitude)
    }
    (self.means, self.deviations, self.magnitudes) = (means, deviations, magnitudes)
    if case .float64 = features.storage { resolution = 1e-13 } else { resolution = 1e-7 }
  }
}
