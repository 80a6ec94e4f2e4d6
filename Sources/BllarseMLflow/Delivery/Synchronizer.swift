import Foundation
package import Logging

/// Delivers journals after the fact: what live delivery left, and whole sweeps into one store.
///
/// Running it again changes nothing, and running it twice at once neither: each journal is delivered
/// by whoever holds its lease, and the other one waits.
package struct Synchronizer {
  package struct Outcome: Sendable, Equatable {
    package enum Result: Sendable, Equatable {
      case delivered
      /// Everything had been delivered before.
      case unchanged
      case busy(String)
      case failed(String)
    }
    package var directory: RunDirectory
    /// The first part of the run, which is this one unless several processes had the run.
    var firstPart: RunDirectory
    package var name = ""
    package var result = Result.unchanged
    package var deliveredRecords = 0
    package var refusedItems = 0
    var damage = JournalReader.Damage()
    package var missingRecords = 0
    /// Whether the run was ended KILLED because its process is gone.
    package var isClosed = false
    package var isRunning = false
    package var isComplete: Bool { result == .delivered || result == .unchanged }
  }

  private let store: any TrackingStore
  private let http: HTTPSettings
  private let logger: Logger
  private let sleep: (Double) -> Void

  /// Delivers to `store`; `sleep` waits for some seconds, and a test passes one that does not.
  package init(
    store: any TrackingStore, http: HTTPSettings, logger: Logger,
    sleep: @escaping (Double) -> Void = { Thread.sleep(forTimeInterval: $0) }
  ) {
    (self.store, self.http, self.logger, self.sleep) = (store, http, logger, sleep)
    var observer = RequestObserver()
    observer.willWait = { wait in
      if wait.seconds >= 5 || wait.refusals == 1 { logger.notice("\(wait.line)") }
    }
    store.observe(observer)
  }

  /// Delivers all journals at and below `roots`, parents before children; `report` is called after
  /// each.
  package func sync(_ roots: [String], report: (Outcome) -> Void = { _ in }) -> [Outcome] {
    var seen: Set<RunDirectory> = []
    let found = roots.flatMap { RunDirectory.find(below: $0) }
    // A run that several processes had is delivered with all its parts.
    let journals = found.map(Journal.init).flatMap { journal in
      [journal] + journal.otherParts.map(Journal.init)
    }.filter { seen.insert($0.directory).inserted }
    var aliases: [String: String] = [:]
    for journal in journals { aliases.merge(journal.aliases) { first, _ in first } }
    let resumed = Set(journals.compactMap { $0.header?.resumedID.map { aliases[$0] ?? $0 } })
    var outcomes: [Outcome] = []
    var obstacle: String?
    for journal in Self.ordered(journals, aliases: aliases) {
      var outcome = Outcome(directory: journal.directory, firstPart: journal.firstPart)
      outcome.name = journal.header?.name ?? ""
      if let obstacle {
        // What stopped one journal stops all of them.
        outcome.result = .failed(obstacle)
      } else {
        obstacle = deliver(
          journal, aliases: aliases, isResumed: resumed.contains(journal.directory.name), &outcome)
      }
      outcomes.append(outcome)
      report(outcome)
    }
    return outcomes
  }

  // MARK: - One journal

  /// Delivers one; returns a failure that would stop other journals as well.
  private func deliver(
    _ journal: Journal, aliases: [String: String], isResumed: Bool, _ outcome: inout Outcome
  ) -> String? {
    do {
      guard let lease = try acquireLease(journal.directory, outcome: &outcome) else { return nil }
      defer { lease.release() }
      try deliver(journal, aliases: aliases, isResumed: isResumed, lease, outcome: &outcome)
    } catch let failure as StoreFailure {
      outcome.result = .failed(failure.message)
      if case .blocked = failure { return failure.message }
      if failure.isTemporary { return failure.message }
    } catch {
      outcome.result = .failed("\(error)")
    }
    return nil
  }

  private func deliver(
    _ journal: Journal, aliases: [String: String], isResumed: Bool, _ lease: Lease,
    outcome: inout Outcome
  ) throws {
    let directory = journal.directory
    let deliverer = Deliverer(directory: directory, store: store, logger: logger, aliases: aliases)
    let isWriting = Lease.livingHolder(of: directory.writerLease) != nil
    outcome.isRunning = isWriting
    let before = deliverer.state.nextSequence
    defer {
      outcome.deliveredRecords = deliverer.state.nextSequence - before
      outcome.refusedItems = deliverer.state.refusedCount
      outcome.damage = deliverer.damage
      outcome.missingRecords = deliverer.missingRecords
    }
    while try retrying({ () throws(StoreFailure) in try deliverer.step(isFinal: !isWriting) }) {
      lease.renew()
    }
    if !isWriting {
      // Without one it was killed before the first record was written.
      guard deliverer.header != nil else { return }
      if !deliverer.isEnded, !isResumed {
        try retrying { () throws(StoreFailure) in try deliverer.closeAbandoned() }
        outcome.isClosed = true
      }
      try retrying { () throws(StoreFailure) in try deliverer.settle() }
    }
    outcome.result =
      deliverer.state.nextSequence > before || outcome.isClosed ? .delivered : .unchanged
  }

  /// Waits for another sync, which will be done soon; not for a run, which may take days.
  private func acquireLease(
    _ directory: RunDirectory, outcome: inout Outcome
  ) throws(TrackingError) -> Lease? {
    let path = directory.deliveryLease(to: store.destination)
    var waits = 0
    while true {
      if let lease = try Lease.acquire(path, role: "sync") { return lease }
      if let holder = Lease.livingHolder(of: path), holder.role == "run" {
        outcome.isRunning = true
        outcome.result = .busy("its own \(holder.description) delivers it")
        return nil
      }
      waits += 1
      if waits == 25, let holder = Lease.holder(of: path) {
        logger.notice(
          "waiting for the sync of \(holder.description), which delivers \(directory.path)")
      }
      sleep(0.2)
    }
  }

  /// Repeats what fails for the moment, as often and with such pauses as the settings say.
  @discardableResult
  private func retrying<Value>(
    _ body: () throws(StoreFailure) -> Value
  ) throws(StoreFailure) -> Value {
    var failures = 0
    while true {
      do {
        return try body()
      } catch {
        failures += 1
        guard failures <= http.maxRetries else { throw error }
        var wish: Double?
        if case .unavailable(_, let retryAfter, _) = error { wish = retryAfter }
        // Come again much later, says the server, or the client has asked it again for long enough.
        guard error.isTemporary, wish ?? 0 <= RetryAfter.maxSeconds else { throw error }
        let seconds = http.backoffSeconds(failures: failures, retryAfter: wish)
        logger.notice(
          """
          \(error.message); again in \(RequestWait.text(seconds)) (attempt \(failures + 1) of \
          \(http.maxRetries + 1))
          """)
        sleep(seconds)
      }
    }
  }

  // MARK: - Order

  private struct Journal {
    let directory: RunDirectory
    let header: RunHeader?
    let startTime: Int
    /// This run's local id, by the ids it has elsewhere.
    var aliases: [String: String] = [:]

    init(_ directory: RunDirectory) {
      self.directory = directory
      let start = directory.start
      (header, startTime) = (start?.header, start?.time ?? 0)
      guard let header, header.resumedID == nil else { return }
      for state in directory.deliveryStates {
        if let id = state.runID, id != header.localID { aliases[id] = header.localID }
      }
    }

    private var parts: RunParts? { header.map { RunParts(of: directory, header: $0) } }
    var firstPart: RunDirectory { parts?.first ?? directory }

    /// Journals of the same run, if this is not the only one.
    var otherParts: [RunDirectory] { (parts?.all ?? []).filter { $0 != directory } }
  }

  /// Runs that others are nested under, or go on with, come first.
  private static func ordered(_ journals: [Journal], aliases: [String: String]) -> [Journal] {
    let byID = Dictionary(
      journals.compactMap { journal in journal.header.map { ($0.localID, journal) } },
      uniquingKeysWith: { first, _ in first })
    func depth(_ journal: Journal, _ limit: Int) -> Int {
      guard limit > 0, let header = journal.header, let above = header.resumedID ?? header.parentID,
        let next = byID[aliases[above] ?? above], next.directory != journal.directory
      else { return 0 }
      return 1 + depth(next, limit - 1)
    }
    return journals.enumerated().map { (depth($1, 32), $1.startTime, $0, $1) }
      .sorted { ($0.0, $0.1, $0.2) < ($1.0, $1.1, $1.2) }.map(\.3)
  }
}

