import BllarseNumerics

/// The derivatives of ``RelevanceDetermination``'s log evidence in the logarithms of its precisions, and the steps
/// that follow from them.
///
/// With `P = 1 - Λ^½ΣΛ^½` (D x D, of which γ is the diagonal), `u = Λ^½w` and `p = Pu`, the gradient in log λ and
/// log α is
///
///     g_j = ½(γ_j - u_j²) + λ₁ - λ₂λ_j,      g_α = ½(W - Σγ - α‖y - Xw‖²) + α₁ - α₂α
///
/// and the negative of the Hessian
///
///     N_jk = u_j u_k P_jk - ½P_jk²  (j ≠ k),      N_jj = ½γ_j(1 - γ_j) + u_j²(γ_j - ½) + λ₂λ_j,
///     N_jα = u_j(u_j - p_j) - ½(γ_j - ΣₖP_jk²),    N_αα = ½Σ_j(γ_j - ΣₖP_jk²) + ½α‖y - Xw‖² - u·(u - p) + α₂α.
///
/// - Note: Source: differentiating the evidence of MacKay 1992 twice; it has been checked against differences.
struct RelevanceCurvature {
  /// g, D + 1.
  let gradient: [Double]
  /// N, D + 1 x D + 1, its lower triangle.
  let negativeHessian: Matrix<Double>
  /// What a unit of shift adds to the diagonal, D + 1: what MacKay's fixed point takes N to be.
  private let fixedPointCurvature: [Double]

  /// - Parameters:
  ///   - whitened: B, D x R, with `P = BBᵀ`.
  ///   - scaledWeights: u, D.
  ///   - precisions: λ, D.
  ///   - noise: α.
  ///   - residual: `‖y - Xw‖²`.
  ///   - weight: W.
  ///   - hyperpriors: λ₁, λ₂, α₁, α₂.
  init(
    whitened: Matrix<Double>, scaledWeights: [Double], precisions: [Double], noise: Double,
    residual: Double, weight: Double, _ hyperpriors: RegressionHyperpriors
  ) {
    let count = scaledWeights.count
    let shared = whitened.transposed().gram()
    let shares = (0..<count).map { shared[$0, $0] }
    let projected = shared.multiplied(by: scaledWeights)
    let spread = zip(shares, shared.rowSquaredNorms()).map { $0 - $1 }
    let energy = noise * residual
    var gradient: [Double] = []
    var curvature: [Double] = []
    var hessian = Matrix<Double>.zeros(count + 1, count + 1)
    for (j, (share, u)) in zip(shares, scaledWeights).enumerated() {
      let pull = hyperpriors.weights.rate * precisions[j]
      gradient.append(0.5 * (share - u * u) + hyperpriors.weights.shape - pull)
      curvature.append(0.5 * share + pull)
      for k in 0..<j {
        hessian[j, k] = shared[j, k] * (u * scaledWeights[k] - 0.5 * shared[j, k])
      }
      hessian[j, j] = 0.5 * share * (1 - share) + u * u * (share - 0.5) + pull
      hessian[count, j] = u * (u - projected[j]) - 0.5 * spread[j]
    }
    let pull = hyperpriors.noise.rate * noise
    gradient.append(
      0.5 * (weight - shares.reduce(0, +) - energy) + hyperpriors.noise.shape - pull)
    curvature.append(0.5 * weight + pull)
    let bend = zip(scaledWeights, projected).reduce(0) { $0 + $1.0 * ($1.0 - $1.1) }
    hessian[count, count] = 0.5 * (spread.reduce(0, +) + energy) - bend + pull
    (self.gradient, negativeHessian, fixedPointCurvature) = (gradient, hessian, curvature)
  }

  /// Newton's step, D + 1, where `shift` is 0, and with a shift one towards that of the fixed point; nil where the evidence
  /// is not concave then, or the step would take a precision to more than `e` times or less than `1/e` of itself.
  func step(shift: Double) -> [Double]? {
    var matrix = negativeHessian
    for (j, unit) in fixedPointCurvature.enumerated() {
      matrix[j, j] += shift * unit
      // An input that does not vary: there is nothing to be said of its precision.
      if unit == 0 { matrix[j, j] = 1 }
    }
    guard let factor = try? Cholesky(matrix) else { return nil }
    let step = factor.solve(gradient)
    return step.allSatisfy { $0.magnitude <= 1 } ? step : nil
  }
}
