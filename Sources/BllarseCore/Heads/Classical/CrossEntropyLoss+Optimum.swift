import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension CrossEntropyLoss: TrainableLoss {
  static func batchLoss(_ configuration: RunConfiguration) -> LinearBatchPass<Float>.Loss {
    .crossEntropy(smoothing: configuration.labelSmoothing)
  }

  /// The optimum of `Σ log softmax(X·W)_y - λ/2·‖W‖²`, biases free.
  ///
  /// Without a given λ, MacKay's fixed point on Laplace's evidence chooses it,
  ///
  ///     λ ← Σ_k (D - λ·tr Λ_k⁻¹) / ‖W‖²,   Λ_k = Xᵀdiag(p_k(1 - p_k))X + λI,
  ///
  /// each step from the optimum of the one before.
  ///
  /// - Note: Sources: MacKay (1992); the Hessian's blocks between classes are left out of the evidence.
  static func optimum(
    _ rows: CentredDesign, labels: [Int32], classCount: Int,
    _ configuration: RunConfiguration, parallelism: Parallelism
  ) throws(NumericsError) -> PenalisedOptimum {
    var design = rows.design
    design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    let gram = design.gram(rowWeights: nil, parallelism: parallelism)
    let problem = PenalisedSoftmax(
      design: design, doubleDesign: rows.doubleDesign, labels: labels, classCount: classCount,
      gram: gram, smoothing: configuration.labelSmoothing, parallelism: parallelism)
    if let penalty = configuration.penalty {
      return try problem.optimum(rows.scaledPenalty(penalty))
    }
    return try problem.optimumByEvidence()
  }
}

/// Softmax regression on all rows, centred and scaled, with one L2 strength.
struct PenalisedSoftmax {
  let design: DesignMatrix<Float>
  /// The same rows in double precision.
  ///
  /// They are widened block by block, in cache: quicker than to read them from memory in this precision.
  let doubleDesign: DesignMatrix<Double>
  let labels: [Int32]
  let classCount: Int
  /// XᵀX, D x D.
  let gram: Matrix<Double>
  let smoothing: Double
  let parallelism: Parallelism

  /// Of the biases: so weak that they are as good as free, and enough to fix their common shift.
  private static var biasPrecision: Double { 1e-6 }
  /// The strengths that are searched, for features of mean variance 1.
  static var penaltyRange: ClosedRange<Double> { 1e-6...1e9 }
  /// The distance to an optimum, in nats, while the strength is searched: the evidence there is off by about its root.
  private static var searchTolerance: Double { 1e-4 }
  /// Floating-point operations of K Gram matrices beyond which the classes share one curvature.
  private static var curvatureBudget: Double { 1e12 }

  /// The optimum under a penalty.
  func optimum(_ penalty: Double) throws(NumericsError) -> PenalisedOptimum {
    let rough = try solve(penalty, from: nil, tolerance: Self.searchTolerance)
    let solution = try polish(penalty, from: rough.weights)
    return PenalisedOptimum(
      weights: solution.weights, penalty: penalty, logEvidence: nil,
      iterations: rough.iterations + solution.iterations)
  }

  /// The optimum under the penalty with the best evidence.
  func optimumByEvidence() throws(NumericsError) -> PenalisedOptimum {
    var exponent = 0.0  // log λ'
    var iterations = 0
    var solution = try solve(exp(exponent), from: nil, tolerance: Self.searchTolerance)
    var last: (exponent: Double, excess: Double)?
    let range = log(Self.penaltyRange.lowerBound)...log(Self.penaltyRange.upperBound)
    for _ in 0..<25 {
      iterations += solution.iterations
      let laplace = try laplace(solution, exp(exponent))
      let excess = log(laplace.effectiveCount / laplace.squaredNorm) - exponent
      guard !excess.isNaN else { break }
      let step = Self.step(excess, at: exponent, last)
      last = (exponent, excess)
      let next = min(max(exponent + step, range.lowerBound), range.upperBound)
      let change = abs(next - exponent)
      exponent = next
      solution = try solve(exp(exponent), from: solution.weights, tolerance: Self.searchTolerance)
      if change < 0.02 { break }
    }
    let penalty = exp(exponent)
    iterations += solution.iterations
    let laplace = try laplace(solution, penalty)
    let polished = try polish(penalty, from: solution.weights)
    return PenalisedOptimum(
      weights: polished.weights, penalty: penalty,
      logEvidence: laplace.logEvidence + polished.objective - solution.objective,
      iterations: iterations + polished.iterations,
      end: SearchEnd(penalty, of: Self.penaltyRange))
  }

  /// The next step of log λ, from how much the fixed point's next value exceeds the present one.
  ///
  /// Where rows are few for the features the fixed point creeps: a tenth of the way a step, and a small step
  /// is no sign of its end. The secant through the last two finds the root of the excess, which falls.
  private static func step(
    _ excess: Double, at exponent: Double, _ last: (exponent: Double, excess: Double)?
  ) -> Double {
    let plain = min(max(excess, -20), 20)
    guard let last, exponent != last.exponent else { return plain }
    let slope = (excess - last.excess) / (exponent - last.exponent)
    guard slope < -0.02, slope.isFinite else { return plain }
    return min(max(-excess / slope, -3), 3)
  }

