import BllarseNumerics

/// A run whose scores are not all numbers, for a reason that lies in the fit: it did not succeed, whatever
/// it wrote.
public struct ScoresNotFinite: Error, Equatable, Sendable, CustomStringConvertible {
  /// The first such score, "train.nll".
  public let score: String
  /// What it is: "NaN", "Infinity".
  public let value: String

  /// What happened, and what to do.
  public var description: String {
    "the score \(score) is \(value): the fit diverged; lower the learning rate, or raise the prior precision"
  }
}

/// The gate that scores and predictions pass before a command ends well: none is NaN or infinite,
/// whichever way it came about.
enum FiniteScores {
  /// Checks everything that a run reports.
  ///
  /// - Parameters:
  ///   - result: of the run.
  ///   - head: what was scored.
  ///   - data: what it was scored on.
  /// - Throws: `DataError.Code.notFinite` with the row whose predictions are not numbers, where those of
  ///   the training rows are; ``ScoresNotFinite`` otherwise.
  static func check(
    _ result: RunResult, _ head: any Head, on data: FeatureDataset
  ) throws {
    guard let (score, value) = firstNonFinite(in: result) else { return }
    let names = data.splitNames.filter { $0 != SplitRoles.training }
    if let train = data[SplitRoles.training], place(head, train) == nil {
      for name in names {
        guard let split = data[name], let row = place(head, split) else { continue }
        throw fault(split.features, row: row, file: data.file, key: "\(name) split features")
      }
    }
    throw ScoresNotFinite(score: score, value: value)
  }

  /// Checks the scores of a stored head, whose own numbers were checked when it was read.
  ///
  /// - Throws: `DataError.Code.notFinite` with the row.
  static func check(
    _ scores: SplitScores, _ head: any Head, on split: FeatureSplit, file: String?, key: String
  ) throws {
    guard !scores.values.values.allSatisfy(\.isFinite) else { return }
    guard let row = place(head, split) else {
      throw ScoresNotFinite(score: "nll", value: "\(scores.nll)")
    }
    throw fault(split.features, row: row, file: file, key: key)
  }

  /// Checks predictions of a stored head.
  ///
  /// - Throws: `DataError.Code.notFinite` with the row.
  static func check(
    _ predictions: Uncertainty, of features: FeatureMatrix, file: String?, key: String
  ) throws(DataError) {
    let rows = [
      predictions.logProbabilities.firstNonFinite?.row,
      predictions.columns.compactMap { $0.values.firstIndex { !$0.isFinite } }.min(),
    ]
    guard let row = rows.compactMap({ $0 }).min() else { return }
    throw fault(features, row: row, file: file, key: key)
  }

  /// The first number of a result that is none.
  ///
  /// The result is looked through as it is written, so that a score that is added tomorrow passes here too.
  static func firstNonFinite(in result: RunResult) -> (score: String, value: String)? {
    // Options are the user's, and the bounds of a certificate are no scores.
    let others: Set = ["arguments", "notes", "data", "versions", "certificate", "seconds"]
    // The scores of splits first: the others follow from them.
    let first = ["train", "test", "splits"]
    let faults = result.numbers.filter { !$0.value.isFinite && !others.contains($0.path[0]) }
    let fault = faults.min {
      (first.firstIndex(of: $0.path[0]) ?? first.count)
        < (first.firstIndex(of: $1.path[0]) ?? first.count)
    }
    return fault.map { path, value in
      let text = value.isNaN ? "NaN" : value > 0 ? "Infinity" : "-Infinity"
      return (path.joined(separator: "."), text)
    }
  }

  /// The first row whose predictions are not numbers, or give its label no probability.
  private static func place(_ head: any Head, _ split: FeatureSplit) -> Int? {
    guard let logs = try? head.logProbabilities(split.features) else { return 0 }
    return split.labels.indices.first { row in
      logs.withRow(row) { values in
        values.indices.contains { values[$0].isNaN || values[$0] == .infinity }
          || !values[Int(split.labels[row])].isFinite
      }
    }
  }

  /// What is wrong with a row: its largest feature is most likely the reason.
  private static func fault(
    _ features: FeatureMatrix, row: Int, file: String?, key: String
  ) -> DataError {
    let column =
      (0..<features.columnCount).max {
        features.value(row, $0).magnitude < features.value(row, $1).magnitude
      } ?? 0
    return DataError(
      .notFinite, file: file, key: key, row: row, column: column,
      found: "the row's predictions overflow; \(features.value(row, column)) is its largest value",
      expected: "features of the size that the head was fitted to",
      advice: "remove the row or correct the value")
  }
}
