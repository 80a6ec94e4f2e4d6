import Foundation

package enum Authorization: Sendable, Hashable {
  case none
  case basic(user: String, password: Secret)
  case bearer(Secret)

  package var header: String? {
    switch self {
    case .none: nil
    case .basic(let user, let password):
      "Basic " + Data("\(user):\(password.exposed)".utf8).base64EncodedString()
    case .bearer(let token): "Bearer \(token.exposed)"
    }
  }
}

/// How a server's certificate is checked, and ours is shown.
package struct TLSSettings: Sendable, Hashable {
  package var isVerified = true
  /// A file of certificates to trust instead of the system's.
  package var authorityPath: String?
  /// A PEM file with the client's certificate and key.
  package var clientPath: String?
}

/// The MLFLOW_HTTP_REQUEST_ variables.
package struct HTTPSettings: Sendable, Hashable {
  package var timeoutSeconds = 120.0
  package var maxRetries = 7
  package var backoffFactor = 2.0
  package var backoffJitter = 1.0
  package var isRetryAfterRespected = true
  package var areRedirectsAllowed = true
}

/// Everything tracking takes from options, environment and credentials file, resolved once.
///
/// Order: an option, then the environment variable, then the credentials file, then the store of the
/// sweep's parent run, then the default. What is set to nothing counts as not set, as in MLflow's client.
package struct TrackingSettings: Sendable {
  package var destination: Destination
  /// Whether nothing was configured, and runs go to `mlflow.db` in the directory.
  package var isDefaultDestination = false
  package var authorization = Authorization.none
  package var tls = TLSSettings()
  package var http = HTTPSettings()
  package var experiment: String
  package var resumedRunID: String?
  package var parentRunID: String?
  package var journalDirectory: String
  package var redaction: Redaction
  /// Things the user should know: one line each, without secrets.
  package var warnings: [String] = []

  /// Where the parent run of a sweep is, without user name and password: set by who starts its children.
  package static let parentStoreVariable = "BLLARSE_MLFLOW_STORE"

  package init(
    _ configuration: TrackerConfiguration, overriding uri: String? = nil
  ) throws(TrackingError) {
    let environment = configuration.environment.filter { !$0.value.isEmpty }
    let directory = configuration.directory
    let filePath =
      configuration.credentialsFile
      ?? (environment["HOME"] ?? NSHomeDirectory()) + "/.mlflow/credentials"
    let file = CredentialsFile(path: filePath)
    warnings = file.warnings

    // Where to.
    let given = uri?.nonEmpty ?? configuration.trackingURI?.nonEmpty
    let named = given ?? environment["MLFLOW_TRACKING_URI"] ?? file.trackingURI?.nonEmpty
    let address = named ?? environment[Self.parentStoreVariable]
    isDefaultDestination = address == nil
    let parsed =
      try address.map { (text) throws(TrackingError) in
        try Destination.parse(text, directory: directory)
      } ?? .init(destination: .file(Files.absolute("mlflow.db", relativeTo: directory)))
    destination = parsed.destination
    warnings +=
      StrayRun(
        destination: destination, isGiven: given != nil, isDefault: isDefaultDestination,
        environment: environment, file: file, filePath: filePath,
        accountHome: configuration.accountHome, directory: directory
      ).warnings

    // Who. User and password win over a token, as in MLflow's client; those in the address win
    // over both, as in its HTTP library.
    let user = environment["MLFLOW_TRACKING_USERNAME"] ?? file.user
    let password = environment["MLFLOW_TRACKING_PASSWORD"].map { Secret($0) } ?? file.password
    let token = environment["MLFLOW_TRACKING_TOKEN"].map { Secret($0) }
    // An address given without them may be one that is configured with them: commands print and
    // sweeps keep addresses without passwords.
    let configured = [environment["MLFLOW_TRACKING_URI"], file.trackingURI].compactMap { $0 }
      .compactMap { try? Destination.parse($0, directory: directory) }
    let inAddress =
      ([parsed] + configured.filter { $0.destination == parsed.destination })
      .first { $0.user != nil && $0.password != nil }
    if let user = inAddress?.user ?? user, let password = inAddress?.password ?? password {
      authorization = .basic(user: user, password: password)
    } else if let token {
      authorization = .bearer(token)
    }
    let proxies = ["http://", "https://"].compactMap { ProxyVariable(for: $0, environment)?.login }
    redaction = Redaction(
      [parsed.password, password, file.password, token] + configured.map(\.password)
        + proxies.map(\.password),
      users: ([parsed.user, user, file.user] + configured.map(\.user) + proxies.map(\.user))
        .compactMap { $0 })

    // How.
    var reader = EnvironmentReader(environment)
    tls.isVerified = !reader.flag("MLFLOW_TRACKING_INSECURE_TLS", default: false)
    tls.authorityPath = environment["MLFLOW_TRACKING_SERVER_CERT_PATH"]
    tls.clientPath = environment["MLFLOW_TRACKING_CLIENT_CERT_PATH"]
    let prefix = "MLFLOW_HTTP_REQUEST_"
    http.timeoutSeconds = reader.number(
      prefix + "TIMEOUT", default: http.timeoutSeconds, in: 1...86_400)
    http.maxRetries = Int(
      reader.number(
        prefix + "MAX_RETRIES", default: Double(http.maxRetries), in: 0...1000, isWhole: true))
    http.backoffFactor = reader.number(
      prefix + "BACKOFF_FACTOR", default: http.backoffFactor, in: 0...3600)
    http.backoffJitter = reader.number(
      prefix + "BACKOFF_JITTER", default: http.backoffJitter, in: 0...3600)
    http.isRetryAfterRespected = reader.flag(
      "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", default: true)
    http.areRedirectsAllowed = reader.flag("MLFLOW_ALLOW_HTTP_REDIRECTS", default: true)
    warnings += reader.warnings
    for name in ["MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"]
    where environment[name] != nil && environment[name]?.lowercased() != "false" {
      warnings.append("\(name) is not supported and ignored; use a user and password, or a token")
    }

    experiment =
      configuration.experiment?.nonEmpty ?? environment["MLFLOW_EXPERIMENT_NAME"] ?? "bllarse"
    resumedRunID = environment["MLFLOW_RUN_ID"]
    parentRunID = environment["MLFLOW_PARENT_RUN_ID"]
    journalDirectory = Files.absolute(
      configuration.journalDirectory ?? environment["BLLARSE_MLFLOW_JOURNAL"] ?? "mlflow-journal",
      relativeTo: directory)
    try validate()
  }

  private func validate() throws(TrackingError) {
    if !tls.isVerified, tls.authorityPath != nil {
      throw TrackingError(
        .settings,
        "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are both set; unset one")
    }
    for (name, path) in [
      ("MLFLOW_TRACKING_SERVER_CERT_PATH", tls.authorityPath),
      ("MLFLOW_TRACKING_CLIENT_CERT_PATH", tls.clientPath),
    ] {
      if let path, !Files.exists(path) {
        throw TrackingError(.settings, "\(name) names '\(path)', which does not exist")
      }
    }
    if let fault = Naming.experimentFault(experiment) {
      throw TrackingError(.settings, "the experiment's name \(fault)")
    }
  }
}

