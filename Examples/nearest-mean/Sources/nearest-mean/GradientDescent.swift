import BllarseCore
import BllarseNumerics

/// Gradient descent with momentum: an optimiser of one's own for the classical heads.
///
///     m ← βm + g,   θ ← θ - η·m
struct GradientDescent: Optimizer {
  static let momentum = FitOption(
    "momentum", group: .registered, "sgd: the share of a step that the next one keeps.",
    default: 0.9, .share)

  let momentum: Double

  func start(_ parameters: Matrix<Float>) -> OptimizerState<Float> {
    OptimizerState(["momentum": .zeros(parameters.rowCount, parameters.columnCount)])
  }

  func step(
    _ parameters: inout Matrix<Float>, _ state: inout OptimizerState<Float>, learningRate: Double,
    gradient: (Matrix<Float>) -> Matrix<Float>
  ) {
    state.step += 1
    state.moments[0].scale(by: Float(momentum))
    state.moments[0].add(gradient(parameters))
    parameters.add(state.moments[0], times: -Float(learningRate))
  }
}

extension OptimizerMethod {
  /// Registered before the command line is read: `--head CrossEntropy --optimizer sgd --momentum 0.5`.
  static let sgd = OptimizerMethod(
    "sgd", options: [FitOptions.learningRate, GradientDescent.momentum]
  ) { request in
    (
      GradientDescent(momentum: request.method[GradientDescent.momentum]),
      .constant(request.method[FitOptions.learningRate])
    )
  }
}
