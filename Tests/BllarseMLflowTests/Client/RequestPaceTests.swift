import Foundation
import Synchronization
import Testing

@testable import BllarseMLflow

@Suite("Request pace")
struct RequestPaceTests {
  /// Sends requests one after the other to a token bucket of one, and says how long it took and how many
  /// were refused.
  ///
  /// Without `asked` the server says what is left to wait, in hundredths of a second.
  private func simulate(
    _ count: Int, limit: Double, asked: Double?
  ) -> (seconds: Double, refused: Int) {
    var pace = RequestPace()
    var now = 0.0, due = 0.0, refused = 0
    var last: Double?
    for _ in 0..<count {
      while true {
        if let last { now = max(now, last + pace.interval) }
        last = now
        if now >= due { break }
        refused += 1
        let wait = asked ?? ((due - now) * 100).rounded(.down) / 100
        pace.refuse(wait: wait)
        now += max(wait, 0.01)
      }
      due = now + 1 / limit
      pace.take()
      now += 0.005
    }
    return (now, refused)
  }

  @Test("one request a second: one is refused for learning it, and few for trying more")
  func steady() {
    // A run's five requests.
    let short = simulate(5, limit: 1, asked: 1)
    #expect(short.refused == 1 && short.seconds < 5)
    let long = simulate(150, limit: 1, asked: 1)
    #expect(long.refused <= 6 && long.seconds < 160)
  }

  @Test(
    "a limit that whole seconds cannot say is found out: at most twice the time that it allows",
    arguments: [2.0, 5, 10])
  func faster(limit: Double) {
    let result = simulate(200, limit: limit, asked: 1)
    #expect(result.seconds < 2 * 200 / limit)
    #expect(result.refused < 20)
  }

  @Test(
    "a server that says what is left to wait is not asked too early again and again",
    arguments: [1.0, 4, 10])
  func remaining(limit: Double) {
    let result = simulate(200, limit: limit, asked: nil)
    #expect(result.seconds < 1.3 * 200 / limit)
    #expect(result.refused < 20, "\(result)")
  }

  @Test("the distance has an end, and none is kept where nothing was refused")
  func bounds() {
    var pace = RequestPace()
    for _ in 0..<100 { pace.take() }
    #expect(pace.interval == 0)
    pace.refuse(wait: 1e300)
    #expect(pace.interval == RequestPace.maxInterval)
    for _ in 0..<100 { pace.refuse(wait: 1e300) }
    #expect(pace.interval == RequestPace.maxInterval)
    for _ in 0..<20_000 { pace.take() }
    #expect(pace.interval == 0)
  }
}

@Suite("Retry-After")
struct RetryAfterTests {
  private let now = Date(timeIntervalSince1970: 784_111_767)  // ten seconds before the dates below

  @Test(
    "seconds and HTTP's three forms of a date",
    arguments: [
      ("0", 0.0), ("7", 7), ("1.5", 1.5), ("99999999999", 99_999_999_999),
      ("Sun, 06 Nov 1994 08:49:37 GMT", 10), ("Sunday, 06-Nov-94 08:49:37 GMT", 10),
      ("Sun Nov  6 08:49:37 1994", 10), ("Sun, 06 Nov 1993 08:49:37 GMT", 0),
    ])
  func read(text: String, seconds: Double) {
    #expect(RetryAfter.seconds(text, now: now) == seconds)
  }

  @Test(
    "what is no time says nothing",
    arguments: ["", "-5", "nan", "inf", "0x10", "1e9", "soon", "1.2.3", "é"])
  func unread(text: String) { #expect(RetryAfter.seconds(text, now: now) == nil) }

  @Test("more digits than a number holds are a long time, not a trap")
  func overflow() {
    #expect(RetryAfter.seconds(String(repeating: "9", count: 400)) == RetryAfter.maxWish)
    // It can be added to a clock's time.
    #expect(ContinuousClock.now + .seconds(RetryAfter.maxWish) > ContinuousClock.now)
  }
}

@Suite("A client that is refused for the moment")
struct RefusedRequestTests {
  private func client(
    _ answers: [HTTPResponse], patience: Double = 600, slept: Sleeps = Sleeps()
  ) -> (MLflowClient, ScriptedTransport) {
    let transport = ScriptedTransport(answers)
    var http = HTTPSettings()
    http.backoffJitter = 0
    return (
      MLflowClient(
        address: "http://h", transport: transport, http: http, patience: patience,
        sleep: { slept.add($0) }), transport
    )
  }

  final class Sleeps: Sendable {
    private let total = Mutex(0.0)
    func add(_ seconds: Double) { total.withLock { $0 += seconds } }
    var seconds: Double { total.withLock { $0 } }
  }

  private func answer(_ status: Int, _ body: String = "{}", after: String? = nil) -> HTTPResponse {
    HTTPResponse(
      status: status, headers: after.map { ["retry-after": $0] } ?? [:], body: Array(body.utf8))
  }

