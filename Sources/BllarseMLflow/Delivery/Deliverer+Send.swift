import Foundation
import Logging

// Sending a window, and setting apart what the store refuses.
extension Deliverer {
  func send(_ window: DeliveryWindow, run: StoredRun) throws(StoreFailure) {
    let store = store
    if try sendTogether(window, run: run) { return }
    try send(window.metrics, limit: DeliveryWindow.maxMetrics, run: run) {
      points throws(StoreFailure) in try store.log(metrics: points, runID: run.id)
    }
    try send(window.parameters, limit: DeliveryWindow.maxPairs, run: run) {
      pairs throws(StoreFailure) in try store.log(parameters: pairs, runID: run.id)
    }
    try send(window.tags, limit: DeliveryWindow.maxPairs, run: run) {
      pairs throws(StoreFailure) in try store.set(tags: pairs, runID: run.id)
    }
    switch window.single?.event {
    case .artifact(let artifact):
      try upload(artifact, sequence: window.single?.sequence ?? 0, run: run)
    case .end(let status):
      // How a run ended that another process went on with is for that one to say.
      let time = window.single?.time ?? state.lastTime
      if !isContinued(after: time) {
        try store.update(runID: run.id, status: status, endTime: time)
      }
      state.endStatus = status
    case .detached: state.isDetached = true
    case .start, .metrics, .parameters, .tags, nil: break
    }
  }

  /// Sends all values of a window in one request; false where that cannot be, or is refused: then they
  /// are sent by kind, and what is refused is set apart.
  private func sendTogether(
    _ window: DeliveryWindow, run: StoredRun
  ) throws(StoreFailure) -> Bool {
    let kinds = [window.metrics.isEmpty, window.parameters.isEmpty, window.tags.isEmpty]
    guard window.single == nil, kinds.count(where: { !$0 }) > 1, window.isOneBatch else {
      return false
    }
    let batch = ValueBatch(
      metrics: window.metrics.filter(isAcceptable).map(\.value),
      parameters: window.parameters.filter(isAcceptable).map(\.value),
      tags: window.tags.filter(isAcceptable).map(\.value))
    do {
      try store.log(batch, runID: run.id)
      return true
    } catch {
      switch error {
      case .refused: return false
      case .serverError where serverErrors >= 4: return false
      default: throw error
      }
    }
  }

  private func send<Value: Deliverable>(
    _ items: [DeliveryWindow.Item<Value>], limit: Int, run: StoredRun,
    using send: ([Value]) throws(StoreFailure) -> Void
  ) throws(StoreFailure) {
    let acceptable = items.filter(isAcceptable)
    for start in stride(from: 0, to: acceptable.count, by: limit) {
      let batch = acceptable[start..<min(start + limit, acceptable.count)]
      try isolate(batch, runID: run.id, using: send)
    }
  }

  private func upload(
    _ artifact: StagedArtifact, sequence: Int, run: StoredRun
  ) throws(StoreFailure) {
    let item = DeliveryWindow.Item(sequence: sequence, kind: "artifact", value: artifact)
    guard isAcceptable(item) else { return }
    let file = directory.artifacts + "/" + artifact.file
    guard let size = Files.size(of: file) else {
      refuse(item, message: "\(file) is missing")
      return
    }
    let store = store
    do {
      try isolate([item], runID: run.id) { artifacts throws(StoreFailure) in
        for artifact in artifacts {
          try store.upload(file: file, size: size, path: artifact.path, run: run)
        }
      }
    } catch {
      guard case .unsupported(let message) = error else { throw error }
      refuse(item, message: message)
    }
  }

  /// Whether an item may be sent: neither refused before, nor certain to be.
  private func isAcceptable<Value: Deliverable>(_ item: DeliveryWindow.Item<Value>) -> Bool {
    if !state.refusedItems.isEmpty, state.refusedItems.contains(item.label) { return false }
    guard let fault = item.value.fault else { return true }
    refuse(item, message: "the name \(fault)")
    return false
  }

  /// Sends items together; when the store refuses them, halves them until the refused ones stand
  /// alone, and goes on with the rest.
  ///
  /// An answer of 500 may mean that the server is ill or that one item makes it stumble. After some
  /// repetitions a harmless write decides: if that succeeds, the item is to blame.
  private func isolate<Value: Deliverable>(
    _ items: ArraySlice<DeliveryWindow.Item<Value>>, runID: String,
    using send: ([Value]) throws(StoreFailure) -> Void
  ) throws(StoreFailure) {
    guard let first = items.first else { return }
    let failure: StoreFailure
    do {
      try send(items.map(\.value))
      return
    } catch {
      switch error {
      case .refused: failure = error
      case .serverError where serverErrors >= 4: failure = error
      default: throw error
      }
    }
    try checkRun(runID, after: failure)
    if items.count == 1 {
      if case .serverError = failure, try succeedsAfterAll(items, using: send) { return }
      refuse(first, message: failure.message)
      return
    }
    let middle = items.startIndex + items.count / 2
    try isolate(items[..<middle], runID: runID, using: send)
    try isolate(items[middle...], runID: runID, using: send)
  }

  /// Gives an item that the server stumbles over three more chances.
  private func succeedsAfterAll<Value: Deliverable>(
    _ items: ArraySlice<DeliveryWindow.Item<Value>>,
    using send: ([Value]) throws(StoreFailure) -> Void
  ) throws(StoreFailure) -> Bool {
    for _ in 0..<3 {
      do {
        try send(items.map(\.value))
        return true
      } catch {
        guard case .serverError = error else { throw error }
      }
      usleep(200_000)
    }
    return false
  }

  /// Tells a refused item from a run, or a server, that takes nothing at all.
  private func checkRun(_ id: String, after failure: StoreFailure) throws(StoreFailure) {
    switch failure {
    case .refused:
      guard let run = try store.run(id: id) else { throw .runMissing(failure.message) }
      if run.isDeleted { throw deletedFailure(id) }
    default:
      try store.set(
        tags: [KeyValue(key: "bllarse.probe", value: "\(serverErrors)")], runID: id)
    }
  }

  /// Notes an item as refused: kept in a file beside the journal, reported once for each name.
  private func refuse<Value: Deliverable>(
    _ item: DeliveryWindow.Item<Value>, message: String
  ) {
    state.refusedCount += 1
    state.refusedItems.insert(item.label)
    let path = directory.refusals(by: store.destination)
    if warnedKeys.count < 1000, warnedKeys.insert("\(item.kind)/\(item.value.key)").inserted {
      let key = item.value.key.printable(upTo: 300)
      logger.warning("\(item.kind) '\(key)' is refused: \(message); kept in \(path)")
    }
    var line = JSON.object(
      [.init("seq", .int(item.sequence)), .init("kind", .string(item.kind))]
        + item.value.members + [.init("message", .string(message))]
    ).bytes
    line.append(UInt8(ascii: "\n"))
    let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    if descriptor >= 0 {
      line.withUnsafeBytes { _ = Files.write($0, to: descriptor) }
      close(descriptor)
    }
    save()
  }
}
