import Foundation

// What an answer means, and what of it may be shown.
extension MLflowClient {
  /// Text of a server as it may stand in a message: one line without secrets, without what a terminal
  /// obeys, and not too long.
  package func clean(_ text: String, limit: Int = 300) -> String {
    redaction(text).printable(upTo: limit)
  }

  /// A 200 counts only with a JSON object: a login page or a proxy's greeting does not.
  func json(from response: HTTPResponse, path: String) throws(StoreFailure) -> JSON {
    guard response.status == 200 else { throw failure(response, path: path) }
    guard !isTorn(response) else { throw tornFailure(path) }
    guard let json = try? JSON.parse(bytes: response.body, isLenient: true), case .object = json
    else {
      throw foreign(response.body, path: path)
    }
    return json
  }

  /// An answer of 200 that is not what MLflow answers.
  func foreign(_ body: [UInt8], path: String) -> StoreFailure {
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

  static func isEmptyObject(_ body: [UInt8]) -> Bool {
    (try? JSON.parse(bytes: body, isLenient: true)) == .object([])
  }

  /// Whether the connection was cut within the answer: every JSON answer of MLflow ends in '}'.
  ///
  /// A cut between the headers leaves no length to compare with, so libcurl cannot tell.
  private func isTorn(_ response: HTTPResponse) -> Bool {
    guard let first = response.body.first else { return true }
    return first == UInt8(ascii: "{")
      && (try? JSON.parse(bytes: response.body, isLenient: true)) == nil
  }

  private func tornFailure(_ path: String) -> StoreFailure {
    .unavailable("the answer of \(address) to \(path) was cut", mayHaveArrived: true)
  }

  func failure(_ response: HTTPResponse, path: String) -> StoreFailure {
    if [400, 404].contains(response.status), isTorn(response) { return tornFailure(path) }
    let body = try? JSON.parse(bytes: response.body, isLenient: true)
    let code = body?["error_code"]?.stringValue.map { clean($0, limit: 80) }
    let detail = body?["message"]?.stringValue.map { shown([UInt8]($0.utf8)) }
    let message = [code, detail ?? shown(response.body)].compactMap { $0 }
      .filter { !$0.isEmpty }.joined(separator: ": ")
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
    case 429:
      // Refused before anything was done.
      return .unavailable(text, retryAfter: retryAfter(response), mayHaveArrived: false)
    case 408, 425, 502, 503, 504, 505...:
      return .unavailable(text, retryAfter: retryAfter(response), mayHaveArrived: true)
    case ..<300:
      return .blocked("\(text); expected 200, is this the address of an MLflow server?")
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

  func retryAfter(_ response: HTTPResponse) -> Double? {
    guard http.isRetryAfterRespected else { return nil }
    return response.headers["retry-after"].flatMap { RetryAfter.seconds($0) }
  }

  /// The start of a body: without secrets, before it is cut, and without markup and line breaks.
  private func shown(_ body: [UInt8]) -> String {
    // More of it than is ever shown, and not all of what may be hundreds of megabytes.
    let start = Array(body.prefix(1 << 16))
    // In JSON a secret may stand within a text that is escaped once more.
    let plain =
      (try? JSON.parse(bytes: start, isLenient: true)).map { $0.mapStrings { redaction($0) }.bytes }
      ?? start
    let text = redaction(String(decoding: plain, as: UTF8.self))
    return Self.oneLine([UInt8](text.utf8)).printable(upTo: 300)
  }

  /// The start of a body, without markup and line breaks.
  static func oneLine(_ body: [UInt8], limit: Int = 300) -> String {
    var text = String(decoding: body.prefix(4000), as: UTF8.self)
      .replacing("<redacted>", with: "\u{0}redacted\u{0}")
    if text.contains("<") {
      text = text.replacing(
        /<(script|style)[^>]*>.*?<\/(script|style)>/.dotMatchesNewlines(), with: " ")
      text = text.replacing(/<[^>]*>/, with: " ")
    }
    text = text.replacing("\u{0}redacted\u{0}", with: "<redacted>")
    let words = text.split { $0.isWhitespace }.joined(separator: " ")
    return words.count > limit ? words.prefix(limit) + "…" : words
  }
}
