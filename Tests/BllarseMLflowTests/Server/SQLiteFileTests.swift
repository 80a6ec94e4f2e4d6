import BllarseTestSupport
import Foundation
import GRDB
import Testing

@testable import BllarseMLflow

@Suite("SQLite file")
struct SQLiteFileTests {
  private func rows(_ path: String, _ sql: String) throws -> [[String]] {
    try DatabaseQueue(path: path).read { database in
      try Row.fetchAll(database, sql: sql).map { row in
        row.databaseValues.map { $0.isNull ? "NULL" : $0.description }
      }
    }
  }

  @Test("values are stored as MLflow stores them, and latest_metrics follows its rule")
  func values() throws {
    let scratch = try TemporaryDirectory()
    let store = SQLiteStore(path: scratch.file("mlflow.db"))
    let id = try store.experimentID(named: "e")
    #expect(id == "1")
    let run = try store.createRun(
      NewRun(
        localID: "r", name: "n", experimentID: id, user: "u", startTime: 5, tags: ["a": "b"]))
    #expect(run.artifactURI == "mlflow-artifacts:/1/r/artifacts")
    for values in [
      [(1, 1.0, 10), (2, 5.0, 10)], [(2, 4.0, 11), (2, -.infinity, 9)], [(2, .nan, 11)],
      [(1, 9.0, 99)],
    ] {
      try store.log(
        ValueBatch(
          metrics: values.map { MetricPoint(key: "m", value: $0.1, time: $0.2, step: $0.0) }),
        runID: "r")
    }
    let path = scratch.file("mlflow.db")
    store.close()
    #expect(
      try rows(
        path, "SELECT step, timestamp, value, is_nan FROM metrics ORDER BY step, timestamp, is_nan")
        == [
          ["1", "10", "1.0", "0"], ["1", "99", "9.0", "0"],
          ["2", "9", "-1.7976931348623157e+308", "0"], ["2", "10", "5.0", "0"],
          ["2", "11", "4.0", "0"], ["2", "11", "0.0", "1"],
        ])
    // (2, 11, 4) is greater than (2, 11, NaN as 0).
    #expect(
      try rows(path, "SELECT step, timestamp, value, is_nan FROM latest_metrics")
        == [["2", "11", "4.0", "0"]])
    #expect(scratch.contents == ["mlflow.db"])  // no log left behind
  }

  @Test("a folder in the file's place is an obstacle, not something to wait for")
  func folder() throws {
    let scratch = try TemporaryDirectory()
    let store = SQLiteStore(path: scratch.path)
    #expect(
      throws: StoreFailure.blocked("\(scratch.path) is a folder; expected a SQLite file or none")
    ) { try store.experimentID(named: "e") }
  }

  @Test("names with line feeds and a terminal's escapes stay in their cells")
  func controlCharacters() throws {
    let run = RunSummary(
      id: "r", name: "two\nlines\u{1B}[31m", status: "FINISHED", metrics: ["m": 1])
    let table = RunTable([run], sortKey: "absent")
    #expect(table.text(.table).split(separator: "\n").count == 2)
    #expect(table.text(.table).contains("two\\nlines\\u{1B}[31m"))
    #expect(table.text(.csv).contains("\"two\nlines"))
    #expect(table.unknownSortKey == "absent" && RunTable([run], sortKey: "m").unknownSortKey == nil)
  }

  @Test("a deleted experiment is an error that says how to restore it")
  func deleted() throws {
    let scratch = try TemporaryDirectory()
    let path = scratch.file("mlflow.db")
    let store = SQLiteStore(path: path)
    _ = try store.experimentID(named: "e")
    try DatabaseQueue(path: path).write {
      try $0.execute(sql: "UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'e'")
    }
    let failure = try #require(throws: StoreFailure.self) { try store.experimentID(named: "e") }
    guard case .deleted(let message) = failure else {
      Issue.record("\(failure)")
      return
    }
    #expect(message.contains("mlflow experiments restore --experiment-id 1`"))
  }

  @Test("a file that is not MLflow's is left alone")
  func foreign() throws {
    let scratch = try TemporaryDirectory()
    let path = scratch.file("x.db")
    try DatabaseQueue(path: path).write { try $0.execute(sql: "CREATE TABLE mine (a)") }
    let failure = try #require(throws: StoreFailure.self) {
      try SQLiteStore(path: path).experimentID(named: "e")
    }
    #expect(
      failure
        == .blocked(
          "\(path) is a SQLite file, but not MLflow's (no table 'experiments'); use another path"))
    try scratch.write("text.db", Array("not a database, but long enough to look at".utf8))
    guard
      case .blocked = try #require(
        throws: StoreFailure.self,
        performing: { try SQLiteStore(path: scratch.file("text.db")).experimentID(named: "e") })
    else {
      Issue.record("a text file must block")
      return
    }
  }

  @Test("the runs table lists, sorts and formats")
  func table() throws {
    let runs = [("a", 0.5), ("b", Double.nan), ("c", 0.25)].map { name, loss in
      var run = RunSummary(id: "id-" + name, name: name, status: "FINISHED")
      run.metrics = ["loss": loss]
      run.parameters = ["seed": "1,2"]
      return run
    }
    let table = RunTable(runs, metrics: ["loss"], parameters: ["seed"], sortKey: "loss")
    #expect(
      table.text(.table) == """
        run   name  status    start  seed  loss
        id-c  c     FINISHED         1,2   0.25
        id-a  a     FINISHED         1,2    0.5
        id-b  b     FINISHED         1,2    nan

        """)
    #expect(
      RunTable(runs, metrics: ["loss"], parameters: ["seed"], limit: 1).text(.csv)
        == "run,name,status,start,seed,loss\nid-a,a,FINISHED,,\"1,2\",0.5\n")
  }
}

