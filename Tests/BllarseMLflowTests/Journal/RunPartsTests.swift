import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseMLflow

@Suite("Runs that several processes had")
struct RunPartsTests {
  /// A first part that ends as `events` say, and another process that goes on with it.
  private func resumed(
    _ events: [Event], _ body: (Tracker, Run, InMemoryStore, TemporaryDirectory) throws -> Void
  ) throws {
    let scratch = try TemporaryDirectory()
    let root = scratch.file("mlflow-journal")
    let id = String(repeating: "a", count: 32)
    _ = try writeJournal(events, id: id, in: root)
    let store = InMemoryStore()
    let tracker = try Tracker(scratchConfiguration(scratch), recordingTo: store)
    try body(tracker, tracker.resumeRun(id: id), store, scratch)
  }

  @Test("what the killed process left is delivered with the rest, and once")
  func earlier() throws {
    try resumed((1...5).map { .metric("m", Double($0), step: $0) }) { _, run, store, scratch in
      #expect(run.lastSteps() == ["m": 5])
      run.log(metric: "m", 6, step: 6)
      #expect(run.finish().isComplete)
      let stored = try #require(store.runs.first)
      #expect(store.runs.count == 1 && stored.status == .finished)
      #expect(stored.metrics["m"]?.map(\.step) == Array(1...6))
      // Each part alone brings all, and changes nothing any more.
      for part in RunDirectory.find(below: scratch.file("mlflow-journal")) {
        let outcomes = Synchronizer(
          store: store, http: HTTPSettings(), logger: LogRecorder().logger
        )
        .sync([part.path])
        #expect(outcomes.count == 2)
        #expect(outcomes.allSatisfy { $0.result == .unchanged && !$0.isClosed } == true)
      }
      #expect(store.runs.first?.status == .finished)
    }
  }

  @Test("an end that arrives late does not undo the end of the process that went on")
  func lateEnd() throws {
    try resumed([.metric("m", 1, step: 1), .end(.killed)]) { tracker, run, store, scratch in
      run.finish(status: .finished)
      // The first part once more, from its beginning.
      let first = RunDirectory(path: scratch.file("mlflow-journal/") + run.id)
      unlink(first.deliveryState(to: store.destination))
      let outcomes = Synchronizer(store: store, http: HTTPSettings(), logger: LogRecorder().logger)
        .sync([first.path])
      #expect(outcomes.allSatisfy { $0.isComplete } == true)
      #expect(store.runs.map(\.status) == [.finished])
      // A process that had the run all along and ends after the other one has the last word.
      #expect(tracker.settings.journalDirectory == scratch.file("mlflow-journal"))
    }
  }

  @Test("a run that goes on shows no end time until it ends")
  func endTime() throws {
    try resumed([.end(.killed)]) { _, run, store, _ in
      run.waitForDelivery(upTo: .seconds(10))
      #expect(store.runs.first?.status == .running && store.runs.first?.endTime == nil)
      run.finish()
      #expect(store.runs.first?.endTime != nil)
    }
  }

  @Test("a run begun elsewhere has no known steps, a new one has none")
  func steps() throws {
    let scratch = try TemporaryDirectory()
    let tracker = try Tracker(scratchConfiguration(scratch), recordingTo: InMemoryStore())
    #expect(try tracker.startRun().lastSteps() == [:])
    #expect(try tracker.resumeRun(id: String(repeating: "b", count: 32)).lastSteps() == nil)
  }

  @Test("a journal that goes on with an unknown run, or lost its head, holds up no other journal")
  func unknown() throws {
    let scratch = try TemporaryDirectory()
    let root = scratch.file("j")
    _ = try writeJournal([.metric("m", 1)], id: "a", in: root, resumes: "unknown")
    let damaged = try writeJournal([.metric("m", 1)], id: "b", in: root)
    var bytes = try Files.bytes(of: damaged.journal)
    bytes[20] ^= 1
    try Files.write(bytes, to: damaged.journal)
    _ = try writeJournal([.metric("m", 1), .end(.finished)], id: "c", in: root)
    let store = InMemoryStore()
    let outcomes = Synchronizer(store).sync([root])
    #expect(outcomes.count { $0.isComplete } == 1)
    #expect(store.runs.count == 1 && store.runs.first?.metrics["m"]?.count == 1)
    #expect(outcomes.contains { $0.line.contains("the run 'unknown' to go on with") })
    #expect(outcomes.contains { $0.line.contains("the first record") })
  }

  @Test("parts are removed together, and only when each is delivered whole")
  func prune() throws {
    let scratch = try TemporaryDirectory()
    let root = scratch.file("j")
    let first = try writeJournal([.end(.killed)], id: "a", in: root)
    let second = try writeJournal([.end(.finished)], id: "b", in: root, resumes: "a")
    let header = RunHeader(
      localID: "b", name: "", experiment: "test", parentID: nil, resumedID: "a", user: "",
      tags: [:])
    try RunParts(of: second, header: header).add(second, time: 1_800_000_000_000)
    let outcomes = Synchronizer(InMemoryStore()).sync([root])
    #expect(Set(Synchronizer.prunable(outcomes)) == [first, second])
    var broken = outcomes
    broken[1].result = .failed("away")
    #expect(Synchronizer.prunable(broken).isEmpty)
  }
}
