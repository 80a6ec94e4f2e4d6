public import BllarseNumerics
import Glibc

/// Site refinement of a probit head, the updates `sites`: several epochs over batches that approach the
/// optimum of all rows.
///
/// Where merging batches that were fitted alone settles short of the optimum, refinement lets each batch
/// see what all others know, however small the batches are.
///
/// Every row keeps the mean z̄ of its latent variables; a batch's site is Xᵀz̄ over its rows, and the
/// natural mean η of the head is the sum of all sites. Refreshing a batch replaces its z̄ under the
/// posterior that all other rows support:
///
///     M = X·V·η,   Z = M + S·r(S·M),   η ← η + Xᵀ(Z - z̄),   z̄ ← Z,       V = (Λ₀ + XᵀX)⁻¹ of all rows.
///
/// That is block coordinate ascent on the evidence lower bound (incremental EM), so the bound taken
/// with the z̄ as they are never falls, and the fixed point is the optimum of the full batch.
///
/// - Note: Sources: Neal and Hinton (1998), incremental EM; Ashman et al. (2022), partitioned
///   variational inference.
public struct IBProbitSiteRefinement<Scalar: BLASScalar>: Sendable {
  private let pass: ProbitPass<Scalar>
  private let problem: ProbitProblemPrecision
  /// V, D x D, in the precision of the products.
  private let covariance: Matrix<Scalar>
  /// η, D x K.
  package var naturalMean: Matrix<Double>
  /// z̄, N x K.
  package var latentMeans: Matrix<Scalar>
  /// The logits at which each row's z̄ was formed, N x K.
  package var referenceLogits: Matrix<Scalar>

  /// Reads all rows once for the precision that the batches share, and starts with the z̄ of zero weights.
  ///
  /// - Parameters:
  ///   - configuration: describes the design and the prior.
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made `Λ₀ + XᵀX` indefinite.
  public init(
    _ configuration: HeadShape, features: FeatureMatrix, labels: [Int32],
    execution: Execution = .available
  ) throws(NumericsError) {
    try configuration.check(features, labels, execution)
    var design: DesignMatrix<Scalar> = try configuration.design(features)
    design.makeResident(limit: residentDesignLimit, execution: execution)
    problem = try ProbitProblemPrecision(design, configuration, execution)
    pass = ProbitPass(
      design: design, labels: labels, classCount: configuration.classCount,
      execution: execution)
    covariance = Matrix(problem.cholesky.inverse())
    // At zero weights S·r(0) is both residual and z̄, so the sums are the natural mean.
    naturalMean = pass.sums(at: .zeros(design.columnCount, pass.classCount)).products
    referenceLogits = .zeros(design.rowCount, pass.classCount)
    latentMeans = referenceLogits.latentMeans(labels: labels)
  }

  /// Refreshes all rows, batch by batch.
  ///
  /// - Parameters:
  ///   - order: the rows in order.
  ///   - batchSize: rows of a batch; the last may have fewer.
  ///   - iterations: how often a batch is refreshed before the next.
  /// - Throws: `NumericsError` for an order, a batch size or a number of iterations that cannot be.
  public mutating func runEpoch(
    order: [Int], batchSize: Int, iterations: Int
  ) throws(NumericsError) {
    try TrainingRows.checkOrder(order, rowCount: latentMeans.rowCount)
    try NumericsError.require(batchSize >= 1, "the batch size", Double(batchSize), "1 or more")
    try NumericsError.requireUpdate(iterations: iterations, forgettingRate: 0)
    for first in stride(from: 0, to: order.count, by: batchSize) {
      refresh(order[first..<min(first + batchSize, order.count)], iterations: iterations)
    }
  }

  /// Refreshes the rows of one batch.
  ///
  /// - Parameters:
  ///   - rows: the batch.
  ///   - iterations: how often its z̄ are refreshed before the next batch.
  /// - Complexity: 2·N·D² + iterations·2·N²·K for N rows.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package mutating func refresh(_ rows: ArraySlice<Int>, iterations: Int) {
    let count = rows.count
    guard count > 0 else { return }
    let design = Matrix<Scalar>.gathering(rows, of: pass.design)  // (N, D)
    let smoothed = design.multiplied(by: covariance)  // X V, (N, D)
    var logits = smoothed.multiplied(by: Matrix<Scalar>(naturalMean))  // (N, K)
    let coupling = smoothed.multiplied(by: design, transposingOther: true)  // X V Xᵀ, (N, N)
    let old = latentMeans.gatheringRows(rows)
    let labels = rows.map { pass.labels[$0] }
    var latent = old
    var change = Matrix<Scalar>.zeros(count, pass.classCount)
    var reference = logits
    for iteration in 0..<iterations {
      if iteration > 0 {
        Matrix.multiply(coupling, change, into: &logits, beta: 1)
      }
      reference = logits
      let next = logits.latentMeans(labels: labels)
      change = next
      change.add(latent, times: -1)
      latent = next
    }
    for (position, row) in rows.enumerated() {
      latentMeans.replaceBlock(row: row, column: 0, with: latent.rows(position..<position + 1))
      referenceLogits.replaceBlock(
        row: row, column: 0, with: reference.rows(position..<position + 1))
    }
    latent.add(old, times: -1)
    naturalMean.add(Matrix<Double>(design.multiplied(by: latent, transposing: true)))
  }

  /// The evidence lower bound with every row's q(z) as it was refreshed last, in nats.
  ///
  ///     Σ [log Φ(S·M₀) + (M - M₀)(z̄ - (M₀ + M)/2)] - ½ Σ muᵀΛ₀mu - K/2 (log|Λ₀ + XᵀX| - log|Λ₀|),
  ///
  /// M₀ the logits at which z̄ was formed, M = X·mu.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func evidenceLowerBound() -> Double {
    let mean = problem.cholesky.solve(naturalMean)
    let logits = pass.design.multiplied(by: mean, execution: pass.execution)
    var sum = pass.logLikelihood(of: referenceLogits)
    for row in 0..<logits.rowCount {
      logits.withRow(row) { new in
        referenceLogits.withRow(row) { old in
          latentMeans.withRow(row) { latent in
            for k in new.indices {
              let (m, m0) = (Double(new[k]), Double(old[k]))
              sum += (m - m0) * (Double(latent[k]) - 0.5 * (m + m0))
            }
          }
        }
      }
    }
    let penalty = mean.weightedColumnDots(mean, weights: problem.prior).reduce(0, +)
    return sum - 0.5 * penalty - problem.boundConstant(classCount: pass.classCount)
  }
}

extension IBProbitSiteRefinement {
  /// The posterior over the weights.
  public var posterior: GaussianPosterior {
    GaussianPosterior(precision: problem.precision, naturalMean: naturalMean)
  }
}

extension Matrix where Element: BLASScalar {
  /// Rows of a design, in the given order, without the padding.
  static func gathering(_ rows: ArraySlice<Int>, of design: DesignMatrix<Element>) -> Matrix {
    let stride = design.paddedColumnCount
    return unsafe Matrix(rows: rows.count, columns: stride) { target in
      guard let base = target.baseAddress else { return }
      for (position, row) in rows.enumerated() {
        unsafe design.copyRows(row..<row + 1, into: base + position * stride)
      }
    }.columns(0..<design.columnCount)
  }
}
