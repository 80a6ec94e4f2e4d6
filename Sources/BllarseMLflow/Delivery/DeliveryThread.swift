import Foundation
import Logging
import Synchronization

/// Delivers a run's journal while the run goes on, on a thread of its own: a training that fills
/// Swift's cooperative threads, or has none, cannot starve it.
final class DeliveryThread: Sendable {
  private struct Progress {
    var delivered = 0  // records
    var refused = 0
    var runID, experimentID, problem: String?
    /// The last warning: the same one is not given twice.
    var warned: String?
    /// Nothing will work until somebody changes something.
    var isBlocked = false
    var isFinished = false
    /// When the store last took a request, or refused one for so short a moment that it is waited for.
    var lastSign: ContinuousClock.Instant?
    var notBefore: ContinuousClock.Instant?
    /// How often requests were refused for the moment, and whether that was told since one was taken.
    var refusals = 0
    var isWaitTold = false
    var isStopped = false
    var waiterCount = 0
  }

  private let progress = Mutex(Progress())
  private let lease = Mutex(Lease?.none)
  /// Rung when the journal has grown, or somebody waits.
  private let work: Bell
  private let change = Bell()
  private let directory: RunDirectory
  /// Journals of processes that had the run before.
  private let earlierParts: [RunDirectory]
  private let store: any TrackingStore
  private let http: HTTPSettings
  private let logger: Logger

  /// Starts the thread, for a journal that this process has begun.
  init(
    directory: RunDirectory, after earlierParts: [RunDirectory], store: any TrackingStore,
    http: HTTPSettings, work: Bell, logger: Logger
  ) {
    (self.directory, self.earlierParts, self.store) = (directory, earlierParts, store)
    (self.http, self.work, self.logger) = (http, work, logger)
    let thread = Thread { [self] in run() }
    thread.name = "mlflow-delivery"
    thread.stackSize = 1 << 20
    thread.start()
  }

  var runID: String? { progress.withLock { $0.runID } }
  var experimentID: String? { progress.withLock { $0.experimentID } }

  /// Waits until `count` records are delivered (and the run's end, if asked for), delivery is blocked, or
  /// time is up; says what is left.
  ///
  /// With `countsProgress` the limit begins again whenever the store takes a request, or refuses one
  /// for a short time; up to ten times the limit in all.
  func wait(
    forRecords count: Int, isEnd: Bool = false, upTo limit: Duration, countsProgress: Bool = false
  ) -> DeliveryReport {
    let start = ContinuousClock.now
    let ceiling = start + limit * (countsProgress ? 10 : 1)
    // What was blocked gets another chance first.
    progress.withLock { ($0.isBlocked, $0.waiterCount) = (false, $0.waiterCount + 1) }
    defer { progress.withLock { $0.waiterCount -= 1 } }
    work.ring()
    while true {
      let state = progress.withLock { $0 }
      let now = ContinuousClock.now
      let sign = countsProgress ? max(start, state.lastSign ?? start) : start
      let deadline = min(sign + limit, ceiling)
      let isDone = state.delivered >= count && !isEnd
      // Where the store wants no request before the time is up, waiting changes nothing.
      let isPutOff = state.notBefore.map { $0 > max(deadline, now + limit) } ?? false
      if isDone || state.isBlocked || state.isFinished || now >= deadline || isPutOff {
        let left = max(0, count - state.delivered)
        return DeliveryReport(
          undeliveredEvents: left, refusedItems: state.refused,
          problem: left > 0 ? state.problem : nil)
      }
      // Another waiter may take the ring, so look again after a while.
      change.wait(upTo: min(now.duration(to: deadline), .milliseconds(100)))
    }
  }

  /// Ends the thread, which gives up its lease; a request under way may take a moment longer than this.
  func stop() {
    progress.withLock { $0.isStopped = true }
    work.ring()
    let deadline = ContinuousClock.now + .seconds(1)
    while !progress.withLock({ $0.isFinished }), .now < deadline {
      change.wait(upTo: .milliseconds(50))
    }
  }

  // MARK: - The thread

