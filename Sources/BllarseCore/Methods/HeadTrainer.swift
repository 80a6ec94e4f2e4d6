public import BllarseNumerics

/// What a fit that takes all rows at once is given.
public struct FitRequest: Sendable {
  /// The head and the values of its options.
  public let method: Method
  /// The training rows, N x D.
  public let features: FeatureMatrix
  /// What is known of each row.
  public let targets: Targets
  /// A class in `0..<classCount` for each row, where a head predicts classes.
  public var labels: [Int32] { targets.labels }
  /// N x T, where a head predicts target values.
  public var values: Matrix<Double> { targets.values }
  /// How often each row counts; equally when `nil`.
  public let weights: [Double]?
  /// Which rows are left out together, where folds are formed; each by itself when `nil`.
  public let groups: [Int]?
  /// K, where a head predicts classes.
  public let classCount: Int
  /// The seed of everything random.
  public let seed: UInt64
  /// Whether predictions for left-out rows are to calibrate the head.
  public let calibratesOnFolds: Bool
  /// The threads to work with, and what tells it to stop.
  public let execution: Execution
}

/// How classes of different sizes count.
public enum ClassWeight: String, Sendable, CaseIterable {
  /// Every class as much as any other.
  case balanced
}

extension FitRequest {
  /// How often each row counts, with ``FitOptions/classWeight``; equally when `nil`.
  ///
  /// Balanced classes have equal sums of weights, and all rows together the sum that they had.
  public var rowWeights: [Double]? {
    guard method[FitOptions.classWeight] == .balanced else { return weights }
    let own = weights ?? [Double](repeating: 1, count: labels.count)
    var totals = [Double](repeating: 0, count: classCount)
    for (label, weight) in zip(labels, own) { totals[Int(label)] += weight }
    let share = totals.reduce(0, +) / Double(totals.count { $0 > 0 })
    return zip(labels, own).map { label, weight in
      weight > 0 ? weight * share / totals[Int(label)] : 0
    }
  }
}

/// What a run asks of a fit.
struct FitPlan: Sendable {
  /// The head, how it is fitted, and the values of the options.
  let method: Method
  /// The seed of everything random.
  let seed: UInt64
  /// Passes over the rows.
  let epochs: Int
  /// The batches after which the head is scored within an epoch; 0 for none.
  let scoringInterval: Int
  /// Whether predictions for left-out rows are to calibrate the head.
  let calibratesOnFolds: Bool

  /// The batches of an epoch; the last may be smaller.
  func batchCount(_ rowCount: Int) -> Int {
    let size = method[FitOptions.batchSize]
    return (rowCount + size - 1) / size
  }

  /// The order of the training rows in an epoch: a stream of its own for each.
  func rowOrder(epoch: Int, rowCount: Int) -> [Int] {
    var generator = Philox(seed: seed, purpose: .permutation, index: UInt64(epoch))
    return generator.permutation(count: rowCount)
  }

  /// What is to be scored after a batch, which is counted from 1; the last of an epoch is scored with the
  /// epoch.
  ///
  /// - Parameters:
  ///   - batch: of the epoch.
  ///   - count: the batches of the epoch.
  ///   - loss: the mean loss of the batches so far, where the trainer has one.
  ///   - head: as the batch left it.
  /// - Returns: one report or none.
  func reports(
    afterBatch batch: Int, of count: Int, loss: Double? = nil, _ head: @autoclosure () -> any Head
  ) -> [BatchReport] {
    guard scoringInterval > 0, batch < count, batch % scoringInterval == 0 else { return [] }
    return [BatchReport(batch: batch, loss: loss, head: head())]
  }
}

extension RunConfiguration {
  /// What is asked of the fit.
  var fitPlan: FitPlan {
    FitPlan(
      method: method, seed: seed, epochs: epochs, scoringInterval: effectiveInterval,
      calibratesOnFolds: calibrationOrDefault != .none)
  }
}

/// The batches of epochs, the rows of each in an order of its own.
struct EpochBatches: Sendable {
  /// Kept for the steps of an epoch.
  private var order: (epoch: Int, rows: [Int])?

