public import BllarseModels
import BllarseNumerics

extension HeadMethod {
  /// A linear head with a loss, fitted to the optimum or by steps of optimisers.
  static func linear<Loss: TrainableLoss>(
    _ loss: Loss.Type, _ lossOptions: [any AnyFitOption] = [], _ optimizers: [OptimizerMethod]
  ) -> HeadMethod {
    let newton = FittingWay(
      "newton", lossOptions + [FitOptions.penalty],
      [.isOnePass, .takesDistributions, .keepsWeightsOnly],
      memory: { shape, _ in shape.linear(isNewton: true) },
      trainer: { plan, data, execution in
        OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
          try LinearHead<Loss>.optimum(request)
        }
      })
    let steps = optimizers.map { optimizer in
      FittingWay(
        optimizer.name,
        lossOptions + [FitOptions.batchSize, FitOptions.dropout] + optimizer.options,
        [.takesFreshRows, .dependsOnStart, .takesDistributions],
        memory: { shape, _ in shape.linear(isNewton: false) },
        trainer: { plan, data, execution in
          LinearTrainer<Loss>(optimizer, plan, data: data, execution: execution)
        })
    }
    return HeadMethod(
      Loss.kind, selector: .optimizer, ways: [newton] + steps, kinds: [LinearHead<Loss>.self])
  }
}

extension LinearHead where Loss: TrainableLoss {
  /// The optimum of the penalised loss of all rows.
  fileprivate static func optimum(
    _ request: FitRequest
  ) throws(NumericsError) -> (any Head, FitInfo) {
    var head = LinearHead(
      featureCount: request.features.columnCount, classCount: request.classCount)
    let rows = try CentredDesign(request.features, execution: request.execution)
    let given = request.method[FitOptions.penalty]
    let optimum = try Loss.optimum(
      rows, labels: request.labels, distributions: request.targets.softDistributions,
      classCount: request.classCount,
      smoothing: request.method[FitOptions.labelSmoothing], penalty: given,
      execution: request.execution)
    head.take(rows.featureWeights(optimum.weights), at: rows.means)
    let penalty = given ?? rows.featurePenalty(optimum.penalty)
    var info = FitInfo(iterations: optimum.iterations)
    info.chosen["l2"] = given == nil ? penalty : nil
    info.note =
      "L2 strength \(penalty)"
      + (optimum.logEvidence.map { " with the best evidence, \($0) nats" } ?? "")
      + (optimum.end.map { ", \($0.explanation)" } ?? "")
    return (head, info)
  }
}

extension MemoryShape {
  fileprivate func linear(isNewton: Bool) -> Double {
    guard isNewton else { return 0.1 * design + 32 * columns * classes }
    return 1.7 * (isWide ? 4 * rows * order : design) + 4 * small + 4 * logits
      + (isWide ? block + 4 * 8 * columns * classes : 0)
  }
}

extension ResidualMLP {
  /// The classifier that the backbone was trained with, as a head over its features; `nil` when there is none,
  /// or one of another number of classes.
  func classifier(classCount: Int) -> (any LogitHead)? {
    guard let classifierWeights, classifierWeights.columnCount == classCount else { return nil }
    var head = LinearHead<CrossEntropyLoss>(featureCount: featureCount, classCount: classCount)
    head.weights = classifierWeights
    return head
  }
}

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

/// Fits a classical head by steps of an optimiser on batches.
struct LinearTrainer<Loss: TrainableLoss>: HeadTrainer {
  private var linear: LinearHead<Loss>
  private let optimizer: any Optimizer<Float>
  private let schedule: LearningRateSchedule
  private var state: OptimizerState<Float>
  private(set) var info = FitInfo()
  private let dropoutRate: Double
  private let plan: FitPlan
  private var batches = EpochBatches()
  /// Gradients over the rows of an epoch; its memory holds nothing from step to step.
  private var pass: (epoch: Int, pass: LinearBatchPass<Float>)?
  private let execution: Execution
  private var losses = BatchLosses()

  var batchLoss: Double? { losses.mean }
  var head: any Head { linear }

  init(
    _ optimizer: OptimizerMethod, _ plan: FitPlan, data: TrainingData,
    execution: Execution
  ) {
    self.plan = plan
    self.execution = execution.cancelled(by: nil)
    dropoutRate = plan.method[FitOptions.dropout]
    linear = LinearHead(featureCount: data.featureCount, classCount: data.classCount)
    if let weights = data.initialWeights { linear.weights = weights }
    let rowCount = data.split.rowCount
    (self.optimizer, schedule) = optimizer.make(
      OptimizerMethod.Request(
        method: plan.method, rowCount: rowCount,
        totalSteps: plan.batchCount(rowCount) * plan.epochs,
        seed: plan.seed))
    state = self.optimizer.start(linear.weights)
    info.note = StepConditions.note(data.split.features, execution: execution)
  }

