package import BllarseNumerics

/// Finds the weights of a softmax head under independent Gaussian priors.
///
/// They maximise the logarithm of the posterior,
///
///     F(W) = Σᵢ log softmax(xᵢᵀW)_yᵢ - ½ Σ_j λ_j Σ_k W_jk²,
///
/// to a stated distance from the maximum. F is strictly concave, so the result does not depend on the start.
///
/// ```swift
/// let solver = SoftmaxSolver(
///   design: design, labels: labels, classCount: 10, priorPrecisions: precisions)
/// let solution = try solver.solve()      // solution.weights: D x K
/// ```
package struct SoftmaxSolver<Scalar: BLASScalar>: Sendable {
  /// The rows, N x D.
  package let design: DesignMatrix<Scalar>
  /// A class in `0..<classCount` for each row.
  package let labels: [Int32]
  /// K.
  package let classCount: Int
  /// λ, one positive number for each column of the design (the bias is the last).
  package let priorPrecisions: [Double]
  /// The share s of a label's weight that is spread over all classes: targets (1 - s)·Y + s/K.
  package var labelSmoothing = 0.0
  /// The solver stops when the estimated distance to the maximum is below this, in nats.
  package var tolerance = 1e-5
  /// The solver stops after so many iterations, converged or not.
  package var iterationLimit = 200
  /// How threads are used.
  package var parallelism: Parallelism

  /// Where the solver stopped.
  package struct Solution: Sendable {
    /// W, D x K.
    package var weights: Matrix<Double>
    /// F there (with label smoothing: with the smoothed targets).
    package var objective: Double
    /// The estimated distance to the maximum, `½ gᵀ(c·XᵀX + Λ₀)⁻¹g`, in nats.
    package var gap: Double
    /// What the distance cannot exceed, `½ gᵀΛ₀⁻¹g`, in nats.
    package var gapBound: Double
    /// Conjugate-gradient iterations; each reads the features twice.
    package var iterations: Int
    /// Whether the tolerance was reached.
    package var converged: Bool
  }

  /// Describes the problem.
  ///
  /// A design that is resident (see ``DesignMatrix/makeResident(limit:parallelism:)``) is read faster.
  ///
  /// - Parameters:
  ///   - design: N x D, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - classCount: K, at least 2.
  ///   - priorPrecisions: D positive numbers.
  ///   - parallelism: how threads are used.
  package init(
    design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, priorPrecisions: [Double],
    parallelism: Parallelism = .available
  ) {
    precondition(classCount >= 2, "a softmax over \(classCount) classes")
    precondition(
      priorPrecisions.count == design.columnCount && priorPrecisions.allSatisfy { $0 > 0 },
      "\(priorPrecisions.count) prior precisions for \(design.columnCount) columns; all positive")
    self.design = design
    self.labels = labels
    self.classCount = classCount
    self.priorPrecisions = priorPrecisions
    self.parallelism = parallelism
  }

  /// Climbs to the maximum.
  ///
  /// - Parameters:
  ///   - start: D x K; zero weights by default.
  ///   - gram: XᵀX, D x D, where it is known already.
  /// - Returns: weights, objective, distance to the maximum.
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made the preconditioner
  ///   indefinite.
  /// - Complexity: N·D² for the Gram matrix, and for each iteration 4·N·D·K.
  package func solve(
    from start: Matrix<Double>? = nil, gram: Matrix<Double>? = nil
  ) throws(NumericsError) -> Solution {
    let pass = SoftmaxPass(
      design: design, labels: labels, classCount: classCount, parallelism: parallelism)
    let solver = ConcaveSolver(
      pass: pass, gram: gram ?? design.gram(rowWeights: nil, parallelism: parallelism),
      prior: .columns(priorPrecisions, count: classCount), linearTerm: smoothingTerm(pass),
      tolerance: .nats(tolerance), iterationLimit: iterationLimit)
    let solution = try solver.solve(from: start ?? .zeros(design.columnCount, classCount))
    return Solution(
      weights: solution.weights, objective: solution.objective, gap: solution.gap,
      gapBound: solution.gapBound, iterations: solution.iterations, converged: solution.converged)
  }

  /// What smoothed targets add to the gradient: `s·Xᵀ(1/K - Y)`, which does not depend on the weights.
  private func smoothingTerm(_ pass: SoftmaxPass<Scalar>) -> Matrix<Double>? {
    guard labelSmoothing > 0 else { return nil }
    var logits = Matrix<Scalar>.zeros(design.rowCount, classCount)
    // At zero weights the residuals are Y - 1/K.
    var term = pass.restart(at: .zeros(design.columnCount, classCount), logits: &logits).products
    term.scale(by: -labelSmoothing)
    return term
  }
}

extension Matrix<Double> {
  /// A matrix whose columns are all the same.
  static func columns(_ column: [Double], count: Int) -> Matrix<Double> {
    Matrix(
      rows: column.count, columns: count,
      elements: column.flatMap { [Double](repeating: $0, count: count) })
  }
}