  /// The rows of a batch.
  mutating func rows(
    ofBatch step: Int, epoch: Int, _ plan: FitPlan, rowCount: Int
  ) -> ArraySlice<Int> {
    if order?.epoch != epoch { order = (epoch, plan.rowOrder(epoch: epoch, rowCount: rowCount)) }
    let first = step * plan.method[FitOptions.batchSize]
    let end = min(first + plan.method[FitOptions.batchSize], rowCount)
    return order?.rows[first..<end] ?? []
  }
}

/// What a fit says of itself.
struct FitInfo: Sendable {
  /// Iterations over all rows.
  var iterations = 0
  /// The evidence, or a lower bound of it, in nats, where the head has one.
  var evidence: Double?
  /// Bounds on the distance to the maximum, in nats.
  var certificate: GapCertificate?
  /// What was chosen and why, for heads that choose.
  var report: LaplaceReport?
  /// What was chosen where options left it to the data, by the names of metrics: "l2".
  var chosen: [String: Double] = [:]
  /// The scores to expect on new rows, of a fit that is made of several.
  var estimate: [String: Double]?
  /// What was chosen for each label of sets, and its NLL of left-out rows, by the names of metrics.
  var labels: [[String: Double]] = []
  /// What the user should know about the fit, in one line.
  var note: String?
}

/// Fits a head step by step; a run can be stopped and stored after every step.
protocol HeadTrainer {
  /// The head as it is now.
  var head: any Head { get }
  /// What the fit says of itself so far.
  var info: FitInfo { get }

  /// The number of steps in an epoch: 1, unless batches are steps of their own.
  func stepCount(rowCount: Int) -> Int

  /// Takes one step of an epoch. What it does depends on the state, the epoch and the step alone, so that
  /// a restored state goes on with the same bits.
  ///
  /// - Parameters:
  ///   - step: counted from 0 in each epoch.
  ///   - epoch: counted from 1.
  ///   - split: the training rows.
  /// - Returns: the heads that the run is to score, in order.
  /// - Throws: `NumericsError` when the data make the step impossible; `NumericsError.cancelled` where
  ///   the step is a fit to all rows and was told to stop, which leaves the trainer as it was.
  @discardableResult
  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport]

  /// The mean loss of the epoch's batches so far, as the Python original takes it; `nil` for fits that it
  /// does not make.
  var batchLoss: Double? { get }

  /// Adds the whole state to a checkpoint.
  func encode(into writer: inout SafetensorsWriter)

  /// Takes up the state of a checkpoint.
  ///
  /// - Throws: `DataError` that names the file and what is wrong with it.
  mutating func restore(from file: SafetensorsFile) throws(DataError)
}

extension HeadTrainer {
  var batchLoss: Double? { nil }
  func stepCount(rowCount: Int) -> Int { 1 }
}

/// The training rows, and how many classes, or target values, there are.
struct TrainingData {
  let split: FeatureSplit
  let classCount: Int
  /// Where a linear head starts, (features + 1) x classes; from zero when `nil`.
  var initialWeights: Matrix<Float>?
  /// What classes, target values or labels are called; empty where nobody asks.
  var outputNames: [String] = []
  var featureCount: Int { split.featureCount }
}

/// Fits a head to all rows in one call: everything happens in the first epoch.
struct OnePassTrainer: HeadTrainer {
  private let plan: FitPlan
  private let data: TrainingData
  private let execution: Execution
  private let fit: @Sendable (FitRequest) throws(NumericsError) -> (any Head, FitInfo)
  private var fitted: (any Head)?
  private(set) var info = FitInfo()

  var head: any Head {
    guard let fitted else { preconditionFailure("the head was asked for before the first epoch") }
    return fitted
  }

