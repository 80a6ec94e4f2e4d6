public import BllarseNumerics
import Glibc

/// A first-order method, as pure functions: a step takes parameters and state, and returns what they
/// become; nothing is kept anywhere else.
///
/// The learning rate comes with each step, so that a schedule is the caller's.
public protocol Optimizer<Scalar>: Sendable {
  /// The precision of the parameters.
  associatedtype Scalar: BLASScalar

  /// The state before the first step.
  ///
  /// - Parameter parameters: D x K.
  /// - Returns: a state with no steps taken.
  func start(_ parameters: Matrix<Scalar>) -> OptimizerState<Scalar>

  /// Takes one step.
  ///
  /// - Parameters:
  ///   - parameters: θ, D x K; they are changed.
  ///   - state: from ``start(_:)`` or the step before.
  ///   - learningRate: of this step.
  ///   - gradient: of the loss at given parameters, D x K.
  func step(
    _ parameters: inout Matrix<Scalar>, _ state: inout OptimizerState<Scalar>,
    learningRate: Double, gradient: (_ at: Matrix<Scalar>) -> Matrix<Scalar>)
}

/// What an optimiser carries from step to step: a count, and matrices of the parameters' shape.
public struct OptimizerState<Scalar: BLASScalar>: Sendable, Equatable {
  /// Steps taken.
  public var step = 0
  /// The names that checkpoints give the moments.
  public let names: [String]
  /// The moments, in the order of their names, D x K each.
  public var moments: [Matrix<Scalar>]

  /// No steps taken.
  public init(_ moments: KeyValuePairs<String, Matrix<Scalar>>) {
    names = moments.map(\.key)
    self.moments = moments.map(\.value)
  }
}

/// An optimiser whose decoupled weight decay leaves the last row of the parameters, the biases, alone.
///
/// What `θ - η(d + λθ)` takes off them comes back, `+ ηλθ`.
public struct DecaySparingBiases<Base: Optimizer>: Optimizer where Base.Scalar == Float {
  private let base: Base
  private let weightDecay: Double

  /// Wraps an optimiser that decays by λ.
  public init(_ base: Base, weightDecay: Double) {
    (self.base, self.weightDecay) = (base, weightDecay)
  }

  /// As the optimiser itself starts.
  public func start(_ parameters: Matrix<Float>) -> OptimizerState<Float> {
    base.start(parameters)
  }

  /// Takes one step.
  public func step(
    _ parameters: inout Matrix<Float>, _ state: inout OptimizerState<Float>,
    learningRate: Double, gradient: (_ at: Matrix<Float>) -> Matrix<Float>
  ) {
    let last = parameters.rowCount - 1
    let biases = parameters.row(last)
    base.step(&parameters, &state, learningRate: learningRate, gradient: gradient)
    for (column, bias) in biases.enumerated() {
      parameters[last, column] += Float(learningRate * weightDecay) * bias
    }
  }
}

/// A learning rate for each step, counted from 0.
public enum LearningRateSchedule: Sendable, Equatable {
  /// The same for all steps.
  case constant(Double)
  /// From `start` in a line to `peak` over `warmupSteps`, then along half a cosine to `end` at
  /// `totalSteps`, and `end` from there on.
  case warmupCosine(
    start: Double, peak: Double, end: Double, warmupSteps: Int, totalSteps: Int)

  /// The schedule of IVON in the Python original: peak/20, peak, peak/10, a tenth of the steps to warm
  /// up.
  public static func ivon(peak: Double, totalSteps: Int) -> LearningRateSchedule {
    .warmupCosine(
      start: peak / 20, peak: peak, end: peak / 10, warmupSteps: totalSteps / 10,
      totalSteps: totalSteps)
  }

