import BllarseNumerics

/// How a classical head is fitted.
enum OptimizerName: String, Sendable {
  /// All rows at once, to the optimum of the penalised loss.
  case newton
  /// Adam with decoupled weight decay.
  case adamw
  /// Adam.
  case adam
  /// Lion.
  case lion
  /// IVON, on a warm-up cosine schedule.
  case ivon
}

/// Fits a classical head: by steps of an optimiser on batches, or to the optimum of all rows.
struct LinearTrainer<Loss: TrainableLoss>: HeadTrainer {
  private var linear: LinearHead<Loss>
  private var minimiser: Minimiser
  private(set) var iterations = 0
  let evidenceLowerBound: Double? = nil
  private(set) var note: String?
  private(set) var chosenPenalty: Double?
  let certificate: GapCertificate? = nil
  private let optimizer: OptimizerName
  private let batchSize: Int
  private let dropoutRate: Double
  private let configuration: RunConfiguration
  /// For fits to all rows, which may be told to stop; a batch is finished.
  private let cancellation: Cancellation?
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
    _ optimizer: OptimizerName, _ configuration: RunConfiguration, data: TrainingData,
    parallelism: Parallelism
  ) {
    (self.optimizer, self.configuration) = (optimizer, configuration)
    batchSize = configuration.method[FitOptions.batchSize]
    dropoutRate = configuration.method[FitOptions.dropout]
    linear = LinearHead(featureCount: data.featureCount, classCount: data.classCount)
    if let weights = data.initialWeights { linear.weights = weights }
    cancellation = parallelism.cancellation
    linear.parallelism = parallelism.cancelled(by: nil)
    let steps = configuration.batchCount(data.split.rowCount) * configuration.epochs
    minimiser = Minimiser(
      optimizer, configuration, weights: linear.weights, rowCount: data.split.rowCount,
      totalSteps: steps)
    self.parallelism = parallelism
    if optimizer != .newton {
      note = StepConditions.note(data.split.features, parallelism: parallelism)
    }
  }

  func stepCount(rowCount: Int) -> Int {
    optimizer == .newton ? 1 : configuration.batchCount(rowCount)
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) {
    guard optimizer != .newton else {
      try fitOptimum(split)
      return
    }
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
        rate: dropoutRate, seed: configuration.seed, step: minimiser.stepCount) : nil
    // Samples of the weights, if there are any, count equally.
    var (total, count) = (0.0, 0.0)
    minimiser.step(&linear.weights) { weights in
      let (gradient, loss) = pass.gradientAndLoss(rows: batch, weights: weights, dropout: dropout)
      (total, count) = (total + loss, count + 1)
      return gradient
    }
    losses.add(total / count, epoch: epoch)
    iterations += 1
    if configuration.isScored(afterBatch: step + 1, of: stepCount(rowCount: rows.count)) {
      reports.append(BatchReport(batch: step + 1, loss: losses.mean, head: linear))
    }
  }

  mutating func takeBatchReports() -> [BatchReport] {
    defer { reports = [] }
    return reports
  }

  private mutating func fitOptimum(_ split: FeatureSplit) throws(NumericsError) {
    let parallelism = linear.parallelism.cancelled(by: cancellation)
    let rows = try CentredDesign(split.features, parallelism: parallelism)
    let optimum = try Loss.optimum(
      rows, labels: split.labels, classCount: linear.classCount,
      smoothing: configuration.method[FitOptions.labelSmoothing],
      penalty: configuration.method[FitOptions.penalty],
      parallelism: parallelism)
    linear.take(rows.featureWeights(optimum.weights), at: rows.means)
    let penalty = configuration.method[FitOptions.penalty] ?? rows.featurePenalty(optimum.penalty)
    chosenPenalty = configuration.method[FitOptions.penalty] == nil ? penalty : nil
    note =
      "L2 strength \(penalty)"
      + (optimum.logEvidence.map { " with the best evidence, \($0) nats" } ?? "")
      + (optimum.end.map { ", \($0.explanation)" } ?? "")
    iterations += optimum.iterations
  }

  func encode(into writer: inout SafetensorsWriter) {
    linear.encode(into: &writer)
    minimiser.encode(into: &writer)
    losses.encode(into: &writer)
    writer.encode(iterations: iterations, nil)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    let (rows, columns) = (linear.weights.rowCount, linear.weights.columnCount)
    try linear.decode(from: file)
    try minimiser.restore(from: file, rows: rows, columns: columns)
    losses = try BatchLosses(decoding: file)
    iterations = try file.progress().iterations
  }
}
