/// One HTTP request.
package struct HTTPRequest: Sendable {
  /// What is sent along.
  package enum Body: Sendable {
    case none
    case bytes([UInt8])
    /// A file, streamed from disk.
    case file(path: String, size: Int)
  }

  package var method: String
  package var url: String
  package var headers: [(name: String, value: String)] = []
  package var body = Body.none

  package init(_ method: String, _ url: String) {
    self.method = method
    self.url = url
  }
}

/// A whole answer.
package struct HTTPResponse: Sendable {
  package var status: Int
  /// By lower-case name; the last of several equal ones.
  package var headers: [String: String]
  package var body: [UInt8]

  package init(status: Int, headers: [String: String] = [:], body: [UInt8] = []) {
    self.status = status
    self.headers = headers
    self.body = body
  }
}

/// Why there is no whole answer: one line.
package struct TransportError: Error, Sendable, Equatable {
  package var message: String
  /// Whether the server may have acted on the request.
  package var mayHaveArrived: Bool
  /// Whether it will be so until somebody changes something.
  package var isPermanent = false
}

/// Sends requests, one at a time, and waits for the answers.
package protocol HTTPTransport: Sendable {
  /// Sends one request; `isCancelled` is asked often while waiting, and true gives it up.
  func send(
    _ request: HTTPRequest, isCancelled: @escaping @Sendable () -> Bool
  ) throws(TransportError) -> HTTPResponse
}
