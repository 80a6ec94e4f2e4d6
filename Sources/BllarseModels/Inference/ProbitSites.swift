package import BllarseNumerics

/// Site refinement of a probit head: several epochs over batches that approach the optimum of all rows.
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
package struct ProbitSites<Scalar: BLASScalar>: Sendable {
  private let pass: ProbitPass<Scalar>
  /// V, D x D, in the precision of the products.
  private let covariance: Matrix<Scalar>
  /// The diagonal of Λ₀.
  private let prior: [Double]
  /// η, D x K.
  package private(set) var naturalMean: Matrix<Double>
  /// z̄, N x K.
  package private(set) var latentMeans: Matrix<Scalar>
  /// The logits at which each row's z̄ was formed, N x K.
  package private(set) var referenceLogits: Matrix<Scalar>
  private let cholesky: Cholesky<Double>

  /// Starts with the z̄ of zero weights.
  ///
  /// - Parameters:
  ///   - pass: all rows.
  ///   - cholesky: of Λ₀ + XᵀX, D x D.
  ///   - prior: the diagonal of Λ₀.
  package init(_ pass: ProbitPass<Scalar>, cholesky: Cholesky<Double>, prior: [Double]) {
    self.pass = pass
    self.cholesky = cholesky
    self.prior = prior
    covariance = Matrix(cholesky.inverse())
    let zero = Matrix<Double>.zeros(pass.design.columnCount, pass.classCount)
    // At zero weights S·r(0) is both residual and z̄, so the sums are the natural mean.
    naturalMean = pass.sums(at: zero).products
    referenceLogits = .zeros(pass.design.rowCount, pass.classCount)
    latentMeans = referenceLogits.latentMeans(labels: pass.labels)
  }

  /// Takes up what an earlier refinement of the same rows had reached.
  ///
  /// - Parameters:
  ///   - naturalMean: η, D x K.
  ///   - latentMeans: z̄, N x K.
  ///   - referenceLogits: the logits at which each row's z̄ was formed, N x K.
  package mutating func restore(
    naturalMean: Matrix<Double>, latentMeans: Matrix<Scalar>, referenceLogits: Matrix<Scalar>
  ) {
    precondition(
      naturalMean.rowCount == self.naturalMean.rowCount
        && latentMeans.rowCount == self.latentMeans.rowCount
        && referenceLogits.rowCount == self.referenceLogits.rowCount,
      "\(naturalMean), \(latentMeans) and \(referenceLogits) are of another problem")
    self.naturalMean = naturalMean
    self.latentMeans = latentMeans
    self.referenceLogits = referenceLogits
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

  /// mu = V·η, D x K.
  package func mean() -> Matrix<Double> { cholesky.solve(naturalMean) }

  /// The evidence lower bound with every row's q(z) as it was refreshed last, in nats.
  ///
  ///     Σ [log Φ(S·M₀) + (M - M₀)(z̄ - (M₀ + M)/2)] - ½ Σ muᵀΛ₀mu - K/2 (log|Λ₀ + XᵀX| - log|Λ₀|),
  ///
  /// M₀ the logits at which z̄ was formed, M = X·mu.
  ///
  /// - Parameter logOfPrior: log|Λ₀|.
  /// - Returns: the bound, in nats.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func evidenceLowerBound(logOfPrior: Double) -> Double {
    let mean = mean()
    let logits = pass.design.multiplied(by: mean, parallelism: pass.parallelism)
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
    let penalty = mean.weightedColumnDots(mean, weights: prior).reduce(0, +)
    return sum - 0.5 * penalty
      - 0.5 * Double(pass.classCount) * (cholesky.logDeterminant - logOfPrior)
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
