import BllarseCore
import BllarseTestSupport
import Foundation
import Testing

@Suite("Interrupted runs", .serialized)
struct ResumeTests {
  private let fixture: ResumeFixture
  private let method = [
    "--loss-fn", "CrossEntropy", "-o", "adam", "-bs", "4", "--save-every", "50",
  ]

  init() throws { fixture = try ResumeFixture() }

  @Test(
    "a signal finishes the step, writes a checkpoint and exits 75; the line it prints resumes the run",
    arguments: [SIGTERM, SIGUSR1, SIGINT])
  func interrupted(signal: Int32) throws {
    let method = method + ["-e", "150"]
    let reference = fixture.directory.file("reference")
    #expect(try finetune.run(fixture.arguments(method, output: reference)).status == 0)

    let output = fixture.directory.file("with 'quotes'")
    let log = fixture.directory.file("log")
    let process = try fixture.start(fixture.arguments(method, output: output), log: log)
    try fixture.waitFor("epoch 3 ", in: log)
    kill(process.processIdentifier, signal)
    #expect(process.finish() == 75)
    let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
    let line = try #require(lines.last { $0.contains("resume with: ") })
    let command = try #require(line.components(separatedBy: "resume with: ").last)

    let shell = Process()
    shell.executableURL = URL(fileURLWithPath: "/bin/sh")
    shell.arguments = ["-c", command + " 2> /dev/null > /dev/null"]
    try shell.run()
    #expect(shell.finish() == 0)
    #expect(try fixture.outcome(output) == fixture.outcome(reference))
  }

  @Test("a signal that is sent twice within milliseconds, as timeout does it, counts as one")
  func echo() throws {
    let output = fixture.directory.file("echo")
    let log = fixture.directory.file("log")
    let process = try fixture.start(
      fixture.arguments(method + ["-e", "100000"], output: output), log: log)
    try fixture.waitFor("epoch 3 ", in: log)
    kill(process.processIdentifier, SIGTERM)
    usleep(3000)
    kill(process.processIdentifier, SIGTERM)
    #expect(process.finish() == 75)
    #expect(FileManager.default.fileExists(atPath: output + "/checkpoint.safetensors"))
  }

  @Test("a second signal ends the process at once")
  func secondSignal() throws {
    let output = fixture.directory.file("second")
    let log = fixture.directory.file("log")
    // A batch that takes minutes, and is finished after a first signal.
    let process = try fixture.start(
      fixture.arguments(
        [
          "--loss-fn", "IBProbit", "--update", "merge", "-bs", "400", "--num-update-iters",
          "90000000",
        ],
        output: output), log: log)
    try fixture.waitFor("400 train", in: log)
    Thread.sleep(forTimeInterval: 0.3)
    kill(process.processIdentifier, SIGTERM)
    // Later than an echo of the first would come.
    Thread.sleep(forTimeInterval: 1.3)
    #expect(process.isRunning)
    kill(process.processIdentifier, SIGUSR1)
    #expect(process.finish() == 128 + SIGUSR1)
  }

  @Test("a run that is over can be resumed: it writes the same results again")
  func resumedAfterEnd() throws {
    let output = fixture.directory.file("over")
    let arguments = fixture.arguments(method + ["-e", "3"], output: output)
    #expect(try finetune.run(arguments).status == 0)
    let first = try fixture.outcome(output)
    try FileManager.default.removeItem(atPath: output + "/head.safetensors")
    let again = try finetune.run(arguments + ["--resume", output])
    #expect(again.status == 0, "\(again.errors)")
    #expect(try fixture.outcome(output) == first)
  }

