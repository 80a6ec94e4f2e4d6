import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// Stand-ins for Docker and Apptainer that give a container what they were given and nothing else.
///
/// See Fixtures/containers/container.sh for what is isolated.
enum ContainerEngine: String, CaseIterable, CustomTestStringConvertible {
  case docker, apptainer

  static let directory = Fixtures.path("containers")
  /// Needs root, and a kernel that lets it mount.
  static let isWanted: Bool = {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
    process.arguments = ["--mount", "mount", "--make-rprivate", "/"]
    process.standardError = FileHandle.nullDevice
    guard geteuid() == 0, (try? process.run()) != nil else { return false }
    process.waitUntilExit()
    return process.terminationStatus == 0
  }()

  var testDescription: String { rawValue }
  var script: String { Fixtures.packageRoot + "/Scripts/slurm/slurm_run_config_\(rawValue).sh" }
  /// The variable that names the image.
  var imageVariable: String { "BLLARSE_\(rawValue.uppercased())_IMAGE" }
}

extension SweepTool {
  /// What submits to an engine: a home directory with nothing but what a test puts there, and the
  /// engine before others in PATH.
  func containers(_ engine: ContainerEngine) throws -> [String: String] {
    try FileManager.default.createDirectory(
      atPath: temporary.file("home/.mlflow"), withIntermediateDirectories: true)
    try temporary.write("image.sif", [])
    return [
      "HOME": temporary.file("home"), "BLLARSE_CONTAINER": engine.rawValue,
      "PATH": "\(ContainerEngine.directory):/usr/local/bin:/usr/sbin:/usr/bin:/bin",
      "STUB_ARGUMENTS": temporary.file("arguments"),
      "BLLARSE_APPTAINER_IMAGE": temporary.file("image.sif"),
    ]
  }

  /// Waits until SLURM's queue is empty, asking nobody else.
  func waitForEmptyQueue() throws {
    try wait(300, "an empty queue") {
      let queue = try run("--noheader", executable: "/usr/bin/squeue")
      return queue.status == 0 && queue.output.isEmpty ? true : nil
    }
  }
}

@Suite(
  "container-run",
  .enabled(if: ContainerEngine.isWanted, "needs root and a kernel that lets it mount"))
