public import BllarseNumerics

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
