import BllarseTestSupport
import Foundation
import Testing

/// The sweeps of Fixtures/sweeps/python, in a directory where a test may change them.
struct PythonSweeps {
  let tool: SweepTool

  init(_ tool: SweepTool) throws {
    self.tool = tool
    let source = Fixtures.path("sweeps/python")
    for name in try FileManager.default.contentsOfDirectory(atPath: source) {
      try FileManager.default.copyItem(
        atPath: "\(source)/\(name)", toPath: tool.temporary.file(name))
    }
  }

  /// What a configuration's program wrote as its result.
  func metrics(_ sweep: String, _ index: Int) throws -> [String: Any] {
    let text = tool.text("sweeps/\(sweep)/runs/0/\(index)/result.json")
    let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    return object?["metrics"] as? [String: Any] ?? [:]
  }

  /// The `arguments` of bllarse-finetune's result, as text.
  func arguments(_ sweep: String, _ index: Int) throws -> [String: String] {
    let arguments = try metrics(sweep, index)["arguments"] as? [String: Any] ?? [:]
    return arguments.mapValues { "\($0)" }
  }

  /// Checks that each result holds what the file says, for the sweeps that both executors run.
  func checkResults() throws {
    for seed in 0..<2 {
      let own = try metrics("own_run", seed)
      #expect(own["sum"] as? Double == [6, 12][seed])
      #expect(own["values"] as? [Double] == [[0, 2, 4], [2, 4, 6]][seed])
      #expect((own["test"] as? [String: Double])?["acc"] == [0.5, 0.75][seed])
    }
    #expect(try metrics("own_run_failing", 0)["quotient"] as? Double == 1)
    for (index, size) in [512, 1024].enumerated() {
      let trained = try metrics("own_run_training", index)
      #expect(trained["batch_size"] as? Int == size)
      #expect(try #require((trained["test"] as? [String: Double])?["acc"]) > 0.85)
    }
    for (index, optimizer) in ["adamw", "lion"].enumerated() {
      let arguments = try arguments("adapters_last_layer", index)
      #expect(arguments["optimizer"] == optimizer, "\(arguments)")
    }
    for (index, iterations) in [2, 2, 8, 8].enumerated() {
      let arguments = try arguments("config_grid", index)
      #expect(arguments["num_update_iters"] == "\(iterations)", "\(arguments)")
      #expect(arguments["seed"] == "\(137 + index % 2)")
    }
    for (index, units) in [8, 16].enumerated() {
      let script = try metrics("script_runner", index)
      let arguments = try #require(script["arguments"] as? [String: Any])
      #expect(script["units"] as? Int == units && script["rate"] as? Double == 1e-3)
      #expect(arguments["verbose"] as? Bool == true && arguments["uid"] as? String == "none")
      // False is left out, and so the script's own default holds.
      #expect(arguments["reuse_cache"] as? Bool == true)
    }
  }

  /// The parameters of the MLflow runs that are nested under a sweep's parent, which has ended well.
  func tracked(_ sweep: String) throws -> [[String: String]] {
    let record = try JSONSerialization.jsonObject(
      with: Data(tool.text("sweeps/\(sweep)/parents/0001.json").utf8))
    let parent = try #require((record as? [String: Any])?["run"] as? String)
    let all = try runs()
    #expect(all.first { $0["run_id"] as? String == parent }?["status"] as? String == "FINISHED")
    let children = try runs("--parent", parent)
    #expect(children.allSatisfy { $0["status"] as? String == "FINISHED" })
    return children.compactMap { $0["parameters"] as? [String: String] }
  }

  private func runs(_ more: String...) throws -> [[String: Any]] {
    let (process, output, errors) = try tool.start(
      ["runs", "--format", "json"] + more, executable: "bllarse-mlflow")
    process.waitUntilExit()
    let told = try String(contentsOfFile: errors, encoding: .utf8)
    try #require(process.terminationStatus == 0, "\(told)")
    let text = try String(contentsOfFile: output, encoding: .utf8)
    return try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]] ?? []
  }
}

extension SweepEndToEnd {
  @Suite("of Python modules, on one machine")
  struct SweepPythonTests {
    let tool: SweepTool
    let sweeps: PythonSweeps

    init() throws {
      tool = try SweepTool()
      sweeps = try PythonSweeps(tool)
    }

    @Test("each module's runs hold what the module says")
    func wholeSweeps() throws {
      let names = [
        "own_run", "own_run_training", "adapters_last_layer", "config_grid", "script_runner",
      ]
      for name in names {
        let run = try tool.run("run", "\(name).py", "--jobs", "2")
        #expect(run.status == 0, "\(name): \(run.errors)")
      }
      let failing = try tool.run("run", "own_run_failing.py", "--jobs", "2")
      #expect(failing.status == 1, "\(failing.errors)")
      let states = try tool.states("own_run_failing.py")
      #expect(states.map(\.state) == ["done", "failed", "failed"])
      #expect(states[1].reason == "ZeroDivisionError: division by zero (own_run_failing.py:16)")
      #expect(states[2].exit_code == 3)
      try sweeps.checkResults()
      let children = try sweeps.tracked("adapters_last_layer")
      #expect(Set(children.map { $0["optimizer"] }) == ["adamw", "lion"])
      #expect(children.allSatisfy { $0["tune_mode"] == "last_layer" && $0["epochs"] == "2" })
    }

