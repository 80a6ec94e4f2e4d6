/// An attempt under way, whoever started it.
protocol WatchedAttempt: AnyObject {
  var entry: ManifestEntry { get }
  func forward(_ signal: Int32)
  func poll() throws -> AttemptEnd?
}

extension RunningAttempt: WatchedAttempt {}

/// An attempt whose program goes on though its launcher has died: it is waited for, and never started
/// a second time.
final class AdoptedAttempt: WatchedAttempt {
  let entry: ManifestEntry
  private let run: RunDirectory
  private let attempt: AttemptDirectory
  private let claim: AttemptClaim
  private var lastLook = -Double.infinity

  /// Adopts a configuration's last attempt; nil when it is over, or somebody looks after it.
  init?(_ entry: ManifestEntry, in directory: SweepDirectory) {
    self.entry = entry
    run = directory.run(entry.index)
    guard let number = run.attempts.last else { return nil }
    attempt = run.attempt(number)
    guard let claim = attempt.claim, attempt.isOrphan(claim) else { return nil }
    self.claim = claim
  }

  func forward(_ signal: Int32) {
    if let keeper = claim.livingChild {
      // Without a keeper the child is the program itself, the first of its group.
      let passed = claim.hasKeeper && signal == Signals.kill ? Signals.quit : signal
      Child.send(
        passed, to: Int32(clamping: keeper),
        group: !claim.hasKeeper && signal != Signals.checkpoint)
    } else {
      for process in Host.processes(with: attempt.mark(claim)) {
        Child.send(signal, to: Int32(clamping: process))
      }
    }
  }

  func poll() throws -> AttemptEnd? {
    if claim.livingChild != nil { return nil }
    // Looking for a mark means to look at every process.
    guard Host.monotonic - lastLook > 0.5 else { return nil }
    lastLook = Host.monotonic
    if attempt.isOrphan(claim) { return nil }
    if let end = attempt.end { return end }
    return try attempt.settle(run, hash: entry.hash, claim: claim)
  }
}
