import BllarseTestSupport
import Foundation

@testable import BllarseMLflow

/// Fixtures/mlflow/hostile_server.py: faults by the first part of a request's path, and limits before a
/// real server.
final class HostileServer: Sendable {
  /// `http://127.0.0.1:PORT`, to which the name of a fault is appended.
  let address: String
  // Ends the server when it is closed.
  private let input: Pipe

  init(before server: MLflowServer) throws {
    let process = Process()
    process.executableURL = URL(
      fileURLWithPath: MLflowServer.environmentPath + "/bin/python")
    process.arguments = [
      Fixtures.packageRoot + "/Fixtures/mlflow/hostile_server.py", "--target", server.address,
    ]
    let output = Pipe()
    input = Pipe()
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    var line = ""
    while !line.hasSuffix("\n") {
      let data = output.fileHandleForReading.availableData
      guard !data.isEmpty else {
        throw MLflowServer.Failure(description: "the hostile server does not start")
      }
      line += String(decoding: data, as: UTF8.self)
    }
    address = "http://127.0.0.1:\(line.dropLast())"
  }

  func stop() { try? input.fileHandleForWriting.close() }

  /// How many requests a limit has taken, and how many refused.
  func counts(_ name: String) throws -> (taken: Int, refused: Int) {
    let transport = try CurlTransport(tls: TLSSettings(), timeoutSeconds: 20)
    let answer = try transport.send(HTTPRequest("GET", address + "/counts")) { false }
    let entry = try JSON.parse(bytes: answer.body)[name]
    return (entry?["taken"]?.integer ?? 0, entry?["refused"]?.integer ?? 0)
  }
}
