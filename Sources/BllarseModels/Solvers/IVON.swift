public import BllarseNumerics

/// IVON: a diagonal Gaussian posterior by natural-gradient steps, its gradients taken at samples of it.
///
/// The posterior is `N(θ, diag(1/(n·(h + λ))))`, n the effective sample size. A step averages, over
/// samples `θ + e`, the gradient g and the product `e·g`:
///
///     ĥ = n·(h + λ)·mean(e·g),   m ← β₁m + (1 - β₁)·mean(g)
///     h ← β₂h + (1 - β₂)ĥ + ½(1 - β₂)²(h - ĥ)²/(h + λ)
///     θ ← θ - η·clip( (m/(1 - β₁ᵗ) + λθ)/(h + λ), -ξ, ξ )
///
/// With `rescalesLearningRate`, η is multiplied by `h₀ + λ`.
///
/// - Note: Source: Shen et al. (2024), "Variational learning is effective for large deep networks".
public struct IVON<Scalar: BLASScalar>: Optimizer {
  /// n: the number of training rows, unless the likelihood is tempered.
  public var effectiveSampleSize: Double
  /// h₀, the start of the curvature.
  public var initialCurvature: Double
  /// The decay of the mean of gradients.
  public var beta1: Double
  /// The decay of the curvature.
  public var beta2: Double
  /// λ.
  public var weightDecay: Double
  /// ξ, the largest element of a step before the learning rate.
  public var clipRadius: Double
  /// Whether the learning rate is multiplied by `h₀ + λ`.
  public var rescalesLearningRate: Bool

  /// Describes the method; the defaults are the Python original's.
  ///
  /// - Parameters:
  ///   - effectiveSampleSize: n, positive.
  ///   - initialCurvature: h₀, positive.
  ///   - beta1: in 0..<1.
  ///   - beta2: in 0..<1.
  ///   - weightDecay: λ, not negative.
  ///   - clipRadius: ξ, positive.
  ///   - rescalesLearningRate: whether the learning rate is multiplied by `h₀ + λ`.
  public init(
    effectiveSampleSize: Double, initialCurvature: Double = 1, beta1: Double = 0.9,
    beta2: Double = 0.999, weightDecay: Double = 1e-6, clipRadius: Double = 1e3,
    rescalesLearningRate: Bool = false
  ) {
    precondition(
      effectiveSampleSize > 0 && initialCurvature > 0,
      "an effective sample size of \(effectiveSampleSize) and a curvature of \(initialCurvature)")
    self.effectiveSampleSize = effectiveSampleSize
    self.initialCurvature = initialCurvature
    self.beta1 = beta1
    self.beta2 = beta2
    self.weightDecay = weightDecay
    self.clipRadius = clipRadius
    self.rescalesLearningRate = rescalesLearningRate
  }

  /// The mean of gradients, and the curvature.
  public struct State: OptimizerState {
    /// Steps taken.
    public var step = 0
    /// m and h.
    public var moments: [Matrix<Scalar>]
    /// "momentum", "curvature".
    public static var momentNames: [String] { ["momentum", "curvature"] }
  }

  /// No gradients seen: curvature h₀.
  @specialized(where Scalar == Float)
  public func start(_ parameters: Matrix<Scalar>) -> State {
    let (rows, columns) = (parameters.rowCount, parameters.columnCount)
    return State(moments: [
      .zeros(rows, columns),
      Matrix(rows: rows, columns: columns, repeating: Scalar(initialCurvature)),
    ])
  }

  /// A deviation e from the mean of the posterior.
  ///
  /// - Parameters:
  ///   - state: of the posterior.
  ///   - generator: a stream of the sample's own.
  /// - Returns: e, of the parameters' shape.
  @specialized(where Scalar == Float)
  public func deviation(_ state: State, using generator: inout Philox) -> Matrix<Scalar> {
    let curvature = state.moments[1]
    let (rows, columns) = (curvature.rowCount, curvature.columnCount)
    let normals = Matrix<Scalar>(
      rows: rows, columns: columns,
      elements: generator.normals(count: rows * columns).map { Scalar($0) })
    let (n, decay) = (Scalar(effectiveSampleSize), Scalar(weightDecay))
    return normals.combined(with: curvature) { z, h in z / (n * (h + decay)).squareRoot() }
  }

  /// Takes one step with the gradient at the mean, whose samples' products are zero.
  @specialized(where Scalar == Float)
  public func step(
    _ parameters: inout Matrix<Scalar>, _ state: inout State, gradient: Matrix<Scalar>,
    learningRate: Double
  ) {
    step(
      &parameters, &state, gradient: gradient,
      products: .zeros(gradient.rowCount, gradient.columnCount), learningRate: learningRate)
  }

  /// Takes one step.
  ///
  /// - Parameters:
  ///   - parameters: θ, D x K; they are changed.
  ///   - state: from ``start(_:)`` or the step before.
  ///   - gradient: mean(g) over the samples.
  ///   - products: mean(e·g) over the samples.
  ///   - learningRate: of this step.
  @specialized(where Scalar == Float)
  public func step(
    _ parameters: inout Matrix<Scalar>, _ state: inout State, gradient: Matrix<Scalar>,
    products: Matrix<Scalar>, learningRate: Double
  ) {
    state.step += 1
    let (b1, b2) = (Scalar(beta1), Scalar(beta2))
    let (c1, c2) = (Scalar(1 - beta1), Scalar(1 - beta2))
    let (n, decay, radius) = (
      Scalar(effectiveSampleSize), Scalar(weightDecay), Scalar(clipRadius)
    )
    let debias = Scalar(1 / (1 - power(beta1, state.step)))
    let scale = rescalesLearningRate ? initialCurvature + weightDecay : 1
    let rate = Scalar(learningRate * scale)
    // The products ride along as a moment that is not kept.
    var moments = state.moments + [products]
    parameters.updateElements(&moments, gradient) { theta, m, h, product, g in
      let estimate = n * (h + decay) * product
      m = b1 * m + c1 * g
      let change = h - estimate
      h = b2 * h + c2 * estimate + 0.5 * c2 * c2 * change * change / (h + decay)
      let direction = (m * debias + decay * theta) / (h + decay)
      theta -= rate * min(max(direction, -radius), radius)
    }
    state.moments = Array(moments[..<2])
  }
}
