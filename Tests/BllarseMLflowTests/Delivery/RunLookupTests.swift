@testable import BllarseMLflow
import BllarseTestSupport
import Testing

@Suite("Looking a run up")
struct RunLookupTests {
  @Test("a run is found by the store's id and by its own, in its state; others are missing")
  func store() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let tracker = try Tracker(scratchConfiguration(scratch), recordingTo: store)
    let run = try tracker.startRun()
    run.finish(status: .failed)
    let id = try #require(run.remoteID)
    #expect(tracker.lookUp(runID: id) == .found(.failed))
    #expect(tracker.lookUp(runID: run.id) == .found(.failed))
    #expect(tracker.lookUp(runID: "nothing") == .missing)
    try store.delete(runID: id)
    #expect(tracker.lookUp(runID: id) == .deleted)
    store.failing { _ in .unavailable("no answer") }
    #expect(tracker.lookUp(runID: id) == .unanswered("no answer"))
  }

  @Test("a file is not made by looking into it; a run that waits in its journal is found")
  func file() throws {
    let scratch = try TemporaryDirectory()
    let tracker = try Tracker(scratchConfiguration(scratch))
    #expect(tracker.lookUp(runID: "nothing") == .missing)
    #expect(scratch.contents == [])
    let away = try Tracker(
      scratchConfiguration(scratch), recordingTo: InMemoryStore())
    let run = try away.startRun()
    run.detach(waitingUpTo: .zero)
    #expect(tracker.lookUp(runID: run.id) == .found(.running))
    let local = try tracker.startRun()
    local.finish()
    #expect(tracker.lookUp(runID: local.id) == .found(.finished))
  }
}
