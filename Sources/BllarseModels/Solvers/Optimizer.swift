public import BllarseNumerics
import Glibc

/// A first-order method, as pure functions: a step takes parameters, state and gradient, and returns
/// what they become; nothing is kept anywhere else.
///
/// The learning rate comes with each step, so that a schedule is the caller's.
public protocol Optimizer: Sendable {
  /// What is carried from step to step.
  associatedtype State: OptimizerState

  /// The state before the first step.
  ///
  /// - Parameter parameters: D x K.
  /// - Returns: a state with no steps taken.
  func start(_ parameters: Matrix<State.Scalar>) -> State

  /// Takes one step.
  ///
  /// - Parameters:
  ///   - parameters: θ, D x K; they are changed.
  ///   - state: from ``start(_:)`` or the step before.
  ///   - gradient: of the loss, D x K.
  ///   - learningRate: of this step.
  func step(
    _ parameters: inout Matrix<State.Scalar>, _ state: inout State,
    gradient: Matrix<State.Scalar>, learningRate: Double)
}

/// The state of an optimiser: a step count, and matrices of the parameters' shape.
public protocol OptimizerState: Sendable, Equatable {
  /// The precision of the parameters.
  associatedtype Scalar: BLASScalar
  /// Steps taken.
  var step: Int { get set }
  /// The moments under the names that checkpoints give them.
  static var momentNames: [String] { get }
  /// The moments, in the order of their names.
  var moments: [Matrix<Scalar>] { get set }
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
