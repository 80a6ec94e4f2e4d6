/// Somebody who wants to know how a run goes: a terminal, a tracker, a test.
///
/// Core knows nothing of trackers; the executable connects the two by this protocol.
public protocol RunObserver {
  /// The data are there.
  func runDidLoad(_ data: FeatureDataset, seconds: RunSeconds)
  /// It is known which split is which.
  func runDidAssign(_ roles: SplitRoles)
  /// The images went through a backbone.
  func runDidUse(_ backbone: ResidualMLP)
  /// The backbone's own classifier was scored on the test split, before a head is fitted.
  func runDidScoreBaseline(_ test: SplitScores)
  /// The head was scored after a batch within an epoch.
  func runDidScoreBatch(_ record: EpochRecord)
  /// An epoch is over.
  func runDidFinishEpoch(_ record: EpochRecord)
  /// The state of a run of steps is about to be kept, with what its optimiser holds: every `saveEvery`
  /// epochs and after the last; `write` puts it into a file from which the run can go on.
  func runWillSave(epoch: Int, write: (_ path: String) throws -> Void)
  /// The head is fitted; `write` puts it into a file.
  func runDidFit(write: (_ path: String) throws -> Void)
  /// Something that the user should know, in one line.
  func runDidNote(_ message: String)
}

extension RunObserver {
  /// Ignores it.
  public func runDidLoad(_ data: FeatureDataset, seconds: RunSeconds) {}
  /// Ignores it.
  public func runDidAssign(_ roles: SplitRoles) {}
  /// Ignores it.
  public func runDidUse(_ backbone: ResidualMLP) {}
  /// Ignores it.
  public func runDidScoreBaseline(_ test: SplitScores) {}
  /// Ignores it.
  public func runDidScoreBatch(_ record: EpochRecord) {}
  /// Ignores it.
  public func runDidFinishEpoch(_ record: EpochRecord) {}
  /// Ignores it.
  public func runWillSave(epoch: Int, write: (_ path: String) throws -> Void) {}
  /// Ignores it.
  public func runDidFit(write: (_ path: String) throws -> Void) {}
  /// Ignores it.
  public func runDidNote(_ message: String) {}
}
