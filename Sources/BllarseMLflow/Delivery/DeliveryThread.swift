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
  }

  private struct Orders {
    var isStopped = false
    /// How many wait for delivery.
    var waiterCount = 0
  }

  private let progress = Mutex(Progress())
  private let orders = Mutex(Orders())
  private let work = Bell()
  private let change = Bell()
  private let directory: RunDirectory
  /// Journals of processes that had the run before.
  private let earlierParts: [RunDirectory]
  private let store: any TrackingStore
  private let http: HTTPSettings
  private let logger: Logger

  init(
    directory: RunDirectory, after earlierParts: [RunDirectory] = [], store: any TrackingStore,
    http: HTTPSettings, logger: Logger
  ) {
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

  /// Waits until `count` records are delivered (and the run's end with all that belongs to it, if
  /// asked for), delivery is blocked, or time is up.
  func wait(
    forRecords count: Int, isEnd: Bool = false, upTo limit: Duration
  ) -> DeliveryReport {
    let deadline = ContinuousClock.now + limit
    // What was blocked gets another chance first.
    progress.withLock { $0.isBlocked = false }
    orders.withLock { $0.waiterCount += 1 }
    defer { orders.withLock { $0.waiterCount -= 1 } }
    work.ring()
    while true {
      let state = progress.withLock { $0 }
      let now = ContinuousClock.now
      let isDone = state.delivered >= count && !isEnd
      if isDone || state.isBlocked || state.isFinished || now >= deadline {
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
    defer { lease.release() }  // before the thread counts as finished
    let deliverer = Deliverer(directory: directory, store: store, logger: logger)
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
          pause(backoff.seconds(failures: failures, retryAfter: retryAfter))
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
    let end = ContinuousClock.now + .seconds(1)
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

  /// For requests under way: whether nobody wants their answer any more.
  var isCancelled: @Sendable () -> Bool {
    { [weak self] in self?.isStopped ?? true }
  }
}
