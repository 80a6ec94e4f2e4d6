/// Passes for a solver that keeps the logits of all rows: N x K numbers for the current weights, and as
/// many for the search direction.
extension ProbitPass {
  /// The log-likelihood along a search direction, class by class.
  package struct Line: Sendable {
    /// d/dt Σᵢ wᵢ log Φ(S·(M + t·Mp)).
    package var slopes: [Double]
    /// The second derivatives, never positive.
    package var curvatures: [Double]
  }

  /// Logits that a solver keeps between passes, N x K.
  package typealias Logits = Matrix<Scalar>

  /// Computes all logits anew, with the sums there.
  ///
  /// - Parameters:
  ///   - mean: mu, D x K.
  ///   - logits: receives M = X·mu.
  /// - Returns: XᵀR and the log-likelihoods there.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func restart(at mean: Matrix<Double>, logits: inout Logits) -> Sums {
    let weights = packWeights(mean)
    return unsafe logits.withUnsafeMutablePointer { base, stride in
      let address = unsafe SharedAddress(base)
      return accumulate { block in
        unsafe design.withBlock(block.range, scratch: block.rows) { rows in
          unsafe block.formLogits(rows, weights)
          unsafe block.copyLogits(to: address.pointer, stride: stride)
          block.formResiduals()
          unsafe block.addProducts(rows)
        }
      }
    }
  }

  /// Moves the logits along the direction, M += Mp·diag(t), with the sums there.
  ///
  /// - Parameters:
  ///   - logits: M, changed in place.
  ///   - direction: Mp.
  ///   - steps: t, one for each class.
  /// - Returns: XᵀR and the log-likelihoods there.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func advance(logits: inout Logits, direction: Logits, steps: [Double]) -> Sums {
    let steps = steps.map { Scalar($0) }
    return unsafe logits.withUnsafeMutablePointer { base, stride in
      unsafe direction.withUnsafePointer { directionBase, directionStride in
        let address = unsafe SharedAddress(base)
        let other = unsafe SharedAddress(UnsafeMutablePointer(mutating: directionBase))
        return accumulate { block in
          unsafe design.withBlock(block.range, scratch: block.rows) { rows in
            unsafe block.advance(
              address.pointer, stride, UnsafePointer(other.pointer), directionStride, steps)
            unsafe block.addProducts(rows)
          }
        }
      }
    }
  }

  /// Computes the logits of a search direction, and the line at first steps in the same pass.
  ///
  /// - Parameters:
  ///   - vector: p, D x K.
  ///   - direction: receives Mp = X·p.
  ///   - logits: M.
  ///   - steps: t, one for each class.
  /// - Returns: slopes and curvatures at the steps.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func direction(
    of vector: Matrix<Double>, into direction: inout Logits, logits: Logits, steps: [Double]
  ) -> Line {
    let weights = packWeights(vector)
    let steps = steps.map { Scalar($0) }
    let classes = classCount
    return unsafe direction.withUnsafeMutablePointer { base, stride in
      unsafe logits.withUnsafePointer { logitBase, logitStride in
        let address = unsafe SharedAddress(base)
        let other = unsafe SharedAddress(UnsafeMutablePointer(mutating: logitBase))
        return accumulateLine { block, sums in
          unsafe design.withBlock(block.range, scratch: block.rows) { rows in
            let first = block.range.lowerBound
            let target = unsafe address.pointer + first * stride
            unsafe Scalar.kernels.forward(
              block.range.count, classes, design.columnCount, rows, block.stride, weights.pointer,
              target,
              stride)
            unsafe block.addLine(
              other.pointer + first * logitStride, logitStride, target, stride, steps, sums)
          }
        }
      }
    }
  }

  /// The line at given steps, from the logits alone.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func line(logits: Logits, direction: Logits, steps: [Double]) -> Line {
    let steps = steps.map { Scalar($0) }
    return unsafe logits.withUnsafePointer { base, stride in
      unsafe direction.withUnsafePointer { directionBase, directionStride in
        let address = unsafe SharedAddress(UnsafeMutablePointer(mutating: base))
        let other = unsafe SharedAddress(UnsafeMutablePointer(mutating: directionBase))
        return accumulateLine { block, sums in
          let first = block.range.lowerBound
          unsafe block.addLine(
            address.pointer + first * stride, stride, other.pointer + first * directionStride,
            directionStride, steps, sums)
        }
      }
    }
  }

  /// The means over the rows of the curvatures `wᵢ·h(S·M)`, one for each class.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func columnCurvatures(_ logits: Logits) -> [Double] {
    let line = unsafe logits.withUnsafePointer { base, stride in
      let address = unsafe SharedAddress(UnsafeMutablePointer(mutating: base))
      return accumulateLine { block, sums in
        unsafe block.addCurvatures(address.pointer, stride, sums)
      }
    }
    return line.curvatures.map { $0 / Double(Swift.max(logits.rowCount, 1)) }
  }

  func accumulateLine(_ body: @Sendable (Block, Scratch<Double>) -> Void) -> Line {
    let classes = classCount
    let blockSize = blockSize
    let blockCount = (design.rowCount + blockSize - 1) / blockSize
    let workers = Swift.max(1, Swift.min(parallelism.threadCount, blockCount))
    let blocks = WorkerSlots((0..<workers).map { _ in Block(self) })
    let sums = WorkerSlots((0..<workers).map { _ in Scratch<Double>(count: 2 * classes) })
    Parallelism(threadCount: workers).forEachBlock(of: design.rowCount, blockSize: blockSize) {
      worker, range in
      let block = blocks[worker]
      block.begin(range)
      body(block, sums[worker])
    }
    var line = Line(
      slopes: [Double](repeating: 0, count: classes),
      curvatures: [Double](repeating: 0, count: classes))
    for part in sums.values {
      for index in 0..<classes {
        unsafe line.slopes[index] += part.pointer[index]
        unsafe line.curvatures[index] += part.pointer[classes + index]
      }
    }
    return line
  }
}

