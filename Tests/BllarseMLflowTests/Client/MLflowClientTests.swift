@testable import BllarseMLflow
import Synchronization
import Testing

/// Answers from a list and keeps the requests.
final class ScriptedTransport: HTTPTransport {
  private let state: Mutex<(answers: [HTTPResponse], requests: [HTTPRequest])>

  init(_ answers: [HTTPResponse]) { state = Mutex((answers, [])) }

  var requests: [HTTPRequest] { state.withLock { $0.requests } }

  func send(
    _ request: HTTPRequest, isCancelled: @escaping @Sendable () -> Bool
  ) throws(TransportError) -> HTTPResponse {
    let answer = state.withLock { state in
      state.requests.append(request)
      return state.answers.isEmpty ? nil : state.answers.removeFirst()
    }
    guard let answer else { throw TransportError(message: "no answer", mayHaveArrived: true) }
    return answer
  }
}

@Suite("MLflow client")
struct MLflowClientTests {
  private func client(
    _ answers: HTTPResponse..., authorization: Authorization = .none
  ) -> (MLflowClient, ScriptedTransport) {
    let transport = ScriptedTransport(answers)
    return (
      MLflowClient(address: "http://h/p", transport: transport, authorization: authorization),
      transport
    )
  }

  private func response(
    _ status: Int, _ body: String = "{}", headers: [String: String] = [:]
  ) -> HTTPResponse {
    HTTPResponse(status: status, headers: headers, body: Array(body.utf8))
  }

  private func failure(_ answer: HTTPResponse) throws -> StoreFailure {
    let (client, _) = client(answer)
    return try #require(throws: StoreFailure.self) { try client.post("x", .object([])) }
  }

  @Test("a batch of metrics is written in the only spelling that loses nothing")
  func body() throws {
    let (client, transport) = client(response(200))
    try RESTStore(client: client).log(
      ValueBatch(metrics: [
        MetricPoint(key: "a/b", value: .nan, time: 1, step: -2),
        MetricPoint(key: "ü", value: -.infinity, time: 2, step: 3),
        MetricPoint(key: "c", value: 1e-300, time: 3, step: 0),
      ]), runID: "r")
    let request = try #require(transport.requests.first)
    guard case .bytes(let bytes) = request.body else {
      Issue.record("no body")
      return
    }
    #expect(request.url == "http://h/p/api/2.0/mlflow/runs/log-batch")
    #expect(request.headers.contains { $0 == ("Content-Type", "application/json") })
    #expect(
      String(decoding: bytes, as: UTF8.self)
        == #"{"run_id":"r","metrics":[{"key":"a/b","value":"NaN","timestamp":1,"step":-2},"#
        + #"{"key":"ü","value":"-Infinity","timestamp":2,"step":3},"#
        + #"{"key":"c","value":1e-300,"timestamp":3,"step":0}]}"#)
  }

  @Test("a client serves any number of requests, and asks for cancellation in each")
  func manyRequests() throws {
    struct Asking: HTTPTransport {
      func send(
        _ request: HTTPRequest, isCancelled: @escaping @Sendable () -> Bool
      ) throws(TransportError) -> HTTPResponse {
        HTTPResponse(status: isCancelled() ? 500 : 200, body: Array("{}".utf8))
      }
    }
    let client = MLflowClient(address: "http://h", transport: Asking())
    for _ in 0..<100_000 { _ = try client.get("x") }
    var observer = RequestObserver()
    observer.isCancelled = { true }
    client.observe(observer)
    #expect(throws: StoreFailure.self) { try client.get("x") }
  }

