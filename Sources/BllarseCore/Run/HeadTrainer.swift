import BllarseNumerics

/// Fits a head step by step; a run can be stopped and stored after every step.
protocol HeadTrainer {
  /// The head as it is now.
  var head: any Head { get }
  /// The iterations so far, over all batches.
  var iterations: Int { get }
  /// The evidence lower bound of the training rows, where the head has one.
  var evidenceLowerBound: Double? { get }
  /// Bounds on its distance to the maximum, after a converged fit.
  var certificate: GapCertificate? { get }
  /// What was chosen and why, for heads that choose.
  var report: EvidenceReport? { get }
  /// The L2 strength, where it was chosen by the evidence.
  var chosenPenalty: Double? { get }
  /// What the user should know about the fit, in one line.
  var note: String? { get }
  /// The number of steps in an epoch: 1, unless batches are steps of their own.
  func stepCount(rowCount: Int) -> Int

  /// Takes one step of an epoch. What it does depends on the state, the epoch and the step alone, so that
  /// a restored state goes on with the same bits. Steps are counted from 0 in each epoch, epochs from 1.
  ///
  /// - Throws: `NumericsError` when the data make the step impossible; `NumericsError.cancelled` where
  ///   the step is a fit to all rows and was told to stop, which leaves the trainer as it was.
  mutating func runStep(_ step: Int, epoch: Int, on split: FeatureSplit) throws(NumericsError)

  /// The mean loss of the epoch's batches so far, as the Python original takes it; `nil` for fits that it
  /// does not make.
  var batchLoss: Double? { get }

  /// The heads of the last step that the run is to score, in order; they are handed out once.
  mutating func takeBatchReports() -> [BatchReport]

  /// Adds the whole state to a checkpoint.
  func encode(into writer: inout SafetensorsWriter)

  /// Takes up the state of a checkpoint.
  ///
  /// - Throws: `DataError` that names the file and what is wrong with it.
  mutating func restore(from file: SafetensorsFile) throws(DataError)
}

extension HeadTrainer {
  var report: EvidenceReport? { nil }
  var note: String? { nil }
  var chosenPenalty: Double? { nil }
  var batchLoss: Double? { nil }
  func takeBatchReports() -> [BatchReport] { [] }
  func stepCount(rowCount: Int) -> Int { 1 }
}

/// The training rows, and how many classes there are.
struct TrainingData {
  let split: FeatureSplit
  let classCount: Int
  /// Where a linear head starts, (features + 1) x classes; from zero when `nil`.
  var initialWeights: Matrix<Float>?
  var featureCount: Int { split.featureCount }
}

extension RunConfiguration {
  /// The order of the training rows in an epoch: a stream of its own for each.
  func rowOrder(epoch: Int, rowCount: Int) -> [Int] {
    var generator = Philox(seed: seed, purpose: .permutation, index: UInt64(epoch))
    return generator.permutation(count: rowCount)
  }

  /// The batches of an epoch; the last may be smaller.
  func batchCount(_ rowCount: Int) -> Int {
    let size = method[FitOptions.batchSize]
    return (rowCount + size - 1) / size
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

extension RunConfiguration {
  /// Whether the head is scored after a batch, which is counted from 1; the last of an epoch is scored
  /// with the epoch.
  func isScored(afterBatch batch: Int, of count: Int) -> Bool {
    effectiveInterval > 0 && batch < count && batch % effectiveInterval == 0
  }

  /// The training rows that all steps up to a batch of an epoch have seen.
  func seenExamples(epoch: Int, batch: Int?, rowCount: Int) -> Int {
    (epoch - 1) * rowCount
      + (batch.map { min($0 * method[FitOptions.batchSize], rowCount) } ?? rowCount)
  }
}