  @Test("repeats that request after the wait that the server asks for, and tells of it")
  func repeated() throws {
    let slept = Sleeps()
    let (client, transport) = client([answer(429, "slow", after: "7"), answer(200)], slept: slept)
    let waits = Mutex<[RequestWait]>([])
    var observer = RequestObserver()
    observer.willWait = { wait in waits.withLock { $0.append(wait) } }
    client.observe(observer)
    try client.post("x", .object([.init("a", .int(1))]))
    #expect(transport.requests.map(\.url) == ["http://h/api/2.0/x", "http://h/api/2.0/x"])
    #expect(abs(slept.seconds - 7) < 0.2)
    #expect(
      waits.withLock { $0.map(\.line) } == [
        "http://h answered 429: slow; the next request goes out in 7.0 s"
      ])
  }

  @Test(
    "a wait has a ceiling where a run goes on for ever, and none is done that patience cannot last")
  func ceiling() throws {
    let slept = Sleeps()
    let wish = answer(429, "later", after: "99999999999")
    let (patient, _) = client([wish, answer(200)], patience: .infinity, slept: slept)
    let waits = Mutex<[String]>([])
    var observer = RequestObserver()
    observer.willWait = { wait in waits.withLock { $0.append(wait.line) } }
    patient.observe(observer)
    try patient.post("x", .object([]))
    #expect(abs(slept.seconds - RetryAfter.maxSeconds) < 1)
    #expect(
      waits.withLock { $0.first }?.hasSuffix("120 s, not the 99999999999 s that it asks for")
        == true)

    let (other, transport) = client([wish])
    let failure = try #require(throws: StoreFailure.self) { try other.post("x", .object([])) }
    #expect(
      failure.message == "http://h answered 429: later; it asks to come again in 99999999999 s")
    #expect(transport.requests.count == 1)
  }

  @Test("a run is not made twice: only where it was certainly not made is the request repeated")
  func creation() throws {
    let made = #"{"run":{"info":{"run_id":"r1","experiment_id":"1"}}}"#
    let new = NewRun(localID: "l", name: "n", experimentID: "1", user: "", startTime: 0, tags: [:])
    let (client, transport) = client([answer(429, after: "1"), answer(200, made)])
    #expect(try RESTStore(client: client).createRun(new).id == "r1")
    #expect(transport.requests.count == 2)
    for status in [500, 502, 503] {
      let (client, transport) = self.client([answer(status), answer(200, made)])
      #expect(throws: StoreFailure.self) { try RESTStore(client: client).createRun(new) }
      #expect(transport.requests.count == 1)
    }
  }

  @Test(
    "a store that takes every second request is asked again each time",
    arguments: [429, 500, 502, 503])
  func everySecond(status: Int) throws {
    let page = #"{"experiments":[{"experiment_id":"1"}],"next_page_token":"t"}"#
    let last = #"{"experiments":[{"experiment_id":"2"}]}"#
    let refusal = answer(status, "no")
    let (client, _) = client([
      refusal, answer(200, page), refusal, answer(200, last), refusal, answer(200, "{}"),
    ])
    #expect(try RESTStore(client: client).runs(withTag: "t", value: "v", experimentID: nil) == [])
  }

  @Test(
    "an answer of 200 without what MLflow's has is an error that names what came",
    arguments: ["[]", #"{"status":"ok"}"#, #"{"experiments":7}"#, "<html>hello</html>"])
  func nonsense(body: String) throws {
    func failure(_ call: (RESTStore) throws -> Void) throws -> StoreFailure {
      let store = RESTStore(client: client([answer(200, body)]).0)
      return try #require(throws: StoreFailure.self) { try call(store) }
    }
    let failures = [
      try failure { _ = try $0.experimentID(named: "e") },
      try failure { _ = try $0.run(id: "r") },
      try failure { _ = try $0.runs(withTag: "t", value: "v", experimentID: "1") },
      try failure { _ = try $0.summaries(experiment: "e") },
      try failure {
        try $0.log(
          ValueBatch(metrics: [MetricPoint(key: "a", value: 1, time: 1, step: 1)]), runID: "r")
      },
      try failure { try $0.log(ValueBatch(tags: [KeyValue(key: "a", value: "b")]), runID: "r") },
      try failure { try $0.update(runID: "r", status: .finished, endTime: 1) },
      try failure { try $0.delete(runID: "r") },
    ]
    for failure in failures {
      guard case .blocked(let message) = failure else {
        Issue.record("\(failure)")
        continue
      }
      #expect(message.contains(body.hasPrefix("<") ? "'hello'" : "'\(body)'"), "\(message)")
      #expect(message.contains("is this the tracking server's address"))
    }
  }

  @Test("what a server says cannot move a terminal's cursor, hide text, or end within a secret")
  func foreignText() throws {
    let secret = "hunter2-hunter2"
    let transport = ScriptedTransport([
      answer(403, "\u{1B}[2J\u{202E}evil\u{9B}31m\u{2028}x\r\ny"),
      answer(502, String(repeating: "x", count: 290) + secret),
    ])
    let client = MLflowClient(
      address: "http://h", transport: transport, redaction: Redaction([Secret(secret)]))
    let first = try #require(throws: StoreFailure.self) { try client.get("x") }
    #expect(
      first.message
        == #"http://h answered 403: \u{1B}[2J\u{202E}evil\u{009B}31m x y"#)
    let second = try #require(throws: StoreFailure.self) { try client.get("x") }
    #expect(!second.message.contains("hunter"))
  }
}