  /// The learning rate of a step.
  public func rate(step: Int) -> Double {
    switch self {
    case .constant(let rate):
      return rate
    case .warmupCosine(let start, let peak, let end, let warmup, let total):
      if step < warmup { return start + (peak - start) * Double(step) / Double(warmup) }
      let length = max(total - warmup, 1)
      let part = Double(min(step - warmup, length)) / Double(length)
      return end + (peak - end) * 0.5 * (1 + cos(Double.pi * part))
    }
  }
}

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
    (self.beta1, self.beta2) = (beta1, beta2)
    (self.epsilon, self.weightDecay) = (epsilon, weightDecay)
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
    (self.beta1, self.beta2, self.weightDecay) = (beta1, beta2, weightDecay)
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

/// IVON: a diagonal Gaussian posterior by natural-gradient steps, its gradients taken at samples of it.
///
/// The posterior is `N(θ, diag(1/(n·(h + λ))))`, n the effective sample size. A step averages, over
/// samples `θ + e`, the gradient g and the product `e·g`:
///
///     ĥ = n·(h + λ)·mean(e·g),   m ← β₁m + (1 - β₁)·mean(g)
///     h ← β₂h + (1 - β₂)ĥ + ½(1 - β₂)²(h - ĥ)²/(h + λ)
///     θ ← θ - η·clip( (m/(1 - β₁ᵗ) + λθ)/(h + λ), -ξ, ξ )
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
  ///   - sampleCount: of the posterior in a step, at least 1.
  ///   - seed: of the samples.
  public init(
    effectiveSampleSize: Double, initialCurvature: Double = 1, beta1: Double = 0.9,
    beta2: Double = 0.999, weightDecay: Double = 1e-6, clipRadius: Double = 1e3,
    sampleCount: Int = 1, seed: UInt64 = 0
  ) {
    precondition(
      effectiveSampleSize > 0 && initialCurvature > 0,
      "an effective sample size of \(effectiveSampleSize) and a curvature of \(initialCurvature)")
    (self.effectiveSampleSize, self.initialCurvature) = (effectiveSampleSize, initialCurvature)
    (self.beta1, self.beta2, self.weightDecay) = (beta1, beta2, weightDecay)
    (self.clipRadius, self.sampleCount, self.seed) = (clipRadius, sampleCount, seed)
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
    let rate = Scalar(learningRate)
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

/// Whether features are such that steps on batches get anywhere.
///
/// Steps work on the features as they are, as in the Python original. Where these lie far from zero for their
/// spread, the loss is a narrow valley along the biases (its condition number grows with the square of
/// that ratio), and learning rates are made for features of a spread about 1.
package enum StepConditions {
  /// Rows that are looked at.
  private static let rowLimit = 4096
  /// On three classes with the default rate, AdamW loses 0.01 in accuracy after 20 epochs at a ratio of 3, 0.05
  /// at 10, and learns nothing at 30.
  private static let largestRatio = 10.0
  /// In that experiment a spread of 0.01 or 1000 is too far from 1, one of 0.1 or 100 is not.
  private static let spreads = 0.03...300

  /// What the user should know before the learning rate is blamed, or `nil`.
  package static func note(_ features: FeatureMatrix, execution: Execution) -> String? {
    let rows = features.rows(0..<min(features.rowCount, rowLimit))
    let statistics = ColumnStatistics(rows, execution: execution)
    let spread = statistics.globalDeviation
    guard spread > 0 else { return nil }
    let squares = statistics.means.reduce(0) { $0 + $1 * $1 }
    let offset = (squares / Double(max(statistics.means.count, 1))).squareRoot()
    let remedy =
      "steps take them as they are, as the Python original does: bring them to mean 0 and variance 1, or "
      + "fit with --optimizer newton, which does not depend on it"
    if offset > largestRatio * spread {
      return "the features lie \(rounded(offset / spread)) times their spread from zero; " + remedy
    }
    if !spreads.contains(spread) {
      return "the features have a spread of \(rounded(spread)); " + remedy
    }
    return nil
  }

  /// A number with two digits.
  private static func rounded(_ value: Double) -> String {
    let text = String(Float(value))
    guard value >= 10, value < 1e6 else { return text }
    return String(Int(value.rounded()))
  }
}
