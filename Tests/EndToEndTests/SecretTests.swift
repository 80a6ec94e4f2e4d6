import BllarseTestSupport
import Foundation
import Testing

/// Looks into the processes of this one's children while something runs.
final class ProcessWatcher: @unchecked Sendable {
  // Written by the watching thread, read after it has ended.
  private(set) var commandLines: Set<String> = []
  private(set) var environments: Set<String> = []
  private let thread: Thread
  private let isOver = DispatchSemaphore(value: 0)
  private let isStopped = NSLock()

  /// Watches the descendants of a process that have one of the names.
  init(_ names: [String]) {
    isStopped.lock()
    let box = Box()
    thread = Thread { box.watcher?.watch(names) }
    box.watcher = self
    thread.start()
  }

  private final class Box: @unchecked Sendable { var watcher: ProcessWatcher? }

  private func watch(_ names: [String]) {
    while !isStopped.try() {
      let entries = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
      for entry in entries where Int(entry) != nil {
        guard let line = Self.read("/proc/\(entry)/cmdline"),
          names.contains(where: line.contains)
        else { continue }
        commandLines.insert(line)
        if let text = Self.read("/proc/\(entry)/environ") { environments.insert(text) }
      }
      usleep(10_000)
    }
    isOver.signal()
  }

  /// Ends watching.
  func stop() {
    isStopped.unlock()
    isOver.wait()
  }

  private static func read(_ path: String) -> String? {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
  }
}

@Suite(
  "Secrets", .serialized,
  .withMLflow)
struct SecretTests {
  static let password = "swordfish-9471"
  static let token = "tokentoken-5520"
  static let programs = ["bllarse-finetune", "bllarse-sweep", "bllarse-mlflow"]

  @Test(
    "password and token stand in no command line, log, journal, run directory, parameter or tag")
  func nowhere() throws {
    let scratch = try TemporaryDirectory()
    let folder = scratch.file("server")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let server = try MLflowServer.start(
      in: folder, arguments: ["--app-name", "basic-auth", "--workers", "1"],
      environment: [
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "x", "MLFLOW_AUTH_ADMIN_PASSWORD": Self.password,
      ])
    defer { server.kill() }
    let home = scratch.file("home")
    try FileManager.default.createDirectory(
      atPath: home + "/.mlflow", withIntermediateDirectories: true)
    let credentials = home + "/.mlflow/credentials"
    try Data(
      "[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = \(Self.password)\n"
        .utf8
    ).write(to: URL(fileURLWithPath: credentials))
    chmod(credentials, 0o600)
    let work = scratch.file("work")
    try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: true)
    let finetune = Program("bllarse-finetune").path
    try Data(
      """
      program: {run: [\(finetune)]}
      base: {enable_mlflow: true, group_id: secret, loss_fn: CrossEntropy, optimizer: adam, epochs: 20}
      seeds: 2
      """.utf8
    ).write(to: URL(fileURLWithPath: work + "/sweep.yaml"))
    // The file's user and password win over the environment's token.
    let environment = [
      "HOME": home, "XDG_CACHE_HOME": home, "MLFLOW_TRACKING_URI": server.address,
      "MLFLOW_TRACKING_TOKEN": Self.token,
    ]

    let watcher = ProcessWatcher(Self.programs)
    let outputs = try [
      Program("bllarse-sweep").run(
        ["run", "sweep.yaml", "--jobs", "2"], in: work, environment: environment),
      // And a run that leaves something for sync, with the password in the address.
      Program("bllarse-finetune").run(
        ["--epochs", "1", "--output", "out", "--enable-mlflow", "--mlflow-drain-seconds", "0"],
        in: work,
        environment: environment.merging([
          "MLFLOW_TRACKING_URI": server.address.replacing(
            "http://", with: "http://admin:\(Self.password)@")
        ]) { $1 }),
      Program("bllarse-mlflow").run(["sync"], in: work, environment: environment),
      Program("bllarse-mlflow").run(["check"], in: work, environment: environment),
    ]
    watcher.stop()
    #expect(outputs.map(\.status) == [0, 0, 0, 0], "\(outputs.map(\.error))")
    for name in Self.programs {
      #expect(watcher.commandLines.contains { $0.contains(name) }, "\(name) was not seen")
    }
    for line in watcher.commandLines {
      #expect(!line.contains(Self.password) && !line.contains(Self.token))
    }
    // What stands in the file is not handed to children.
    #expect(
      watcher.environments.filter { !$0.contains("admin:\(Self.password)@") }
        .allSatisfy { !$0.contains(Self.password) })

    var files = 0
    for case let name as String in FileManager.default.enumerator(atPath: work)
      ?? FileManager.DirectoryEnumerator()
    {
      guard let data = FileManager.default.contents(atPath: work + "/" + name) else { continue }
      files += 1
      for secret in [Self.password, Self.token] {
        #expect(data.range(of: Data(secret.utf8)) == nil, "\(name) holds a secret")
      }
    }
    #expect(files > 20)
    for output in outputs {
      #expect(!"\(output.output)\(output.error)".contains(Self.password))
      #expect(!"\(output.output)\(output.error)".contains(Self.token))
    }
    let stored = try Data(contentsOf: URL(fileURLWithPath: folder + "/mlflow.db"))
    #expect(stored.range(of: Data("secret".utf8)) != nil, "the runs are not there")
    #expect(stored.range(of: Data(Self.password.utf8)) == nil)
    #expect(stored.range(of: Data(Self.token.utf8)) == nil)
  }
}