@Suite("SQLite file and MLflow", .tags(.server), .withMLflow)
struct SQLiteServerTests {
  @Test("the tables are those that MLflow's own migrations make at that revision")
  func schema() throws {
    let scratch = try TemporaryDirectory()
    let store = SQLiteStore(path: scratch.file("ours.db"))
    _ = try store.experimentID(named: "e")
    store.close()
    let script = """
      import sqlalchemy, sys
      from alembic import command
      from mlflow.store.db.utils import _get_alembic_config
      from mlflow.store.tracking.dbmodels.initial_models import Base
      uri = "sqlite:///" + sys.argv[1]
      engine = sqlalchemy.create_engine(uri)
      Base.metadata.create_all(engine)
      config = _get_alembic_config(uri)
      with engine.begin() as connection:
          config.attributes["connection"] = connection
          command.upgrade(config, "\(SQLiteStore.revision)")
      """
    let python = Program(path: MLflowServer.environmentPath + "/bin/python")
    let output = try python.run(["-c", script, scratch.file("theirs.db")], in: scratch.path)
    #expect(output.status == 0, "\(output.error)")
    func shape(_ name: String) throws -> [String] {
      try DatabaseQueue(path: scratch.file(name)).read { database in
        var lines: [String] = []
        for table in try String.fetchAll(
          database, sql: "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        {
          for row in try Row.fetchAll(database, sql: "PRAGMA table_info(\(table))") {
            lines.append("\(table): \(row.databaseValues.dropFirst().map(\.description))")
          }
          let foreign = try Row.fetchAll(database, sql: "PRAGMA foreign_key_list(\(table))")
          lines += foreign.map {
            "\(table) -> \($0.databaseValues.dropFirst(2).map(\.description))"
          }.sorted()
          let sql = try String.fetchOne(
            database, sql: "SELECT sql FROM sqlite_master WHERE name = ?", arguments: [table])
          let names = (sql ?? "").matches(of: /CONSTRAINT (\w+)/).map { String($0.1) }
          lines.append("\(table) constraints \(names.sorted())")
        }
        lines += try String.fetchAll(
          database,
          sql: """
            SELECT name || ' on ' || tbl_name FROM sqlite_master
            WHERE type = 'index' AND sql IS NOT NULL ORDER BY name
            """)
        return lines
      }
    }
    #expect(try shape("ours.db") == shape("theirs.db"))
  }

  @Test(
    "an offline run's mlflow.db opens in a plain mlflow server, also moved, also after more runs")
  func offline() throws {
    let scratch = try TemporaryDirectory()
    let before = scratch.file("before"), after = scratch.file("after")
    try Files.makeDirectory(before)
    func tracker(_ folder: String) throws -> Tracker {
      var configuration = scratchConfiguration(scratch)
      configuration.directory = folder
      return try Tracker(configuration)
    }
    func log(_ run: Run, _ count: Int) throws {
      run.log(parameters: ["seed": 137])
      for step in 0..<count {
        run.log(metrics: ["loss": step == 3 ? .nan : Double(step), "a/b": -.infinity], step: step)
      }
      try run.log(text: "contents of \(count)", as: "folder/note.txt")
    }
    let first = try tracker(before).startRun(name: "first")
    try log(first, 200)
    #expect(first.finish().isComplete)
    let child = try tracker(before).startRun(name: "child", parent: .run(first.id))
    child.finish(status: .failed)
    try FileManager.default.moveItem(atPath: before, toPath: after)
    let server = try MLflowServer.start(in: after, hasJobs: true)  // unmodified
    let client = try server.client()
    func check(_ run: Run, _ count: Int) throws {
      let info = try client.info(run.id)
      #expect(info["info"]?["status"] == .string("FINISHED"))
      #expect(info.pairs("params") == ["seed": "137"])
      let loss = try client.history(run.id, "loss").sorted { $0.step < $1.step }
      #expect(
        loss.count == count && loss[3].value.isNaN && loss[count - 1].value == Double(count - 1))
      let latest = info["data"]?["metrics"]?.arrayValue?.first { $0["key"] == .string("loss") }
      #expect(latest?["value"]?.double == Double(count - 1))
      let (status, body) = try client.bytes(
        "get-artifact?path=folder/note.txt&run_id=\(run.id)")
      #expect(status == 200 && body == Array("contents of \(count)".utf8))
    }
    try check(first, 200)
    #expect(try client.runs(tag: "mlflow.parentRunId", value: first.id) == [child.id])
    // MLflow has migrated the file; another run is added while its server runs.
    let second = try tracker(after).startRun(name: "second")
    try log(second, 300)
    #expect(second.finish().isComplete)
    try check(second, 300)
    try check(first, 200)
    let summaries = try RESTStore(client: client).summaries(experiment: "bllarse")
    #expect(summaries.map(\.name).sorted() == ["child", "first", "second"])
    server.kill()
  }
}