  func stepCount(rowCount: Int) -> Int { plan.batchCount(rowCount) }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport] {
    if pass?.epoch != epoch {
      let made = LinearBatchPass(
        design: try linear.design(split.features), labels: split.labels,
        distributions: split.targets.softDistributions, classCount: linear.classCount,
        loss: Loss.batchLoss(smoothing: plan.method[FitOptions.labelSmoothing]),
        execution: execution)
      pass = (epoch, made)
    }
    guard let pass = pass?.pass else { return [] }
    let batch = batches.rows(ofBatch: step, epoch: epoch, plan, rowCount: split.rowCount)
    let dropout =
      dropoutRate > 0
      ? LinearBatchPass<Float>.Dropout(
        rate: dropoutRate, seed: plan.seed, step: state.step) : nil
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
    return plan.reports(
      afterBatch: step + 1, of: stepCount(rowCount: split.rowCount), loss: losses.mean, linear)
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

extension LinearHead: ClassificationHead {
  /// Adds the weights; and the means of the features and the biases there, where they are known.
  ///
  /// A reader that knows `weights` alone predicts the same, as far as the digits of their biases go.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.add("weights", weights)
    guard let center else { return }
    writer.add("column_mean", center.means)
    writer.add("bias_at_mean", center.biases)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let featureCount = try file.integer("feature_count", atLeast: 1)
    let classCount = try file.integer("class_count", atLeast: 2)
    // Before weights of that size are made.
    let _: Matrix<Float> = try file.matrix("weights", rows: featureCount + 1, columns: classCount)
    self.init(featureCount: featureCount, classCount: classCount)
    try decode(from: file)
  }

  /// Takes the weights of a checkpoint.
  mutating func decode(from file: SafetensorsFile) throws(DataError) {
    weights = try file.matrix("weights", rows: featureCount + 1, columns: classCount)
    guard file.contains("column_mean") else { return }
    center = Center(
      means: try file.vector("column_mean", count: featureCount),
      biases: try file.vector("bias_at_mean", count: classCount).map(Float.init))
  }
}

extension LinearHead: ColumnSelectingHead, LogitHead {
  /// An optimum has exact zeros for constant columns, and for no others.
  var leftOutColumns: [Int] {
    guard center != nil else { return [] }
    return (0..<featureCount).filter { row in weights.row(row).allSatisfy { $0 == 0 } }
  }
}

// MARK: - As the Python original scores it

extension LinearHead: OriginallyScoredHead {
  /// The NLL is the loss that was minimised: of CrossEntropy against smoothed labels, of MSE half the squared
  /// difference between outputs and one-hot labels, the mean over rows and classes.
  func originalScores(
    _ split: FeatureSplit, own: SplitScores, _ method: Method, _ execution: Execution
  ) throws(NumericsError) -> SplitScores {
    var scores = own
    let smoothing = method[FitOptions.labelSmoothing]
    if Loss.self == SquaredErrorLoss.self {
      scores["nll"] = try halfSquaredError(split, execution)
    } else if smoothing > 0 {
      scores["nll"] = try smoothedLoss(split, smoothing: smoothing, execution)
    }
    return scores
  }
}

extension LinearHead {
  /// The mean cross-entropy against labels of which a share is spread over all classes, in nats.
  func smoothedLoss(
    _ split: FeatureSplit, smoothing: Double, _ execution: Execution
  ) throws(NumericsError) -> Double {
    var logs = try logits(split.features, execution: execution)
    logs.formLogSoftmaxRows()
    let spread = smoothing / Double(classCount)
    var sum = 0.0
    for (row, label) in split.labels.enumerated() {
      logs.withRow(row) { values in
        var total = 0.0
        for k in values.indices { total += Double(values[k]) }
        sum -= (1 - smoothing) * Double(values[Int(label)]) + spread * total
      }
    }
    return sum / Double(split.rowCount)
  }

  /// Half the squared difference between logits and one-hot labels, the mean over rows and classes.
  func halfSquaredError(
    _ split: FeatureSplit, _ execution: Execution
  ) throws(NumericsError) -> Double {
    let logits = try logits(split.features, execution: execution)
    var sum = 0.0
    for (row, label) in split.labels.enumerated() {
      logits.withRow(row) { values in
        for k in values.indices {
          let difference = Double(values[k]) - (k == Int(label) ? 1 : 0)
          sum += difference * difference
        }
      }
    }
    return sum / Double(2 * split.rowCount * classCount)
  }
}
