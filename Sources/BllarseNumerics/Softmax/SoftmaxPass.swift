/// One reading of the design matrix by a softmax head: logits, residuals and the products with them,
/// block of rows by block of rows, while a block is in cache.
///
/// Notation: X (N x D) the design, W (D x K) the weights, M = X·W the logits, P = softmax(M) by row,
/// Y (N x K) one-hot labels, R = Y - P the residuals. With row weights w, the log-likelihood is
/// Σᵢ wᵢ log p, and R and all derivatives are those of this sum.
package struct SoftmaxPass<Scalar: BLASScalar>: Sendable {
  /// The machinery of blocks, threads and sums, which does not depend on the likelihood.
  private(set) var frame: ProbitPass<Scalar>

  /// Describes the pass.
  ///
  /// - Parameters:
  ///   - design: X, N x D.
  ///   - labels: N class indices.
  ///   - classCount: K.
  ///   - weights: w, N numbers that are not negative; `nil` for 1.
  ///   - parallelism: the threads to work with.
  package init(
    design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, weights: [Double]? = nil,
    parallelism: Parallelism
  ) {
    if let row = labels.firstIndex(where: { $0 < 0 || Int($0) >= classCount }) {
      preconditionFailure("the label of row \(row) is \(labels[row]) of \(classCount) classes")
    }
    frame = ProbitPass(
      design: design, labels: labels, classCount: classCount, weights: weights,
      parallelism: parallelism)
  }

  package var design: DesignMatrix<Scalar> { frame.design }
  package var labels: [Int32] { frame.labels }
  package var classCount: Int { frame.classCount }
  package var weights: [Double]? { frame.weights }
  /// The sum of the weights; the number of rows where there are none.
  package var totalWeight: Double { frame.totalWeight }
  package var parallelism: Parallelism {
    get { frame.parallelism }
    set { frame.parallelism = newValue }
  }

  /// Computes all logits anew, with XᵀR and Σᵢ log p there.
  package func restart(
    at weights: Matrix<Double>, logits: inout Matrix<Scalar>
  ) -> ProbitPass<Scalar>.Sums {
    let packed = frame.packWeights(weights)
    return unsafe logits.withUnsafeMutablePointer { base, stride in
      let address = unsafe SharedAddress(base)
      return frame.accumulate { block in
        unsafe design.withBlock(block.range, scratch: block.rows) { rows in
          unsafe block.formLogits(rows, packed)
          unsafe block.copyLogits(to: address.pointer, stride: stride)
          block.formSoftmaxResiduals()
          unsafe block.addProducts(rows)
        }
      }
    }
  }

  /// Moves the logits along the direction, M += t·Mp, with XᵀR and Σᵢ log p there.
  package func advance(
    logits: inout Matrix<Scalar>, direction: Matrix<Scalar>, steps: [Double]
  ) -> ProbitPass<Scalar>.Sums {
    let step = Scalar(steps[0])
    return unsafe logits.withUnsafeMutablePointer { base, stride in
      unsafe direction.withUnsafePointer { directionBase, directionStride in
        let address = unsafe SharedAddress(base)
        let other = unsafe SharedAddress(UnsafeMutablePointer(mutating: directionBase))
        return frame.accumulate { block in
          unsafe design.withBlock(block.range, scratch: block.rows) { rows in
            unsafe block.softmaxAdvance(
              address.pointer, stride, UnsafePointer(other.pointer), directionStride, step)
            unsafe block.addProducts(rows)
          }
        }
      }
    }
  }

  /// Computes the logits of a search direction, and the line at a first step in the same pass.
  package func direction(
    of vector: Matrix<Double>, into direction: inout Matrix<Scalar>, logits: Matrix<Scalar>,
    steps: [Double]
  ) -> ProbitPass<Scalar>.Line {
    let packed = frame.packWeights(vector)
    let step = Scalar(steps[0])
    let classes = classCount
    let line = unsafe direction.withUnsafeMutablePointer { base, stride in
      unsafe logits.withUnsafePointer { logitBase, logitStride in
        let address = unsafe SharedAddress(base)
        let other = unsafe SharedAddress(UnsafeMutablePointer(mutating: logitBase))
        return frame.accumulateLine { block, sums in
          unsafe design.withBlock(block.range, scratch: block.rows) { rows in
            let first = block.range.lowerBound
            let target = unsafe address.pointer + first * stride
            unsafe Scalar.kernels.forward(
              block.range.count, classes, design.columnCount, rows, block.stride, packed.pointer,
              target,
              stride)
            unsafe block.addSoftmaxLine(
              other.pointer + first * logitStride, logitStride, target, stride, step, sums)
          }
        }
      }
    }
    return Self.first(of: line)
  }

  /// The line at a step, from the logits alone.
  package func line(
    logits: Matrix<Scalar>, direction: Matrix<Scalar>, steps: [Double]
  ) -> ProbitPass<Scalar>.Line {
    let step = Scalar(steps[0])
    let line = unsafe logits.withUnsafePointer { base, stride in
      unsafe direction.withUnsafePointer { directionBase, directionStride in
        let address = unsafe SharedAddress(UnsafeMutablePointer(mutating: base))
        let other = unsafe SharedAddress(UnsafeMutablePointer(mutating: directionBase))
        return frame.accumulateLine { block, sums in
          let first = block.range.lowerBound
          unsafe block.addSoftmaxLine(
            address.pointer + first * stride, stride, other.pointer + first * directionStride,
            directionStride, step, sums)
        }
      }
    }
    return Self.first(of: line)
  }

  /// The sums of all classes stand in the first place.
  private static func first(of line: ProbitPass<Scalar>.Line) -> ProbitPass<Scalar>.Line {
    ProbitPass<Scalar>.Line(slopes: [line.slopes[0]], curvatures: [line.curvatures[0]])
  }
}

