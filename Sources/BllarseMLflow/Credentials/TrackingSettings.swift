import Foundation

/// How a server is told who asks.
package enum Authorization: Sendable, Hashable {
  case none
  case basic(user: String, password: Secret)
  case bearer(Secret)

  /// The value of the Authorization header.
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
    let home = environment["HOME"] ?? NSHomeDirectory()
    let filePath = configuration.credentialsFile ?? home + "/.mlflow/credentials"
    let file = CredentialsFile(path: filePath)
    warnings = file.warnings

    // Where to.
    let given = uri?.nonEmpty ?? configuration.trackingURI?.nonEmpty
    let named = given ?? environment["MLFLOW_TRACKING_URI"] ?? file.trackingURI?.nonEmpty
    let parsed: Destination.Parsed
    if let address = named ?? environment[Self.parentStoreVariable] {
      parsed = try Destination.parse(address, directory: directory)
    } else {
      parsed = Destination.Parsed(
        destination: .file(Files.absolute("mlflow.db", relativeTo: directory)))
      isDefaultDestination = true
    }
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
    if let user = inAddress?.user, let password = inAddress?.password {
      authorization = .basic(user: user, password: password)
    } else if let user, let password {
      authorization = .basic(user: user, password: password)
    } else if let token {
      authorization = .bearer(token)
    }
    let proxies = ProxyVariable.all(environment).compactMap(\.login)
    redaction = Redaction(
      [parsed.password, password, file.password, token] + configured.map(\.password)
        + proxies.map(\.password),
      users: ([parsed.user, user, file.user] + configured.map(\.user) + proxies.map(\.user))
        .compactMap { $0 })

    // How.
    var reader = EnvironmentReader(environment: environment)
    tls.isVerified = !reader.flag("MLFLOW_TRACKING_INSECURE_TLS", default: false)
    tls.authorityPath = environment["MLFLOW_TRACKING_SERVER_CERT_PATH"]
    tls.clientPath = environment["MLFLOW_TRACKING_CLIENT_CERT_PATH"]
    let prefix = "MLFLOW_HTTP_REQUEST_"
    http.timeoutSeconds = reader.number(
      prefix + "TIMEOUT", default: http.timeoutSeconds, in: 1...86_400)
    http.maxRetries = reader.integer(
      prefix + "MAX_RETRIES", default: http.maxRetries, in: 0...1000)
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
  /// Nil for an empty text.
  fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}
