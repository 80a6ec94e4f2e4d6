import Foundation
import GRDB

/// Whether the destination can be reached, who we are there, and which version it has.
package struct DestinationCheck: Sendable {
  package var facts: [(name: String, value: String)] = []
  package var problem: String?

  package static func server(_ client: MLflowClient) -> DestinationCheck {
    var check = DestinationCheck(facts: [("server", client.address)])
    do throws(StoreFailure) {
      let start = ContinuousClock.now
      let health = try client.text("health")
      let milliseconds = Int((start.duration(to: .now).seconds * 1000).rounded(.up))
      let answers = health.status == 200 ? "yes, in \(milliseconds) ms" : "answers \(health.status)"
      check.facts.append(("reachable", answers))
      let version = try client.text("version")
      if version.status == 200, version.body.count < 40, version.body.first?.isNumber == true {
        check.facts.append(("version", version.body.printable))
      }
      check.facts.append(("user", who(client)))
      // Any call that needs permission shows whether the credentials are good.
      let page = try RESTStore(client: client).page(
        of: "experiments", [.init("max_results", 1000)])
      let count = page.rows.count
      // An empty object is what MLflow answers where there is nothing to see, and others to anything.
      if count == 0, health.status != 200 || !health.body.hasPrefix("OK"), version.status != 200 {
        throw client.lacking(
          "experiments, or /health or /version as MLflow has them", page.answer,
          path: "mlflow/experiments/search")
      }
      check.facts.append(("experiments", "\(count)\(count == 1000 ? " or more" : "") visible"))
    } catch {
      check.problem = error.message
    }
    return check
  }

  private static func who(_ client: MLflowClient) -> String {
    switch client.authorization {
    case .none: return "nobody (no credentials are configured)"
    case .bearer: return "whoever the token stands for"
    case .basic(let user, _):
      guard let answer = try? client.get("mlflow/users/current"),
        let name = (answer["user"]?["username"] ?? answer["username"])?.stringValue
      else { return "'\(user.printable(upTo: 80))' (as configured; the server does not say)" }
      let isAdmin = (answer["user"]?["is_admin"] ?? answer["is_admin"]) == .bool(true)
      return "'\(client.clean(name, limit: 80))'\(isAdmin ? ", an administrator" : "")"
    }
  }

  /// Looks into a SQLite file without making it.
  package static func file(_ path: String) -> DestinationCheck {
    var check = DestinationCheck(facts: [("file", path)])
    guard Files.exists(path) else {
      check.facts.append(("state", "does not exist yet; the first run makes it"))
      return check
    }
    do {
      var configuration = Configuration()
      configuration.readonly = true
      configuration.busyMode = .timeout(10)
      let queue = try DatabaseQueue(path: path, configuration: configuration)
      try queue.read { database in
        let revision =
          try String.fetchOne(database, sql: "SELECT version_num FROM alembic_version") ?? "none"
        let isOurs = revision == SQLiteStore.revision
        check.facts.append(
          ("schema", revision + (isOurs ? " (MLflow migrates it when it opens the file)" : "")))
        for table in ["experiments", "runs"] {
          let count = try Int.fetchOne(database, sql: "SELECT count(*) FROM \(table)") ?? 0
          check.facts.append((table, "\(count)"))
        }
      }
    } catch {
      let reason = (error as? DatabaseError)?.message ?? "\(error)"
      check.problem = "\(path) is not an MLflow database: \(reason)"
    }
    return check
  }

  package var text: String { TextTable.aligned(facts.map { [$0.name, $0.value] }) }
}