    @Test("a module that cannot be imported, or whose option is not one, runs nothing")
    func refused() throws {
      let missing = try tool.run("run", "missing_import.py")
      #expect(missing.status == 65)
      #expect(
        missing.errors.hasPrefix(
          "bllarse-sweep: missing_import.py:4: there is no Python module 'bllarse_absent_module' in"
        ), "\(missing.errors)")
      try tool.temporary.edit("config_grid.py") { $0.replacing("seed=seed,", with: "sed=seed,") }
      let unknown = try tool.run("run", "config_grid.py")
      #expect(
        unknown.errors
          == "bllarse-sweep: config_grid.py:15:9: bllarse-finetune has no option --sed; did you mean 'seed'?\n"
      )
      #expect(!FileManager.default.fileExists(atPath: tool.temporary.file("sweeps")))
    }

    @Test("what was frozen runs, with its modules; the file's present run() runs when it is named")
    func frozen() throws {
      try tool.temporary.write("study.py", Array(Self.study(1).utf8))
      try tool.temporary.write("part.py", Array("FACTOR = 10\n".utf8))
      #expect(try tool.run("run", "study.py", "--index", "0").status == 0)
      try tool.temporary.write("study.py", Array("raise RuntimeError\n".utf8))
      try tool.temporary.write("part.py", Array("FACTOR = 0\n".utf8))
      #expect(try tool.run("run-config", "sweeps/study", "1").status == 0)
      let folder = tool.temporary.path
      for index in 0..<2 {
        let metrics = try sweeps.metrics("study", index)
        #expect(metrics["x"] as? Int == 10 && metrics["file"] as? String == "\(folder)/study.py")
      }
      // A mended run() runs what has none yet, and says that it is another.
      try tool.temporary.write("study.py", Array(Self.study(2).utf8))
      let again = try tool.run("run", "study.py")
      #expect(again.status == 0)
      #expect(again.errors.contains("note: run() in \(folder)/study.py is not what it was"))
      #expect(try sweeps.metrics("study", 2)["x"] as? Int == 0)
      #expect(try sweeps.metrics("study", 1)["x"] as? Int == 10)
      #expect(try tool.run("list", "sweeps/study", "--count").output == "3\n")
    }

    private static func study(_ number: Int) -> String {
      """
      import part
      def create_configs(): return [dict(n=n) for n in range(3)]
      def run(config): return {"x": \(number) * part.FACTOR, "file": __file__}
      """
    }

    @Test("a retry that names the module runs its present run()")
    func retry() throws {
      #expect(try tool.run("run", "own_run_failing.py").status == 1)
      try tool.temporary.edit("own_run_failing.py") { $0.replacing("a / b", with: "a / (b or 4)") }
      let retry = try tool.run("retry", "own_run_failing.py", "--index", "1")
      #expect(retry.status == 0 && retry.errors.contains("retrying with the present one"))
      #expect(try sweeps.metrics("own_run_failing", 1)["quotient"] as? Double == 0.25)
    }

    @Test("a run has the index, the parent and the output directory, in the chosen environment")
    func environment() throws {
      let python = try tool.run(
        "python3", "-c", "import sys; print(sys.executable)", executable: "/usr/bin/env"
      ).output.split(separator: "\n").map(String.init)
      try FileManager.default.createDirectory(
        atPath: tool.temporary.file("env/bin"), withIntermediateDirectories: true)
      let wrapper = try tool.temporary.write(
        "env/bin/python", Array("#!/bin/sh\nFROM_VENV=yes exec \(python[0]) \"$@\"\n".utf8))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: wrapper)
      try tool.temporary.write(
        "study.py",
        Array(
          """
          import os
          assert os.environ["FROM_VENV"] == "yes"
          def create_configs(): return [dict(n=n) for n in range(2)]
          def run(config):
              names = ("BLLARSE_CONFIG_INDEX", "MLFLOW_PARENT_RUN_ID", "BLLARSE_OUTPUT_DIR", "FROM_VENV")
              return {name: os.environ.get(name) for name in names}
          """.utf8))
      #expect(try tool.run("run", "study.py").status == 65)
      let run = try tool.run(
        "run", "study.py", "--venv", "env", extra: ["MLFLOW_PARENT_RUN_ID": "abc"])
      #expect(run.status == 0, "\(run.errors)")
      let metrics = try sweeps.metrics("study", 1)
      #expect(metrics["BLLARSE_CONFIG_INDEX"] as? String == "1")
      #expect(metrics["MLFLOW_PARENT_RUN_ID"] as? String == "abc")
      #expect(metrics["FROM_VENV"] as? String == "yes")
      #expect((metrics["BLLARSE_OUTPUT_DIR"] as? String)?.hasSuffix("/1/attempt-1/output") == true)
      let wrong = try tool.run("run", "study.py", "--venv", "nowhere")
      #expect(wrong.status == 64)
      #expect(wrong.errors.contains("there is no \(tool.temporary.path)/nowhere/bin/python"))
    }

    @Test("the first sweeps' names of options run as the present ones, tracked under a parent")
    func olderNames() throws {
      let run = try tool.run("run", "older_names.py", "--jobs", "2")
      #expect(run.status == 0, "\(run.errors)")
      for (index, size) in [512, 1024].enumerated() {
        let arguments = try sweeps.arguments("older_names", index)
        #expect(arguments["loss_fn"] == "IBProbit", "\(arguments)")
        #expect(arguments["batch_size"] == "\(size)")
        #expect(arguments["num_update_iters"] == "\([2, 4][index])")
      }
      let children = try sweeps.tracked("older_names")
      #expect(children.count == 2 && children.allSatisfy { $0["loss_fn"] == "IBProbit" })
    }

    @Test("--set changes a value, and the others keep their types")
    func overrides() throws {
      let run = try tool.run("run", "own_run.py", "--set", "slope=3")
      #expect(run.status == 0, "\(run.errors)")
      #expect(try (0..<2).map { try sweeps.metrics("own_run", $0)["sum"] as? Double } == [9, 18])
    }

    @Test("exit code 75 means interrupted: the next attempt has the directory of the last")
    func interrupted() throws {
      try tool.temporary.write(
        "study.py",
        Array(
          """
          import os, sys
          def create_configs(): return [dict(n=1)]
          def run(config):
              output, resume = (os.environ.get(f"BLLARSE_{name}_DIR") for name in ("OUTPUT", "RESUME"))
              if not resume:
                  with open(os.path.join(output, "checkpoint"), "w") as file: file.write("half")
                  sys.exit(75)
              with open(os.path.join(resume, "checkpoint")) as file:
                  return {"half": file.read(), "same": resume == output}
          """.utf8))
      let run = try tool.run("run", "study.py", "--retry-delay", "0.1")
      #expect(run.status == 0 && run.errors.contains("0: started, attempt 2, resumed"))
      let metrics = try sweeps.metrics("study", 0)
      #expect(metrics["half"] as? String == "half" && metrics["same"] as? Bool == true)
    }

    @Test("a training within run() checkpoints once when the sweep is stopped, and fails as itself")
    func trainingWithin() throws {
      try tool.temporary.write(
        "sweep.py",
        Array(
          """
          from bllarse.tools.adapters import run_training_from_config
          def create_configs():
              return [dict(dataset="digits", loss_fn=loss, optimizer="adam", epochs=100_000)
                      for loss in ("CrossEntropy", "nothing")]
          def run(config):
              print("begins")
              return run_training_from_config(config)
          """.utf8))
      let failing = try tool.run("run", "sweep.py", "--index", "1")
      #expect(failing.status == 1)
      let state = try tool.states("sweep.py")[1]
      #expect(state.exit_code == 64 && state.state == "failed", "\(state)")
      let (process, _, _) = try tool.start(["run", "sweep.py", "--index", "0"])
      try tool.waitForStep(of: [0])
      kill(process.processIdentifier, SIGTERM)
      process.waitUntilExit()
      #expect(process.terminationStatus == 75)
      let interrupted = try tool.states("sweep.py")[0]
      #expect(interrupted.state == "interrupted" && interrupted.exit_code == 75, "\(interrupted)")
      let output = tool.temporary.file("sweeps/sweep/runs/0/0/attempt-1/output")
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: output)
          .contains { $0.hasPrefix("checkpoint") })
      #expect(tool.text("sweeps/sweep/runs/0/0/attempt-1/stdout.log").hasPrefix("begins\n"))
    }

    @Test("the text script's sweeps run without the script, on its caches")
    func textCache() throws {
      try FileManager.default.copyItem(
        atPath: Fixtures.path("text"), toPath: tool.temporary.file("cache"))
      let run = try tool.run("run", "text_cache.py", "--jobs", "2")
      #expect(run.status == 0, "\(run.errors)")
      for (index, optimizer) in ["cavi", "adamw"].enumerated() {
        let arguments = try sweeps.arguments("text_cache", index)
        #expect(arguments["optimizer"] == optimizer, "\(arguments)")
        #expect(arguments["train_batch_size"] == "64" && arguments["epochs"] == "2")
        #expect(arguments["cache_key"]?.hasPrefix("FacebookAI__roberta_base_len256_") == true)
      }
      try tool.temporary.edit("text_cache.py") { $0.replacing("roberta_mnli.py", with: "other.py") }
      let other = try tool.run("run", "text_cache.py")
      #expect(other.status == 65)
      let place = "bllarse-sweep: text_cache.py:25:"
      #expect(other.errors.hasPrefix("\(place) there is no script scripts/other.py: looked for"))
    }
  }
}
