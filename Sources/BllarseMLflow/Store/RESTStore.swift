import Synchronization

/// An MLflow server over REST.
///
/// An answer counts only with what MLflow's has: a server that is not MLflow's may answer 200 to anything.
package final class RESTStore: TrackingStore {
  package let destination: Destination
  package let client: MLflowClient
  /// Ids of experiments by name, once they are known.
  private let experiments = Mutex([String: String]())

  package init(client: MLflowClient) {
    self.client = client
    destination = .server(client.address)
  }

  package func observe(_ observer: RequestObserver) { client.observe(observer) }

  // MARK: - Experiments

  package func experimentID(named name: String) throws(StoreFailure) -> String {
    if let id = experiments.withLock({ $0[name] }) { return id }
    let id = try findOrMakeExperiment(name)
    experiments.withLock { $0[name] = id }
    return id
  }

  private func findOrMakeExperiment(_ name: String) throws(StoreFailure) -> String {
    if let id = try existingExperimentID(named: name) { return id }
    do throws(StoreFailure) {
      return try ask(
        "experiments/create", .object(["name": .string(name)]), for: "an experiment_id"
      ) { Self.identifier($0["experiment_id"]) }
    } catch {
      // Somebody else made it a moment ago; if not, the second look says why.
      guard case .refused = error else { throw error }
    }
    if let id = try existingExperimentID(named: name) { return id }
    throw .refused("experiment '\(name.printable)' cannot be made on \(client.address)")
  }

  private func existingExperimentID(named name: String) throws(StoreFailure) -> String? {
    let experiment: (id: String, isDeleted: Bool)
    do { experiment = try self.experiment(named: name) } catch .runMissing { return nil }
    let id = experiment.id
    guard !experiment.isDeleted else {
      throw .deleted(
        """
        experiment '\(name.printable)' (id \(id)) on \(client.address) is deleted; restore it with \
        `MLFLOW_TRACKING_URI=\(client.address) mlflow experiments restore --experiment-id \(id)`, \
        or use another name
        """)
    }
    return id
  }

  private func experiment(named name: String) throws(StoreFailure) -> (id: String, isDeleted: Bool)
  {
    try ask(
      "experiments/get-by-name", query: ("experiment_name", name),
      for: "an experiment with an experiment_id"
    ) { answer in
      let experiment = answer["experiment"]
      return Self.identifier(experiment?["experiment_id"])
        .map { ($0, experiment?["lifecycle_stage"] == "deleted") }
    }
  }

  // MARK: - Runs

  package func createRun(_ new: NewRun) throws(StoreFailure) -> StoredRun {
    let body = JSON.object([
      "experiment_id": .string(new.experimentID), "user_id": .string(new.user),
      "run_name": .string(new.name), "start_time": .int(new.startTime),
      "tags": Self.list(KeyValue.sorted(new.tags)),
    ])
    do {
      return try ask("runs/create", body, isRepeatable: false, for: "the run that was made") {
        $0["run"].flatMap(Self.storedRun)
      }
    } catch {
      // The experiment may be gone: the next look says so.
      switch error {
      case .refused, .runMissing: experiments.withLock { $0 = [:] }
      default: break
      }
      throw error
    }
  }

  package func run(id: String) throws(StoreFailure) -> StoredRun? {
    do {
      return try ask("runs/get", query: ("run_id", id), for: "a run") {
        $0["run"].flatMap(Self.storedRun)
      }
      // An id that is not of the server's form is refused, one that is but unknown is missing.
    } catch .runMissing, .refused {
      return nil
    }
  }

  package func runs(
    withTag tag: String, value: String, experimentID: String?
  ) throws(StoreFailure) -> [StoredRun] {
    let experiments = if let experimentID { [experimentID] } else { try allExperimentIDs() }
    var found: [StoredRun] = []
    // A search may name many experiments, but not any number.
    for start in stride(from: 0, to: experiments.count, by: 100) {
      let some = experiments[start..<min(start + 100, experiments.count)]
      let rows = try search(
        Array(some), filter: "tags.`\(tag)` = '\(value.replacing("'", with: "\\'"))'")
      found += rows.compactMap(Self.storedRun)
    }
    return found
  }

  private func allExperimentIDs() throws(StoreFailure) -> [String] {
    try pages(of: "experiments").compactMap { Self.identifier($0["experiment_id"]) }
  }

  private func search(
    _ experimentIDs: [String], filter: String, orderBy: [String] = [], limit: Int = 1000
  ) throws(StoreFailure) -> [JSON] {
    try pages(
      of: "runs",
      [
        .init("experiment_ids", .array(experimentIDs.map { .string($0) })),
        .init("filter", .string(filter)), .init("run_view_type", "ACTIVE_ONLY"),
        .init("order_by", .array(orderBy.map { .string($0) })),
      ], limit: limit)
  }

  /// What a search finds, page by page, up to `limit`.
  private func pages(
    of name: String, _ members: [JSON.Member] = [], limit: Int = .max
  ) throws(StoreFailure) -> [JSON] {
    var rows: [JSON] = []
    var token: String?
    repeat {
      var members = members + [.init("max_results", .int(min(1000, limit - rows.count)))]
      if let token { members.append(.init("page_token", .string(token))) }
      let page = try page(of: name, members)
      rows += page.rows
      token = page.answer["next_page_token"]?.stringValue
    } while token?.isEmpty == false && rows.count < limit
    return rows
  }

  /// MLflow leaves an empty list out, and then answers with an empty object.
  func page(
    of name: String, _ members: [JSON.Member]
  ) throws(StoreFailure) -> (rows: [JSON], answer: JSON) {
    try ask("\(name)/search", .object(members), for: "a list of \(name)") { answer in
      let isEmpty = answer.members?.allSatisfy { $0.key == "next_page_token" } == true
      return (answer[name]?.arrayValue ?? (isEmpty ? [] : nil)).map { ($0, answer) }
    }
  }

  package func update(runID: String, status: RunStatus, endTime: Int?) throws(StoreFailure) {
    let body = JSON.object([
      "run_id": .string(runID), "status": .string(status.rawValue),
      "end_time": endTime.map(JSON.int),
    ])
    let info = try ask("runs/update", body, for: "the run_info") { $0["run_info"] }
    // A state the server does not know is answered with 200 and ignored.
    if let stored = info["status"]?.stringValue, stored != status.rawValue {
      throw .refused(
        "the run's status is '\(client.clean(stored))', not '\(status.rawValue)' as it was set")
    }
  }

  package func delete(runID: String) throws(StoreFailure) {
    try change("runs/delete", .object(["run_id": .string(runID)]))
  }

  /// A request that MLflow answers with an empty object: anything else has stored nothing.
  private func change(_ path: String, _ body: JSON) throws(StoreFailure) {
    try ask(path, body, for: "{}") { $0 == .object([]) ? () : nil }
  }

  // MARK: - Values

  package func log(_ batch: ValueBatch, runID: String) throws(StoreFailure) {
    let metrics = batch.metrics.map { point in
      JSON.object([
        "key": .string(point.key), "value": .double(point.value), "timestamp": .int(point.time),
        "step": .int(point.step),
      ])
    }
    try change(
      "runs/log-batch",
      .object([
        "run_id": .string(runID), "metrics": metrics.isEmpty ? nil : .array(metrics),
        "params": batch.parameters.isEmpty ? nil : Self.list(batch.parameters),
        "tags": batch.tags.isEmpty ? nil : Self.list(batch.tags),
      ]))
  }

  package func upload(file: String, size: Int, path: String, run: StoredRun) throws(StoreFailure) {
    let scheme = "mlflow-artifacts:"
    guard run.artifactURI.hasPrefix(scheme) else {
      throw .unsupported(
        """
        artifacts of this run belong at '\(client.clean(run.artifactURI))', which the \
        server does not proxy (it runs with --no-serve-artifacts or its own root); '\(path.printable)' is \
        kept beside the journal
        """)
    }
    // mlflow-artifacts:/root, or mlflow-artifacts://host/root: the tracking server stands for host.
    var root = run.artifactURI.dropFirst(scheme.count)
    if root.hasPrefix("//") { root = root.dropFirst(2).drop { $0 != "/" } }
    let whole = root.drop { $0 == "/" } + "/" + path
    try client.put(
      "mlflow-artifacts/artifacts/" + MLflowClient.encoded(String(whole), keepingSlashes: true),
      file: file, size: size)
  }

  // MARK: - Parts

  /// What `read` finds in an answer; an answer in which it finds nothing is not MLflow's.
  private func ask<Value>(
    _ path: String, query: (String, String)? = nil, _ body: JSON = .null,
    isRepeatable: Bool = true, for member: String, _ read: (JSON) -> Value?
  ) throws(StoreFailure) -> Value {
    let path = "mlflow/" + path
    let answer =
      if let query { try client.get(path, query: [query]) } else {
        try client.post(path, body, isRepeatable: isRepeatable)
      }
    guard let value = read(answer) else { throw client.lacking(member, answer, path: path) }
    return value
  }

  private static func list(_ values: [KeyValue]) -> JSON {
    .array(values.map { .object(["key": .string($0.key), "value": .string($0.value)]) })
  }

  static func storedRun(_ json: JSON) -> StoredRun? {
    guard let info = json["info"], let id = identifier(info["run_id"]),
      let experiment = identifier(info["experiment_id"])
    else { return nil }
    return StoredRun(
      id: id, experimentID: experiment, artifactURI: info["artifact_uri"]?.stringValue ?? "",
      status: info["status"]?.stringValue.flatMap(RunStatus.init) ?? .running,
      isDeleted: info["lifecycle_stage"]?.stringValue == "deleted")
  }

  /// An id as servers give them; nil for what is none: it is shown, and stands in addresses and files.
  static func identifier(_ json: JSON?) -> String? {
    guard let text = json?.stringValue ?? json?.intValue.map(String.init),
      (1...250).contains(text.utf8.count),
      text.unicodeScalars.allSatisfy({
        $0.isASCII && ($0.properties.isAlphabetic || "0123456789-_.".unicodeScalars.contains($0))
      })
    else { return nil }
    return text
  }
}

extension RESTStore: RunLister {
  package func summaries(experiment: String) throws(StoreFailure) -> [RunSummary] {
    let id = try self.experiment(named: experiment).id
    return try search([id], filter: "", orderBy: ["attributes.start_time DESC"], limit: 50_000)
      .compactMap(Self.summary)
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