  init(
    _ plan: FitPlan, _ data: TrainingData, _ execution: Execution,
    fit: @escaping @Sendable (FitRequest) throws(NumericsError) -> (any Head, FitInfo)
  ) {
    (self.plan, self.data, self.execution) = (plan, data, execution)
    self.fit = fit
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport] {
    let request = FitRequest(
      method: plan.method, features: split.features, targets: split.targets,
      weights: split.weights, groups: split.groups, classCount: data.classCount,
      seed: plan.seed, calibratesOnFolds: plan.calibratesOnFolds,
      execution: execution)
    let (head, info) = try fit(request)
    (fitted, self.info) = (head, info)
    return []
  }

  func encode(into writer: inout SafetensorsWriter) {
    // A run that was told to stop during its fit has nothing to store.
    writer.encode(iterations: info.iterations, info.evidence)
    guard let fitted else { return }
    writer.metadata["feature_count"] = String(fitted.featureCount)
    writer.metadata[type(of: fitted).task.countKey] = String(fitted.outputCount)
    writer.metadata["head_kind"] = type(of: fitted).kind
    fitted.encode(into: &writer)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    (info.iterations, info.evidence) = try file.progress()
    // A fit that was stopped stores no head; older versions named its features all the same.
    guard LearningTask.allCases.contains(where: { file.metadata[$0.countKey] != nil }) else {
      return
    }
    // Older runs had one kind of head that is fitted so.
    let name = file.metadata["head_kind"] ?? HeadMethod.softmax.kinds[0].kind
    guard let kind = HeadRegistry.kind(named: name) else {
      throw DataError(
        .malformedFile, file: file.path, key: "metadata head_kind",
        found: "there is no head \(name.quoted())", expected: oneOf(HeadRegistry.names))
    }
    let head = try kind.init(decoding: file)
    if let reporting = head as? any ReportingHead { info = reporting.fitInfo }
    fitted = head
  }
}

// MARK: - What all trainers store

extension SafetensorsWriter {
  /// Adds the progress of a trainer.
  mutating func encode(iterations: Int, _ evidenceLowerBound: Double?) {
    metadata["iterations"] = String(iterations)
    if let evidenceLowerBound { metadata["elbo"] = String(evidenceLowerBound) }
  }
}

extension SafetensorsFile {
  /// The progress of a trainer.
  func progress() throws(DataError) -> (iterations: Int, evidenceLowerBound: Double?) {
    (
      try integer("iterations", atLeast: 0),
      metadata["elbo"] == nil ? nil : try number("elbo", above: -.infinity)
    )
  }
}

/// The head after a batch in the middle of an epoch, for a run that scores it there.
struct BatchReport {
  /// The batches of the epoch so far.
  let batch: Int
  /// The mean loss of these batches, where the trainer has one.
  let loss: Double?
  let head: any Head
}

/// The losses of the batches of an epoch, as the Python original takes them: of a closed-form update
/// after it, of an optimiser's step before it.
struct BatchLosses: Sendable, Equatable {
  private var epoch = 0
  private var sum = 0.0
  private var count = 0

  /// Their mean, in nats; `nil` before the first.
  var mean: Double? { count > 0 ? sum / Double(count) : nil }

  /// Adds the mean loss of a batch's rows; the first of an epoch begins anew.
  mutating func add(_ loss: Double, epoch: Int) {
    if epoch != self.epoch { self = BatchLosses(epoch: epoch) }
    sum += loss
    count += 1
  }

  init() {}
  private init(epoch: Int) { self.epoch = epoch }

  func encode(into writer: inout SafetensorsWriter) {
    guard count > 0 else { return }
    writer.metadata["batch_losses"] = "\(epoch) \(count) \(sum)"
  }

  init(decoding file: SafetensorsFile) throws(DataError) {
    guard let text = file.metadata["batch_losses"] else { return }
    let parts = text.split(separator: " ")
    guard parts.count == 3, let epoch = Int(parts[0]), let count = Int(parts[1]), count > 0,
      let sum = Double(parts[2])
    else {
      throw DataError(
        .malformedFile, file: file.path, key: "metadata batch_losses",
        found: "the entry is \(text.quoted())", expected: "an epoch, a count and a sum")
    }
    (self.epoch, self.count, self.sum) = (epoch, count, sum)
  }
}