struct ContainerRunTests {
  @Test(
    "a container has the directories, files and variables that it was named, and no others",
    arguments: ContainerEngine.allCases)
  func visible(engine: ContainerEngine) throws {
    let tool = try SweepTool()
    let other = try TemporaryDirectory()
    for name in ["data dir", "python one", "python two", "hub", "store", "venv/bin", "unseen"] {
      try FileManager.default.createDirectory(
        atPath: other.file(name), withIntermediateDirectories: true)
    }
    try other.write("data dir/file", Array("data".utf8))
    try other.write("authority.pem", Array("pem".utf8))
    try other.write(
      "venv/bin/activate", Array("export VENV_IS=active; unset_one=${UNSET_ONE}\n".utf8))
    let container = try tool.containers(engine)
    try tool.temporary.write("home/.mlflow/credentials", Array("secret".utf8))
    try tool.temporary.write("home/other", [])
    // The working directory lies elsewhere than HOME, as a scratch directory does.
    let outside = try TemporaryDirectory()
    let script = """
      cd "\(outside.path)" && exec "\(Fixtures.packageRoot)/Scripts/slurm/container-run" bash -c '
        echo "$PWD|$HOME|$USER|$OMP_NUM_THREADS|$HF_TOKEN|$MLFLOW_TRACKING_PASSWORD|$OWN|${NOT_PASSED-unset}"
        cat "$BLLARSE_DATA_DIR/file" "$MLFLOW_TRACKING_SERVER_CERT_PATH" ~/.mlflow/credentials
        echo "|$VENV_IS"
        echo ok >"$PWD/written" && echo ok >"$HF_HOME/written"
        for path in "$HOME"/* ~/.mlflow/credentials "$BLLARSE_DATA_DIR" \(other.path)/*; do
          [[ ! -e $path ]] || echo "$path"
        done
        (echo changed >~/.mlflow/credentials) 2>/dev/null || echo "read only"
      '
      """
    let result = try tool.run(
      "-c", script, executable: "/bin/bash",
      extra: container.merging([
        "USER": "someone", "OMP_NUM_THREADS": "3", "HF_TOKEN": "to ken",
        "HF_HOME": other.file("hub"),
        "MLFLOW_TRACKING_PASSWORD": "pa$HOME'\"word", "OWN": "own", "BLLARSE_CONTAINER_ENV": "OWN",
        "NOT_PASSED": "x", "BLLARSE_DATA_DIR": other.file("data dir"),
        "VENV_NAME": other.file("venv"),
        "PYTHONPATH": other.file("python one") + ":" + other.file("python two"),
        "MLFLOW_TRACKING_SERVER_CERT_PATH": other.file("authority.pem"),
        "MLFLOW_TRACKING_URI": "sqlite:///" + other.file("store/mlflow.db"),
        "BLLARSE_MODEL_DIR": other.file("missing"),
      ]) { $1 })
    #expect(result.status == 0, "\(result.errors)")
    #expect(
      result.output == """
        \(outside.path)|\(tool.temporary.file("home"))|someone|3|to ken|pa$HOME'"word|own|unset
        datapemsecret|active
        \(tool.temporary.file("home"))/.mlflow/credentials
        \(other.file("data dir"))
        \(other.file("authority.pem"))
        \(other.file("data dir"))
        \(other.file("hub"))
        \(other.file("python one"))
        \(other.file("python two"))
        \(other.file("store"))
        \(other.file("venv"))
        read only

        """)
    let node = ProcessInfo.processInfo.hostName.split(separator: ".")[0]
    #expect(
      result.errors
        == "bllarse: note: BLLARSE_MODEL_DIR names \(other.file("missing")), which is not on node \(node): the container does not have it\n"
    )
    #expect(
      outside.contents == ["written"]
        && FileManager.default.fileExists(atPath: other.file("hub/written")))
    let words = tool.text("arguments")
    #expect(!words.contains("pa$HOME") && !words.contains("to ken") && !words.isEmpty)

    let whole = try tool.run(
      "-c", script.replacing(outside.path, with: other.path), executable: "/bin/bash",
      extra: container.merging(["BLLARSE_\(engine.rawValue.uppercased())_MOUNT_HOME": "1"]) { $1 })
    #expect(whole.output.contains("\(tool.temporary.file("home"))/other\n"), "\(whole)")
  }

  @Test("what cannot be done is one line that says what to do", arguments: ContainerEngine.allCases)
  func faults(engine: ContainerEngine) throws {
    let tool = try SweepTool()
    let container = try tool.containers(engine)
    let node = ProcessInfo.processInfo.hostName.split(separator: ".")[0]
    func message(_ extra: [String: String], _ words: [String] = ["true"]) throws -> String {
      let arguments = [Fixtures.packageRoot + "/Scripts/slurm/container-run"] + words
      let (process, _, errors) = try tool.start(
        arguments, executable: "/bin/bash", extra: container.merging(extra) { $1 })
      process.waitUntilExit()
      #expect([1, 64].contains(process.terminationStatus))
      return try String(contentsOfFile: errors, encoding: .utf8)
    }
    try FileManager.default.createDirectory(
      atPath: tool.temporary.file("a:b"), withIntermediateDirectories: true)
    let colon = tool.temporary.file("a:b")
    #expect(
      try message(["BLLARSE_DATA_DIR": colon])
        == "bllarse: the path '\(colon)' cannot be mounted into a container: it has a colon or a comma; rename it, or name a link to it\n"
    )
    #expect(
      try message(["BLLARSE_CONTAINER_ENV": "SECRET=value"])
        == "bllarse: BLLARSE_CONTAINER_ENV takes names of variables, with spaces between them; 'SECRET' is followed by something else\n"
    )
    #expect(
      try message([engine.imageVariable: "missing"]).contains(
        "image missing is not on node \(node);"))
    #expect(
      try message(["VENV_NAME": "/nowhere/venv"])
        .hasPrefix(
          "bllarse: the Python environment /nowhere/venv (--venv) has no bin/activate in the container on node \(node);"
        ))
    #expect(
      try message([:], ["no-such-program"])
        == "bllarse: on node \(node) the image has no no-such-program\n")
    #expect(
      try message(["BLLARSE_CONTAINER": "podman"])
        == "bllarse: BLLARSE_CONTAINER is docker or apptainer; found 'podman'\n")
  }
}

extension SweepEndToEnd {
  @Suite(
    "on a real SLURM, in containers", SlurmCluster(),
    .enabled(
      if: SlurmCluster.isWanted && ContainerEngine.isWanted,
      "slurm-wlm and munge are not installed, or not root, or nothing can be mounted"))
  struct SweepContainerTests {
    let tool: SweepTool

    init() throws { tool = try SlurmCluster.tool() }

