package import BllarseNumerics
import Glibc

/// The coordinate ascent of the probit head on one batch, under a prior `N(0, Λ₀⁻¹)`, `Λ₀ = λI`.
struct CoordinateAscent<Scalar: BLASScalar> {
  let pass: ProbitPass<Scalar>
  /// Of the batch alone.
  let problem: ProbitProblemPrecision

  /// Takes a number of steps from a natural mean.
  ///
  /// A step `η ← XᵀZ` is taken as `η ← η - Λ₀·mu + XᵀR`, which equals it because `Z = X·mu + R` and
  /// `η = (Λ₀ + XᵀX)·mu`: near the fixed point the increments are small, so that single-precision
  /// products cost little accuracy, and `X·mu` need not be multiplied by `Xᵀ` again.
  ///
  /// - Returns: the natural mean of the batch, D x K, and the bounds if asked for.
  /// - Throws: `NumericsError.cancelled`.
  func run(
    from start: Matrix<Double>, iterations: Int, reportsBounds: Bool
  ) throws(NumericsError) -> (naturalMean: Matrix<Double>, bounds: [Double]) {
    var natural = start
    var bounds: [Double] = []
    for _ in 0..<iterations {
      try pass.execution.checkCancellation()
      let mean = problem.cholesky.solve(natural, execution: pass.execution)  // (D, K)
      let sums = pass.sums(at: mean, withLikelihoods: reportsBounds)
      if reportsBounds { bounds.append(bound(at: mean, sums)) }
      natural.add(mean, times: -problem.priorPrecision)
      natural.add(sums.products)
    }
    if reportsBounds {
      let mean = problem.cholesky.solve(natural)
      bounds.append(bound(at: mean, pass.sums(at: mean)))
    }
    return (natural, bounds)
  }

  /// The evidence lower bound with q(z) refreshed at the mean.
  ///
  ///     Σ log Φ(S·M) - ½ Σ_k mu_kᵀΛ₀mu_k - K/2 (log|Λ₀ + XᵀX| - log|Λ₀|)
  private func bound(at mean: Matrix<Double>, _ sums: LikelihoodSums) -> Double {
    sums.logLikelihoods.reduce(0, +) - 0.5 * problem.priorPrecision * mean.squaredNorm
      - problem.boundConstant(classCount: mean.columnCount)
  }
}

/// `Λ₀ + XᵀX` of a design, factored.
package struct ProbitProblemPrecision {
  /// XᵀX.
  let gram: Matrix<Double>
  let precision: Matrix<Double>
  let cholesky: Cholesky<Double>
  /// λ.
  let priorPrecision: Double
  /// The diagonal of Λ₀.
  var prior: [Double] { [Double](repeating: priorPrecision, count: precision.rowCount) }
  /// log|Λ₀|.
  let logOfPrior: Double

  init<Scalar: BLASScalar>(
    _ design: DesignMatrix<Scalar>, _ configuration: HeadShape, _ execution: Execution
  ) throws(NumericsError) {
    gram = design.gram(execution: execution)
    var precision = gram
    priorPrecision = configuration.priorPrecision
    precision.addToDiagonal([Double](repeating: priorPrecision, count: precision.rowCount))
    cholesky = try execution.withBLAS { () throws(NumericsError) in try Cholesky(precision) }
    self.precision = precision
    logOfPrior = Double(precision.rowCount) * log(priorPrecision)
  }

  /// What the evidence lower bound of some classes is less than their objective.
  func boundConstant(classCount: Int) -> Double {
    0.5 * Double(classCount) * (cholesky.logDeterminant - logOfPrior)
  }
}

/// Coordinate ascent of a probit head on many small batches, each fitted alone in its own N x N space.
///
/// With fewer rows than columns the D x D precision of a batch need not exist. With C = X·Xᵀ,
/// V = (λI + XᵀX)⁻¹ and A = λI + C,
///
///     X·V·Xᵀ = I - λA⁻¹,   X·V·η = A⁻¹·X·η  for any η,
///
/// so the iterations `M = X·V·XᵀZ, Z = M + S·r(S·M)` run on N x K numbers, and the natural mean of the
/// batch, XᵀZ, is formed once at the end. (The identity of Sherman, Morrison and Woodbury.)
struct ProbitBatchPass<Scalar: BLASScalar>: Sendable {
  let design: DesignMatrix<Scalar>
  /// One class index a row.
  let labels: [Int32]
  let classCount: Int
  /// λ.
  let priorPrecision: Double
  let iterations: Int
  let execution: Execution

  /// A batch: its rows, and the weight of its natural mean in the sum.
  struct Batch: Sendable {
    var rows: ArraySlice<Int>
    var weight: Double
  }

