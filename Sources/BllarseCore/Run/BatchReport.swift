import BllarseNumerics

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
