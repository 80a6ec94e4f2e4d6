public import BllarseNumerics

/// Adam, and with a weight decay AdamW.
///
///     m ← β₁m + (1 - β₁)g,   v ← β₂v + (1 - β₂)g²
///     θ ← θ - η·( m/(1 - β₁ᵗ) / (sqrt(v/(1 - β₂ᵗ)) + ε) + λθ )
///
/// - Note: Sources: Kingma and Ba (2015); Loshchilov and Hutter (2019) for the decoupled decay.
public struct Adam<Scalar: BLASScalar>: Optimizer {
  /// The decay of the mean of gradients.
  public var beta1: Double
  /// The decay of the mean of squared gradients.
  public var beta2: Double
  /// What is added to the root of the second moment.
  public var epsilon: Double
  /// λ; 0 for plain Adam.
  public var weightDecay: Double

  /// Describes the method; the defaults are those of its authors, without decay.
  public init(
    beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0
  ) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
  }

  /// Means of gradients and of squared gradients: none seen.
  @specialized(where Scalar == Float)
  public func start(_ parameters: Matrix<Scalar>) -> OptimizerState<Scalar> {
    let zeros = Matrix<Scalar>.zeros(parameters.rowCount, parameters.columnCount)
    return OptimizerState(["first_moment": zeros, "second_moment": zeros])
  }

  /// Takes one step.
  @specialized(where Scalar == Float)
  public func step(
    _ parameters: inout Matrix<Scalar>, _ state: inout OptimizerState<Scalar>,
    learningRate: Double, gradient: (_ at: Matrix<Scalar>) -> Matrix<Scalar>
  ) {
    state.step += 1
    let (b1, b2) = (Scalar(beta1), Scalar(beta2))
    let (c1, c2) = (Scalar(1 - beta1), Scalar(1 - beta2))
    let firstScale = Scalar(1 / (1 - power(beta1, state.step)))
    let secondScale = Scalar(1 / (1 - power(beta2, state.step)))
    let (epsilon, decay) = (Scalar(epsilon), Scalar(weightDecay))
    let rate = Scalar(learningRate)
    parameters.updateElements(&state.moments, [gradient(parameters)]) { theta, moments, g, count in
      let (m, v, g) = (moments[0], moments[1], g[0])
      for i in 0..<count {
        m[i] = b1 * m[i] + c1 * g[i]
        v[i] = b2 * v[i] + c2 * (g[i] * g[i])
        let direction = (m[i] * firstScale) / ((v[i] * secondScale).squareRoot() + epsilon)
        theta[i] -= rate * (direction + decay * theta[i])
      }
    }
  }
}
