import Foundation
import Synchronization

/// MLflow's REST interface: addresses, headers, JSON in and out, failures by kind.
package final class MLflowClient: Sendable {
  package let address: String
  private let transport: any HTTPTransport
  let authorization: Authorization
  let http: HTTPSettings
  let redaction: Redaction
  /// How long one request is repeated that the server refuses for the moment, in seconds.
  private let patience: Double
  private let sleep: @Sendable (Double) -> Void
  private let state = Mutex(State())

  private struct State {
    // A closure in a struct: bare in a generic container it would be wrapped once more each time the
    // container is looked into, until calling it overflows the stack.
    var observer = RequestObserver()
    var pace = RequestPace()
    var lastStart: ContinuousClock.Instant?
  }

  /// Makes a client.
  ///
  /// - Parameters:
  ///   - address: the server's, without a slash at its end.
  ///   - transport: sends the requests.
  ///   - authorization: who asks.
  ///   - http: patience with failures.
  ///   - redaction: what must not stand in messages.
  ///   - patience: for how many seconds a request is repeated that the server refuses for the moment
  ///     (429, or 503 with Retry-After); 0 leaves that, and all other repetition, to the caller.
  ///   - sleep: waits for some seconds; a test passes one that does not.
  package init(
    address: String, transport: any HTTPTransport, authorization: Authorization = .none,
    http: HTTPSettings = HTTPSettings(), redaction: Redaction = Redaction([]),
    patience: Double = 0,
    sleep: @escaping @Sendable (Double) -> Void = { Thread.sleep(forTimeInterval: $0) }
  ) {
    self.address = address
    self.transport = transport
    self.authorization = authorization
    self.http = http
    self.redaction = redaction
    self.patience = patience
    self.sleep = sleep
  }

  /// Asks and tells `observer` from now on.
  package func observe(_ observer: RequestObserver) { state.withLock { $0.observer = observer } }

  /// Gives up waiting requests when `isCancelled` says so.
  package func cancelWhen(_ isCancelled: @escaping @Sendable () -> Bool) {
    state.withLock { $0.observer.isCancelled = isCancelled }
  }

  // MARK: - Calls

  /// GET with a query; answers with a JSON object.
  package func get(
    _ path: String, query: [(String, String)] = []
  ) throws(StoreFailure) -> JSON {
    let text = query.map { "\($0)=\(Self.encoded($1))" }.joined(separator: "&")
    let url = "\(address)/api/2.0/\(path)" + (text.isEmpty ? "" : "?\(text)")
    return try json(from: try send(HTTPRequest("GET", url)), path: path)
  }

  /// POST with a JSON body; answers with a JSON object.
  @discardableResult
  package func post(
    _ path: String, _ body: JSON, isRepeatable: Bool = true
  ) throws(StoreFailure) -> JSON {
    try post(path, bytes: body.bytes, isRepeatable: isRepeatable)
  }

  /// POST of bytes that are JSON; answers with a JSON object.
  ///
  /// `isRepeatable` is false for a request that must not be carried out twice: it is repeated only where
  /// it has certainly not been carried out.
  @discardableResult
  package func post(
    _ path: String, bytes: [UInt8], isRepeatable: Bool = true
  ) throws(StoreFailure) -> JSON {
    var request = HTTPRequest("POST", "\(address)/api/2.0/\(path)")
    request.headers = [("Content-Type", "application/json")]
    request.body = .bytes(bytes)
    return try json(from: try send(request, isRepeatable: isRepeatable), path: path)
  }

  /// PUT of a file, streamed.
  package func put(_ path: String, file: String, size: Int) throws(StoreFailure) {
    var request = HTTPRequest("PUT", "\(address)/api/2.0/\(path)")
    request.headers = [("Content-Type", "application/octet-stream")]
    // An empty file is sent as an empty body: libcurl takes size 0 for "unknown" in an upload.
    request.body = size == 0 ? .bytes([]) : .file(path: file, size: size)
    let response = try send(request)
    guard response.status == 200 else { throw failure(response, path: path) }
    // MLflow answers with nothing, some of its relatives with an empty object.
    guard response.body.isEmpty || Self.isEmptyObject(response.body) else {
      throw foreign(response.body, path: path)
    }
  }

  /// GET of any address of the server as text, for ``check``.
  package func text(_ path: String) throws(StoreFailure) -> (status: Int, body: String) {
    let response = try send(HTTPRequest("GET", "\(address)/\(path)"))
    return (response.status, String(decoding: response.body, as: UTF8.self))
  }

  /// A path or query value with everything but letters, digits and `-._~` percent-encoded.
  package static func encoded(_ text: String, keepingSlashes: Bool = false) -> String {
    var result = ""
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
        UInt8(ascii: "_"), UInt8(ascii: "~"):
        result.unicodeScalars.append(Unicode.Scalar(byte))
      case UInt8(ascii: "/") where keepingSlashes: result += "/"
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        result += "%" + (digits.count == 1 ? "0" : "") + digits
      }
    }
    return result
  }

  // MARK: - Sending

  /// Sends a request, and repeats it while the server refuses it for the moment.
  ///
  /// It is this request that is repeated and not what led to it: a server that takes every second request
  /// would otherwise never take the second of two.
  private func send(
    _ request: HTTPRequest, isRepeatable: Bool = true
  ) throws(StoreFailure) -> HTTPResponse {
    let start = ContinuousClock.now
    var refusals = 0
    var troubles = 0
    while true {
      // The wait after a refusal is distance enough.
      try waitForTurn(isDue: refusals > 0)
      let response: HTTPResponse
      let attempt = ContinuousClock.now
      do {
        response = try exchange(request)
      } catch {
        // A connection that was cut; one that timed out has taken long enough.
        guard patience > 0, isRepeatable, troubles < Self.maxTroubles,
          case .unavailable(_, _, mayHaveArrived: true) = error,
          attempt.duration(to: .now) < .seconds(5), !isCancelled
        else { throw error }
        troubles += 1
        try wait(backoffSeconds(troubles))
        continue
      }
      let asked = retryAfter(response)
      let isRefused = response.status == 429 || (response.status == 503 && asked != nil)
      if isRefused, patience > 0, isRepeatable || response.status == 429 {
        refusals += 1
        let seconds = waitSeconds(refusals, asked: asked)
        let failure = failure(response, path: request.url)
        let passed = start.duration(to: .now).seconds
        // A server that puts off for longer than the patience lasts is not asked meanwhile.
        guard passed + max(seconds, patience.isFinite ? asked ?? 0 : 0) <= patience else {
          throw .unavailable(
            failure.message + givenUp(passed, asked: asked), retryAfter: .infinity,
            mayHaveArrived: false)
        }
        let observer = state.withLock { state in
          state.pace.refuse(wait: asked ?? seconds)
          return state.observer
        }
        observer.willWait(
          RequestWait(
            seconds: seconds, asked: asked.flatMap { $0 > RetryAfter.maxSeconds ? $0 : nil },
            reason: failure.message, refusals: refusals))
        try wait(seconds)
        continue
      }
      if patience > 0, isRepeatable, troubles < Self.maxTroubles,
        [408, 425, 500, 502, 503, 504].contains(response.status)
      {
        troubles += 1
        try wait(backoffSeconds(troubles))
        continue
      }
      if response.status < 500, response.status != 429 {
        let observer = state.withLock { state in
          state.pace.take()
          return state.observer
        }
        observer.didTake()
      }
      return response
    }
  }

  private func givenUp(_ passed: Double, asked: Double?) -> String {
    if let asked, asked > patience {
      return "; it asks to come again in \(RequestWait.text(asked))"
    }
    return "; it was asked again for \(RequestWait.text(passed))"
  }

  /// How often a request is repeated at once after a cut connection or a gateway's failure; what comes
  /// more often than that is an outage, which those who wait for it deal with.
  private static let maxTroubles = 2

  private var isCancelled: Bool { state.withLock { $0.observer }.isCancelled() }

  /// The wait before a refused request is repeated: what the server asked for up to a limit, otherwise a
  /// second, doubled with each refusal up to eight; with jitter, as others were refused at the same time.
  private func waitSeconds(_ refusals: Int, asked: Double?) -> Double {
    let jitter = http.backoffJitter * .random(in: 0..<1)
    if let asked { return min(asked, RetryAfter.maxSeconds) + min(jitter, max(asked, 0.1)) }
    return min(1, http.backoffFactor) * Double(1 << min(refusals - 1, 3)) + jitter
  }

  private func backoffSeconds(_ troubles: Int) -> Double {
    min(1, http.backoffFactor) * 0.25 * Double(troubles)
      + min(1, http.backoffJitter) * .random(in: 0..<0.25)
  }

  /// Waits until the distance that the server wants between requests is kept.
  private func waitForTurn(isDue: Bool) throws(StoreFailure) {
    guard patience > 0 else { return }
    let left = state.withLock { state -> Double in
      guard !isDue, state.pace.interval > 0, let last = state.lastStart else { return 0 }
      return state.pace.interval - last.duration(to: .now).seconds
    }
    if left > 0 { try wait(left) }
    state.withLock { $0.lastStart = .now }
  }

  private func wait(_ seconds: Double) throws(StoreFailure) {
    let observer = state.withLock { $0.observer }
    var left = seconds
    var sinceCall = 0.0
    while left > 0 {
      if observer.isCancelled() { throw .unavailable("\(address): given up while waiting") }
      let piece = min(left, 0.1)
      sleep(piece)
      left -= piece
      sinceCall += piece
      if sinceCall >= 10 {
        observer.isWaiting()
        sinceCall = 0
      }
    }
  }

  private func exchange(_ request: HTTPRequest) throws(StoreFailure) -> HTTPResponse {
    var request = request
    if let header = authorization.header { request.headers.append(("Authorization", header)) }
    let isCancelled = state.withLock { $0.observer }.isCancelled
    for _ in 0..<5 {
      let response: HTTPResponse
      do {
        response = try transport.send(request, isCancelled: isCancelled)
      } catch {
        let message = clean("cannot reach \(address): \(error.message)", limit: 500)
        throw error.isPermanent
          ? .blocked(message) : .unavailable(message, mayHaveArrived: error.mayHaveArrived)
      }
      guard (300..<400).contains(response.status) else { return response }
      request.url = try redirected(request.url, response)
    }
    throw .unavailable("\(address) redirects in circles")
  }

  /// Follows to the same host only (or to https there): the credentials go along, and so do the
  /// method and body, which other clients drop.
  private func redirected(_ url: String, _ response: HTTPResponse) throws(StoreFailure) -> String {
    let location = response.headers["location"] ?? ""
    guard http.areRedirectsAllowed, let from = URL(string: url),
      let target = URL(string: location, relativeTo: from)?.absoluteURL,
      target.host == from.host,
      target.scheme == "https" || (target.scheme == from.scheme && target.port == from.port)
    else {
      throw .blocked(
        """
        \(address) answers \(response.status) and points to '\(clean(location))'; set \
        MLFLOW_TRACKING_URI to the address that serves MLflow itself
        """)
    }
    return target.absoluteString
  }
}
