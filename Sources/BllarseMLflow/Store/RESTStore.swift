/// An MLflow server over REST.
package final class RESTStore: TrackingStore {
  package let destination: Destination
  package let client: MLflowClient

  package init(client: MLflowClient) {
    self.client = client
    destination = .server(client.address)
  }

  // MARK: - Experiments

  package func experimentID(named name: String) throws(StoreFailure) -> String {
    if let id = try existingExperimentID(named: name) { return id }
    do {
      let answer = try client.post(
        "mlflow/experiments/create", .object([.init("name", .string(name))]))
      if let id = answer["experiment_id"]?.string { return id }
    } catch .refused {
      // Somebody else made it a moment ago; if not, the second look says why.
    }
    if let id = try existingExperimentID(named: name) { return id }
    throw .refused("experiment '\(name)' cannot be made on \(client.address)")
  }

  private func existingExperimentID(named name: String) throws(StoreFailure) -> String? {
    let answer: JSON
    do {
      answer = try client.get(
        "mlflow/experiments/get-by-name", query: [("experiment_name", name)])
    } catch .runMissing {
      return nil
    }
    guard let experiment = answer["experiment"], let id = experiment["experiment_id"]?.string
    else { return nil }
    guard experiment["lifecycle_stage"]?.string != "deleted" else {
      throw .deleted(
        """
        experiment '\(name)' (id \(id)) on \(client.address) is deleted; restore it with \
        `MLFLOW_TRACKING_URI=\(client.address) mlflow experiments restore --experiment-id \(id)`, \
        or use another name
        """)
    }
    return id
  }

  // MARK: - Runs

  package func createRun(_ new: NewRun) throws(StoreFailure) -> StoredRun {
    let tags = new.tags.sorted { $0.key < $1.key }.map { KeyValue(key: $0.key, value: $0.value) }
    let answer = try client.post(
      "mlflow/runs/create",
      .object([
        .init("experiment_id", .string(new.experimentID)), .init("user_id", .string(new.user)),
        .init("run_name", .string(new.name)), .init("start_time", .integer(new.startTime)),
        .init("tags", Self.list(tags)),
      ]))
    guard let run = answer["run"], let stored = Self.storedRun(run) else {
      throw .serverError("\(client.address) made a run but did not say which")
    }
    return stored
  }

  package func run(id: String) throws(StoreFailure) -> StoredRun? {
    do {
      let answer = try client.get("mlflow/runs/get", query: [("run_id", id)])
      return answer["run"].flatMap(Self.storedRun)
    } catch {
      switch error {
      // An id that is not of the server's form is refused, one that is but unknown is missing.
      case .runMissing, .refused: return nil
      default: throw error
      }
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
        experimentIDs: Array(some),
        filter: "tags.`\(tag)` = '\(value.replacing("'", with: "\\'"))'", orderBy: [], limit: 1000)
      found += rows.compactMap(Self.storedRun)
    }
    return found
  }

  private func allExperimentIDs() throws(StoreFailure) -> [String] {
    var ids: [String] = []
    var token: String?
    repeat {
      var members: [JSON.Member] = [.init("max_results", .integer(1000))]
      if let token { members.append(.init("page_token", .string(token))) }
      let answer = try client.post("mlflow/experiments/search", .object(members))
      ids += (answer["experiments"]?.array ?? []).compactMap { $0["experiment_id"]?.string }
      token = answer["next_page_token"]?.string
    } while token?.isEmpty == false
    return ids
  }

  /// Runs as the server describes them, page by page, up to `limit`.
  package func search(
    experimentIDs: [String], filter: String, orderBy: [String], limit: Int
  ) throws(StoreFailure) -> [JSON] {
    var rows: [JSON] = []
    var token: String?
    repeat {
      var members: [JSON.Member] = [
        .init("experiment_ids", .array(experimentIDs.map { .string($0) })),
        .init("filter", .string(filter)), .init("run_view_type", .string("ACTIVE_ONLY")),
        .init("max_results", .integer(min(1000, limit - rows.count))),
        .init("order_by", .array(orderBy.map { .string($0) })),
      ]
      if let token { members.append(.init("page_token", .string(token))) }
      let answer = try client.post("mlflow/runs/search", .object(members))
      rows += answer["runs"]?.array ?? []
      token = answer["next_page_token"]?.string
    } while token?.isEmpty == false && rows.count < limit
    return rows
  }

  package func update(
    runID: String, status: RunStatus, endTime: Int?
  ) throws(StoreFailure) {
    var members: [JSON.Member] = [
      .init("run_id", .string(runID)), .init("status", .string(status.rawValue)),
    ]
    if let endTime { members.append(.init("end_time", .integer(endTime))) }
    let answer = try client.post("mlflow/runs/update", .object(members))
    // A state the server does not know is answered with 200 and ignored.
    if let stored = answer["run_info"]?["status"]?.string, stored != status.rawValue {
      throw .refused("the run's status is '\(stored)', not '\(status.rawValue)' as it was set")
    }
  }

  package func delete(runID: String) throws(StoreFailure) {
    try client.post("mlflow/runs/delete", .object([.init("run_id", .string(runID))]))
  }

  // MARK: - Values

  package func log(metrics: [MetricPoint], runID: String) throws(StoreFailure) {
    var writer = JSON.Writer()
    writer.bytes.reserveCapacity(metrics.count * 80)
    writer.append(raw: "{\"run_id\":")
    writer.append(string: runID)
    writer.append(raw: ",\"metrics\":[")
    for (index, point) in metrics.enumerated() {
      writer.append(raw: index == 0 ? "{\"key\":" : ",{\"key\":")
      writer.append(string: point.key)
      writer.append(raw: ",\"value\":")
      writer.append(number: point.value)
      writer.append(raw: ",\"timestamp\":")
      writer.append(integer: point.time)
      writer.append(raw: ",\"step\":")
      writer.append(integer: point.step)
      writer.append(raw: "}")
    }
    writer.append(raw: "]}")
    try client.post("mlflow/runs/log-batch", bytes: writer.bytes)
  }

  package func log(parameters: [KeyValue], runID: String) throws(StoreFailure) {
    try client.post(
      "mlflow/runs/log-batch",
      .object([.init("run_id", .string(runID)), .init("params", Self.list(parameters))]))
  }

  package func set(tags: [KeyValue], runID: String) throws(StoreFailure) {
    try client.post(
      "mlflow/runs/log-batch",
      .object([.init("run_id", .string(runID)), .init("tags", Self.list(tags))]))
  }

  package func upload(
    file: String, size: Int, path: String, run: StoredRun
  ) throws(StoreFailure) {
    let scheme = "mlflow-artifacts:"
    guard run.artifactURI.hasPrefix(scheme) else {
      throw .unsupported(
        """
        artifacts of this run belong at '\(Redaction.withoutUserInfo(run.artifactURI))', which the \
        server does not proxy (it runs with --no-serve-artifacts or its own root); '\(path)' is \
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

  private static func list(_ values: [KeyValue]) -> JSON {
    .array(
      values.map { .object([.init("key", .string($0.key)), .init("value", .string($0.value))]) })
  }

  static func storedRun(_ json: JSON) -> StoredRun? {
    guard let info = json["info"], let id = info["run_id"]?.string,
      let experiment = info["experiment_id"]?.string
    else { return nil }
    return StoredRun(
      id: id, experimentID: experiment, artifactURI: info["artifact_uri"]?.string ?? "",
      status: info["status"]?.string.flatMap(RunStatus.init) ?? .running,
      isDeleted: info["lifecycle_stage"]?.string == "deleted")
  }
}
