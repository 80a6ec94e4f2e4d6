public import BllarseModels

/// A method of steps on batches by which classical heads can be fitted: what `--optimizer` names.
///
/// ```swift
/// HeadRegistry.register(OptimizerMethod("sgd", options: [FitOptions.learningRate]) { request in
///   (GradientDescent(), .constant(request.method[FitOptions.learningRate]))
/// })
/// ```
public struct OptimizerMethod: Sendable {
  /// What a method is set up for.
  public struct Request: Sendable {
    /// The values of its options.
    public let method: Method
    /// Training rows.
    public let rowCount: Int
    /// The steps of all epochs.
    public let totalSteps: Int
    /// The seed of everything random.
    public let seed: UInt64
  }

  /// The name: "adamw".
  public let name: String
  /// The options that it takes, beside those of all steps on batches.
  public let options: [any AnyFitOption]
  let make: @Sendable (Request) -> (any Optimizer<Float>, LearningRateSchedule)

  /// Describes a method.
  ///
  /// - Parameters:
  ///   - name: what `--optimizer` accepts.
  ///   - options: those that ``Request/method`` is asked for.
  ///   - make: the optimiser and the learning rate of each of its steps.
  public init(
    _ name: String, options: [any AnyFitOption],
    make: @escaping @Sendable (Request) -> (any Optimizer<Float>, LearningRateSchedule)
  ) {
    (self.name, self.options, self.make) = (name, options, make)
  }

  /// Those of the package.
  static let builtIn = [
    OptimizerMethod("adamw", options: [FitOptions.learningRate, FitOptions.weightDecay]) {
      decaying(Adam(weightDecay: $0.method[FitOptions.weightDecay]), $0)
    },
    OptimizerMethod("adam", options: [FitOptions.learningRate]) {
      (Adam(), .constant($0.method[FitOptions.learningRate]))
    },
    OptimizerMethod("lion", options: [FitOptions.learningRate, FitOptions.weightDecay]) {
      decaying(Lion(weightDecay: $0.method[FitOptions.weightDecay]), $0)
    },
    OptimizerMethod(
      "ivon",
      options: [
        FitOptions.sampleCount, FitOptions.ivonPeakRate, FitOptions.ivonWeightDecay,
        FitOptions.ivonHessInit, FitOptions.ivonBeta2,
      ]
    ) { request in
      let options = request.method
      return (
        IVON(
          effectiveSampleSize: Double(request.rowCount),
          initialCurvature: options[FitOptions.ivonHessInit], beta2: options[FitOptions.ivonBeta2],
          weightDecay: options[FitOptions.ivonWeightDecay],
          sampleCount: options[FitOptions.sampleCount], seed: request.seed),
        .ivon(peak: options[FitOptions.ivonPeakRate], totalSteps: request.totalSteps)
      )
    },
  ]

  private static func decaying(
    _ base: some Optimizer<Float>, _ request: Request
  ) -> (any Optimizer<Float>, LearningRateSchedule) {
    let decay = request.method[FitOptions.weightDecay]
    let sparesBiases = decay > 0 && !request.method[FitOptions.decaysBiases]
    return (
      sparesBiases ? DecaySparingBiases(base, weightDecay: decay) : base,
      .constant(request.method[FitOptions.learningRate])
    )
  }
}
