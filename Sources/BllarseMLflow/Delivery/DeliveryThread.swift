import Foundation
import Logging
import Synchronization

/// Delivers a run's journal while the run goes on, on a thread of its own: a training that fills
/// Swift's cooperative threads, or has none, cannot starve it.
final class DeliveryThread: Sendable {
  private struct Progress {
    var delivered = 0  // records
    var refused = 0
    var runID: String?
    var experimentID: String?
    var problem: String?
    /// The last warning: the same one is not given twice.
    var warned: String?
    /// Nothing will work until somebody changes something.
    var isBlocked = false
    var isFinished = false
    /// When the store last took a request, or refused one for so short a moment that it is waited for.
    var lastSign: ContinuousClock.Instant?
    /// When the store wants the next request.
    var notBefore: ContinuousClock.Instant?
    /// How often requests were refused for the moment, and whether that was told since one was taken.
    var refusals = 0
    var isWaitTold = false
  }

  private struct Orders {
    var isStopped = false
    /// How many wait for delivery.
    var waiterCount = 0
  }

  private let progress = Mutex(Progress())
  private let orders = Mutex(Orders())
  private let lease = Mutex(Lease?.none)
  private let work = Bell()
  private let change = Bell()
  private let directory: RunDirectory
  /// Journals of processes that had the run before.
  private let earlierParts: [RunDirectory]
  private let store: any TrackingStore
  private let http: HTTPSettings
  private let logger: Logger
  /// Whether the journal was begun by this process.
  private let isNew: Bool
  private let spacing = Mutex(Spacing())

  /// How long events are gathered before they are sent.
  private struct Spacing {
    private var seconds = 1.0
    private var refusals = 0

    mutating func next(refusals: Int) -> Double {
      seconds = refusals > self.refusals ? min(seconds * 2, 60) : max(seconds / 2, 1)
      self.refusals = refusals
      return seconds
    }
  }

  init(
    directory: RunDirectory, after earlierParts: [RunDirectory] = [], store: any TrackingStore,
    http: HTTPSettings, logger: Logger, isNew: Bool = false
  ) {
    self.isNew = isNew
    self.directory = directory
    self.earlierParts = earlierParts
    self.store = store
    self.http = http
    self.logger = logger
  }

  func start() {
    let thread = Thread { [self] in run() }
    thread.name = "mlflow-delivery"
    thread.stackSize = 1 << 20
    thread.start()
  }

  /// The journal has grown.
  func wake() { work.ring() }

  var runID: String? { progress.withLock { $0.runID } }
  var experimentID: String? { progress.withLock { $0.experimentID } }

  /// How many times the limit of a wait is exceeded for a store that goes on taking requests.
  static let progressFactor = 10