  @Test("closed-form epochs resume: sites, cavi and Polya-Gamma")
  func closedForm() throws {
    for (place, method) in [
      ["--update", "sites", "-bs", "50", "--num-update-iters", "2"],
      ["--update", "cavi", "--num-update-iters", "3"],
      ["--loss-fn", "IBPolyaGamma", "-bs", "100", "--num-update-iters", "2"],
    ].enumerated() {
      let method = method + ["-e", "6"]
      let reference = fixture.directory.file("reference\(place)")
      #expect(try finetune.run(fixture.arguments(method, output: reference)).status == 0)
      let output = fixture.directory.file("closed\(place)")
      let log = fixture.directory.file("log\(place)")
      let process = try fixture.start(fixture.arguments(method, output: output), log: log)
      try fixture.waitFor("epoch 2", in: log)
      kill(process.processIdentifier, SIGTERM)
      let status = process.finish()
      #expect(status == 75 || status == 0)
      let resumed = try finetune.run(
        fixture.arguments(method, output: output) + ["--resume", output])
      #expect(resumed.status == 0, "\(resumed.errors)")
      #expect(try fixture.outcome(output) == fixture.outcome(reference), "\(method)")
    }
  }

  @Test("the best epoch is kept beside the last")
  func best() throws {
    let output = fixture.directory.file("best")
    #expect(
      try finetune.run(
        fixture.arguments(
          ["--loss-fn", "CrossEntropy", "-o", "adam", "-lr", "0.3", "-bs", "8", "-e", "12"],
          output: output)
      ).status == 0)
    let metrics = try fixture.outcome(output).metrics
    let best = try #require(
      metrics.min { a, b in
        (-a["val_acc"]!, a["val_nll"]!, a["val_ece"]!) < (
          -b["val_acc"]!, b["val_nll"]!, b["val_ece"]!
        )
      })
    let evaluated = try finetune.run([
      "evaluate", "--head", output + "/best.safetensors", "--features", fixture.features,
      "--threads", "1", "--output", fixture.directory.file("evaluated"),
    ])
    #expect(evaluated.status == 0, "\(evaluated.errors)")
    let scores = try JSONDecoder().decode(
      [String: [String: Double]].self,
      from: Data(
        contentsOf: URL(
          fileURLWithPath: fixture.directory.file("evaluated") + "/evaluation.json")))
    #expect(scores["validation"]?["acc"] == best["val_acc"])
    #expect(scores["validation"]?["nll"] == best["val_nll"])
    // With this learning rate the last epoch is not the best, or the test would show nothing.
    #expect(best["epoch"] != metrics.last?["epoch"])
  }

  // MARK: - Bad input

  private func expectError(_ arguments: [String], _ texts: [String]) throws {
    let outcome = try finetune.run(arguments)
    #expect(outcome.status == 65, "\(outcome.errors)")
    #expect(outcome.errorLines.count == 1, "\(outcome.errors)")
    for text in texts { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
  }

  @Test("resuming with other arguments, other data or a damaged checkpoint is an error of one line")
  func badInput() throws {
    let output = fixture.directory.file("bad")
    let arguments = fixture.arguments(method + ["-e", "2"], output: output)
    #expect(try finetune.run(arguments).status == 0)
    let resume = ["--resume", output]
    try expectError(
      arguments + resume + ["--seed", "7"], ["seed: the run was started with 137, expected 7"])
    let other = try ResumeFixture(seed: 5)
    try FileManager.default.removeItem(atPath: fixture.features)
    try FileManager.default.copyItem(atPath: other.features, toPath: fixture.features)
    try expectError(arguments + resume, ["other training rows"])

    let path = output + "/checkpoint.safetensors"
    let sound = try Data(contentsOf: URL(fileURLWithPath: path))
    var flipped = sound
    flipped[sound.count - 100] ^= 1
    try flipped.write(to: URL(fileURLWithPath: path))
    try expectError(arguments + resume, ["checksum", "damaged"])
    try sound.prefix(sound.count / 2).write(to: URL(fileURLWithPath: path))
    try expectError(arguments + resume, ["checkpoint.safetensors"])
    try Data("no checkpoint".utf8).write(to: URL(fileURLWithPath: path))
    try expectError(arguments + resume, ["checkpoint.safetensors"])
    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.copyItem(atPath: output + "/head.safetensors", toPath: path)
    try expectError(arguments + resume, ["holds no state of a run"])
    try expectError(
      ["--features", fixture.features, "--resume", fixture.directory.file("nowhere")],
      ["there is no run to resume"])
  }

  @Test("contradictory options are an error of the command line")
  func usage() throws {
    for arguments in [["--resume", "a", "--output", "b"], ["--save-every", "0"]] {
      #expect(try finetune.run(arguments).status == 64)
    }
  }
}
