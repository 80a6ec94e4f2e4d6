import BllarseNumerics
import Glibc

/// Laplace's method at weights that were found elsewhere, under one precision for all of them, the biases among them.
///
/// The weights stay; with F the log posterior at them up to the prior's normalisation, and H the Hessian of the negative
/// log-likelihood in the form of the structure,
///
///     log p(y | λ) ≈ log p(y | W) - ½λ·‖W‖² - ½ Σ log(1 + e/λ),   e the eigenvalues of H.
///
/// As a function of log λ this is concave: its slope is `½(γ(λ) - λ‖W‖²)` with `γ = Σ e/(e + λ)`, which falls. So it has one
/// maximum, MacKay's fixed point `λ = γ/‖W‖²`, which bisection finds.
///
/// The biases have the precision of the other weights: features are as they came, so that the bias is the logit at an
/// arbitrary origin, and an optimiser with weight decay, of which such weights mostly are, holds them all alike.
/// Structures are the plain parts of the Hessian, as their names mean in the literature and in laplace-torch.
///
/// - Note: Sources: MacKay, "The evidence framework applied to classification networks", Neural Computation 1992; Daxberger
///   et al., "Laplace redux", NeurIPS 2021.
struct GivenWeights: Sendable {
  private let problem: LaplaceProblem<SoftmaxPass<Double>>
  private let structure: CovarianceStructure
  /// W, D x C, the biases last.
  private let weights: Matrix<Double>
  /// X·W, N x C.
  private let logits: Matrix<Double>
  /// Xᵀ(Y - P), D x C.
  private let products: Matrix<Double>
  /// log p(y | W).
  private let logLikelihood: Double
  /// What is made of the Hessian once for all precisions.
  private let curvature: Curvature

  private enum Curvature {
    case full(Matrix<Double>)
    case kronecker(KroneckerCovariance<Double>)
    case other
  }

  /// Where the precision is looked for: features of any scale may have been used as they are.
  static let range = 1e-12...1e12

  /// The precision that was found, and whether at an end of the range.
  struct Choice {
    let precision: Double
    let isAtBound: Bool
  }

  /// Computes the curvature at the weights.
  ///
  /// - Parameters:
  ///   - weights: (D + 1) x C, the biases last.
  ///   - features: N x D.
  ///   - labels: a class for each row.
  ///   - rowWeights: how often each row counts; `nil` for once.
  ///   - structure: of the covariance.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError.tooLarge`; `cancelled`; where an eigendecomposition fails.
  init(
    _ weights: Matrix<Double>, _ features: FeatureMatrix, labels: [Int32], rowWeights: [Double]?,
    _ structure: CovarianceStructure, execution: Execution
  ) throws(NumericsError) {
    if structure == .full {
      try FullCovariance.checkMemory(inputs: weights.rowCount, columns: weights.columnCount)
    }
    let design = DesignMatrix<Double>(features, transform: .identity, hasBias: true)
    let pass = SoftmaxPass<Double>.make(
      design, labels: labels, classCount: weights.columnCount, weights: rowWeights,
      execution: execution)
    try execution.checkCancellation()
    let needsGram = structure == .kronecker || structure == .meanField
    var problem = LaplaceProblem(
      pass: pass,
      gram: needsGram
        ? design.gram(rowWeights: rowWeights, execution: execution)
        : .zeros(weights.rowCount, weights.rowCount))
    problem.hasPlainCurvature = true
    var logits = Matrix<Double>.zeros(features.rowCount, weights.columnCount)
    let sums = pass.restart(at: weights, logits: &logits)
    (products, logLikelihood) = (sums.products, sums.logLikelihoods.reduce(0, +))
    (self.problem, self.weights, self.logits) = (problem, weights, logits)
    self.structure = structure
    switch structure {
    case .full:
      let size = weights.rowCount * weights.columnCount
      curvature = .full(try pass.exactHessian(logits) ?? .zeros(size, size))
    case .kronecker: curvature = .kronecker(try problem.kronecker(logits, precision: 1))
    default: curvature = .other
    }
  }

  /// Eigenvalues of H, each with how often it counts.
  func spectrum() throws(NumericsError) -> [(value: Double, count: Double)] {
    let (pass, columns) = (problem.pass, weights.columnCount)
    func values(_ matrix: Matrix<Double>, _ count: Int) throws(NumericsError) -> [(Double, Double)]
    {
      try problem.execution.withBLAS { () throws(NumericsError) in
        try SymmetricEigen.values(of: matrix).map { (max($0, 0), Double(count)) }
      }
    }
    switch curvature {
    case .full(let hessian): return try values(hessian, 1)
    case .kronecker(let product):
      return product.outputValues.flatMap { b in
        (product.inputs.values + [product.inputs.rowTotal]).map { ($0 * b, 1) }
      }
    case .other: break
    }
    switch structure {
    case .meanField: return try values(problem.gram, columns)
    case .diagonal:
      // 1 / (λ + e) at λ = 1.
      let unit = try problem.covariance(.diagonal, logits, prior(1))
      return (unit.variances?.elements ?? []).map { (max(1 / $0 - 1, 0), 1) }
    case .shared, .block:
      let h = pass.residualsAndCurvatures(logits).curvatures
      if structure == .shared {
        let means = h.rowSums().map { $0 / Double(columns) }
        return try values(
          pass.design.gram(rowWeights: means, execution: problem.execution), columns)
      }
      var all: [(Double, Double)] = []
      for k in 0..<columns {
        try problem.execution.checkCancellation()
        all += try values(
          pass.design.gram(rowWeights: h.column(k), execution: problem.execution), 1)
      }
      return all
    case .full, .kronecker: return []
    }
  }

