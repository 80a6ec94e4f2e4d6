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