  /// Waits until `count` records are delivered (and the run's end with all that belongs to it, if
  /// asked for), delivery is blocked, or time is up.
  ///
  /// - Parameters:
  ///   - count: how many records.
  ///   - isEnd: whether to wait for the end of the run, too.
  ///   - limit: how long to wait.
  ///   - countsProgress: whether the limit begins again whenever the store takes a request, or refuses one
  ///     for a short time; up to ten times the limit in all.
  /// - Returns: what is left.
  func wait(
    forRecords count: Int, isEnd: Bool = false, upTo limit: Duration, countsProgress: Bool = false
  ) -> DeliveryReport {
    let start = ContinuousClock.now
    let ceiling = start + limit * (countsProgress ? Self.progressFactor : 1)
    // What was blocked gets another chance first.
    progress.withLock { $0.isBlocked = false }
    orders.withLock { $0.waiterCount += 1 }
    defer { orders.withLock { $0.waiterCount -= 1 } }
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
        var report = DeliveryReport()
        report.undeliveredEvents = max(0, count - state.delivered)
        report.refusedItems = state.refused
        report.problem = report.undeliveredEvents > 0 ? state.problem : nil
        return report
      }
      // Another waiter may take the ring, so look again after a while.
      change.wait(upTo: min(now.duration(to: deadline), .milliseconds(100)))
    }
  }

  /// Ends the thread, which gives up its lease.
  ///
  /// A request that is under way is given up too, but may take a moment longer than this waits.
  func stop() {
    orders.withLock { $0.isStopped = true }
    work.ring()
    let deadline = ContinuousClock.now + .seconds(1)
    while !progress.withLock({ $0.isFinished }), .now < deadline {
      change.wait(upTo: .milliseconds(50))
    }
  }

  // MARK: - The thread

  private var isStopped: Bool { orders.withLock { $0.isStopped } }
  private var isUrgent: Bool { orders.withLock { $0.waiterCount > 0 } }

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
    let deliverer = Deliverer(directory: directory, store: store, logger: logger, isNew: isNew)
    var earlier = EarlierParts(earlierParts, store: store, logger: logger)
    let backoff = Backoff(http)
    var failures = 0
    var lastRenewal = ContinuousClock.now
    while !isStopped {
      if lastRenewal.duration(to: .now) > .seconds(20) {
        lease.renew()
        lastRenewal = .now
      }
      do {
        try earlier.deliver { isStopped }
        if deliverer.state.runID == nil {
          try deliverer.prepare()
          publish(deliverer)
          gather()  // the first values travel together
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
          rest()
        }
      } catch {
        failures += 1
        report(error, deliverer, isFirst: failures == 1)
        switch error {
        case .unavailable(_, let retryAfter, _):
          let seconds = backoff.seconds(failures: failures, retryAfter: retryAfter)
          if let retryAfter, retryAfter > RetryAfter.maxSeconds, failures == 1 {
            logger.warning(
              """
              the next request goes out in \(RequestWait.text(seconds)), not the \
              \(RequestWait.text(retryAfter)) that the server asks for
              """)
          }
          pause(seconds)
        case .serverError: pause(backoff.seconds(failures: failures))
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

  /// Waits for new events, and then a little for more of them, so that they travel together.
  private func rest() {
    work.wait(upTo: .seconds(10))
    gather()
  }

  /// Waits a second for more events; longer, up to a minute, for a store that refuses requests because
  /// they are too many.
  private func gather() {
    let refusals = progress.withLock { $0.refusals }
    let seconds = spacing.withLock { $0.next(refusals: refusals) }
    let end = ContinuousClock.now + .seconds(seconds)
    while !isStopped, !isUrgent, .now < end {
      work.wait(upTo: min(.milliseconds(200), ContinuousClock.now.duration(to: end)))
    }
  }

  /// Waits before the next attempt.
  ///
  /// While somebody waits for delivery, attempts come at least every two seconds: the server may be
  /// back just in time.
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

  private func publish(_ deliverer: Deliverer) {
    progress.withLock { state in
      state.delivered = deliverer.state.nextSequence
      state.refused = deliverer.state.refusedCount
      state.runID = deliverer.state.runID
      state.experimentID = deliverer.state.experimentID
      state.problem = nil
      state.isBlocked = false
    }
    change.ring()
  }

  private func report(_ failure: StoreFailure, _ deliverer: Deliverer, isFirst: Bool) {
    let isBlocked =
      switch failure {
      case .unavailable, .serverError: false
      case .blocked, .refused, .runMissing, .deleted, .unsupported: true
      }
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
    progress.withLock { state in
      state.problem = failure.message
      state.isBlocked = isBlocked
      state.delivered = deliverer.state.nextSequence
      state.runID = deliverer.state.runID
      state.experimentID = deliverer.state.experimentID
    }
    change.ring()
  }

  /// For requests under way.
  private var observer: RequestObserver {
    var observer = RequestObserver()
    observer.isCancelled = { [weak self] in self?.isStopped ?? true }
    observer.didTake = { [weak self] in self?.noteTaken() }
    observer.willWait = { [weak self] wait in self?.note(wait) }
    observer.isWaiting = { [weak self] in self?.lease.withLock { $0 }?.renew() }
    return observer
  }

  private func noteTaken() {
    progress.withLock { state in
      state.lastSign = .now
      state.notBefore = nil
      state.isWaitTold = false
    }
  }

  /// Takes note of a refusal that the client waits for; a long wait is told, once.
  private func note(_ wait: RequestWait) {
    let isNews = progress.withLock { state in
      let now = ContinuousClock.now
      state.refusals += 1
      state.notBefore = now + .seconds(wait.asked ?? wait.seconds)
      // The store lives, and has others to serve; one that puts off for long gives no such sign.
      if wait.seconds < Self.longWaitSeconds { state.lastSign = now }
      state.problem = wait.reason
      defer { if wait.seconds >= Self.longWaitSeconds { state.isWaitTold = true } }
      return wait.seconds >= Self.longWaitSeconds && !state.isWaitTold
    }
    if isNews && !isStopped {
      logger.warning("\(wait.line); events are kept in \(directory.path)")
    }
    change.ring()
  }

  /// A wait that a user should hear of, and that is no sign of progress.
  private static let longWaitSeconds = 10.0
}
