import Foundation
import GRDB

/// A run as a list shows it: the latest value of each metric.
package struct RunSummary: Sendable, Equatable {
  package var id: String
  package var name: String
  package var status: String
  /// Milliseconds since 1970.
  package var startTime: Int?
  package var endTime: Int?
  package var metrics: [String: Double] = [:]
  package var parameters: [String: String] = [:]
  package var tags: [String: String] = [:]
}

/// A store whose runs can be listed.
package protocol RunLister: Sendable {
  /// The active runs of an experiment, the newest first.
  ///
  /// - Throws: ``StoreFailure`` `.runMissing` if there is no such experiment.
  func summaries(experiment: String) throws(StoreFailure) -> [RunSummary]
}

extension RESTStore: RunLister {
  package func summaries(experiment: String) throws(StoreFailure) -> [RunSummary] {
    let path = "mlflow/experiments/get-by-name"
    let answer = try client.get(path, query: [("experiment_name", experiment)])
    guard let id = Self.identifier(answer["experiment"]?["experiment_id"]) else {
      throw client.lacking("an experiment with an experiment_id", answer, path: path)
    }
    let rows = try search(
      experimentIDs: [id], filter: "", orderBy: ["attributes.start_time DESC"], limit: 50_000)
    return rows.compactMap(Self.summary)
  }

  private static func summary(_ json: JSON) -> RunSummary? {
    guard let info = json["info"], let id = info["run_id"]?.stringValue else { return nil }
    var summary = RunSummary(
      id: id, name: info["run_name"]?.stringValue ?? "", status: info["status"]?.stringValue ?? "",
      startTime: info["start_time"]?.integer, endTime: info["end_time"]?.integer)
    let data = json["data"]
    for metric in data?["metrics"]?.arrayValue ?? [] {
      if let key = metric["key"]?.stringValue {
        summary.metrics[key] = metric["value"]?.double ?? .nan
      }
    }
    summary.parameters = pairs(data?["params"])
    summary.tags = pairs(data?["tags"])
    return summary
  }

  private static func pairs(_ json: JSON?) -> [String: String] {
    var values: [String: String] = [:]
    for pair in json?.arrayValue ?? [] {
      if let key = pair["key"]?.stringValue { values[key] = pair["value"]?.stringValue ?? "" }
    }
    return values
  }
}

extension SQLiteStore: RunLister {
  package func summaries(experiment: String) throws(StoreFailure) -> [RunSummary] {
    guard Files.exists(path) else {
      throw .runMissing("\(path) does not exist")
    }
    return try read { database in
      guard
        let id = try Int64.fetchOne(
          database, sql: "SELECT experiment_id FROM experiments WHERE name = ?",
          arguments: [experiment])
      else { throw StoreFailure.runMissing("no experiment '\(experiment)' in \(path)") }
      let rows = try Row.fetchAll(
        database,
        sql: """
          SELECT run_uuid, name, status, start_time, end_time FROM runs
          WHERE experiment_id = ? AND lifecycle_stage = 'active' ORDER BY start_time DESC
          """, arguments: [id])
      return try rows.map { row in
        var summary = RunSummary(
          id: row[0], name: row[1] ?? "", status: row[2] ?? "", startTime: row[3], endTime: row[4])
        for metric in try Row.fetchAll(
          database, sql: "SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ?",
          arguments: [summary.id])
        {
          summary.metrics[metric[0]] = metric[2] ? Double.nan : metric[1]
        }
        for (table, path) in [
          ("params", \RunSummary.parameters), ("tags", \RunSummary.tags),
        ] {
          for pair in try Row.fetchAll(
            database, sql: "SELECT key, value FROM \(table) WHERE run_uuid = ?",
            arguments: [summary.id])
          {
            summary[keyPath: path][pair[0]] = pair[1] ?? ""
          }
        }
        return summary
      }
    }
  }
}
