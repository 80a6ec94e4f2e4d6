import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseMLflow

/// Servers that several tests use; each is started when the first test asks for it.
enum SharedServer {
  /// A server without passwords.
  static func plain() throws -> MLflowServer { try plainServer.get() }

  private static let scratch = try? TemporaryDirectory()
  private static let plainServer = Result { () throws -> MLflowServer in
    let folder = try #require(scratch).file("plain")
    try Files.makeDirectory(folder)
    return try MLflowServer.start(in: folder, arguments: ["--workers", "2"])
  }
}

extension MLflowServer {
  func client(user: String? = nil, password: String = "") throws -> MLflowClient {
    MLflowClient(
      address: address, transport: try CurlTransport(tls: TLSSettings(), timeoutSeconds: 60),
      authorization: user.map { .basic(user: $0, password: Secret(password)) } ?? .none)
  }

  /// The database file of a server with default settings.
  var database: String { directory + "/mlflow.db" }
}

extension MLflowClient {
  /// All values of a metric, in the server's order.
  func history(_ runID: String, _ key: String) throws -> [MetricPoint] {
    var points: [MetricPoint] = []
    var token: String?
    repeat {
      var query = [("run_id", runID), ("metric_key", key), ("max_results", "20000")]
      if let token { query.append(("page_token", token)) }
      let answer = try get("mlflow/metrics/get-history", query: query)
      for metric in answer["metrics"]?.arrayValue ?? [] {
        points.append(
          MetricPoint(
            key: key, value: try #require(metric["value"]?.double),
            time: try #require(metric["timestamp"]?.integer),
            step: metric["step"]?.integer ?? 0))
      }
      token = answer["next_page_token"]?.stringValue
    } while token?.isEmpty == false
    return points
  }

  func info(_ runID: String) throws -> JSON {
    try #require(try get("mlflow/runs/get", query: [("run_id", runID)])["run"])
  }

  /// The ids of the active runs with a tag, in all experiments.
  func runs(tag: String, value: String) throws -> [String] {
    try RESTStore(client: self).runs(withTag: tag, value: value, experimentID: nil).map(\.id)
  }
}

extension JSON {
  /// The tags or parameters of a run as the server describes it.
  func pairs(_ name: String) -> [String: String] {
    var result: [String: String] = [:]
    for pair in self["data"]?[name]?.arrayValue ?? [] {
      if let key = pair["key"]?.stringValue { result[key] = pair["value"]?.stringValue }
    }
    return result
  }
}

extension Trait where Self == ConditionTrait {
  /// With a real server, or skipped with the reason.
  static var withMLflow: Self {
    .enabled(if: MLflowServer.isWanted, Comment(rawValue: MLflowServer.whySkipped))
  }
}
