import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  @Suite("what people read")
  struct SweepOutputTests {
    @Test("run says what ended with which score, and what is left; the same in a log file")
    func progress() throws {
      let tool = try SweepTool()
      try tool.write(
        "sweep.yaml",
        "base: {steps: 1}\nlist: [{code: 3, seed: 1}, {code: 0, seed: 2}, {code: 0, seed: 3}]")
      let run = try tool.run("run", "sweep.yaml", "--jobs", "1")
      #expect(run.status == 1)
      let lines = run.errors.split(separator: "\n").map(String.init)
      #expect(lines.contains("0: started (code=3 seed=1)"))
      let failed = try #require(lines.first { $0.hasPrefix("0: failed") })
      #expect(
        failed.contains("told to fail with 3 (code=3 seed=1) | 0 done, 1 failed, 2 left, about "))
      let done = try #require(lines.first { $0.hasPrefix("1: done in ") })
      #expect(done.contains(" s: test.acc 0.9, test.nll 0."), "\(done)")
      #expect(done.contains(" (code=0 seed=2) | 1 done, 1 failed, 1 left, about "), "\(done)")
      #expect(lines.contains { $0.hasSuffix(" | 2 done, 1 failed, 0 left") })
      #expect(!run.errors.contains("\u{1B}") && !run.errors.contains("\r"))
      // A table has five scores and the seconds; a wide one and those for programs have all.
      let narrow = try tool.run("collect", "sweep.yaml").output.split(separator: "\n")
      #expect(
        narrow[0].split(separator: " ") == [
          "index", "code", "seed", "test.acc", "test.nll", "steps", "run_seconds",
        ])
      let wide = try tool.run("collect", "sweep.yaml", "--wide").output
      #expect(wide.contains("seconds.total"))
      #expect(
        try tool.run("collect", "sweep.yaml", "--format", "csv").output.contains("seconds.total"))
      let near = try tool.run("collect", "sweep.yaml", "--best", "nll")
      #expect(near.status == 64 && near.errors.contains("did you mean 'test.nll'?"))
      // Drawn again and again into a file, the states carry no terminal's codes.
      let status = try tool.run("status", "sweep.yaml", "--watch", "0.2")
      #expect(status.status == 0 && !status.output.contains("\u{1B}"))
      #expect(try tool.run("run", "sweeps/sweep", "--extend").status == 64)
      #expect(try tool.run("status", "sweeps/sweep", "--sweep-dir", "x").status == 64)
      let idle = try tool.run("list", "sweep.yaml", "--venv", "nowhere", "--python", "python3")
      #expect(idle.status == 0 && idle.errors.contains("--venv has no effect"), "\(idle.errors)")
      #expect(idle.errors.contains("--python has no effect"))
      // What is tried again here takes nothing that only SLURM heeds.
      let retry = try tool.run("retry", "sweep.yaml", "--mem", "8G")
      #expect(retry.status == 64 && retry.errors.contains("--mem has no effect"))
    }

    @Test("run: the executor of the file has defaults for it; what means nothing here is noted")
    func executor() throws {
      let tool = try SweepTool()
      try tool.write(
        "here.yaml",
        "seeds: 2\nbase: {code: 3}\nexecutor: {name: local, retries: 1, retry_delay: 0}")
      let run = try tool.run("run", "here.yaml")
      #expect(
        run.status == 1 && run.errors.contains("again in 0 s") && !run.errors.contains("'executor"))
      let once = try tool.run("run", "here.yaml", "--failed", "--retries", "0")
      #expect(once.status == 1 && !once.errors.contains("again in"), "\(once.errors)")
      try tool.write(
        "there.yaml", "seeds: 2\nexecutor: {name: slurm, cpus: 1, memory: 1G, partition: dev}")
      let other = try tool.run("run", "there.yaml")
      #expect(other.status == 0)
      #expect(
        other.errors.contains(
          "note: the file says 'executor: slurm'; 'run' uses local, whatever it says: memory, partition have no effect\n"
        ), "\(other.errors)")
      try tool.write("wrong.yaml", "seeds: 2\nexecutor: {name: local, job: 2}")
      let wrong = try tool.run("run", "wrong.yaml")
      #expect(wrong.status == 65)
      #expect(
        wrong.errors.contains(
          "wrong.yaml:3:25: unknown key 'job' under 'executor'; did you mean 'jobs'?"))
    }

    @Test(
      "an option that has no effect, or a value out of its range, is refused before anything runs",
      arguments: [
        ["collect", "--metric", "test.nll"], ["collect", "--largest"], ["collect", "--smallest"],
        ["collect", "--best", "test.nll", "--paired", "--seeds"],
        ["collect", "--best", "test.nll", "--paired", "--wide"],
        ["collect", "--format", "csv", "--wide"],
        ["collect", "--seeds", "--metric", "test.nll", "--wide"],
        ["list", "--sweep-dir", "x"], ["show", "0", "--sweep-dir", "x"],
        ["list", "--count", "--format", "json"], ["show", "0", "--format", "csv"],
        ["logs", "0", "--job", "--follow"], ["logs", "0", "--job", "--attempt", "1"],
        ["logs", "0", "--attempt", "0"], ["status", "--json", "--all"],
        ["status", "--state", "failed", "--all"], ["retry", "--index", "0", "--failed"],
        ["retry", "--index", "0", "--by-cause"], ["retry", "--by-cause", "--jobs", "2"],
        ["retry", "--by-cause", "--local"], ["retry", "--jobs", "0"], ["run", "--jobs", "0"],
        ["run", "--jobs=-1"], ["run", "--retries=-1"], ["run", "--retry-delay", "nan"],
        ["submit", "--max-concurrent=-1"], ["submit", "--time", "soon"], ["submit", "--time=-5"],
        ["submit", "--time", "999999999999999999-00:00"], ["submit", "--mem", "1.5G"],
        ["submit", "--mem", "lots"], ["submit", "--signal-seconds", "99999"],
        ["submit", "--retry", "oom:x"], ["submit", "--array-order", "up"],
        ["submit", "--cpus-per-task", "0"], ["submit", "--max-requeues=-1"],
      ])
    func refused(arguments: [String]) throws {
      let tool = try SweepTool()
      try tool.write("sweep.yaml", "seeds: 1")
      var words = arguments
      words.insert("sweep.yaml", at: 1)
      let (process, output, errors) = try tool.start(words)
      process.waitUntilExit()
      let text = try String(contentsOfFile: errors, encoding: .utf8)
      #expect(process.terminationStatus == 64, "\(text)")
      // The last option given is the one that has no effect, or is out of its range.
      let name = try #require(words.last { $0.hasPrefix("--") }).split(separator: "=")[0]
      #expect(text.contains(name), "\(text)")
      #expect(try String(contentsOfFile: output, encoding: .utf8).isEmpty)
      #expect(!FileManager.default.fileExists(atPath: tool.temporary.file("sweeps")))
    }

    @Test("a sweep file's loss_fn: IBProbit is the probit head, and head is the same key")
    func heads() throws {
      let tool = try SweepTool()
      let features = try OptionFixture.features(in: tool.temporary)
      for (key, heads) in [("loss_fn", "[IBProbit, softmax]"), ("head", "[softmax, IBProbit]")] {
        try tool.temporary.write(
          "\(key).yaml",
          Array(
            """
            base: {features: \(features)}
            grid: {\(key): \(heads)}
            """.utf8))
        let run = try tool.run("run", "\(key).yaml", "--jobs", "2")
        #expect(run.status == 0, "\(run.errors)")
        for index in 0...1 {
          let text = tool.text("sweeps/\(key)/runs/0/\(index)/result.json")
          let result = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
          let metrics = try #require(result?["metrics"] as? [String: Any])
          let arguments = try #require(metrics["arguments"] as? [String: Any])
          let chosen = try #require(metrics["chosen"] as? [String: Any])
          let isProbit = (index == 0) == (key == "loss_fn")
          #expect(arguments["loss_fn"] as? String == (isProbit ? "IBProbit" : "softmax"))
          #expect(chosen["likelihood"] as? String == (isProbit ? "probit" : "softmax"))
        }
      }
    }

    @Test("a tracked sweep's parent and children say what they are", .withMLflow)
    func tracked() throws {
      let tool = try SweepTool()
      let features = try OptionFixture.features(in: tool.temporary)
      try tool.temporary.write(
        "sweep.yaml",
        Array(
          """
          base: {features: \(features), enable_mlflow: true}
          grid: {loss_fn: [IBProbit, CrossEntropy]}
          seeds: {count: 2, start: 1}
          """.utf8))
      let server = try EndToEndServer.plain()
      let environment = [
        "MLFLOW_TRACKING_URI": server.address, "MLFLOW_EXPERIMENT_NAME": "people",
        "HOME": tool.temporary.path,
      ]
      let run = try tool.run("run", "sweep.yaml", "--jobs", "2", extra: environment)
      #expect(run.status == 0, "\(run.errors)")
      let runs = try TrackedRuns(server: server).all()
      let parent = try #require(
        runs.first {
          $0.tags["sweep_directory"]?.hasPrefix(tool.temporary.path) ?? false
        })
      #expect(parent.parameters["loss_fn"] == "IBProbit, CrossEntropy")
      #expect(parent.parameters["seed"] == "1, 2" && parent.parameters["features"] != nil)
      #expect(parent.metrics.count <= 12, "\(parent.metrics)")
      #expect(parent.tags["mlflow.note.content"]?.contains("4 configurations over") == true)
      let children = runs.filter { $0.tags["mlflow.parentRunId"] == parent.info.run_id }
      #expect(
        children.map(\.info.run_name).sorted() == [
          "000 IBProbit seed=1", "001 IBProbit seed=2", "002 CrossEntropy seed=1",
          "003 CrossEntropy seed=2",
        ])
      let probit = try #require(children.first { $0.info.run_name.hasPrefix("000") })
      let result = try JSONSerialization.jsonObject(
        with: Data(tool.text("sweeps/sweep/runs/0/0/result.json").utf8))
      let metrics = try #require((result as? [String: Any])?["metrics"] as? [String: Any])
      let chosen = try #require(metrics["chosen"] as? [String: Any])
      let estimate = try #require(metrics["estimate"] as? [String: Any])
      for (name, value) in [
        ("chosen.prior_precision", chosen["prior_precision"]),
        ("chosen.temperature", chosen["temperature"]), ("estimate.nll", estimate["nll"]),
      ] {
        let found = try #require(probit.values[name], "\(name)")
        let expected = try #require((value as? NSNumber)?.doubleValue, "\(name)")
        // Two readers of decimal texts need not agree on the last bit.
        #expect(found.isClose(to: expected, relative: 1e-12), "\(name)")
      }
      #expect(probit.parameters["chosen.scaling"] == chosen["scaling"] as? String)
      #expect(probit.values["conformal.lac.0.9.coverage"] != nil)
      let further = try #require(metrics["metrics"] as? [String: Any])
      for name in try #require(further["test"] as? [String: Any]).keys {
        #expect(probit.values["test.\(name)"] != nil, "\(name)")
      }
      for name in ["acc", "nll", "ece", "brier"] {
        #expect(probit.values["bootstrap.\(name).lower"] != nil, "\(name)")
        #expect(probit.values["estimate.\(name)"] != nil, "\(name)")
      }
      let known = try #require(metrics["metrics_info"] as? [String: [String: Any]])
      #expect(known["acc"]?["direction"] as? String == "higher")
      #expect(known["nll"]?["unit"] as? String == "nats")
      #expect(probit.tags["mlflow.note.content"]?.contains("Chosen: prior precision") == true)
      // The bins of the diagram hold every test row once.
      let score = try #require(metrics["metrics"] as? [String: Any])
      let bins = try #require(score["reliability"] as? [[String: Any]])
      let rows = bins.reduce(0) { $0 + (($1["count"] as? Int) ?? 0) }
      #expect(bins.count == 20 && rows == 20)
      let entropy = try #require(children.first { $0.info.run_name.hasPrefix("002") })
      #expect(entropy.values["chosen.l2"] ?? 0 > 0 && entropy.parameters["l2"] == "evidence")
      #expect(entropy.parameters["prior_precision"] == nil)

      let listed = try tool.run("runs", "people", executable: "bllarse-mlflow", extra: environment)
      let header = listed.output.split(separator: "\n").first ?? ""
      #expect(header.contains("name") && header.contains("loss_fn"), "\(listed.output)")
      #expect(header.contains("test.acc") && !header.contains("baseline"), "\(header)")
      for arguments in [
        ["--descending"], ["--metrics", "absent"], ["--parameters", "absent"],
        ["--parent", "0123"], ["--sort", "absent"], ["--metrics", ","], ["--limit", "0"],
      ] {
        let (process, _, errors) = try tool.start(
          ["runs", "people"] + arguments, executable: "bllarse-mlflow", extra: environment)
        process.waitUntilExit()
        let text = try String(contentsOfFile: errors, encoding: .utf8)
        #expect(process.terminationStatus == 64, "\(arguments): \(text)")
      }
    }
  }
}
