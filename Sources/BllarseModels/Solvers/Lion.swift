public import BllarseNumerics

/// Lion: steps of one size, in the direction of the sign of an interpolated mean of gradients.
///
///     θ ← θ - η·( sign(β₁m + (1 - β₁)g) + λθ ),   m ← β₂m + (1 - β₂)g
///
/// - Note: Source: Chen et al. (2023), "Symbolic discovery of optimization algorithms".
public struct Lion<Scalar: BLASScalar>: Optimizer {
  /// How much of the mean enters the direction.
  public var beta1: Double
  /// The decay of the mean.
  public var beta2: Double
  /// λ.
  public var weightDecay: Double

  /// Describes the method; the defaults are those of its authors, without decay.
  public init(beta1: Double = 0.9, beta2: Double = 0.99, weightDecay: Double = 0) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.weightDecay = weightDecay
  }

  /// The mean of gradients: none seen.
  @specialized(where Scalar == Float)
  public func start(_ parameters: Matrix<Scalar>) -> OptimizerState<Scalar> {
    OptimizerState(["momentum": .zeros(parameters.rowCount, parameters.columnCount)])
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
    let (decay, rate) = (Scalar(weightDecay), Scalar(learningRate))
    parameters.updateElements(&state.moments, [gradient(parameters)]) { theta, moments, g, count in
      let (m, g) = (moments[0], g[0])
      for i in 0..<count {
        let direction = b1 * m[i] + c1 * g[i]
        let sign: Scalar = direction > 0 ? 1 : direction < 0 ? -1 : 0
        m[i] = b2 * m[i] + c2 * g[i]
        theta[i] -= rate * (sign + decay * theta[i])
      }
    }
  }
}