  private var isStopped: Bool { progress.withLock { $0.isStopped } }
  private var isUrgent: Bool { progress.withLock { $0.waiterCount > 0 } }

  private func run() {
    defer {
      store.close()
      progress.withLock { $0.isFinished = true }
      change.ring()
    }
    guard let lease = waitForLease() else { return }
    self.lease.withLock { $0 = lease }
    defer { lease.release() }  // before the thread counts as finished
    store.observe(observer)
    let deliverer = Deliverer(directory: directory, store: store, logger: logger, isNew: true)
    var earlier = EarlierParts(parts: earlierParts, store: store, logger: logger)
    var failures = 0
    var spacing = (seconds: 1.0, refusals: 0)
    while !isStopped {
      lease.renewWhenDue()
      do {
        try earlier.deliver { isStopped }
        if deliverer.state.runID == nil {
          try deliverer.prepare()
          publish(deliverer)
          gather(&spacing)  // the first values travel together
        }
        let isMore = try deliverer.step(isFinal: false)
        if failures > 0 { logger.notice("\(store.destination.uri) takes events again") }
        failures = 0
        publish(deliverer)
        if !isMore {
          if deliverer.isEnded {
            try deliverer.settle()
            try earlier.deliver(isLast: true) { isStopped }
            warnAboutParent(deliverer)
            return
          }
          work.wait(upTo: .seconds(10))
          gather(&spacing)
        }
      } catch {
        failures += 1
        report(error, deliverer, isFirst: failures == 1)
        switch error {
        case .unavailable(_, let retryAfter, _):
          let seconds = http.backoffSeconds(failures: failures, retryAfter: retryAfter)
          if let retryAfter, retryAfter > RetryAfter.maxSeconds, failures == 1 {
            logger.warning(
              """
              the next request goes out in \(RequestWait.text(seconds)), not the \
              \(RequestWait.text(retryAfter)) that the server asks for
              """)
          }
          pause(seconds)
        case .serverError: pause(http.backoffSeconds(failures: failures))
        // Credentials may be corrected, runs restored: a look now and then costs nothing.
        case .blocked, .refused, .runMissing, .deleted, .unsupported: pause(60, isBlocked: true)
        }
      }
    }
  }

  /// A run whose parent is in another store stands alone.
  private func warnAboutParent(_ deliverer: Deliverer) {
    guard deliverer.state.isParentPending, let parent = deliverer.header?.parentID else { return }
    logger.warning(
      """
      \(store.destination.uri) has no run '\(parent.printable)', which MLFLOW_PARENT_RUN_ID names: \
      this run shows under it only once the parent is delivered there too
      """)
  }

  /// Waits a second for more events, so that they travel together; longer, up to a minute, for a store
  /// that refuses requests because they are too many.
  private func gather(_ spacing: inout (seconds: Double, refusals: Int)) {
    let refusals = progress.withLock { $0.refusals }
    let isTooFast = refusals > spacing.refusals
    spacing = (isTooFast ? min(spacing.seconds * 2, 60) : max(spacing.seconds / 2, 1), refusals)
    let end = ContinuousClock.now + .seconds(spacing.seconds)
    while !isStopped, !isUrgent, .now < end {
      work.wait(upTo: min(.milliseconds(200), ContinuousClock.now.duration(to: end)))
    }
  }

  /// Waits before the next attempt; at most two seconds while somebody waits for delivery.
  private func pause(_ seconds: Double, isBlocked: Bool = false) {
    let start = ContinuousClock.now
    let wasUrgent = isUrgent
    while !isStopped {
      let urgent = isUrgent
      if urgent, !wasUrgent { return }
      let limit = urgent && !isBlocked ? min(seconds, 2) : seconds
      let left = limit - start.duration(to: .now).seconds
      guard left > 0 else { return }
      work.wait(upTo: .seconds(min(left, 0.2)))
    }
  }

  private func waitForLease() -> Lease? {
    let path = directory.deliveryLease(to: store.destination)
    while !isStopped {
      if let lease = try? Lease.acquire(path, role: "run") { return lease }
      work.wait(upTo: .seconds(1))
    }
    return nil
  }