extension String {
  fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}

/// Reads numbers and flags from variables: what cannot be read, or is out of range, is a warning, and a
/// value that can be used takes its place.
private struct EnvironmentReader {
  let environment: [String: String]
  private(set) var warnings: [String] = []

  init(_ environment: [String: String]) { self.environment = environment }

  mutating func flag(_ name: String, default fallback: Bool) -> Bool {
    switch environment[name]?.lowercased() {
    case nil: return fallback
    case "true", "1": return true
    case "false", "0": return false
    default:
      warnings.append("\(name) must be true or false; using \(fallback)")
      return fallback
    }
  }

  /// A number in a range; one beyond an end of it becomes that end.
  mutating func number(
    _ name: String, default fallback: Double, in range: ClosedRange<Double>, isWhole: Bool = false
  ) -> Double {
    guard let text = environment[name] else { return fallback }
    func word(_ value: Double) -> String { Int(exactly: value).map(String.init) ?? "\(value)" }
    let shown =
      "\(name) is '\(text.printable(upTo: 40))', expected a \(isWhole ? "whole " : "")number from "
      + "\(word(range.lowerBound)) to \(word(range.upperBound))"
    // Swift reads hexadecimal numbers and words too, which MLflow's client does not.
    guard text.utf8.allSatisfy("0123456789+-.eE".utf8.contains), let value = Double(text),
      !value.isNaN, !isWhole || value.rounded() == value
    else {
      warnings.append("\(shown); using \(word(fallback))")
      return fallback
    }
    guard !range.contains(value) else { return value }
    let nearest = min(max(value, range.lowerBound), range.upperBound)
    warnings.append("\(shown); using \(word(nearest))")
    return nearest
  }
}

/// Whether a run may go elsewhere than was meant: to a local file where a server was set up, or away
/// from the parent run of its sweep.
private struct StrayRun {
  let destination: Destination
  /// Whether the destination was given by an option, or nothing names one.
  let isGiven, isDefault: Bool
  let environment: [String: String]
  let file: CredentialsFile
  let filePath: String
  let accountHome: String?
  let directory: String

  /// What is missing and what to do: at most one line, without secrets.
  var warnings: [String] {
    if let warning = awayFromParent { return [warning] }
    guard case .file(let path) = destination, !isGiven else { return [] }
    if isDefault { return missingAddress.map { ["\($0) (runs go to \(path))"] } ?? [] }
    guard let server = file.trackingURI.flatMap(server), environment["MLFLOW_TRACKING_URI"] != nil
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
      let verb = secrets.count > 1 ? "are" : "is"
      return "\(secrets.joined(separator: " and ")) \(verb) set, but no server; \(advice)"
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