  private func precisions(_ penalty: Double) -> [Double] {
    [Double](repeating: penalty, count: design.columnCount - 1) + [Self.biasPrecision]
  }

  private func solve(
    _ penalty: Double, from start: Matrix<Double>?, tolerance: Double
  ) throws(NumericsError) -> SoftmaxSolver<Float>.Solution {
    var solver = SoftmaxSolver(
      design: design, labels: labels, classCount: classCount, priorPrecisions: precisions(penalty),
      parallelism: parallelism)
    solver.labelSmoothing = smoothing
    solver.tolerance = tolerance
    solver.iterationLimit = 500
    return try solver.solve(from: start, gram: gram)
  }

  /// The last digits of the objective, which single precision does not have.
  private func polish(
    _ penalty: Double, from start: Matrix<Double>
  ) throws(NumericsError) -> SoftmaxSolver<Double>.Solution {
    var solver = SoftmaxSolver(
      design: doubleDesign, labels: labels, classCount: classCount,
      priorPrecisions: precisions(penalty),
      parallelism: parallelism)
    solver.labelSmoothing = smoothing
    solver.tolerance = 1e-9
    solver.iterationLimit = 500
    return try solver.solve(from: start, gram: classCount == 2 ? weightedGram(at: start) : gram)
  }

  /// `Xᵀdiag(h)X` over the mean of h, the curvature of each row: for two classes it is the Hessian, which
  /// makes a few iterations of many; for more, whose curvatures differ, it is no better than `XᵀX`.
  private func weightedGram(at weights: Matrix<Double>) -> Matrix<Double> {
    let columns = curvatures(at: weights)
    var h = [Double](repeating: 0, count: labels.count)
    for column in columns { for row in h.indices { h[row] += column[row] } }
    let mean = h.reduce(0, +) / Double(h.count)
    guard mean > 0 else { return gram }
    return self.design.gram(rowWeights: h.map { $0 / mean }, parallelism: parallelism)
  }

  /// What Laplace's approximation says at an optimum.
  private func laplace(
    _ solution: SoftmaxSolver<Float>.Solution, _ penalty: Double
  ) throws(NumericsError) -> (effectiveCount: Double, squaredNorm: Double, logEvidence: Double) {
    let curvatures = curvatures(at: solution.weights)
    let precisions = precisions(penalty)
    var count = 0.0
    var evidence =
      solution.objective + 0.5 * Double(classCount) * precisions.reduce(0) { $0 + log($1) }
    // A shared curvature stands for all classes.
    let multiplicity = Double(classCount) / Double(curvatures.count)
    for curvature in curvatures {
      try parallelism.checkCancellation()
      var precision =
        resolvesInDouble(penalty)
        ? doubleDesign.gram(rowWeights: curvature, parallelism: parallelism)
        : design.gram(rowWeights: curvature, parallelism: parallelism)
      precision.addToDiagonal(precisions)
      let cholesky = try Cholesky(precision)
      for variance in cholesky.inverseDiagonal().dropLast() {
        count += multiplicity * (1 - penalty * variance)
      }
      evidence -= 0.5 * multiplicity * cholesky.logDeterminant
    }
    let inner = solution.weights.rows(0..<design.columnCount - 1)
    return (count, inner.squaredNorm, evidence)
  }

  /// Whether a penalty is so weak that Gram matrices in single precision would drown it.
  ///
  /// A block of 2,048 rows of variance v has a rounding error of 6e-8·v·2048 at most, usually its root over
  /// the rows; N/2048 blocks, summed in double precision, have some 3e-6·v·√N. A tenth of the penalty is
  /// little enough.
  private func resolvesInDouble(_ penalty: Double) -> Bool {
    let count = Double(max(labels.count, 1))
    let variance = gram.diagonal.dropLast().reduce(0, max) / count
    return penalty < 3e-5 * variance * count.squareRoot()
  }

  /// `p(1 - p)` of every row, for each class, or one mean over the classes where K matrices cost too much.
  private func curvatures(at weights: Matrix<Double>) -> [[Double]] {
    let pass = ProbitPass(
      design: design, labels: [Int32](repeating: -1, count: labels.count), classCount: classCount,
      parallelism: parallelism)
    let probabilities = pass.logits(of: weights).softmaxRows()
    let cost =
      Double(labels.count) * Double(design.columnCount * design.columnCount * classCount)
    let columns = (0..<classCount).map { k in
      probabilities.column(k).map { Double($0) * (1 - Double($0)) }
    }
    guard cost > Self.curvatureBudget else { return columns }
    var mean = [Double](repeating: 0, count: labels.count)
    for column in columns {
      for row in mean.indices { mean[row] += column[row] / Double(classCount) }
    }
    return [mean]
  }
}
