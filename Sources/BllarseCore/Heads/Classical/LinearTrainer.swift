import BllarseNumerics

/// Fits a classical head by steps of an optimiser on batches.
struct LinearTrainer<Loss: TrainableLoss>: HeadTrainer {
  private var linear: LinearHead<Loss>
  private let optimizer: any Optimizer<Float>
  private let schedule: LearningRateSchedule
  private var state: OptimizerState<Float>
  private(set) var info = FitInfo()
  private let batchSize: Int
  private let dropoutRate: Double
  private let configuration: RunConfiguration
  /// The order of the rows in an epoch, kept for its steps.
  private var order: (epoch: Int, rows: [Int])?
  /// Gradients over the rows of the epoch; its memory holds nothing from step to step.
  private var pass: LinearBatchPass<Float>?
  private let parallelism: Parallelism
  private var losses = BatchLosses()
  private var reports: [BatchReport] = []

  var batchLoss: Double? { losses.mean }
  var head: any Head { linear }

  init(
    _ optimizer: OptimizerMethod, _ configuration: RunConfiguration, data: TrainingData,
    parallelism: Parallelism
  ) {
    self.configuration = configuration
    self.parallelism = parallelism.cancelled(by: nil)
    batchSize = configuration.method[FitOptions.batchSize]
    dropoutRate = configuration.method[FitOptions.dropout]
    linear = LinearHead(featureCount: data.featureCount, classCount: data.classCount)
    if let weights = data.initialWeights { linear.weights = weights }
    let rowCount = data.split.rowCount
    (self.optimizer, schedule) = optimizer.make(
      OptimizerMethod.Request(
        method: configuration.method, rowCount: rowCount,
        totalSteps: configuration.batchCount(rowCount) * configuration.epochs,
        seed: configuration.seed))
    state = self.optimizer.start(linear.weights)
    info.note = StepConditions.note(data.split.features, parallelism: parallelism)
  }

  func stepCount(rowCount: Int) -> Int { configuration.batchCount(rowCount) }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) {
    if order?.epoch != epoch {
      order = (epoch, configuration.rowOrder(epoch: epoch, rowCount: split.rowCount))
      pass = LinearBatchPass(
        design: try linear.design(split.features), labels: split.labels,
        classCount: linear.classCount,
        loss: Loss.batchLoss(smoothing: configuration.method[FitOptions.labelSmoothing]),
        parallelism: parallelism)
    }
    guard let rows = order?.rows, let pass else { return }
    let first = step * batchSize
    let batch = rows[first..<min(first + batchSize, rows.count)]
    let dropout =
      dropoutRate > 0
      ? LinearBatchPass<Float>.Dropout(
        rate: dropoutRate, seed: configuration.seed, step: state.step) : nil
    // Samples of the weights, if there are any, count equally.
    var (total, count) = (0.0, 0.0)
    optimizer.step(
      &linear.weights, &state, learningRate: schedule.rate(step: state.step)
    ) { weights in
      let (gradient, loss) = pass.gradientAndLoss(rows: batch, weights: weights, dropout: dropout)
      (total, count) = (total + loss, count + 1)
      return gradient
    }
    losses.add(total / count, epoch: epoch)
    info.iterations += 1
    if configuration.isScored(afterBatch: step + 1, of: stepCount(rowCount: rows.count)) {
      reports.append(BatchReport(batch: step + 1, loss: losses.mean, head: linear))
    }
  }

  mutating func takeBatchReports() -> [BatchReport] {
    defer { reports = [] }
    return reports
  }

  func encode(into writer: inout SafetensorsWriter) {
    linear.encode(into: &writer)
    writer.metadata["optimizer_step"] = String(state.step)
    for (name, moment) in zip(state.names, state.moments) {
      writer.add("optimizer." + name, moment)
    }
    losses.encode(into: &writer)
    writer.encode(iterations: info.iterations, nil)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    try linear.decode(from: file)
    state.step = try file.integer("optimizer_step", atLeast: 0)
    for (index, name) in state.names.enumerated() {
      state.moments[index] = try file.matrix(
        "optimizer." + name, rows: linear.weights.rowCount, columns: linear.classCount)
    }
    losses = try BatchLosses(decoding: file)
    info.iterations = try file.progress().iterations
  }
}
