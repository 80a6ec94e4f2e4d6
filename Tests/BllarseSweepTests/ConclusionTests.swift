import BllarseTestSupport
import Testing

@testable import BllarseSweep

/// What an attempt's own directory says once nobody looks after it any more.
@Suite("Attempts whose launcher has died")
struct ConclusionTests {
  /// A configuration with one attempt, whose claimant is long dead.
  struct Attempt {
    let scratch: Scratch
    let attempt: AttemptDirectory
    let claim: AttemptClaim
    var run: RunDirectory { scratch.directory.run(0) }

    init(
      started: Double = Host.now - 10, task: TaskIdentity? = nil,
      change: (inout AttemptClaim) -> Void = { _ in }
    ) throws {
      scratch = try Scratch("grid: {a: [1]}")
      var claim = AttemptClaim(
        host: Host.name, process: 1 << 30, startTime: .random(in: 1...1 << 40), started: started,
        outputDirectory: "attempt-1/output", resumed: false, task: task)
      claim.needsResult = true
      change(&claim)
      self.claim = claim
      attempt = try #require(try scratch.directory.run(0).claim(attempt: 1, claim))
      try Files.makeDirectory("\(run.path)/\(claim.outputDirectory)")
    }

    func writeResult(_ text: String = "{\"nll\": 0.5}") throws {
      try Files.write(text, to: "\(run.path)/\(claim.outputDirectory)/result.json")
    }

    func end(_ ending: Ending) throws {
      try attempt.write(ExitRecord(ending: ending, seconds: 3, finished: Host.now))
    }

    func status(queue state: String? = nil) throws -> RunStatus {
      var states = TaskStates()
      if let state {
        states.tasks[TaskReference(slurm: "9", 0)] = TaskState(slurm: state, node: "n1")
      }
      let reader = StatusReader(
        scratch.directory, submissions: [], states: states)
      return reader.status(of: try scratch.directory.manifest.entry(at: 0))
    }
  }

  @Test("the exit code that the keeper wrote down decides, whatever result lies there")
  func exitCodes() throws {
    for (ending, withResult, state) in [
      (Ending.exit(0), true, RunStatus.State.done), (.exit(0), false, .failed),
      (.exit(1), true, .failed), (.exit(75), true, .interrupted), (.signal(9), true, .failed),
      // Whoever ended the launcher so ended the program too.
      (.signal(15), true, .interrupted), (.signal(1), false, .interrupted),
    ] {
      let attempt = try Attempt()
      if withResult { try attempt.writeResult() }
      try attempt.end(ending)
      #expect(try attempt.status().state == state, "\(ending)")
      // It is recorded, with the program's own time.
      #expect(attempt.attempt.end?.seconds == 3)
      let hash = try attempt.scratch.directory.manifest.entry(at: 0).hash
      #expect((attempt.run.result(hash: hash) != nil) == (state == .done))
    }
  }

  @Test("without an exit code a whole result of this attempt counts, and nothing else does")
  func resultAlone() throws {
    let whole = try Attempt()
    try whole.writeResult()
    #expect(try whole.status().state == .done)
    let none = try Attempt()
    #expect(try none.status().state == .lost)
    let half = try Attempt()
    try half.writeResult("{\"nll\": 0.")
    #expect(try half.status().state == .lost)
    // What a run of ours leaves that has failed after its fit.
    let failed = try Attempt()
    try failed.writeResult("{\"failure\": \"test.nll is nan\", \"nll\": null}")
    #expect(try failed.status().state == .failed)
    // An earlier attempt's, in the directory that this one went on in.
    let stale = try Attempt(started: Host.now + 60)
    try stale.writeResult()
    #expect(try stale.status().state == .lost)
    // A program that writes no file may have printed its last line long before its end.
    let printing = try Attempt { $0.needsResult = false }
    try Files.write("{\"nll\": 1}\n", to: printing.attempt.output)
    #expect(try printing.status().state == .lost)
    try printing.end(.exit(0))
    #expect(try printing.status().state == .done)
  }

  @Test("a task that SLURM has ended is done when its result is whole, from wherever one looks")
  func slurm() throws {
    let task = TaskIdentity(
      executor: "slurm", job: "9", arrayJob: "9", arrayTask: 0, restarts: 0, node: "n1")
    for state in ["COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT"] {
      let attempt = try Attempt(task: task) { $0.host = "elsewhere" }
      #expect(try attempt.status(queue: "RUNNING").state == .running)
      #expect(
        try attempt.status(queue: state).state == (state == "CANCELLED" ? .cancelled : .failed))
      try attempt.writeResult()
      #expect(try attempt.status(queue: state).state == .done, "\(state)")
    }
  }

  @Test("what a program leaves running does not keep its attempt alive; a living program does")
  func leftBehind() throws {
    let attempt = try Attempt()
    let process = try Spawn(
      arguments: ["/bin/sleep", "60"],
      environment: [AttemptDirectory.markName: attempt.attempt.programMark(attempt.claim)],
      output: .file("/dev/null"), errors: .file("/dev/null")
    ).start()
    defer {
      Child.send(Signals.kill, to: process)
      _ = Child.wait(process)
    }
    try attempt.writeResult()
    let running = try attempt.status()
    #expect(running.state == .running && running.isOrphan)
    #expect(Selection([0], [running]).orphans == [0])
    try attempt.end(.exit(0))
    #expect(try attempt.status().state == .done)
  }
}
