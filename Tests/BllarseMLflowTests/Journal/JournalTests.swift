@testable import BllarseMLflow
import BllarseTestSupport
import Foundation
import Testing

@Suite("Journal")
struct JournalTests {
  private static let events: [Event] = [
    .parameters(["seed": "137", "näme": "a\"b\\c\n"]), .metric("loss", .nan, step: 1),
    .metrics([.init(key: "a/b", value: -0.0), .init(key: "c", value: .infinity)], step: -3),
    .tags(["t": ""]), .artifact(StagedArtifact(path: "a/b.bin", file: "1-b.bin", size: 7)),
    .end(.killed), .detached,
  ]

  private func read(_ path: String, isFinal: Bool = true) throws -> ([Record], JournalReader.Damage)
  {
    var reader = try JournalReader(path: path)
    var records: [Record] = []
    while let entry = reader.next(isFinal: isFinal) { records.append(entry.record) }
    return (records, reader.damage)
  }

  @Test("every kind of event is read back equal")
  func roundTrip() throws {
    let scratch = try TemporaryDirectory()
    let directory = try writeJournal(Self.events, in: scratch.path, parent: "p", resumes: "r")
    let (records, damage) = try read(directory.journal)
    #expect(records.dropFirst().map(\.event) == Self.events)
    guard case .start(let header) = records.first?.event else {
      Issue.record("no header")
      return
    }
    #expect(header.parentID == "p" && header.resumedID == "r" && header.experiment == "test")
    #expect(damage.isEmpty)
  }

  @Test("a journal cut at any byte gives every whole record and counts the torn bytes")
  func cut() throws {
    let scratch = try TemporaryDirectory()
    let directory = try writeJournal(Self.events, in: scratch.path)
    let bytes = try Files.bytes(of: directory.journal)
    let (all, _) = try read(directory.journal)
    for length in 0...bytes.count {
      let path = try scratch.write("cut", Array(bytes[..<length]))
      let whole = bytes[..<length].count { $0 == 0x0A }
      let torn = length - (bytes[..<length].lastIndex(of: 0x0A).map { $0 + 1 } ?? 0)
      let (records, damage) = try read(path)
      #expect(records == Array(all.prefix(whole)))
      #expect(damage.tornBytes == torn && damage.damagedLines == 0)
    }
  }

  @Test("a changed byte anywhere in a line is noticed, and costs that line only")
  func damaged() throws {
    let scratch = try TemporaryDirectory()
    let directory = try writeJournal(
      [.metric("a", 1), .metric("b", 2), .metric("c", 3)], in: scratch.path)
    let bytes = try Files.bytes(of: directory.journal)
    let (all, _) = try read(directory.journal)
    let lines = bytes.indices.filter { bytes[$0] == 0x0A }
    for position in (lines[1] + 1)..<lines[2] {  // the line of "b"
      var changed = bytes
      changed[position] ^= 0x04
      guard changed[position] != 0x0A else { continue }
      let (records, damage) = try read(try scratch.write("changed", changed))
      #expect(records == [all[0], all[1], all[3]])
      #expect(damage.damagedLines == 1)
    }
  }

  @Test("the unfinished last line of a living writer is waited for")
  func tail() throws {
    let scratch = try TemporaryDirectory()
    let directory = try writeJournal([.metric("a", 1), .metric("b", 2)], in: scratch.path)
    let bytes = try Files.bytes(of: directory.journal)
    let path = try scratch.write("tail", Array(bytes.dropLast(5)))
    var reader = try JournalReader(path: path)
    #expect(reader.next(isFinal: false)?.record.sequence == 0)
    #expect(reader.next(isFinal: false)?.record.sequence == 1)
    #expect(reader.next(isFinal: false) == nil)
    let descriptor = open(path, O_WRONLY | O_APPEND)
    _ = bytes.suffix(5).withUnsafeBytes { write(descriptor, $0.baseAddress, 5) }
    close(descriptor)
    #expect(reader.next(isFinal: false)?.record.sequence == 2)
    #expect(reader.damage.isEmpty)
  }

  @Test("records that come one by one are written together: the thread is not woken for each")
  func gathered() throws {
    let scratch = try TemporaryDirectory()
    let directory = RunDirectory(path: scratch.file("run"))
    let writer = try JournalWriter(directory: directory, logger: LogRecorder().logger)
    let writes = Counter()
    Thread { while writer.written.wait(upTo: .seconds(2)) { _ = writes.next() } }.start()
    for step in 0..<300 {
      writer.append(.metric("m", Double(step), step: step), time: step)
      usleep(1000)
    }
    // One each tenth of a second, of at least three tenths; on a busy machine they take longer.
    #expect(writes.next() < 60)
    writer.close()
    #expect(try read(directory.journal).0.map(\.time) == Array(0..<300))
  }

  @Test("a flush that does not wait for the disk leaves everything in the file all the same")
  func handedOver() throws {
    let scratch = try TemporaryDirectory()
    let directory = RunDirectory(path: scratch.file("run"))
    let writer = try JournalWriter(directory: directory, logger: LogRecorder().logger)
    for step in 0..<10 {
      writer.append(.metric("m", Double(step), step: step), time: step)
      #expect(writer.flush(waitsForDisk: false))
      #expect(try read(directory.journal).0.count == step + 1)
    }
    writer.close()
  }
}

@Suite("Lease")
struct LeaseTests {
  @Test("a lease is held by one at a time, and free after its release")
  func exclusive() throws {
    let scratch = try TemporaryDirectory()
    let path = scratch.file("lease")
    let first = try #require(try Lease.acquire(path, role: "run"))
    #expect(try Lease.acquire(path, role: "sync") == nil)
    #expect(Lease.livingHolder(of: path)?.role == "run")
    first.release()
    #expect(try Lease.acquire(path, role: "sync") != nil)
  }

  @Test("of many threads that want it at once, one gets it", arguments: 0..<20)
  func race(round: Int) async throws {
    let scratch = try TemporaryDirectory()
    let path = scratch.file("lease")
    // Half of the rounds start from the lease of a dead process.
    if round % 2 == 0 {
      let holder =
        #"{"host":"\#(Lease.thisHost)","process":999999999,"start":1,"role":"run","token":"x"}"#
      try scratch.write("lease", Array(holder.utf8))
    }
    let leases = try await withThrowingTaskGroup(of: Lease?.self) { group in
      for _ in 0..<8 { group.addTask { try Lease.acquire(path, role: "sync") } }
      return try await group.reduce(into: [Lease]()) { if let lease = $1 { $0.append(lease) } }
    }
    #expect(leases.count == 1)
    #expect(scratch.contents == ["lease"])
  }

  @Test("a lease of another machine lives while it is renewed, and two minutes more")
  func otherMachine() throws {
    let scratch = try TemporaryDirectory()
    let path = try scratch.write(
      "lease", Array(#"{"host":"elsewhere","process":1,"start":1,"role":"run","token":"x"}"#.utf8))
    #expect(try Lease.acquire(path, role: "sync") == nil)
    var times = [
      timespec(tv_sec: time(nil) - 180, tv_nsec: 0), timespec(tv_sec: time(nil) - 180, tv_nsec: 0),
    ]
    utimensat(AT_FDCWD, path, &times, 0)
    #expect(try Lease.acquire(path, role: "sync") != nil)
  }
}
