import Foundation

/// A real MLflow server for tests, from the environment that Scripts/setup-mlflow.sh makes.
///
/// It listens on 127.0.0.1 only, and ends with the test process whatever happens to that.
public final class MLflowServer: Sendable {
  /// Why a server could not be started.
  public struct Failure: Error, CustomStringConvertible {
    /// What happened, and the end of the server's log.
    public let description: String

    /// Makes one.
    public init(description: String) { self.description = description }
  }

  /// `http://127.0.0.1:PORT`.
  public let address: String
  /// The port it listens on.
  public let port: Int
  /// The folder it was started in.
  public let directory: String
  private let process: pid_t

  /// The virtual environment with MLflow: BLLARSE_MLFLOW_VENV, or .venv-mlflow in the package.
  public static let environmentPath =
    ProcessInfo.processInfo.environment["BLLARSE_MLFLOW_VENV"]
    ?? Fixtures.packageRoot + "/.venv-mlflow"

  /// Whether tests with a server can run.
  ///
  /// Where `CI` is set they run anyway, and fail without one.
  public static let isWanted =
    access(environmentPath + "/bin/mlflow", X_OK) == 0
    || ProcessInfo.processInfo.environment["CI"] != nil

  /// What is said of tests that do not run.
  public static let whySkipped =
    "no MLflow server: Scripts/setup-mlflow.sh has not been run (where CI is set this is a failure)"

  /// Starts `mlflow server` in a folder and waits until it answers.
  ///
  /// - Parameters:
  ///   - directory: where it is started; its database and artifacts are put there.
  ///   - port: the port; nil for a free one.
  ///   - arguments: more arguments.
  ///   - environment: more variables.
  ///   - hasJobs: whether it starts its job runners, as it does by default; without them it starts
  ///     in half the time.
  /// - Returns: the server.
  /// - Throws: ``Failure`` if it does not answer within two minutes.
  public static func start(
    in directory: String, port: Int? = nil, arguments: [String] = [],
    environment: [String: String] = [:], hasJobs: Bool = false
  ) throws -> MLflowServer {
    let program = environmentPath + "/bin/mlflow"
    guard access(program, X_OK) == 0 else {
      throw Failure(description: "\(program) is missing; run Scripts/setup-mlflow.sh")
    }
    // A free port may be somebody else's a moment later: then the server ends at once, and another is
    // tried.
    guard let port else {
      var failure = Failure(description: "")
      for _ in 0..<3 {
        do {
          return try start(
            in: directory, port: freePort(), arguments: arguments, environment: environment,
            hasJobs: hasJobs)
        } catch let error as Failure {
          failure = error
        }
      }
      throw failure
    }
    // The shell leads a process group of its own, and ends the group when this process is gone. Whoever
    // started this process may wait until all that inherited its output have closed it before it takes
    // notice of its end: so the shell keeps no inherited descriptor, and an ended process that nobody
    // has waited for yet counts as gone.
    let script = """
      cd "$1" || exit 1
      shift
      exec </dev/null >/dev/null 2>&1
      for descriptor in /proc/$$/fd/*; do
        number=${descriptor##*/}
        if ((number > 2 && number != 255)); then eval "exec $number>&-"; fi
      done
      "$@" >> server.log 2>&1 &
      server=$!
      alive() { grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null; }
      while alive \(getpid()) && alive $server; do sleep 1; done
      kill -s KILL -- -$$
      """
    var variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("MLFLOW_") }
    variables["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if !hasJobs { variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false" }
    variables.merge(environment) { $1 }
    let process = try spawnGroup(
      [
        "/bin/bash", "-c", script, "bash", directory, program, "server", "--host",
        "127.0.0.1", "--port", "\(port)",
      ] + arguments,
      environment: variables)
    let server = MLflowServer(port: port, directory: directory, process: process)
    let deadline = Date(timeIntervalSinceNow: 120)
    let isRunning = {
      var status = siginfo_t()
      // The id of an ended process is set, and the process is left for kill() to wait for.
      waitid(P_PID, id_t(process), &status, WNOHANG | WEXITED | WNOWAIT)
      return status._sifields._kill.si_pid == 0
    }
    while !server.isHealthy {
      guard Date() < deadline, isRunning() else {
        let log = (try? String(contentsOfFile: directory + "/server.log", encoding: .utf8)) ?? ""
        server.kill()
        throw Failure(
          description: "no server at \(server.address) within 120 s: \(log.suffix(2000))")
      }
      usleep(200_000)
    }
    return server
  }

  private init(port: Int, directory: String, process: pid_t) {
    self.port = port
    address = "http://127.0.0.1:\(port)"
    self.directory = directory
    self.process = process
  }

  deinit { kill() }

  /// Ends the server and its helpers at once.
  public func kill() {
    Foundation.kill(-process, SIGKILL)
    var status: Int32 = 0
    waitpid(process, &status, 0)
  }

  /// Waits until somebody listens on a port of 127.0.0.1.
  ///
  /// - Throws: ``Failure`` if nobody does within a minute.
  public static func waitForListener(on port: Int) throws {
    for _ in 0..<600 {
      let socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      defer { close(socket) }
      var address = localAddress(port)
      let size = socklen_t(MemoryLayout<sockaddr_in>.size)
      let isConnected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, size) == 0 }
      }
      if isConnected { return }
      usleep(100_000)
    }
    throw Failure(description: "nobody listens on port \(port)")
  }

  /// Whether /health answers OK.
  public var isHealthy: Bool {
    let socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard socket >= 0 else { return false }
    defer { close(socket) }
    var timeout = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(
      socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    var address = Self.localAddress(port)
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, size) == 0 }
    }
    guard isConnected else { return false }
    let request = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    guard send(socket, request, request.utf8.count, Int32(MSG_NOSIGNAL)) > 0 else {
      return false
    }
    var answer = [UInt8](repeating: 0, count: 64)
    let count = recv(socket, &answer, answer.count, 0)
    return count > 12 && String(decoding: answer[..<count], as: UTF8.self).contains(" 200 ")
  }

  /// A port of 127.0.0.1 that nothing listens on.
  public static func freePort() throws -> Int {
    let socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(socket) }
    var address = localAddress(0)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket, $0, size) == 0 && getsockname(socket, $0, &size) == 0
      }
    }
    guard isBound else { throw Failure(description: "no free port") }
    return Int(in_port_t(bigEndian: address.sin_port))
  }

  private static func localAddress(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return address
  }

  private static func spawnGroup(
    _ arguments: [String], environment: [String: String]
  ) throws -> pid_t {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
    posix_spawnattr_setpgroup(&attributes, 0)
    var argv = arguments.map { strdup($0) } + [nil]
    var envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var process: pid_t = 0
    guard posix_spawn(&process, arguments[0], nil, &attributes, &argv, &envp) == 0 else {
      throw Failure(description: "cannot start \(arguments[0])")
    }
    return process
  }
}