extension Synchronizer.Outcome {
  package var line: String {
    let title = name.isEmpty ? directory.name : "\(name) (\(directory.name))"
    var parts: [String] = []
    switch result {
    case .delivered: parts.append("delivered \(deliveredRecords) events")
    case .unchanged: parts.append(isRunning ? "nothing new so far" : "nothing to deliver")
    case .busy(let reason): parts.append(reason)
    case .failed(let reason): parts.append("not delivered: \(reason)")
    }
    if isClosed { parts.append("ended KILLED, its process is gone") }
    if refusedItems > 0 { parts.append("\(refusedItems) items refused, kept in \(directory.path)") }
    if damage.tornBytes > 0 {
      parts.append("\(damage.tornBytes) bytes of an unfinished last event cut off")
    }
    if damage.damagedLines > 0 { parts.append("\(damage.damagedLines) damaged events skipped") }
    if missingRecords > 0 { parts.append("\(missingRecords) events are missing") }
    return "\(title): \(parts.joined(separator: "; "))".printable
  }

  /// Whether nothing would be lost with the journal.
  fileprivate var isPrunable: Bool {
    isComplete && !isRunning && refusedItems == 0 && damage.damagedLines == 0 && missingRecords == 0
  }
}

extension Synchronizer {
  /// The journals of runs that are delivered whole, in all their parts.
  package static func prunable(_ outcomes: [Outcome]) -> [RunDirectory] {
    Dictionary(grouping: outcomes, by: \.firstPart).values
      .filter { $0.allSatisfy(\.isPrunable) }.flatMap { $0.map(\.directory) }
  }

  package static func summary(_ outcomes: [Outcome], destination: String) -> String {
    let left = outcomes.count { !$0.isComplete }
    let events = outcomes.reduce(0) { $0 + $1.deliveredRecords }
    let end = left == 0 ? "nothing is left" : "\(left) not complete"
    return "\(outcomes.count) runs, \(events) events delivered to \(destination); \(end)"
  }
}
