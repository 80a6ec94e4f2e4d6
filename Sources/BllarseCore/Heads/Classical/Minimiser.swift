import BllarseNumerics

/// An optimiser with its state and schedule: what a minibatch fit carries from step to step.
struct Minimiser: Sendable {
  private enum Method: Sendable {
    case adam(Adam<Float>, Adam<Float>.State)
    case lion(Lion<Float>, Lion<Float>.State)
    case ivon(IVON<Float>, IVON<Float>.State)
  }
  private var method: Method
  private let schedule: LearningRateSchedule
  private let sampleCount: Int
  /// The decay that the last row of the weights, the biases, is spared.
  private let spared: Double
  private let seed: UInt64

  /// Sets up the method of a configuration.
  ///
  /// - Parameters:
  ///   - optimizer: a minibatch method.
  ///   - configuration: has its options.
  ///   - weights: where it starts.
  ///   - rowCount: training rows: IVON's effective sample size.
  ///   - totalSteps: over all epochs.
  init(
    _ optimizer: OptimizerName, _ configuration: RunConfiguration, weights: Matrix<Float>,
    rowCount: Int, totalSteps: Int
  ) {
    let options = configuration.method
    seed = configuration.seed
    let decay = options[FitOptions.weightDecay]
    spared =
      switch optimizer {
      case .adamw, .lion: options[FitOptions.decaysBiases] ? 0 : decay
      case .adam, .newton, .ivon: 0
      }
    switch optimizer {
    case .ivon:
      let ivon = IVON<Float>(
        effectiveSampleSize: Double(rowCount), initialCurvature: options[FitOptions.ivonHessInit],
        beta2: options[FitOptions.ivonBeta2], weightDecay: options[FitOptions.ivonWeightDecay])
      method = .ivon(ivon, ivon.start(weights))
      schedule = .ivon(peak: options[FitOptions.ivonPeakRate], totalSteps: totalSteps)
      sampleCount = options[FitOptions.sampleCount]
      return
    case .lion:
      let lion = Lion<Float>(weightDecay: decay)
      method = .lion(lion, lion.start(weights))
    case .adam:
      let adam = Adam<Float>()
      method = .adam(adam, adam.start(weights))
    case .adamw, .newton:
      let adam = Adam<Float>(weightDecay: decay)
      method = .adam(adam, adam.start(weights))
    }
    schedule = .constant(options[FitOptions.learningRate])
    sampleCount = 1
  }

  /// Takes one step.
  ///
  /// - Parameters:
  ///   - weights: they are changed.
  ///   - gradient: of the batch's mean loss at given weights.
  mutating func step(
    _ weights: inout Matrix<Float>, gradient: (_ at: Matrix<Float>) -> Matrix<Float>
  ) {
    let rate = schedule.rate(step: stepCount)
    // θ - η(d + λθ) + ηλθ: what the decay takes off the biases comes back.
    let last = weights.rowCount - 1
    let biases = spared > 0 ? weights.row(last) : []
    defer {
      for (column, bias) in biases.enumerated() {
        weights[last, column] += Float(rate * spared) * bias
      }
    }
    switch method {
    case .adam(let adam, var state):
      adam.step(&weights, &state, gradient: gradient(weights), learningRate: rate)
      method = .adam(adam, state)
    case .lion(let lion, var state):
      lion.step(&weights, &state, gradient: gradient(weights), learningRate: rate)
      method = .lion(lion, state)
    case .ivon(let ivon, var state):
      var mean = Matrix<Float>.zeros(weights.rowCount, weights.columnCount)
      var products = mean
      for sample in 0..<sampleCount {
        var generator = Philox(
          seed: seed, purpose: .sampling, index: UInt64(state.step) << 16 | UInt64(sample))
        let deviation = ivon.deviation(state, using: &generator)
        var point = weights
        point.add(deviation)
        let value = gradient(point)
        mean.add(value, times: 1 / Float(sampleCount))
        products.add(
          deviation.combined(with: value) { $0 * $1 }, times: 1 / Float(sampleCount))
      }
      ivon.step(&weights, &state, gradient: mean, products: products, learningRate: rate)
      method = .ivon(ivon, state)
    }
  }

  /// Steps taken.
  var stepCount: Int { state.step }

  private var state: (step: Int, names: [String], moments: [Matrix<Float>]) {
    switch method {
    case .adam(_, let state): (state.step, Adam<Float>.State.momentNames, state.moments)
    case .lion(_, let state): (state.step, Lion<Float>.State.momentNames, state.moments)
    case .ivon(_, let state): (state.step, IVON<Float>.State.momentNames, state.moments)
    }
  }

  func encode(into writer: inout SafetensorsWriter) {
    let (step, names, moments) = state
    writer.metadata["optimizer_step"] = String(step)
    for (name, moment) in zip(names, moments) { writer.add("optimizer." + name, moment) }
  }

  mutating func restore(from file: SafetensorsFile, rows: Int, columns: Int) throws(DataError) {
    let step = try file.integer("optimizer_step", atLeast: 0)
    var moments: [Matrix<Float>] = []
    for name in state.names {
      moments.append(try file.matrix("optimizer." + name, rows: rows, columns: columns))
    }
    switch method {
    case .adam(let adam, var state):
      (state.step, state.moments) = (step, moments)
      method = .adam(adam, state)
    case .lion(let lion, var state):
      (state.step, state.moments) = (step, moments)
      method = .lion(lion, state)
    case .ivon(let ivon, var state):
      (state.step, state.moments) = (step, moments)
      method = .ivon(ivon, state)
    }
  }
}