    @Test(
      "children reach a server that only the credentials file names, under one parent", .withMLflow)
    func tracked() throws {
      let folder = tool.temporary.file("server")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      let password = "container-pass-4711"
      let server = try MLflowServer.start(
        in: folder, arguments: ["--app-name", "basic-auth", "--workers", "1"],
        environment: [
          "MLFLOW_FLASK_SERVER_SECRET_KEY": "x", "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        ])
      defer { server.kill() }
      // A home that is not within the working directory, which a container has anyway.
      let home = try TemporaryDirectory()
      try FileManager.default.createDirectory(
        atPath: home.file(".mlflow"), withIntermediateDirectories: true)
      // Features that only the configuration names.
      let elsewhere = try TemporaryDirectory()
      let features = elsewhere.file("features.safetensors")
      try Self.writeFeatures(to: features)
      for engine in ContainerEngine.allCases {
        let environment = try tool.containers(engine).merging(["HOME": home.path]) { $1 }
        try home.write(
          ".mlflow/credentials",
          Array(
            """
            [mlflow]
            mlflow_tracking_uri = \(server.address)
            mlflow_tracking_username = admin
            mlflow_tracking_password = \(password)

            """.utf8))
        chmod(home.file(".mlflow/credentials"), 0o600)
        try tool.temporary.write(
          "\(engine.rawValue).yaml",
          Array(
            """
            base: {features: \(features), loss_fn: IBProbit, epochs: 1, enable_mlflow: true, mlflow_drain_seconds: 120, group_id: in-\(engine.rawValue)}
            grid: {num_update_iters: [1, 4]}
            """.utf8))
        let submit = try tool.run(
          "submit", "\(engine.rawValue).yaml", "--cpus-per-task", "1", "--job-script",
          engine.script,
          extra: environment)
        #expect(submit.status == 0, "\(submit.errors)")
        // The script and what it shares are kept: only their copies are run.
        #expect(
          FileManager.default.fileExists(
            atPath: tool.temporary.file("sweeps/\(engine.rawValue)/submissions/0001/common.sh")))
      }
      try tool.waitForEmptyQueue()
      let runs = try TrackedRuns(server: server, login: "admin:\(password)").all()
      let told = runs.map { "\($0.info.run_name) \($0.info.status) \($0.tags)" }
      for engine in ContainerEngine.allCases {
        let parents = runs.filter {
          $0.tags["is_parent"] == "true" && $0.info.run_name == "in-\(engine.rawValue)"
        }
        try #require(parents.count == 1, "\(told)")
        // The last task has ended it, in its container: no one has asked for the status.
        #expect(parents[0].info.status == "FINISHED", "\(told)")
        let children = runs.filter { $0.tags["mlflow.parentRunId"] == parents[0].info.run_id }
        let log = try tool.run("logs", "\(engine.rawValue).yaml", "0", "--job").output
        #expect(children.count == 2, "\(log)")
        for child in children {
          #expect(child.info.status == "FINISHED" && child.values["test.acc"] != nil)
        }
      }
      #expect(runs.count == 6)
      let states = try ContainerEngine.allCases.flatMap { try tool.words("\($0.rawValue).yaml") }
      #expect(states == ["done", "done", "done", "done"])
      let words = tool.text("arguments")
      #expect(!words.contains(password) && words.contains(home.file(".mlflow/credentials")))
    }

    @Test("submit refuses an image that is not here; left to the node, the task names it")
    func images() throws {
      try tool.write("sweep.yaml", "seeds: 1")
      let node = ProcessInfo.processInfo.hostName.split(separator: ".")[0]
      for engine in ContainerEngine.allCases {
        let missing = [engine.imageVariable: tool.temporary.file("missing")]
        let environment = try tool.containers(engine).merging(missing) { $1 }
        let refused = try tool.run(
          "submit", "sweep.yaml", "--job-script", engine.script, extra: environment)
        #expect(
          refused.status == 64 && refused.errors.contains("image \(tool.temporary.file("missing"))")
        )
        let sent = try tool.run(
          "submit", "sweep.yaml", "--sweep-dir", "sweeps/\(engine.rawValue)", "--job-script",
          engine.script, extra: environment.merging(["BLLARSE_IMAGE_CHECK": "node"]) { $1 })
        #expect(sent.status == 0, "\(sent.errors)")
        try tool.waitForEmptyQueue()
        let log = try tool.run("logs", "sweeps/\(engine.rawValue)", "0", "--job")
        #expect(log.output.contains("missing is not on node \(node)"), "\(log)")
      }
    }

    private static func writeFeatures(to path: String) throws {
      var generator = SplitMix64(seed: 7)
      var writer = SafetensorsWriter()
      for (name, count) in [("train", 60), ("test", 30)] {
        let labels = (0..<count).map { Int32($0 % 3) }
        var elements: [Float] = []
        for label in labels {
          for column in 0..<4 {
            elements.append((column == label ? 2 : 0) + .random(in: -1...1, using: &generator))
          }
        }
        writer.add("X_\(name)", Matrix<Float>(rows: count, columns: 4, elements: elements))
        writer.add("y_\(name)", labels)
      }
      try writer.write(to: path)
    }
  }
}
