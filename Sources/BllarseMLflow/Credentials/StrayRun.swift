/// Whether a run may go elsewhere than was meant: to a local file where a server was set up, or away
/// from the parent run of its sweep.
struct StrayRun {
  let destination: Destination
  /// Whether the destination was given by an option.
  let isGiven: Bool
  /// Whether nothing names a destination.
  let isDefault: Bool
  /// The variables that are set to something.
  let environment: [String: String]
  let file: CredentialsFile
  let filePath: String
  /// The home folder of the account, wherever HOME points.
  let accountHome: String?
  /// The folder that relative addresses are relative to.
  let directory: String

  /// What is missing and what to do: at most one line, without secrets.
  var warnings: [String] {
    if let warning = awayFromParent { return [warning] }
    guard case .file(let path) = destination, !isGiven else { return [] }
    if isDefault { return missingAddress.map { ["\($0) (runs go to \(path))"] } ?? [] }
    guard let address = file.trackingURI, let server = server(address),
      let variable = environment["MLFLOW_TRACKING_URI"], !variable.isEmpty
    else { return [] }
    return [
      """
      runs go to \(path), as MLFLOW_TRACKING_URI says, and not to \(server), which \(filePath) names; \
      unset the variable if that is not meant
      """
    ]
  }

  private var awayFromParent: String? {
    guard let store = environment[TrackingSettings.parentStoreVariable],
      let parent = try? Destination.parse(store, directory: directory).destination,
      parent != destination
    else { return nil }
    return """
      this run goes to \(destination.uri), but the parent run of its sweep is in \(parent.uri): it is \
      not nested there; correct --mlflow-tracking-uri, MLFLOW_TRACKING_URI or \(filePath), which say \
      otherwise here
      """
  }

  /// Why there may be a server that this process was not told of.
  private var missingAddress: String? {
    let advice = "set MLFLOW_TRACKING_URI"
    if let elsewhere = otherFile { return elsewhere }
    let secrets = ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"]
      .filter { environment[$0] != nil }
    if !secrets.isEmpty {
      return
        "\(secrets.joined(separator: " and ")) \(secrets.count > 1 ? "are" : "is") set, but no server; \(advice)"
    }
    if !file.isRead, !file.warnings.isEmpty {
      return "if \(filePath), which cannot be read, names a server, \(advice)"
    }
    guard file.isRead, file.trackingURI == nil else { return nil }
    if !file.hasSection {
      return "\(filePath) has no section [mlflow], so that nothing in it counts; \(advice)"
    }
    guard file.user != nil || file.password != nil else { return nil }
    return
      "\(filePath) has a user or password, but no server; add mlflow_tracking_uri, or \(advice)"
  }

  /// A credentials file in the account's own home, while HOME is another folder.
  private var otherFile: String? {
    guard !file.isRead, file.warnings.isEmpty, let accountHome else { return nil }
    let path = accountHome + "/.mlflow/credentials"
    guard path != filePath else { return nil }
    let other = CredentialsFile(path: path)
    guard let server = other.trackingURI.flatMap(server) else { return nil }
    return """
      \(path) names the server \(server), but HOME is \(environment["HOME"] ?? "not set") here; set \
      HOME=\(accountHome) or MLFLOW_TRACKING_URI=\(server)
      """
  }

  /// The address of a server without user name and password; nil for anything else.
  private func server(_ address: String) -> String? {
    guard
      case .server(let server)? = try? Destination.parse(address, directory: directory).destination
    else { return nil }
    return server
  }
}