extension ProbitPass.Block {
  /// Copies the logits of the block to where all rows are kept.
  func copyLogits(to all: UnsafeMutablePointer<Scalar>, stride: Int) {
    for row in 0..<range.count {
      unsafe (all + (range.lowerBound + row) * stride).update(
        from: logits + row * classStride, count: pass.classCount)
    }
  }

  /// Moves the kept logits of the block, and forms R and the sums there.
  func advance(
    _ all: UnsafeMutablePointer<Scalar>, _ stride: Int, _ direction: UnsafePointer<Scalar>,
    _ directionStride: Int, _ steps: [Scalar]
  ) {
    let first = range.lowerBound
    unsafe pass.labels.withUnsafeBufferPointer { labels in
      unsafe steps.withUnsafeBufferPointer { steps in
        guard let label = labels.baseAddress, let step = steps.baseAddress else {
          return
        }
        forEachRun { rows, weight in
          let row = first + rows.lowerBound
          unsafe addWeighted(weight, to: logLikelihoods.pointer, count: pass.classCount) { sums in
            _ = unsafe Scalar.kernels.probitAdvance(
              rows.count, pass.classCount, all + row * stride, stride,
              direction + row * directionStride, directionStride, step, label + row,
              logits + rows.lowerBound * classStride, classStride, sums, 0)
          }
          weighResiduals(rows, weight)
        }
      }
    }
  }

  /// Adds slopes (K) and curvatures (K) along a direction at given steps.
  func addLine(
    _ logits: UnsafePointer<Scalar>, _ stride: Int, _ direction: UnsafePointer<Scalar>,
    _ directionStride: Int, _ steps: [Scalar], _ sums: Scratch<Double>
  ) {
    unsafe pass.labels.withUnsafeBufferPointer { labels in
      unsafe steps.withUnsafeBufferPointer { steps in
        guard let label = labels.baseAddress, let step = steps.baseAddress else {
          return
        }
        forEachRun { rows, weight in
          unsafe addWeighted(weight, to: sums.pointer, count: 2 * pass.classCount) { sums in
            unsafe Scalar.kernels.probitLine(
              rows.count, pass.classCount, logits + rows.lowerBound * stride, stride,
              direction + rows.lowerBound * directionStride, directionStride, step,
              label + range.lowerBound + rows.lowerBound, nil, sums, sums + pass.classCount)
          }
        }
      }
    }
  }

  /// Adds the curvatures of the block to the second half of the sums.
  func addCurvatures(
    _ all: UnsafeMutablePointer<Scalar>, _ stride: Int, _ sums: Scratch<Double>
  ) {
    let classes = pass.classCount
    unsafe pass.labels.withUnsafeBufferPointer { labels in
      guard let label = labels.baseAddress else { return }
      _ = unsafe Scalar.kernels.probitResidual(
        range.count, classes, all + range.lowerBound * stride, stride, label + range.lowerBound,
        nil, 0, nil, 0, logits, classStride, nil, 0)
    }
    for row in 0..<range.count {
      unsafe Scalar.kernels.accumulate(
        classes, pass.weights?[range.lowerBound + row] ?? 1, logits + row * classStride,
        sums.pointer + classes)
    }
  }
}
