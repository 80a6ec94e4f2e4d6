import BllarseTestSupport
import Foundation
import Testing

@Suite("Where a run went")
struct RunLocationTests {
  private static let finetune = [
    "-e", "1", "--loss-fn", "CrossEntropy", "-o", "adam", "--enable-mlflow",
  ]

  private func lastLine(_ output: Program.Output) -> String {
    output.error.split(separator: "\n").last { $0.hasPrefix("MLflow: ") }.map(String.init) ?? ""
  }

  @Test("a run in a file says file, experiment and run; one that fails says it too")
  func file() throws {
    let scratch = try TemporaryDirectory()
    let program = Program("bllarse-finetune")
    let environment = ["HOME": scratch.path]
    let run = try program.run(
      Self.finetune + ["--output", "out"], in: scratch.path, environment: environment)
    #expect(run.status == 0, "\(run.error)")
    let id = try String(contentsOfFile: scratch.file("out/mlflow_run_id"), encoding: .utf8)
      .split(separator: "\n")[0]
    #expect(
      lastLine(run) == "MLflow: \(scratch.path)/mlflow.db, experiment 'bllarse', run \(id)")
    let failed = try program.run(
      ["--features", "nothing.npz", "--enable-mlflow", "--mlflow-experiment", "other"],
      in: scratch.path, environment: environment)
    #expect(failed.status == 65)
    #expect(
      lastLine(failed).hasPrefix("MLflow: \(scratch.path)/mlflow.db, experiment 'other', run "))
  }

  @Test("one on a server has a page; one that has not arrived has a folder", .withMLflow)
  func server() throws {
    let scratch = try TemporaryDirectory()
    let server = try EndToEndServer.plain()
    let program = Program("bllarse-finetune")
    let run = try program.run(
      Self.finetune + ["--uid", "located"], in: scratch.path,
      environment: ["HOME": scratch.path, "MLFLOW_TRACKING_URI": server.address])
    let stored = try #require(
      TrackedRuns(server: server).all().first { $0.info.run_name == "located" })
    let line = lastLine(run)
    #expect(
      line.hasPrefix("MLflow: \(server.address), experiment 'bllarse', run \(stored.info.run_id): ")
    )
    let page = try #require(line.split(separator: " ").last)
    #expect(page.hasPrefix("\(server.address)/#/experiments/"))
    #expect(page.hasSuffix("/runs/\(stored.info.run_id)"))
    #expect(stored.info.artifact_uri.contains("/\(page.split(separator: "/")[4])/"))

    let away = try program.run(
      Self.finetune + ["--mlflow-drain-seconds", "0"], in: scratch.path,
      environment: ["HOME": scratch.path, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"])
    #expect(away.status == 0)
    #expect(
      lastLine(away).contains(": not there yet, so far in \(scratch.path)/mlflow-journal/"),
      "\(away.error)")
  }

  @Test("a run that a signal ends says it")
  func killed() throws {
    let scratch = try TemporaryDirectory()
    let log = try scratch.write("log", [])
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
    let process = try Program("bllarse-finetune").start(
      ["-e", "1000000", "--loss-fn", "CrossEntropy", "-o", "adam", "--enable-mlflow"],
      in: scratch.path, environment: ["HOME": scratch.path], output: handle, error: handle)
    func text() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }
    let end = Date() + 60
    while !text().contains("epoch 1 "), Date() < end, process.isRunning { usleep(20_000) }
    kill(process.processIdentifier, SIGTERM)
    process.waitUntilExit()
    #expect(process.terminationReason == .uncaughtSignal)
    #expect(text().contains("\nMLflow: \(scratch.path)/mlflow.db, experiment 'bllarse', run "))
  }

  @Test("settings in .env and .env.secrets count for all three programs; values are never printed")
  func environmentFiles() throws {
    let scratch = try TemporaryDirectory()
    try scratch.write(
      ".env",
      Array(
        "MLFLOW_TRACKING_URI='sqlite:///from-env.db'\nexport MLFLOW_EXPERIMENT_NAME=env # x\nhush-hush\n"
          .utf8))
    try scratch.write(".env.secrets", Array("MLFLOW_EXPERIMENT_NAME=secrets\n".utf8))
    let environment = ["HOME": scratch.path]
    let note = "note: .env:3: expected KEY=value; the line is ignored"
    let run = try Program("bllarse-finetune").run(
      Self.finetune, in: scratch.path, environment: environment)
    #expect(
      lastLine(run).hasPrefix("MLflow: \(scratch.path)/from-env.db, experiment 'secrets', run "))
    #expect(run.error.contains(note) && !run.error.contains("hush"))
    let list = try Program("bllarse-mlflow").run(
      ["runs", "--format", "csv"], in: scratch.path, environment: environment)
    #expect(list.status == 0 && list.output.split(separator: "\n").count == 2, "\(list.error)")
    #expect(list.error == "bllarse-mlflow: \(note)\n")
    // A sweep's children have them from it, wherever they run.
    try scratch.write(
      "sweep.yaml",
      Array(
        """
        program: {run: [/bin/sh, -c, 'cd / && echo "$MLFLOW_EXPERIMENT_NAME $MLFLOW_TRACKING_URI"'], output: null, options: false}
        base: {x: 1}
        """.utf8))
    let sweep = try Program("bllarse-sweep").run(
      ["run", "sweep.yaml"], in: scratch.path,
      environment: environment.merging(["MLFLOW_EXPERIMENT_NAME": "given"]) { $1 })
    #expect(sweep.status == 0 && sweep.error.contains(note), "\(sweep.error)")
    #expect(
      try String(
        decoding: scratch.read("sweeps/sweep/runs/0/0/attempt-1/stdout.log"), as: UTF8.self)
        == "given sqlite:///from-env.db\n")
  }
}
