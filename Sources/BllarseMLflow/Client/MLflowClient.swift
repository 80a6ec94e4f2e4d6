import Foundation
import Synchronization

/// MLflow's REST interface: addresses, headers, JSON in and out, failures by kind.
package final class MLflowClient: Sendable {
  package let address: String
  private let transport: any HTTPTransport
  let authorization: Authorization
  let http: HTTPSettings
  let redaction: Redaction
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

  /// Makes a client of a server, whose address has no slash at its end.
  ///
  /// For `patience` seconds a request is repeated that the server refuses for the moment (429, or 503
  /// with Retry-After); 0 leaves that, and all other repetition, to the caller.
  package init(
    address: String, transport: any HTTPTransport, authorization: Authorization = .none,
    http: HTTPSettings = HTTPSettings(), redaction: Redaction = Redaction([]), patience: Double = 0,
    sleep: @escaping @Sendable (Double) -> Void = { Thread.sleep(forTimeInterval: $0) }
  ) {
    (self.address, self.transport, self.authorization) = (address, transport, authorization)
    (self.http, self.redaction, self.patience, self.sleep) = (http, redaction, patience, sleep)
  }

  package func observe(_ observer: RequestObserver) { state.withLock { $0.observer = observer } }

  // MARK: - Calls

  /// GET with a query; answers with a JSON object.
  package func get(_ path: String, query: [(String, String)] = []) throws(StoreFailure) -> JSON {
    let text = query.map { "\($0)=\(Self.encoded($1))" }.joined(separator: "&")
    let url = "\(address)/api/2.0/\(path)" + (text.isEmpty ? "" : "?\(text)")
    return try json(from: try send(HTTPRequest("GET", url)), path: path)
  }

  /// POST with a JSON body; answers with a JSON object; without `isRepeatable` it is repeated only where it
  /// has certainly not been carried out.
  @discardableResult
  package func post(
    _ path: String, _ body: JSON, isRepeatable: Bool = true
  ) throws(StoreFailure) -> JSON {
    var request = HTTPRequest("POST", "\(address)/api/2.0/\(path)")
    request.headers = [("Content-Type", "application/json")]
    request.body = .bytes(body.bytes)
    return try json(from: try send(request, isRepeatable: isRepeatable), path: path)
  }

  package func put(_ path: String, file: String, size: Int) throws(StoreFailure) {
    var request = HTTPRequest("PUT", "\(address)/api/2.0/\(path)")
    request.headers = [("Content-Type", "application/octet-stream")]
    // An empty file is sent as an empty body: libcurl takes size 0 for "unknown" in an upload.
    request.body = size == 0 ? .bytes([]) : .file(path: file, size: size)
    let response = try send(request)
    guard response.status == 200 else { throw failure(response, path: path) }
    // MLflow answers with nothing, some of its relatives with an empty object.
    guard response.body.isEmpty || JSON.lenient(response.body) == .object([]) else {
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
    text.utf8.map { byte in
      let isPlain = (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte & 0xDF)
      return isPlain || "-._~".utf8.contains(byte) || (byte == 0x2F && keepingSlashes)
        ? String(Unicode.Scalar(byte)) : "%" + .digits(byte, radix: 16, width: 2).uppercased()
    }.joined()
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
        guard isRepeatable, case .unavailable(_, _, mayHaveArrived: true) = error,
          attempt.duration(to: .now) < .seconds(5), !observer.isCancelled(),
          try waitAfterTrouble(&troubles)
        else { throw error }
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
          let reason =
            asked.flatMap {
              $0 > patience ? "it asks to come again in \(RequestWait.text($0))" : nil
            }
            ?? "it was asked again for \(RequestWait.text(passed))"
          throw .unavailable("\(failure.message); \(reason)", retryAfter: .infinity)
        }
        state.withLock { $0.pace.refuse(wait: asked ?? seconds) }
        observer.willWait(
          RequestWait(
            seconds: seconds, asked: asked.flatMap { $0 > RetryAfter.maxSeconds ? $0 : nil },
            reason: failure.message, refusals: refusals))
        try wait(seconds)
        continue
      }
      if isRepeatable, [408, 425, 500, 502, 503, 504].contains(response.status),
        try waitAfterTrouble(&troubles)
      {
        continue
      }
      if response.status < 500, response.status != 429 {
        state.withLock { $0.pace.take() }
        observer.didTake()
      }
      return response
    }
  }

  /// Waits before a request is repeated after a cut connection or a gateway's failure; false after two of
  /// these: more is an outage, which those who wait for it deal with.
  private func waitAfterTrouble(_ troubles: inout Int) throws(StoreFailure) -> Bool {
    guard patience > 0, troubles < 2 else { return false }
    troubles += 1
    try wait(
      min(1, http.backoffFactor) * 0.25 * Double(troubles)
        + min(1, http.backoffJitter) * .random(in: 0..<0.25))
    return true
  }

  private var observer: RequestObserver { state.withLock { $0.observer } }

  /// The wait before a refused request is repeated: what the server asked for up to a limit, otherwise a
  /// second, doubled with each refusal up to eight; with jitter, as others were refused at the same time.
  private func waitSeconds(_ refusals: Int, asked: Double?) -> Double {
    let jitter = http.backoffJitter * .random(in: 0..<1)
    if let asked { return min(asked, RetryAfter.maxSeconds) + min(jitter, max(asked, 0.1)) }
    return min(1, http.backoffFactor) * Double(1 << min(refusals - 1, 3)) + jitter
  }

  /// Waits until the distance that the server wants between requests is kept.
  private func waitForTurn(isDue: Bool) throws(StoreFailure) {
    guard patience > 0 else { return }
    let left = state.withLock { state in
      state.lastStart.map { state.pace.interval - $0.duration(to: .now).seconds } ?? 0
    }
    if !isDue { try wait(left) }
    state.withLock { $0.lastStart = .now }
  }

  private func wait(_ seconds: Double) throws(StoreFailure) {
    let observer = observer
    var left = seconds
    var pieces = 0
    while left > 0 {
      if observer.isCancelled() { throw .unavailable("\(address): given up while waiting") }
      sleep(min(left, 0.1))
      left -= 0.1
      pieces += 1
      if pieces.isMultiple(of: 100) { observer.isWaiting() }
    }
  }

  private func exchange(_ request: HTTPRequest) throws(StoreFailure) -> HTTPResponse {
    var request = request
    if let header = authorization.header { request.headers.append(("Authorization", header)) }
    let isCancelled = observer.isCancelled
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
      let target = URL(string: location, relativeTo: from)?.absoluteURL, target.host == from.host,
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

// What an answer means, and what of it may be shown.
extension MLflowClient {
  /// Text of a server as it may stand in a message: one line without secrets, without what a terminal
  /// obeys, and not too long.
  package func clean(_ text: String, limit: Int = 300) -> String {
    redaction(text).printable(upTo: limit)
  }

  /// A 200 counts only with a JSON object: a login page or a proxy's greeting does not.
  private func json(from response: HTTPResponse, path: String) throws(StoreFailure) -> JSON {
    guard response.status == 200 else { throw failure(response, path: path) }
    guard !isTorn(response) else { throw tornFailure(path) }
    let json = JSON.lenient(response.body)
    guard let json, case .object = json else { throw foreign(response.body, path: path) }
    return json
  }

  private func foreign(_ body: [UInt8], path: String) -> StoreFailure {
    .blocked(
      """
      \(address) answered \(path) with something that is not MLflow's JSON \
      ('\(shown(body))'); is this the tracking server's address, and not a \
      login page's?
      """)
  }

  /// An answer of 200 that lacks what MLflow's has.
  package func lacking(_ member: String, _ answer: JSON, path: String) -> StoreFailure {
    .blocked(
      """
      \(address) answered \(path) with JSON that is not MLflow's: expected \(member), found \
      '\(shown(answer.bytes))'; is this the tracking server's address?
      """)
  }

  /// Whether the connection was cut within the answer: every JSON answer of MLflow ends in '}'.
  ///
  /// A cut between the headers leaves no length to compare with, so libcurl cannot tell.
  private func isTorn(_ response: HTTPResponse) -> Bool {
    guard let first = response.body.first else { return true }
    return first == UInt8(ascii: "{") && JSON.lenient(response.body) == nil
  }

  private func tornFailure(_ path: String) -> StoreFailure {
    .unavailable("the answer of \(address) to \(path) was cut", mayHaveArrived: true)
  }

  private func failure(_ response: HTTPResponse, path: String) -> StoreFailure {
    if [400, 404].contains(response.status), isTorn(response) { return tornFailure(path) }
    let body = JSON.lenient(response.body)
    let code = body?["error_code"]?.stringValue.map { clean($0, limit: 80) }
    let detail = shown(body?["message"]?.stringValue.map { [UInt8]($0.utf8) } ?? response.body)
    let message = [code ?? "", detail].filter { !$0.isEmpty }.joined(separator: ": ")
    let text = "\(address) answered \(response.status)" + (message.isEmpty ? "" : ": \(message)")
    switch response.status {
    case 401: return .blocked(unauthorized)
    case 407:
      return .blocked(
        """
        a proxy before \(address) answered 407, it asks for a user and password; give them in the \
        address that http_proxy or https_proxy holds
        """)
    case 403: return .blocked(text)
    case 404 where code == "RESOURCE_DOES_NOT_EXIST": return .runMissing(message)
    case 404 where code == nil:
      return .blocked(
        "\(text); is this the address of an MLflow server (\(path) is not known there)?")
    case 500: return .serverError(text)
    case 408, 425, 429, 502...:
      // With 429 it was refused before anything was done.
      return .unavailable(
        text, retryAfter: retryAfter(response), mayHaveArrived: response.status != 429)
    case ..<300: return .blocked("\(text); expected 200, is this the address of an MLflow server?")
    // MLflow says why it refuses a value; what refuses without a reason is not MLflow, and may be
    // corrected.
    case 405..<500 where code == nil && response.status != 413: return .blocked(text)
    default: return .refused(message.isEmpty ? text : message)
    }
  }

  private var unauthorized: String {
    let who =
      switch authorization {
      case .none: "no user name and password are configured"
      case .basic(let user, _): "user '\(user.printable(upTo: 80))' or its password is wrong"
      case .bearer: "the token is not accepted"
      }
    return """
      \(address) answered 401, \(who); set MLFLOW_TRACKING_USERNAME and \
      MLFLOW_TRACKING_PASSWORD or ~/.mlflow/credentials
      """
  }

  private func retryAfter(_ response: HTTPResponse) -> Double? {
    guard http.isRetryAfterRespected else { return nil }
    return response.headers["retry-after"].flatMap { RetryAfter.seconds($0) }
  }

  /// The start of a body: without secrets, before it is cut, and without markup and line breaks.
  private func shown(_ body: [UInt8]) -> String {
    // More of it than is ever shown, and not all of what may be hundreds of megabytes.
    let start = Array(body.prefix(1 << 16))
    // In JSON a secret may stand within a text that is escaped once more.
    let plain = JSON.lenient(start).map { $0.mapStrings { redaction($0) }.bytes } ?? start
    let redacted = redaction(String(decoding: plain, as: UTF8.self))
    var text = String(decoding: redacted.utf8.prefix(4000), as: UTF8.self)
      .replacing("<redacted>", with: "\u{0}redacted\u{0}")
    if text.contains("<") {
      text = text.replacing(
        /<(script|style)[^>]*>.*?<\/(script|style)>/.dotMatchesNewlines(), with: " ")
      text = text.replacing(/<[^>]*>/, with: " ")
    }
    text = text.replacing("\u{0}redacted\u{0}", with: "<redacted>")
    return text.split { $0.isWhitespace }.joined(separator: " ").printable(upTo: 300)
  }
}
