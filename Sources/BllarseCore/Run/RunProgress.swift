import BllarseNumerics

/// How far a run has come: everything about it but the trainer's state.
struct RunProgress: Sendable, Equatable, Codable {
  /// The epoch that is being run, counted from 1; one more than the last when the run is over.
  var epoch = 1
  /// The steps of that epoch that have been taken.
  var step = 0
  /// What the epochs so far measured.
  var records: [EpochRecord] = []
  /// The best of them, where there is a validation split.
  var best: BestEpoch?
  /// Where the time went so far.
  var seconds = RunSeconds()
}

/// The epoch whose head predicts the validation split best.
public struct BestEpoch: Sendable, Equatable, Codable {
  /// The epoch, counted from 1.
  public var epoch: Int
  /// Its scores on the validation split.
  public var validation: SplitScores
  /// Its scores on every split.
  public var splits: [String: SplitScores]? = nil
  /// The training rows that its steps had seen: fewer than the epoch's when it was scored within it.
  public var seenExamples: Int? = nil

  private enum CodingKeys: String, CodingKey {
    case epoch, validation, splits
    case seenExamples = "seen_examples"
  }

  /// Whether this one is better: by accuracy, then by likelihood, then by calibration, as metrics are
  /// listed; the earlier of equals stays.
  func isBetter(than other: BestEpoch?) -> Bool {
    guard let other else { return true }
    let (a, b) = (validation, other.validation)
    // A head that diverged is never better than one that did not.
    if a.nll.isNaN || b.nll.isNaN { return b.nll.isNaN && !a.nll.isNaN }
    let decisive = Metric.ofSplits.first { a[$0.name] != b[$0.name] }
    return decisive.map { $0.isBetter(a[$0.name], than: b[$0.name]) } ?? false
  }
}

/// A run that was asked to stop, and did so between two steps, or in a step that begins anew.
public struct RunInterrupted: Error, Equatable, CustomStringConvertible {
  /// The directory from which it can go on, or `nil` when it keeps nothing.
  public let directory: String?
  /// The epoch that it was in.
  public let epoch: Int
  /// Where it was in that epoch.
  public let place: Place

  /// Describes an interruption.
  public init(directory: String?, epoch: Int, place: Place) {
    self.directory = directory
    self.epoch = epoch
    self.place = place
  }

  /// A place in an epoch.
  public enum Place: Sendable, Equatable {
    /// Between two steps.
    case steps(taken: Int, of: Int)
    /// In a fit to all rows, which begins anew when the run goes on, and ends with the same bits.
    case fit
    /// Before the first step, while data were read or turned into features.
    case data
  }

  /// Where it stopped.
  public var description: String {
    switch place {
    case .steps(let taken, let count):
      "interrupted in epoch \(epoch) after step \(taken) of \(count)"
    case .fit:
      "interrupted in epoch \(epoch) during its fit to all rows, which will start anew"
    case .data: "interrupted before the first step"
    }
  }
}

extension FeatureSplit {
  /// A short text that tells data apart: the shape, and a hash (FNV-1a, 64 bits) of all labels, weights and
  /// groups and of the features of up to 1024 rows, evenly spread.
  var fingerprint: String {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    func add(_ bits: UInt64) { hash = (hash ^ bits) &* 0x100_0000_01B3 }
    for label in labels { add(UInt64(bitPattern: Int64(label))) }
    for weight in weights ?? [] { add(weight.bitPattern) }
    for group in groups ?? [] { add(UInt64(bitPattern: Int64(group))) }
    let count = min(rowCount, 1024)
    for place in 0..<count {
      let row = place * rowCount / count
      for value in features.rows(row..<row + 1).converted(to: Double.self).elements {
        add(value.bitPattern)
      }
    }
    return "\(rowCount) x \(featureCount), \(String(hash, radix: 16))"
  }
}