  /// The weighted sum of the natural means of all batches, D x K.
  ///
  /// Batches are independent of one another and are spread over threads.
  ///
  /// - Parameters:
  ///   - batches: the batches, in order.
  ///   - start: the natural mean, D x K, from which the iterations of a batch start; `nil` for zero.
  /// - Returns: the sum, D x K.
  /// - Throws: `NumericsError.notPositiveDefinite` if a NaN reached a batch.
  /// - Complexity: N²·D + N³ + iterations·N²·K + 2·N·D·K for each batch of N rows.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  func naturalMeans(
    of batches: [Batch], start: @Sendable (Int) -> Matrix<Double>?
  ) throws(NumericsError) -> Matrix<Double> {
    let rowLimit = batches.map(\.rows.count).max() ?? 0
    let workers = Swift.max(1, Swift.min(execution.threadCount, batches.count))
    let slots = WorkerSlots((0..<workers).map { _ in Workspace(self, rowLimit: rowLimit) })
    Execution(threadCount: workers).run { worker in
      let workspace = slots[worker]
      for index in batches.count * worker / workers..<batches.count * (worker + 1) / workers {
        guard workspace.failure == nil else { return }
        workspace.add(batches[index], start: start(index))
      }
    }
    for workspace in slots.values {
      if let failure = workspace.failure { throw failure }
    }
    var sum = Matrix<Double>.zeros(design.columnCount, classCount)
    let (columns, classes, stride) = (design.columnCount, classCount, design.paddedColumnCount)
    for workspace in slots.values {
      unsafe sum.withUnsafeMutablePointer { target, targetStride in
        for row in 0..<columns {
          for index in 0..<classes {
            unsafe target[row * targetStride + index] += workspace.sum.pointer[index * stride + row]
          }
        }
      }
    }
    return sum
  }

  /// The memory of one thread, allocated once.
  @safe
  private final class Workspace {
    let pass: ProbitBatchPass
    let stride: Int
    let sum: Scratch<Double>  // K rows, `stride` apart
    private(set) var failure: NumericsError?
    private let rows: Scratch<Scalar>  // (N, stride)
    private let logits: Scratch<Scalar>  // (N, K)
    private let latent: Scratch<Scalar>  // (N, K)
    private var labels: [Int32]

    init(_ pass: ProbitBatchPass, rowLimit: Int) {
      self.pass = pass
      stride = pass.design.paddedColumnCount
      sum = Scratch(count: pass.classCount * stride)
      rows = Scratch(count: rowLimit * stride)
      logits = Scratch(count: rowLimit * pass.classCount)
      latent = Scratch(count: rowLimit * pass.classCount)
      labels = []
      labels.reserveCapacity(rowLimit)
    }

    func add(_ batch: Batch, start: Matrix<Double>?) {
      let count = batch.rows.count
      let classes = pass.classCount
      guard count > 0 else { return }
      labels.removeAll(keepingCapacity: true)
      for (position, row) in batch.rows.enumerated() {
        unsafe pass.design.copyRows(row..<row + 1, into: rows.pointer + position * stride)
        labels.append(pass.labels[row])
      }
      do throws(NumericsError) {
        // A = λI + XXᵀ and its inverse, N x N, in double precision.
        var system = unsafe Matrix<Double>(Matrix<Scalar>(gramOf: rows.pointer, count, stride))
        system.addToDiagonal([Double](repeating: pass.priorPrecision, count: count))
        let inverse = try Cholesky(system).inverse()
        // X·V·Xᵀ = I - λA⁻¹
        var smoother = inverse
        smoother.scale(by: -pass.priorPrecision)
        smoother.addToDiagonal([Double](repeating: 1, count: count))
        iterate(Matrix<Scalar>(smoother), firstLogits(inverse, start, count))
      } catch {
        failure = error
        return
      }
      if batch.weight != 1 {
        let weight = Scalar(batch.weight)
        for index in 0..<count * classes { unsafe latent.pointer[index] *= weight }
      }
      unsafe Scalar.kernels.backward(
        count, classes, stride, rows.pointer, stride, latent.pointer, classes, sum.pointer, stride,
        nil, 0)
    }

    /// X·V·η = A⁻¹·X·η of the start, N x K; `nil` for a start of zero.
    private func firstLogits(
      _ inverse: Matrix<Double>, _ start: Matrix<Double>?, _ count: Int
    ) -> Matrix<Double>? {
      guard let start else { return nil }
      let classes = pass.classCount
      let columns = pass.design.columnCount
      let single = Matrix<Scalar>(start)
      let product = unsafe Matrix<Scalar>(rows: count, columns: classes) { target in
        guard let base = target.baseAddress else { return }
        unsafe single.withUnsafePointer { eta, etaStride in
          unsafe Scalar.gemm(
            false, false, count, classes, columns, 1, rows.pointer, stride, eta, etaStride, 0, base,
            classes)
        }
      }
      return inverse.multiplied(by: Matrix<Double>(product))
    }

    /// Leaves Z after the iterations in `latent`.
    private func iterate(_ smoother: Matrix<Scalar>, _ first: Matrix<Double>?) {
      let count = smoother.rowCount
      let classes = pass.classCount
      if let first {
        unsafe first.withUnsafePointer { source, sourceStride in
          for row in 0..<count {
            for index in 0..<classes {
              unsafe logits.pointer[row * classes + index] = Scalar(
                source[row * sourceStride + index])
            }
          }
        }
      } else {
        for index in 0..<count * classes { unsafe logits.pointer[index] = 0 }
      }
      for iteration in 0..<pass.iterations {
        if iteration > 0 {
          unsafe smoother.withUnsafePointer { matrix, matrixStride in
            unsafe Scalar.gemm(
              false, false, count, classes, count, 1, matrix, matrixStride, latent.pointer, classes,
              0, logits.pointer, classes)
          }
        }
        unsafe labels.withUnsafeBufferPointer { labels in
          guard let base = labels.baseAddress else { return }
          _ = unsafe Scalar.kernels.probitResidual(
            count, classes, logits.pointer, classes, base, nil, 0, latent.pointer, classes, nil, 0,
            nil, 0)
        }
      }
    }
  }
}

extension Matrix where Element: BLASScalar {
  /// XXᵀ of a few rows in raw memory, both triangles filled.
  init(gramOf rows: UnsafePointer<Element>, _ count: Int, _ stride: Int) {
    unsafe self.init(rows: count, columns: count) { target in
      guard let base = target.baseAddress else { return }
      if count <= 128 {
        unsafe Element.kernels.smallGram(count, stride, rows, stride, base, count)
      } else {
        unsafe Element.syrk(false, count, stride, 1, rows, stride, 0, base, count)
      }
    }
    mirrorLowerTriangle()
  }
}