  @Test("the user's words about a wrong password: one line, no secret")
  func unauthorized() throws {
    let (client, _) = client(
      response(401, "<html>You are not authenticated.</html>"),
      authorization: .basic(user: "anna", password: Secret("hunter2-hunter2")))
    let failure = try #require(throws: StoreFailure.self) { try client.get("x") }
    #expect(
      failure
        == .blocked(
          """
          http://h/p answered 401, user 'anna' or its password is wrong; set \
          MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or ~/.mlflow/credentials
          """))
  }

  @Test("a 200 that is not JSON is a login page, not a success")
  func loginPage() throws {
    let failure = try failure(response(200, "<html><title>Sign in</title></html>"))
    guard case .blocked(let message) = failure else {
      Issue.record("\(failure)")
      return
    }
    #expect(message.contains("('Sign in')"))
  }

  @Test(
    "an answer that was cut is asked for again, whatever its status says",
    arguments: [200, 400, 404])
  func torn(status: Int) throws {
    for body in ["", "{", #"{"error_code":"RESOURCE_DOES_NOT_EX"#] {
      #expect(
        try failure(response(status, body))
          == .unavailable("the answer of http://h/p to x was cut", mayHaveArrived: true))
    }
  }

  @Test("failures are sorted by what there is to do about them")
  func kinds() throws {
    #expect(
      try failure(response(429, "slow down", headers: ["retry-after": "7"]))
        == .unavailable("http://h/p answered 429: slow down", retryAfter: 7, mayHaveArrived: false))
    #expect(
      try failure(response(500, "<h1>Oops</h1>")) == .serverError("http://h/p answered 500: Oops"))
    #expect(
      try failure(response(400, #"{"error_code":"INVALID_PARAMETER_VALUE","message":"bad\nkey"}"#))
        == .refused("INVALID_PARAMETER_VALUE: bad key"))
    #expect(
      try failure(response(404, #"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no run"}"#))
        == .runMissing("RESOURCE_DOES_NOT_EXIST: no run"))
    for status in [408, 502, 503, 504] {
      guard case .unavailable = try failure(response(status)) else {
        Issue.record("\(status)")
        continue
      }
    }
    guard case .blocked = try failure(response(403, "Invalid Host header")),
      case .blocked = try failure(response(404, "<html>Not Found"))
    else {
      Issue.record("403 and a foreign 404 must block")
      return
    }
  }

  @Test("a redirect to the same host keeps method, body and credentials")
  func redirect() throws {
    let (client, transport) = client(
      response(301, headers: ["location": "https://h/p/api/2.0/x"]), response(200),
      authorization: .bearer(Secret("token-token")))
    try client.post("x", .object([.init("a", .int(1))]))
    #expect(transport.requests.map(\.url) == ["http://h/p/api/2.0/x", "https://h/p/api/2.0/x"])
    #expect(transport.requests.allSatisfy { $0.method == "POST" })
  }

  @Test("a redirect to another host is not followed: the credentials would go there")
  func foreignRedirect() throws {
    let (client, transport) = client(response(302, headers: ["location": "https://evil/login"]))
    let failure = try #require(throws: StoreFailure.self) { try client.get("x") }
    guard case .blocked(let message) = failure else {
      Issue.record("\(failure)")
      return
    }
    #expect(message.contains("https://evil/login"))
    #expect(transport.requests.count == 1)
  }

  @Test("artifact paths are percent-encoded, slashes kept")
  func artifactPath() throws {
    let (client, transport) = client(response(200, ""))
    let run = StoredRun(
      id: "r", experimentID: "1", artifactURI: "mlflow-artifacts:/1/r/artifacts",
      status: .running)
    try RESTStore(client: client).upload(file: "/dev/null", size: 0, path: "ä b/c#?.x", run: run)
    #expect(
      transport.requests.first?.url
        == "http://h/p/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/%C3%A4%20b/c%23%3F.x")
  }

  @Test("artifacts that the server does not proxy are reported, not sent elsewhere")
  func foreignArtifacts() throws {
    let (client, transport) = client()
    let run = StoredRun(
      id: "r", experimentID: "1", artifactURI: "s3://bucket/1/r/artifacts", status: .running)
    let failure = try #require(throws: StoreFailure.self) {
      try RESTStore(client: client).upload(file: "/x", size: 1, path: "a", run: run)
    }
    guard case .unsupported = failure else {
      Issue.record("\(failure)")
      return
    }
    #expect(transport.requests.isEmpty)
  }
}

@Suite("Back-off")
struct BackoffTests {
  @Test("waits double up to the cap, jitter is added, the server's wish comes first")
  func waits() {
    let http = HTTPSettings()
    let waits = (1...9).map { http.backoffSeconds(failures: $0, random: 0) }
    #expect(waits == [2, 4, 8, 16, 32, 64, 120, 120, 120])
    #expect(http.backoffSeconds(failures: 1, random: 0.5) == 2.5)
    #expect(http.backoffSeconds(failures: 5, retryAfter: 3, random: 0) == 3)
  }
}
