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
  /// Samples of the posterior in a step.
  public var sampleCount: Int
  /// The seed of the samples; step and sample name the stream.
  public var seed: UInt64

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
  ///   - sampleCount: of the posterior in a step, at least 1.
  ///   - seed: of the samples.
  public init(
    effectiveSampleSize: Double, initialCurvature: Double = 1, beta1: Double = 0.9,
    beta2: Double = 0.999, weightDecay: Double = 1e-6, clipRadius: Double = 1e3,
    rescalesLearningRate: Bool = false, sampleCount: Int = 1, seed: UInt64 = 0
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
    self.sampleCount = sampleCount
    self.seed = seed
  }

  /// The mean of gradients, none of them seen, and the curvature h₀.
  @specialized(where Scalar == Float)
  public func start(_ parameters: Matrix<Scalar>) -> OptimizerState<Scalar> {
    let (rows, columns) = (parameters.rowCount, parameters.columnCount)
    return OptimizerState([
      "momentum": .zeros(rows, columns),
      "curvature": Matrix(rows: rows, columns: columns, repeating: Scalar(initialCurvature)),
    ])
  }

  /// A deviation e from the mean of the posterior.
  ///
  /// - Parameters:
  ///   - state: of the posterior.
  ///   - generator: a stream of the sample's own.
  /// - Returns: e, of the parameters' shape.
  @specialized(where Scalar == Float)
  public func deviation(
    _ state: OptimizerState<Scalar>, using generator: inout Philox
  ) -> Matrix<Scalar> {
    let curvature = state.moments[1]
    let (rows, columns) = (curvature.rowCount, curvature.columnCount)
    let normals = Matrix<Scalar>(
      rows: rows, columns: columns,
      elements: generator.normals(count: rows * columns).map { Scalar($0) })
    let (n, decay) = (Scalar(effectiveSampleSize), Scalar(weightDecay))
    return normals.combined(with: curvature) { z, h in z / (n * (h + decay)).squareRoot() }
  }

  /// Takes one step, with gradients at samples of the posterior.
  @specialized(where Scalar == Float)
  public func step(
    _ parameters: inout Matrix<Scalar>, _ state: inout OptimizerState<Scalar>,
    learningRate: Double, gradient: (_ at: Matrix<Scalar>) -> Matrix<Scalar>
  ) {
    var mean = Matrix<Scalar>.zeros(parameters.rowCount, parameters.columnCount)
    var products = mean
    for sample in 0..<sampleCount {
      var generator = Philox(
        seed: seed, purpose: .sampling, index: UInt64(state.step) << 16 | UInt64(sample))
      let deviation = deviation(state, using: &generator)
      var point = parameters
      point.add(deviation)
      let value = gradient(point)
      mean.add(value, times: 1 / Scalar(sampleCount))
      products.add(deviation.combined(with: value) { $0 * $1 }, times: 1 / Scalar(sampleCount))
    }
    step(&parameters, &state, gradient: mean, products: products, learningRate: learningRate)
  }

  /// Takes one step with what samples gave.
  ///
  /// - Parameters:
  ///   - parameters: θ, D x K; they are changed.
  ///   - state: from ``start(_:)`` or the step before.
  ///   - gradient: mean(g) over the samples.
  ///   - products: mean(e·g) over the samples.
  ///   - learningRate: of this step.
  @specialized(where Scalar == Float)
  public func step(
    _ parameters: inout Matrix<Scalar>, _ state: inout OptimizerState<Scalar>,
    gradient: Matrix<Scalar>, products: Matrix<Scalar>, learningRate: Double
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
    parameters.updateElements(&state.moments, [gradient, products]) { theta, moments, g, count in
      let (m, h, products, g) = (moments[0], moments[1], g[1], g[0])
      for i in 0..<count {
        let estimate = n * (h[i] + decay) * products[i]
        m[i] = b1 * m[i] + c1 * g[i]
        let change = h[i] - estimate
        h[i] = b2 * h[i] + c2 * estimate + 0.5 * c2 * c2 * change * change / (h[i] + decay)
        let direction = (m[i] * debias + decay * theta[i]) / (h[i] + decay)
        theta[i] -= rate * min(max(direction, -radius), radius)
      }
    }
  }
}