extension ProbitPass.Block {
  /// Overwrites the logits of the block by Y - P, and adds log p to the first sum.
  func formSoftmaxResiduals() {
    unsafe pass.labels.withUnsafeBufferPointer { labels in
      guard let base = labels.baseAddress else { return }
      forEachRun { rows, weight in
        let values = unsafe logits + rows.lowerBound * classStride
        unsafe addWeighted(weight, to: logLikelihoods.pointer, count: 1) { sum in
          unsafe sum[0] += unsafe Scalar.kernels.softmaxResidual(
            rows.count, pass.classCount, values, classStride,
            base + range.lowerBound + rows.lowerBound, values, classStride)
        }
        weighResiduals(rows, weight)
      }
    }
  }

  /// Moves the kept logits of the block, and forms Y - P and the sum there.
  func softmaxAdvance(
    _ all: UnsafeMutablePointer<Scalar>, _ stride: Int, _ direction: UnsafePointer<Scalar>,
    _ directionStride: Int, _ step: Scalar
  ) {
    let first = range.lowerBound
    unsafe pass.labels.withUnsafeBufferPointer { labels in
      guard let base = labels.baseAddress else { return }
      forEachRun { rows, weight in
        let row = first + rows.lowerBound
        unsafe addWeighted(weight, to: logLikelihoods.pointer, count: 1) { sum in
          unsafe sum[0] += unsafe Scalar.kernels.softmaxAdvance(
            rows.count, pass.classCount, all + row * stride, stride,
            direction + row * directionStride, directionStride, step, base + row,
            logits + rows.lowerBound * classStride, classStride)
        }
        weighResiduals(rows, weight)
      }
    }
  }

  /// Adds slope and curvature along a direction at a step.
  func addSoftmaxLine(
    _ logits: UnsafePointer<Scalar>, _ stride: Int, _ direction: UnsafePointer<Scalar>,
    _ directionStride: Int, _ step: Scalar, _ sums: Scratch<Double>
  ) {
    unsafe pass.labels.withUnsafeBufferPointer { labels in
      guard let base = labels.baseAddress else { return }
      forEachRun { rows, weight in
        unsafe addWeighted(weight, to: sums.pointer, count: pass.classCount + 1) { sums in
          unsafe Scalar.kernels.softmaxLine(
            rows.count, pass.classCount, logits + rows.lowerBound * stride, stride,
            direction + rows.lowerBound * directionStride, directionStride, step,
            base + range.lowerBound + rows.lowerBound, sums, sums + pass.classCount)
        }
      }
    }
  }
}

extension Matrix where Element: BLASScalar {
  /// Softmax of every row.
  package func softmaxRows() -> Matrix {
    var result = compact()
    let (rows, columns) = (rowCount, columnCount)
    guard rows > 0, columns > 0 else { return result }
    unsafe result.withUnsafeMutablePointer { values, stride in
      unsafe Element.kernels.softmaxRows(rows, columns, values, stride, values, stride)
    }
    return result
  }
}
