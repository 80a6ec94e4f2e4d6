import BllarseTestSupport
import Foundation
import Synchronization

/// A proxy before a server that, at random, drops requests, carries them out and loses or cuts the
/// answer, delays, or answers 429, 500 and 503 itself.
final class FaultProxy: Sendable {
  enum Fault: CaseIterable {
    case none, drop, loseAnswer, cutAnswer, delay, tooMany, serverError, unavailable
  }

  let address: String
  private let target: Int
  private let listener: Int32
  private let state: Mutex<(generator: SplitMix64, counts: [Fault: Int], isStopped: Bool)>
  private let faultProbability: Double

  var counts: [Fault: Int] { state.withLock { $0.counts } }

  init(before server: MLflowServer, seed: Int, faultProbability: Double) throws {
    target = server.port
    self.faultProbability = faultProbability
    state = Mutex((SplitMix64(seed: seed), [:], false))
    let port = try MLflowServer.freePort()
    address = "http://127.0.0.1:\(port)"
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var yes: Int32 = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
    try Self.withAddress(port) { address, size in
      guard bind(listener, address, size) == 0, listen(listener, 64) == 0 else {
        throw MLflowServer.Failure(description: "the proxy cannot listen on \(port)")
      }
    }
    Thread.detachNewThread { [self] in
      while true {
        let client = accept(listener, nil, nil)
        guard client >= 0 else { return }
        Thread.detachNewThread { [self] in serve(client) }
      }
    }
  }

  func stop() {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  private static func withAddress<Value>(
    _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) throws -> Value
  ) rethrows -> Value {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return try withUnsafePointer(to: &address) {
      try $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        try body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  private func nextFault() -> Fault {
    state.withLock { state in
      let faults = Fault.allCases.dropFirst()
      let fault =
        state.generator.uniform() < faultProbability
        ? faults.randomElement(using: &state.generator) ?? .none : .none
      state.counts[fault, default: 0] += 1
      return fault
    }
  }

  /// One request a connection: the answer says so, and the client opens another.
  private func serve(_ client: Int32) {
    defer { close(client) }
    guard let request = readMessage(client) else { return }
    switch nextFault() {
    case .none: forward(request, to: client)
    case .drop: break
    case .loseAnswer: _ = exchange(request)
    case .cutAnswer:
      if let answer = exchange(request) {
        sendAll(Array(answer.prefix(answer.count / 2)), to: client)
      }
    case .delay:
      usleep(UInt32.random(in: 20_000...300_000))
      forward(request, to: client)
    case .tooMany: answer("429 Too Many Requests", "Retry-After: 0\r\n", to: client)
    case .serverError: answer("500 Internal Server Error", "", to: client)
    case .unavailable: answer("503 Service Unavailable", "", to: client)
    }
  }

  private func answer(_ status: String, _ headers: String, to client: Int32) {
    sendAll(
      Array(
        "HTTP/1.1 \(status)\r\n\(headers)Content-Length: 4\r\nConnection: close\r\n\r\noops".utf8),
      to: client)
  }

  private func forward(_ request: [UInt8], to client: Int32) {
    if let answer = exchange(request) { sendAll(answer, to: client) }
  }

  private func exchange(_ request: [UInt8]) -> [UInt8]? {
    let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(server) }
    guard Self.withAddress(target, { connect(server, $0, $1) == 0 }) else { return nil }
    // "Connection: close" makes the end of the answer the end of the stream.
    let text = String(decoding: request, as: UTF8.self)
    guard let line = text.range(of: "\r\n") else { return nil }
    let prefix = text.utf8.distance(from: text.startIndex, to: line.upperBound)
    sendAll(
      Array(request[..<prefix]) + Array("Connection: close\r\n".utf8) + Array(request[prefix...]),
      to: server)
    var answer: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = recv(server, &piece, piece.count, 0)
      guard count > 0 else { return answer.isEmpty ? nil : answer }
      answer += piece[..<count]
    }
  }

  private func sendAll(_ bytes: [UInt8], to socket: Int32) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes {
        send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return }
      sent += count
    }
  }

  /// Headers, and as much of a body as Content-Length says.
  private func readMessage(_ socket: Int32) -> [UInt8]? {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    var wanted: Int?
    while wanted.map({ bytes.count < $0 }) ?? true {
      let count = recv(socket, &piece, piece.count, 0)
      guard count > 0 else { return nil }
      bytes += piece[..<count]
      if wanted == nil, let end = bytes.firstRange(of: Array("\r\n\r\n".utf8)) {
        let head = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).lowercased()
        let length = head.split(separator: "\r\n").first { $0.hasPrefix("content-length:") }
          .flatMap {
            Int($0.dropFirst("content-length:".count).trimmingCharacters(in: .whitespaces))
          }
        wanted = end.upperBound + (length ?? 0)
      }
    }
    return bytes
  }
}
