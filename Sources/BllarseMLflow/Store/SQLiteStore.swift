import Foundation
import GRDB
import Synchronization

/// A SQLite file in MLflow's own schema, which `mlflow ui` and `mlflow server` open.
///
/// A new file has the tables of an old revision on purpose: a present MLflow migrates it by itself, while
/// a file at another recent revision would be refused until somebody ran `mlflow db upgrade`. Only columns of
/// that revision are named, so writing goes on after the migration: what it adds is nullable or has a default.
/// Several processes may write at once.
package final class SQLiteStore: TrackingStore {
  package let destination: Destination
  let path: String
  private let opened = Mutex<DatabaseQueue?>(nil)

  package init(path: String) {
    self.path = path
    destination = .file(path)
  }

  static let revision = "7f2a7d5fae7d"
  private static let schema = String(decoding: PackageResources.schema_sql, as: UTF8.self)
  /// The tables that tracking writes; a file that lacks one of them is not MLflow's.
  private static let trackingTables = [
    "experiments", "runs", "metrics", "latest_metrics", "params", "tags", "alembic_version",
  ]

  // MARK: - Experiments

  package func experimentID(named name: String) throws(StoreFailure) -> String {
    try write { [path] database in
      if let row = try Row.fetchOne(
        database, sql: "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?",
        arguments: [name])
      {
        let id: Int64 = row[0]
        guard row[1] as String? != "deleted" else {
          throw StoreFailure.deleted(
            """
            experiment '\(name)' (id \(id)) in \(path) is deleted; restore it with \
            `MLFLOW_TRACKING_URI=sqlite:///\(path) mlflow experiments restore --experiment-id \
            \(id)`, or use another name
            """)
        }
        return String(id)
      }
      let now = Host.milliseconds
      try database.execute(
        sql: """
          INSERT INTO experiments (name, lifecycle_stage, creation_time, last_update_time)
          VALUES (?, 'active', ?, ?)
          """, arguments: [name, now, now])
      let id = database.lastInsertedRowID
      // Relative to where the server is started, so that the folder can be moved.
      try database.execute(
        sql: "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
        arguments: ["mlflow-artifacts:/\(id)", id])
      return String(id)
    }
  }

  // MARK: - Runs

  /// The local id is the run's id: making a run that is there already changes nothing.
  package func createRun(_ new: NewRun) throws(StoreFailure) -> StoredRun {
    try write { database in
      guard let experimentID = Int64(new.experimentID) else {
        throw StoreFailure.refused("'\(new.experimentID)' is no experiment id of a SQLite file")
      }
      let root =
        try String.fetchOne(
          database, sql: "SELECT artifact_location FROM experiments WHERE experiment_id = ?",
          arguments: [experimentID]) ?? "mlflow-artifacts:/\(experimentID)"
      try database.execute(
        sql: """
          INSERT OR IGNORE INTO runs
            (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,
             start_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
          VALUES (?, ?, ?, ?, '', ?, 'RUNNING', ?, ?, 'active', ?, ?)
          """,
        arguments: [
          new.localID, new.name, "LOCAL", new.tags["mlflow.source.name"] ?? "", new.user,
          new.startTime, new.tags["mlflow.source.git.commit"] ?? "",
          root + "/\(new.localID)/artifacts", experimentID,
        ])
      for (key, value) in new.tags.merging(["mlflow.runName": new.name], uniquingKeysWith: { $1 }) {
        try Self.set(key, value, runID: new.localID, in: database)
      }
      guard let run = try Self.run(id: new.localID, in: database) else {
        throw StoreFailure.serverError("the run \(new.localID) was not stored")
      }
      return run
    }
  }

  package func run(id: String) throws(StoreFailure) -> StoredRun? {
    try read { try Self.run(id: id, in: $0) }
  }

  private static func run(id: String, in database: Database) throws -> StoredRun? {
    let row = try Row.fetchOne(
      database,
      sql: """
        SELECT experiment_id, artifact_uri, status, lifecycle_stage FROM runs WHERE run_uuid = ?
        """, arguments: [id])
    return row.map { row in
      StoredRun(
        id: id, experimentID: String(row[0] as Int64? ?? 0), artifactURI: row[1] ?? "",
        status: (row[2] as String?).flatMap(RunStatus.init) ?? .running,
        isDeleted: row[3] as String? == "deleted")
    }
  }

  package func runs(
    withTag tag: String, value: String, experimentID: String?
  ) throws(StoreFailure) -> [StoredRun] {
    try read { database in
      try String.fetchAll(
        database, sql: "SELECT run_uuid FROM tags WHERE key = ? AND value = ? ORDER BY run_uuid",
        arguments: [tag, value]
      ).compactMap { try Self.run(id: $0, in: database) }
        .filter { !$0.isDeleted && (experimentID == nil || $0.experimentID == experimentID) }
    }
  }

  package func update(runID: String, status: RunStatus, endTime: Int?) throws(StoreFailure) {
    try write(runID) { database in
      try database.execute(
        sql: "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?",
        arguments: [status.rawValue, endTime, runID])
    }
  }

  package func delete(runID: String) throws(StoreFailure) {
    try write { database in
      try database.execute(
        sql: "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ? WHERE run_uuid = ?",
        arguments: [Host.milliseconds, runID])
    }
  }

  // MARK: - Values

  package func log(_ batch: ValueBatch, runID: String) throws(StoreFailure) {
    if !batch.metrics.isEmpty { try log(batch.metrics, runID: runID) }
    guard !batch.parameters.isEmpty || !batch.tags.isEmpty else { return }
    try write(runID) { database in
      for parameter in batch.parameters {
        let known = try String.fetchOne(
          database, sql: "SELECT value FROM params WHERE key = ? AND run_uuid = ?",
          arguments: [parameter.key, runID])
        if let known, known != parameter.value {
          throw StoreFailure.refused(
            """
            parameter '\(parameter.key)' is '\(known)' and cannot be changed to \
            '\(parameter.value)'
            """)
        }
        try database.execute(
          sql: "INSERT OR IGNORE INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
          arguments: [parameter.key, parameter.value, runID])
      }
      for tag in batch.tags {
        try Self.set(tag.key, tag.value, runID: runID, in: database)
        guard tag.key == "mlflow.runName" else { continue }
        try database.execute(
          sql: "UPDATE runs SET name = ? WHERE run_uuid = ?", arguments: [tag.value, runID])
      }
    }
  }

  private func log(_ metrics: [MetricPoint], runID: String) throws(StoreFailure) {
    try write(runID) { database in
      let insert = try database.cachedStatement(
        sql: """
          INSERT OR IGNORE INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
          VALUES (?, ?, ?, ?, ?, ?)
          """)
      // The run list shows these: the greatest by step, time and value, NaN counting as 0.
      let upsert = try database.cachedStatement(
        sql: """
          INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)
          VALUES (?, ?, ?, ?, ?, ?)
          ON CONFLICT (key, run_uuid) DO UPDATE SET
            value = excluded.value, timestamp = excluded.timestamp, step = excluded.step,
            is_nan = excluded.is_nan
          WHERE (excluded.step, excluded.timestamp, excluded.value)
            > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)
          """)
      for point in metrics {
        let row: StatementArguments = [
          point.key, Self.stored(point.value), point.time, runID, point.step, point.value.isNaN,
        ]
        try insert.execute(arguments: row)
        try upsert.execute(arguments: row)
      }
    }
  }

  /// NaN is stored as 0 with a mark, infinities as the greatest finite numbers, as MLflow does it.
  private static func stored(_ value: Double) -> Double {
    if value.isNaN { return 0 }
    if value.isInfinite { return value > 0 ? .greatestFiniteMagnitude : -.greatestFiniteMagnitude }
    return value == 0 ? 0 : value
  }

  private static func set(
    _ key: String, _ value: String, runID: String, in database: Database
  ) throws {
    try database.execute(
      sql: """
        INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)
        ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value
        """, arguments: [key, value, runID])
  }

  package func upload(
    file: String, size: Int, path artifactPath: String, run: StoredRun
  ) throws(StoreFailure) {
    let target = try artifactDirectory(of: run) + "/" + artifactPath
    do {
      try Files.makeDirectory(URL(fileURLWithPath: target).deletingLastPathComponent().path)
      _ = try Files.linkOrCopy(file, to: target)
    } catch {
      throw .unavailable("\(error)")
    }
  }

  /// Where a server that is started beside the file looks for the run's artifacts.
  private func artifactDirectory(of run: StoredRun) throws(StoreFailure) -> String {
    let uri = run.artifactURI
    let folder = try folder()
    if uri.hasPrefix("mlflow-artifacts:/") {
      return folder + "/mlartifacts/" + uri.dropFirst("mlflow-artifacts:".count).drop { $0 == "/" }
    }
    if uri.hasPrefix("file://"), let url = URL(string: uri) { return url.path }
    if uri.hasPrefix("/") { return uri }
    if !uri.contains(":") { return folder + "/" + uri }
    throw .unsupported(
      "artifacts of this run belong at '\(uri)', which only MLflow's own client can write")
  }

  // MARK: - The file

  /// The last one to close moves what is in the write-ahead log into the file itself, so that the
  /// file alone may be copied.
  package func close() { try? opened.withLock { $0.take() }?.close() }

  func read<Value>(_ body: (Database) throws -> Value) throws(StoreFailure) -> Value {
    do { return try queue().read(body) } catch { throw failure(error) }
  }

  /// Changes a run that must be there and not be deleted.
  private func write(_ runID: String, _ body: (Database) throws -> Void) throws(StoreFailure) {
    try write { database in
      guard let run = try Self.run(id: runID, in: database) else {
        throw StoreFailure.runMissing("the run \(runID) is not in the file")
      }
      if run.isDeleted { throw StoreFailure.refused("the run \(runID) is deleted") }
      try body(database)
    }
  }

  private func write<Value>(_ body: (Database) throws -> Value) throws(StoreFailure) -> Value {
    do {
      return try Self.write(queue(), body)
    } catch {
      throw failure(error)
    }
  }

  /// Takes the write lock at once, instead of when the first row is written: it lets the busy timeout work.
  private static func write<Value>(
    _ queue: DatabaseQueue, _ body: (Database) throws -> Value
  ) throws -> Value {
    try queue.writeWithoutTransaction { database in
      var value: Value?
      try database.inTransaction(.immediate) {
        value = try body(database)
        return .commit
      }
      guard let value else { throw StoreFailure.serverError("the transaction gave no value") }
      return value
    }
  }

  private func queue() throws -> DatabaseQueue {
    try opened.withLock { opened in
      if let opened { return opened }
      let queue = try open()
      opened = queue
      return queue
    }
  }

  private func folder() throws(StoreFailure) -> String {
    guard !Files.isDirectory(path) else {
      throw .blocked("\(path) is a folder; expected a SQLite file or none")
    }
    return URL(fileURLWithPath: path).deletingLastPathComponent().path
  }

  private func open() throws -> DatabaseQueue {
    let folder = try folder()
    do { try Files.makeDirectory(folder) } catch { throw StoreFailure.blocked("\(error)") }
    let isShared = Destination.sharedFileSystem(path) != nil
    var configuration = Configuration()
    configuration.busyMode = .timeout(60)
    configuration.label = "mlflow.db"
    configuration.prepareDatabase { database in
      // A commit that delivery has noted down as done must survive a power loss.
      try database.execute(sql: "PRAGMA synchronous = FULL")
    }
    let queue = try DatabaseQueue(path: path, configuration: configuration)
    // Write-ahead logging needs shared memory, which file systems of several machines do not have.
    if !isShared { try switchToWriteAheadLog(queue) }
    try Self.write(queue) { database in
      let tables = try String.fetchAll(
        database, sql: "SELECT name FROM sqlite_master WHERE type = 'table'")
      if tables.isEmpty { return try Self.makeTables(in: database) }
      guard let missing = Self.trackingTables.first(where: { !tables.contains($0) }) else { return }
      throw tables.contains("alembic_version")
        ? StoreFailure.unavailable("\(path) lacks the table '\(missing)': is it being migrated?")
        : StoreFailure.blocked(
          "\(path) is a SQLite file, but not MLflow's (no table '\(missing)'); use another path")
    }
    return queue
  }

  /// Makes all tables in an empty file, and the experiment "Default" that MLflow expects.
  private static func makeTables(in database: Database) throws {
    try database.execute(sql: schema)
    try database.execute(
      sql: "INSERT INTO alembic_version (version_num) VALUES (?)", arguments: [revision])
    let now = Host.milliseconds
    try database.execute(
      sql: """
        INSERT INTO experiments
          (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)
        VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active', ?, ?)
        """, arguments: [now, now])
  }

  private func switchToWriteAheadLog(_ queue: DatabaseQueue) throws {
    try queue.writeWithoutTransaction { database in
      // The switch takes an exclusive lock without the busy timeout.
      for attempt in 0... {
        do {
          if try String.fetchOne(database, sql: "PRAGMA journal_mode") == "wal" { return }
          if try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL") == "wal" { return }
        } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
          guard attempt < 600 else { throw error }
        }
        // Another process has the file open in the old mode, which works as well.
        guard attempt < 600 else { return }
        usleep(UInt32.random(in: 20_000...100_000))
      }
    }
  }

  private func failure(_ error: any Error) -> StoreFailure {
    switch error {
    case let error as StoreFailure: return error
    case let error as DatabaseError:
      // GRDB's own description may hold values; code and message do not.
      let text = "\(path): \(error.message ?? "SQLite error \(error.resultCode.rawValue)")"
      switch error.resultCode {
      case .SQLITE_NOTADB, .SQLITE_CORRUPT, .SQLITE_PERM, .SQLITE_READONLY, .SQLITE_AUTH:
        return .blocked(text)
      case .SQLITE_CONSTRAINT, .SQLITE_MISMATCH, .SQLITE_TOOBIG: return .refused(text)
      // Busy, full, cannot open, an input-output error, a table that a migration just replaces.
      default: return .unavailable(text)
      }
    default: return .unavailable("\(path): \(error)")
    }
  }
}

extension SQLiteStore: RunLister {
  package func summaries(experiment: String) throws(StoreFailure) -> [RunSummary] {
    guard Files.exists(path) else { throw .runMissing("\(path) does not exist") }
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
