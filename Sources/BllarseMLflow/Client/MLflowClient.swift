import Foundation
import Synchronization

/// MLflow's REST interface: addresses, headers, JSON in and out, failures by kind.
package final class MLflowClient: Sendable {
  package let address: String
  private let transport: any HTTPTransport
  private let authorization: Authorization
  private let http: HTTPSettings
  private let redaction: Redaction
  private let cancellation = Mutex(Cancellation { false })

  /// A closure in a struct: bare in a generic container it would be wrapped once more each time the
  /// container is looked into, until calling it overflows the stack.
  private struct Cancellation {
    let isCancelled: @Sendable () -> Bool
  }

  package init(
    address: String, transport: any HTTPTransport, authorization: Authorization = .none,
    http: HTTPSettings = HTTPSettings(), redaction: Redaction = Redaction([])
  ) {
    self.address = address
    self.transport = transport
    self.authorization = authorization
    self.http = http
    self.redaction = redaction
  }

  /// Gives up waiting requests when `isCancelled` says so.
  package func cancelWhen(_ isCancelled: @escaping @Sendable () -> Bool) {
    cancellation.withLock { $0 = Cancellation(isCancelled: isCancelled) }
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
  package func post(_ path: String, _ body: JSON) throws(StoreFailure) -> JSON {
    try post(path, bytes: body.bytes)
  }

  @discardableResult
  package func post(_ path: String, bytes: [UInt8]) throws(StoreFailure) -> JSON {
    var request = HTTPRequest("POST", "\(address)/api/2.0/\(path)")
    request.headers = [("Content-Type", "application/json")]
    request.body = .bytes(bytes)
    return try json(from: try send(request), path: path)
  }

  /// PUT of a file, streamed.
  package func put(_ path: String, file: String, size: Int) throws(StoreFailure) {
    var request = HTTPRequest("PUT", "\(address)/api/2.0/\(path)")
    request.headers = [("Content-Type", "application/octet-stream")]
    // An empty file is sent as an empty body: libcurl takes size 0 for "unknown" in an upload.
    request.body = size == 0 ? .bytes([]) : .file(path: file, size: size)
    let response = try send(request)
    guard response.status == 200 else { throw failure(response, path: path) }
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

  private func send(_ request: HTTPRequest) throws(StoreFailure) -> HTTPResponse {
    var request = request
    if let header = authorization.header { request.headers.append(("Authorization", header)) }
    let isCancelled = cancellation.withLock { $0 }.isCancelled
    for _ in 0..<5 {
      let response: HTTPResponse
      do {
        response = try transport.send(request, isCancelled: isCancelled)
      } catch {
        let message = redaction("cannot reach \(address): \(error.message)")
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
        redaction(
          """
          \(address) answers \(response.status) and points to '\(location)'; set \
          MLFLOW_TRACKING_URI to the address that serves MLflow itself
          """))
    }
    return target.absoluteString
  }

  /// A 200 counts only with a JSON object: a login page or a proxy's greeting does not.
  private func json(from response: HTTPResponse, path: String) throws(StoreFailure) -> JSON {
    guard response.status == 200 else { throw failure(response, path: path) }
    guard !isTorn(response) else { throw tornFailure(path) }
    guard let json = try? JSON(parsing: response.body), case .object = json else {
      throw .blocked(
        redaction(
          """
          \(address) answered \(path) with something that is not MLflow's JSON \
          ('\(Self.oneLine(response.body))'); is this the tracking server's address, and not a \
          login page's?
          """))
    }
    return json
  }

  /// Whether the connection was cut within the answer: every JSON answer of MLflow ends in '}'.
  ///
  /// A cut between the headers leaves no length to compare with, so libcurl cannot tell.
  private func isTorn(_ response: HTTPResponse) -> Bool {
    guard let first = response.body.first else { return true }
    return first == UInt8(ascii: "{") && (try? JSON(parsing: response.body)) == nil
  }

  private func tornFailure(_ path: String) -> StoreFailure {
    .unavailable("the answer of \(address) to \(path) was cut", mayHaveArrived: true)
  }

  private func failure(_ response: HTTPResponse, path: String) -> StoreFailure {
    if [400, 404].contains(response.status), isTorn(response) { return tornFailure(path) }
    let body = try? JSON(parsing: response.body)
    let code = body?["error_code"]?.string
    let detail = body?["message"]?.string.map { Self.oneLine([UInt8]($0.utf8)) }
    let message = redaction(
      [code, detail ?? Self.oneLine(response.body)].compactMap { $0 }.filter { !$0.isEmpty }
        .joined(separator: ": "))
    let text = "\(address) answered \(response.status)" + (message.isEmpty ? "" : ": \(message)")
    switch response.status {
    case 401, 407:
      let who =
        switch authorization {
        case .none: "no user name and password are configured"
        case .basic(let user, _): "user '\(user)' or its password is wrong"
        case .bearer: "the token is not accepted"
        }
      return .blocked(
        """
        \(address) answered \(response.status), \(who); set MLFLOW_TRACKING_USERNAME and \
        MLFLOW_TRACKING_PASSWORD or ~/.mlflow/credentials
        """)
    case 403: return .blocked(text)
    case 404 where code == "RESOURCE_DOES_NOT_EXIST": return .runMissing(message)
    case 404 where code == nil:
      return .blocked(
        "\(text); is this the address of an MLflow server (\(path) is not known there)?")
    case 500: return .serverError(text)
    case 408, 425, 429, 502, 503, 504, 505...:
      return .unavailable(text, retryAfter: retryAfter(response), mayHaveArrived: true)
    default: return .refused(message)
    }
  }

  private func retryAfter(_ response: HTTPResponse) -> Double? {
    guard http.isRetryAfterRespected, let text = response.headers["retry-after"] else { return nil }
    if let seconds = Double(text) { return max(0, seconds) }
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(identifier: "GMT")
    formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
    return formatter.date(from: text).map { max(0, $0.timeIntervalSinceNow) }
  }

  /// The start of a body, without markup and line breaks.
  static func oneLine(_ body: [UInt8], limit: Int = 300) -> String {
    var text = String(decoding: body.prefix(4000), as: UTF8.self)
    if text.contains("<") {
      text = text.replacing(
        /<(script|style)[^>]*>.*?<\/(script|style)>/.dotMatchesNewlines(), with: " ")
      text = text.replacing(/<[^>]*>/, with: " ")
    }
    let words = text.split { $0.isWhitespace }.joined(separator: " ")
    return words.count > limit ? words.prefix(limit) + "…" : words
  }
}
