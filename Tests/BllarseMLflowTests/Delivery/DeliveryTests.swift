@testable import BllarseMLflow
import BllarseSupport
import BllarseTestSupport
import Foundation
import Synchronization
import Testing

@Suite("Delivery")
struct DeliveryTests {
  @Test("a whole journal arrives, and a second sync changes nothing")
  func whole() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    var events: [Event] = [.parameters(["seed": "1"]), .tags(["k": "v"])]
    events += (0..<2500).map { .metric("loss", Double($0), step: $0) }
    let directory = try writeJournal(events + [.end(.finished)], in: scratch.path)
    try Files.makeDirectory(directory.artifacts)
    let first = Synchronizer(store).sync([scratch.path])
    #expect(first.map(\.result) == [.delivered])
    #expect(first.first?.deliveredRecords == 2504)
    let run = try #require(store.runs.first)
    #expect(run.metrics["loss"]?.map(\.value) == (0..<2500).map(Double.init))
    #expect(run.parameters == ["seed": "1"] && run.tags["k"] == "v")
    #expect(run.status == .finished)
    let second = Synchronizer(store).sync([scratch.path])
    #expect(second.map(\.result) == [.unchanged])
    #expect(store.runs.count == 1)
  }

  @Test("a lost delivery state costs nothing: the run is found again, nothing arrives twice")
  func lostState() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let directory = try writeJournal([.metric("a", 1), .end(.finished)], in: scratch.path)
    _ = Synchronizer(store).sync([scratch.path])
    unlink(directory.deliveryState(to: .memory))
    let again = Synchronizer(store).sync([scratch.path])
    #expect(again.first?.isComplete == true)
    #expect(store.runs.count == 1)
    #expect(store.runs.first?.metrics["a"]?.count == 1)
  }

  @Test("a refused item is set apart and kept, the rest of its batch arrives")
  func refused() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    store.failing { operation in
      if case .log(let batch) = operation, batch.metrics.contains(where: { $0.key == "poison" }) {
        .refused("too ugly")
      } else {
        nil
      }
    }
    let log = LogRecorder()
    let events = (0..<300).map { Event.metric($0 == 123 ? "poison" : "m\($0)", 1) }
    let directory = try writeJournal(
      events + [.metric("bad@name", 2), .end(.finished)], in: scratch.path)
    let outcome = try #require(Synchronizer(store, log).sync([scratch.path]).first)
    #expect(outcome.isComplete && outcome.refusedItems == 2)
    #expect(store.runs.first?.metrics.count == 299)
    let kept = try Files.bytes(of: directory.refusals(by: .memory))
    let lines = kept.split(separator: 0x0A).compactMap { try? JSON.parse(bytes: Array($0)) }
    #expect(Set(lines.compactMap { $0["key"]?.stringValue }) == ["poison", "bad@name"])
    #expect(log.warnings.count == 2)
    #expect(log.warnings.contains { $0.contains("metric 'poison' is refused: too ugly") })
  }

  @Test("a changed parameter is refused, its first value stays, the others arrive")
  func parameters() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    _ = try writeJournal(
      [.parameters(["a": "1", "b": "2"]), .parameters(["a": "9", "c": "3"]), .end(.finished)],
      in: scratch.path)
    let outcome = try #require(Synchronizer(store).sync([scratch.path]).first)
    #expect(outcome.refusedItems == 1)
    #expect(store.runs.first?.parameters == ["a": "1", "b": "2", "c": "3"])
  }

  @Test("an item that makes the server stumble every time is set apart; an outage is not its fault")
  func stumbling() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    store.failing { operation in
      if case .log(let batch) = operation, batch.metrics.contains(where: { $0.key == "poison" }) {
        .serverError("500")
      } else {
        nil
      }
    }
    _ = try writeJournal(
      [.metric("a", 1), .metric("poison", 1), .metric("b", 1)], in: scratch.path)
    #expect(Synchronizer(store).sync([scratch.path]).first?.refusedItems == 1)
    #expect(Set(store.runs.first?.metrics.keys.map { $0 } ?? []) == ["a", "b"])

    let other = try TemporaryDirectory()
    store.failing { _ in .serverError("500") }
    _ = try writeJournal([.metric("a", 1)], in: other.path)
    let outcome = try #require(Synchronizer(store).sync([other.path]).first)
    #expect(!outcome.isComplete && outcome.refusedItems == 0)
  }

  @Test("401 stops everything and keeps everything; later all of it arrives")
  func unauthorized() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    store.failing { _ in .blocked("wrong password") }
    let ids = (0..<3).map { "\($0)" + String(repeating: "0", count: 31) }
    for id in ids {
      _ = try writeJournal([.metric("a", 1), .end(.finished)], id: id, in: scratch.path)
    }
    let calls = Mutex(0)
    store.failing { _ in
      calls.withLock { $0 += 1 }
      return .blocked("wrong password")
    }
    let outcomes = Synchronizer(store).sync([scratch.path])
    #expect(outcomes.map(\.result) == Array(repeating: .failed("wrong password"), count: 3))
    #expect(calls.withLock { $0 } == 1)
    store.failing(nil)
    #expect(Synchronizer(store).sync([scratch.path]).contains { !$0.isComplete } == false)
    #expect(store.runs.count == 3)
  }

  @Test("a create whose answer was lost leaves one run")
  func lostAnswer() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    _ = try writeJournal([.metric("a", 1), .end(.finished)], in: scratch.path)
    // The first attempt is carried out late: after the search for it.
    let attempts = Mutex(0)
    store.failing { operation in
      guard case .create = operation else { return nil }
      return attempts.withLock { count in
        count += 1
        return count == 1 ? .unavailable("cut", mayHaveArrived: true) : nil
      }
    }
    let before = Synchronizer(store)
    #expect(before.sync([scratch.path]).first?.isComplete == true)
    let late = try store.createRun(
      NewRun(
        localID: "0123456789abcdef0123456789abcdef", name: "late", experimentID: "test", user: "",
        startTime: 0, tags: [Deliverer.localIDTag: "0123456789abcdef0123456789abcdef"]))
    #expect(late.id != store.runs.first?.id)
    // The state still says that the answer was lost, if the twin came before the end was settled.
    let directory = RunDirectory(path: scratch.file("0123456789abcdef0123456789abcdef"))
    var state = try #require(DeliveryState(path: directory.deliveryState(to: .memory)))
    #expect(!state.isCreationUncertain)
    state.isCreationUncertain = true
    try state.save(to: directory.deliveryState(to: .memory))
    _ = Synchronizer(store).sync([scratch.path])
    #expect(store.runs.count == 1)
    #expect(store.runs.first?.metrics["a"]?.count == 1)
  }

  @Test(
    "the state of an older version, which had fewer members, is read; so is one with an odd member")
  func olderState() throws {
    let scratch = try TemporaryDirectory()
    let path = scratch.file("state.json")
    let members = #""version":1,"uri":"u","local_id":"i","offset":7,"next_sequence":3,"run_id":"r""#
    for more in ["", #","detached":true"#, #","end_status":"NEVER","refused_items":[1]"#] {
      try Files.write(Array("{\(members)\(more)}".utf8), to: path, durability: .none)
      let state = try #require(DeliveryState(path: path), "\(more)")
      #expect(state.offset == 7 && state.nextSequence == 3 && state.runID == "r")
      #expect(!state.isAdoptionPending && state.refusedItems.isEmpty && state.endStatus == nil)
    }
  }

  @Test(
    "a child nests under its parent, whichever of the two arrives first", arguments: [true, false])
  func nesting(isParentFirst: Bool) throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let parent = String(repeating: "a", count: 32)
    let child = String(repeating: "b", count: 32)
    // In different folders, as on different machines.
    let above = scratch.file("one"), below = scratch.file("two")
    _ = try writeJournal([.end(.finished)], id: parent, in: above)
    _ = try writeJournal([.end(.finished)], id: child, in: below, parent: parent)
    for root in isParentFirst ? [above, below] : [below, above] {
      #expect(Synchronizer(store).sync([root]).contains { !$0.isComplete } == false)
    }
    let runs = store.runs
    let parentRun = try #require(runs.first { $0.tags[Deliverer.localIDTag] == parent })
    let childRun = try #require(runs.first { $0.tags[Deliverer.localIDTag] == child })
    #expect(childRun.tags["mlflow.parentRunId"] == parentRun.id)
  }

  @Test("sync delivers parents before children, grandchildren last")
  func order() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let ids = ["c", "b", "a"].map { String(repeating: $0, count: 32) }  // grandparent is "c"
    _ = try writeJournal([], id: ids[2], in: scratch.path, parent: ids[1])
    _ = try writeJournal([], id: ids[1], in: scratch.path, parent: ids[0])
    _ = try writeJournal([], id: ids[0], in: scratch.path)
    _ = Synchronizer(store).sync([scratch.path])
    #expect(store.runs.map { $0.tags[Deliverer.localIDTag] } == ids)
  }

  @Test("a run whose process is gone is ended KILLED at its last event; a detached one is left")
  func abandoned() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    _ = try writeJournal([.metric("a", 1)], id: String(repeating: "1", count: 32), in: scratch.path)
    _ = try writeJournal([.detached], id: String(repeating: "2", count: 32), in: scratch.path)
    let outcomes = Synchronizer(store).sync([scratch.path])
    #expect(outcomes.map(\.isClosed) == [true, false])
    #expect(store.runs.map(\.status) == [.killed, .running])
    #expect(store.runs.map(\.endTime) == [1_700_000_000_001, nil])
    // Once more: nothing changes.
    #expect(Synchronizer(store).sync([scratch.path]).map(\.isClosed) == [false, false])
    #expect(store.runs.map(\.status) == [.killed, .running])
  }

  @Test("a run that another process went on with has that one's end")
  func resumed() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let first = String(repeating: "f", count: 32)
    _ = try writeJournal([.metric("a", 1, step: 1)], id: first, in: scratch.path)
    _ = try writeJournal(
      [.metric("a", 2, step: 2), .end(.finished)], id: String(repeating: "0", count: 32),
      in: scratch.path, resumes: first)
    #expect(Synchronizer(store).sync([scratch.path]).contains { !$0.isComplete } == false)
    let run = try #require(store.runs.first)
    #expect(store.runs.count == 1)
    #expect(run.metrics["a"]?.map(\.value) == [1, 2])
    #expect(run.status == .finished)
  }

  @Test("a run that vanished from the server is made again from its journal, whole")
  func vanished() throws {
    let scratch = try TemporaryDirectory()
    let first = InMemoryStore()
    let directory = try writeJournal([.metric("a", 1)], in: scratch.path)
    _ = Synchronizer(first).sync([scratch.path])
    // The same address, a new database.
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: directory.journal))
    try handle.seekToEnd()
    let record = Record(sequence: 2, time: 1_700_000_000_002, event: .metric("a", 2))
    try handle.write(contentsOf: Data(record.line))
    let second = InMemoryStore()
    #expect(Synchronizer(second).sync([scratch.path]).first?.isComplete == true)
    #expect(second.runs.first?.metrics["a"]?.map(\.value) == [1, 2])
  }

  @Test("a journal in which nothing can be read says so, and is not taken for an empty one")
  func unreadable() throws {
    let scratch = try TemporaryDirectory()
    let directory = try writeJournal([.metric("a", 1), .end(.finished)], in: scratch.path)
    let bytes = try Files.bytes(of: directory.journal)
    func outcome(_ content: [UInt8]) throws -> Synchronizer.Outcome {
      try Data(content).write(to: URL(fileURLWithPath: directory.journal))
      return try #require(Synchronizer(InMemoryStore()).sync([scratch.path]).first)
    }
    let torn = try outcome(Array(bytes.prefix(40)))
    #expect(
      torn.damage.tornBytes == 40 && torn.line.contains("40 bytes of an unfinished last event"))
    let damaged = try outcome(bytes.map { $0 == 0x0A ? $0 : 0x78 })
    #expect(damaged.damage.damagedLines == 3 && damaged.line.contains("3 damaged events skipped"))
    #expect(Synchronizer.prunable([damaged]).isEmpty)
    #expect(try outcome([]).line.hasSuffix(": nothing to deliver"))
  }

  @Test("events missing from the middle and torn at the end are counted")
  func damage() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let directory = try writeJournal(
      [.metric("a", 1), .metric("b", 2), .metric("c", 3), .metric("d", 4)], in: scratch.path)
    var lines = try Files.bytes(of: directory.journal).split(
      separator: 0x0A, omittingEmptySubsequences: true)
    lines.remove(at: 2)
    let bytes = Array(lines.map { Array($0) + [0x0A] }.joined())
    try Files.write(Array(bytes.dropLast(10)), to: directory.journal)
    let outcome = try #require(Synchronizer(store).sync([scratch.path]).first)
    #expect(outcome.missingRecords == 1)
    #expect(outcome.damage.tornBytes == lines[3].count - 9)
    #expect(Set(store.runs.first?.metrics.keys.map { $0 } ?? []) == ["a", "c"])
  }
}