  private func publish(_ deliverer: Deliverer, problem: String? = nil, isBlocked: Bool = false) {
    let state = deliverer.state
    progress.withLock { progress in
      (progress.delivered, progress.refused) = (state.nextSequence, state.refusedCount)
      (progress.runID, progress.experimentID) = (state.runID, state.experimentID)
      (progress.problem, progress.isBlocked) = (problem, isBlocked)
    }
    change.ring()
  }

  private func report(_ failure: StoreFailure, _ deliverer: Deliverer, isFirst: Bool) {
    let isBlocked = !failure.isTemporary
    let isNews = progress.withLock { state in
      defer { state.warned = failure.message }
      return state.warned != failure.message && (isFirst || isBlocked)
    }
    // Before whoever waits can hear of it, and have the last word.
    if isNews && !isStopped {
      logger.warning(
        "\(failure.message);\(isBlocked ? "" : " trying again,") events are kept in \(directory.path)"
      )
    }
    publish(deliverer, problem: failure.message, isBlocked: isBlocked)
  }

  private var observer: RequestObserver {
    var observer = RequestObserver()
    observer.isCancelled = { [weak self] in self?.isStopped ?? true }
    observer.didTake = { [weak self] in
      self?.progress.withLock { ($0.lastSign, $0.notBefore, $0.isWaitTold) = (.now, nil, false) }
    }
    observer.willWait = { [weak self] wait in self?.note(wait) }
    observer.isWaiting = { [weak self] in self?.lease.withLock { $0 }?.renew() }
    return observer
  }

  /// Takes note of a refusal that the client waits for; a long wait is told, once.
  private func note(_ wait: RequestWait) {
    // A user should hear of ten seconds, which are no sign of progress.
    let isLong = wait.seconds >= 10
    let isNews = progress.withLock { state in
      let now = ContinuousClock.now
      state.refusals += 1
      state.notBefore = now + .seconds(wait.asked ?? wait.seconds)
      // The store lives, and has others to serve; one that puts off for long gives no such sign.
      if !isLong { state.lastSign = now }
      state.problem = wait.reason
      defer { state.isWaitTold = state.isWaitTold || isLong }
      return isLong && !state.isWaitTold
    }
    if isNews && !isStopped { logger.warning("\(wait.line); events are kept in \(directory.path)") }
    change.ring()
  }
}

/// Delivers what processes that had the run before have left in their journals: somebody who goes on
/// with a killed run need not think of `sync`.
private struct EarlierParts {
  var parts: [RunDirectory]
  let store: any TrackingStore
  let logger: Logger
  var nextLook = ContinuousClock.now

  /// Delivers what nobody else is delivering; names the parts that are left in the last look.
  mutating func deliver(isLast: Bool = false, isStopped: () -> Bool) throws(StoreFailure) {
    guard !parts.isEmpty, isLast || .now >= nextLook else { return }
    nextLook = .now + .seconds(2)
    for part in parts where Files.exists(part.journal) {
      if isStopped() { return }
      let path = part.deliveryLease(to: store.destination)
      guard let lease = try? Lease.acquire(path, role: "run") else {
        // Its process lives, or is on a machine whose death shows in a while.
        if isLast, let holder = Lease.holder(of: path) {
          logger.notice(
            "an earlier part of this run, \(part.path), is delivered by \(holder.description)")
        }
        continue
      }
      defer { lease.release() }
      try deliver(part, lease, isStopped: isStopped)
      if !isStopped() { parts.removeAll { $0 == part } }
    }
  }

  private func deliver(
    _ part: RunDirectory, _ lease: Lease, isStopped: () -> Bool
  ) throws(StoreFailure) {
    let deliverer = Deliverer(directory: part, store: store, logger: logger)
    do {
      try deliverer.readHeader(isFinal: true)
    } catch {
      logger.warning("\(error.message)")
      return
    }
    // Its process may be alive and about to write more.
    let isWriting = Lease.livingHolder(of: part.writerLease) != nil
    while try deliverer.step(isFinal: !isWriting) {
      if isStopped() { return }
      lease.renew()
    }
    try deliverer.settle()
  }
}
