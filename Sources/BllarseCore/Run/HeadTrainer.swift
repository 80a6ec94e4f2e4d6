import BllarseNumerics

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
