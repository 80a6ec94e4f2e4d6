import BllarseTestSupport
import Foundation
import Testing

/// What a real MLflow server says about runs, read over REST as its pages read it.
struct TrackedRuns {
  let server: MLflowServer
  /// `user:password`, where the server asks for them.
  var login: String?

  struct Run: Decodable {
    struct Info: Decodable {
      let run_id: String
      let run_name: String
      let status: String
      let end_time: Int?
      let artifact_uri: String
    }
    struct Pair: Decodable {
      let key: String
      let value: String
    }
    struct Metric: Decodable {
      let key: String
      let value: Double
    }
    struct Content: Decodable {
      let tags: [Pair]?
      let params: [Pair]?
      let metrics: [Metric]?
    }
    let info: Info
    let data: Content
    var tags: [String: String] { Self.dictionary(data.tags) }
    var parameters: [String: String] { Self.dictionary(data.params) }
    var metrics: [String] { (data.metrics ?? []).map(\.key).sorted() }

    /// The last value of each metric.
    var values: [String: Double] {
      Dictionary((data.metrics ?? []).map { ($0.key, $0.value) }, uniquingKeysWith: { $1 })
    }

    private static func dictionary(_ pairs: [Pair]?) -> [String: String] {
      Dictionary((pairs ?? []).map { ($0.key, $0.value) }, uniquingKeysWith: { $1 })
    }
  }

  /// All active runs of all experiments.
  func all() throws -> [Run] {
    struct Experiments: Decodable {
      struct Experiment: Decodable { let experiment_id: String }
      let experiments: [Experiment]
    }
    struct Runs: Decodable { let runs: [Run]? }
    let experiments = try ask(
      Experiments.self, "experiments/search", body: #"{"max_results": 100}"#)
    let ids = experiments.experiments.map { "\"\($0.experiment_id)\"" }.joined(separator: ",")
    return try ask(
      Runs.self, "runs/search", body: "{\"experiment_ids\": [\(ids)], \"max_results\": 1000}"
    ).runs ?? []
  }

  /// The steps of all values of a metric, sorted.
  func steps(_ run: Run, _ key: String) throws -> [Int] {
    struct History: Decodable {
      struct Point: Decodable { let step: Int? }
      let metrics: [Point]?
    }
    let path = "metrics/get-history?run_id=\(run.info.run_id)&metric_key=\(key)&max_results=20000"
    return (try ask(History.self, path).metrics ?? []).map { $0.step ?? 0 }.sorted()
  }

  /// A GET, or a POST of JSON, with the program that every machine has.
  private func ask<Answer: Decodable>(
    _ type: Answer.Type, _ path: String, body: String? = nil
  ) throws -> Answer {
    var arguments = ["--silent", "--max-time", "30"]
    if let login { arguments += ["--user", login] }
    if let body {
      arguments += ["--header", "Content-Type: application/json", "--data", body]
    }
    let output = try Program(path: "/usr/bin/curl").run(
      arguments + ["\(server.address)/api/2.0/mlflow/\(path)"], in: server.directory)
    return try JSONDecoder().decode(Answer.self, from: Data(output.output.utf8))
  }
}

/// A server that tests of the executables share.
enum EndToEndServer {
  private static let scratch = Result { try TemporaryDirectory() }
  private static let server = Result {
    try MLflowServer.start(in: scratch.get().path, arguments: ["--workers", "1"])
  }
  static func plain() throws -> MLflowServer { try server.get() }
}

extension Trait where Self == ConditionTrait {
  /// With a real server, or skipped with the reason.
  static var withMLflow: Self {
    .enabled(if: MLflowServer.isWanted, Comment(rawValue: MLflowServer.whySkipped))
  }
}
