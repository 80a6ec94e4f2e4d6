import Logging

/// Delivers what processes that had the run before have left in their journals: somebody who goes on
/// with a killed run need not think of `sync`.
struct EarlierParts {
  private var parts: [RunDirectory]
  private let store: any TrackingStore
  private let logger: Logger
  private var nextLook = ContinuousClock.now

  init(_ parts: [RunDirectory], store: any TrackingStore, logger: Logger) {
    self.parts = parts
    self.store = store
    self.logger = logger
  }

  /// Delivers what nobody else is delivering.
  ///
  /// - Parameters:
  ///   - isLast: whether there will be no other look; the parts that are left are then named.
  ///   - isStopped: asked between the steps.
  /// - Throws: why a part cannot be delivered now.
  mutating func deliver(
    isLast: Bool = false, isStopped: () -> Bool
  ) throws(StoreFailure) {
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