  /// Λ₀ for one precision, D x C.
  private func prior(_ precision: Double) -> Matrix<Double> {
    weights.map { _ in precision }
  }

  /// The logarithm of the evidence for a precision, in nats.
  func logEvidence(_ precision: Double, _ spectrum: [(value: Double, count: Double)]) -> Double {
    logLikelihood - 0.5 * precision * weights.squaredNorm
      - 0.5 * spectrum.reduce(0) { $0 + $1.count * log1p($1.value / precision) }
  }

  /// γ, the number of parameters that the rows determine.
  func effectiveParameterCount(
    _ precision: Double, _ spectrum: [(value: Double, count: Double)]
  ) -> Double {
    spectrum.reduce(0) { $0 + $1.count * $1.value / ($1.value + precision) }
  }

  /// The precision with the best evidence at these weights.
  func bestPrecision(_ spectrum: [(value: Double, count: Double)]) -> Choice {
    let square = weights.squaredNorm
    // The slope of the evidence along log λ, twice.
    func slope(_ t: Double) -> Double {
      effectiveParameterCount(exp(t), spectrum) - exp(t) * square
    }
    var (low, high) = (log(Self.range.lowerBound), log(Self.range.upperBound))
    if slope(low) <= 0 { return Choice(precision: Self.range.lowerBound, isAtBound: true) }
    if slope(high) >= 0 { return Choice(precision: Self.range.upperBound, isAtBound: true) }
    while high - low > 1e-12 * max(1, abs(low)) {
      let middle = 0.5 * (low + high)
      guard middle > low, middle < high else { break }
      if slope(middle) > 0 { low = middle } else { high = middle }
    }
    return Choice(precision: exp(0.5 * (low + high)), isAtBound: false)
  }

  /// The covariance under a precision.
  func covariance(_ precision: Double) throws(NumericsError) -> PosteriorCovariance<Double> {
    let prior = prior(precision)
    switch curvature {
    case .full(let hessian):
      let directions = SoftmaxPass<Double>.directionCount(weights.columnCount)
      return PosteriorCovariance(
        try problem.execution.withBLAS { () throws(NumericsError) in
          try FullCovariance(hessian: hessian, prior: prior, directionCount: directions)
        })
    case .kronecker(let product):
      return PosteriorCovariance(
        product.with(priorPrecision: precision, biasPrecision: precision))
    case .other: return try problem.covariance(structure, logits, prior)
    }
  }

  /// How far the weights are from the optimum under a precision.
  func distance(
    _ precision: Double, _ covariance: PosteriorCovariance<Double>,
    _ spectrum: [(value: Double, count: Double)]
  ) -> DistanceToOptimum {
    var gradient = products
    gradient.add(weights, times: -precision)
    let square = max(0, covariance.quadraticForm(gradient))
    let count = effectiveParameterCount(precision, spectrum)
    return DistanceToOptimum(
      gradientNorm: gradient.squaredNorm.squareRoot(), newtonDecrement: 0.5 * square,
      deviations: count > 0 ? (square / count).squareRoot() : 0, effectiveParameterCount: count)
  }

  /// What the distance to the optimum cannot exceed, in nats: the prior alone bends so much.
  func gapBound(_ precision: Double) -> Double {
    var gradient = products
    gradient.add(weights, times: -precision)
    return 0.5 * gradient.squaredNorm / precision
  }
}

extension PosteriorCovariance<Double> {
  /// `gᵀΛ⁻¹g`.
  ///
  /// - Parameter gradient: g, D x C.
  /// - Returns: a number that is not negative but for rounding.
  func quadraticForm(_ gradient: Matrix<Double>) -> Double {
    if let full {
      let vector = gradient.transposed().elements
      return zip(vector, full.matrix.symmetricMultiplied(by: vector)).reduce(0) { $0 + $1.0 * $1.1 }
    }
    if let variances {
      return gradient.combined(with: variances) { g, v in g * g * v }.sum
    }
    if let kronecker, let vectors = kronecker.outputVectors {
      let inputs = kronecker.inputs
      let size = inputs.values.count
      let rotated = gradient.multiplied(by: vectors)  // (D, C)
      let bias = rotated.row(size)
      let inner = inputs.vectors.multiplied(
        by: rotated.rows(0..<size).compact(), transposing: true)
      let values =
        [Double](repeating: 0, count: columnCount - kronecker.outputValues.count)
        + kronecker.outputValues
      var sum = 0.0
      for (j, b) in values.enumerated() {
        for (d, a) in inputs.values.enumerated() {
          sum += inner[d, j] * inner[d, j] / (a * b + kronecker.priorPrecision)
        }
        sum += bias[j] * bias[j] / (inputs.rowTotal * b + kronecker.biasPrecision)
      }
      return sum
    }
    var sum = 0.0
    for k in 0..<columnCount {
      let column = gradient.column(k)
      let solved = factors[factors.count == 1 ? 0 : k].solve(column)
      sum += zip(column, solved).reduce(0) { $0 + $1.0 * $1.1 }
    }
    return sum
  }
}
