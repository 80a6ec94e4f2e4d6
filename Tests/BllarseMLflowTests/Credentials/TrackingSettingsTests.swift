@testable import BllarseMLflow
import BllarseTestSupport
import Foundation
import Testing

@Suite("Tracking settings")
struct TrackingSettingsTests {
  private func settings(
    _ environment: [String: String] = [:], file: String? = nil, uri: String? = nil
  ) throws -> TrackingSettings {
    let scratch = try TemporaryDirectory()
    var configuration = TrackerConfiguration(
      trackingURI: uri, directory: "/work/here",
      environment: environment.merging(["HOME": scratch.path]) { $1 })
    if let file { configuration.credentialsFile = try scratch.write("c", Array(file.utf8)) }
    return try TrackingSettings(configuration)
  }

  @Test("with nothing configured runs go to mlflow.db in the folder")
  func nothing() throws {
    let settings = try settings()
    #expect(settings.destination == .file("/work/here/mlflow.db"))
    #expect(settings.isDefaultDestination)
    #expect(settings.authorization == .none)
    #expect(settings.experiment == "bllarse")
    #expect(settings.journalDirectory == "/work/here/mlflow-journal")
  }

  @Test("an option wins over the environment, and that over the file, key by key")
  func order() throws {
    let file = """
      [mlflow]
      mlflow_tracking_username = filed
      mlflow_tracking_password = filed-secret
      mlflow_tracking_uri = http://filed
      """
    #expect(try settings(file: file).destination == .server("http://filed"))
    let environment = [
      "MLFLOW_TRACKING_URI": "http://set", "MLFLOW_TRACKING_USERNAME": "anna",
      "MLFLOW_TRACKING_PASSWORD": "",
    ]
    let both = try settings(environment, file: file)
    #expect(both.destination == .server("http://set"))
    #expect(
      both.authorization == .basic(user: "anna", password: Secret("filed-secret")))
    let option = try settings(environment, file: file, uri: "https://given/prefix/")
    #expect(option.destination == .server("https://given/prefix"))
  }

  @Test("user and password win over a token, and those in the address over both")
  func authorization() throws {
    var environment = ["MLFLOW_TRACKING_TOKEN": "token-token", "MLFLOW_TRACKING_USERNAME": "anna"]
    #expect(try settings(environment).authorization == .bearer(Secret("token-token")))
    environment["MLFLOW_TRACKING_PASSWORD"] = "päss"
    let basic = try settings(environment)
    #expect(basic.authorization.header == "Basic YW5uYTpww6Rzcw==")
    let inAddress = try settings(environment, uri: "http://otto:word@host:80/")
    #expect(inAddress.authorization == .basic(user: "otto", password: Secret("word")))
    #expect(inAddress.destination == .server("http://host:80"))
    // The command that a run prints, and a sweep's record, have the address without them.
    let configured = ["MLFLOW_TRACKING_URI": "http://otto:word99@host:80"]
    let bare = try settings(configured, uri: "http://host:80")
    #expect(bare.authorization == .basic(user: "otto", password: Secret("word99")))
    #expect(bare.redaction("word99") == "<redacted>")
    #expect(try settings(configured, uri: "http://other:80").authorization == .none)
  }

  @Test("MLflow's HTTP variables are read, and faults in them are warnings")
  func http() throws {
    let settings = try settings([
      "MLFLOW_HTTP_REQUEST_TIMEOUT": "7", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
      "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "many", "MLFLOW_TRACKING_INSECURE_TLS": "1",
    ])
    #expect(settings.http.timeoutSeconds == 7)
    #expect(settings.http.maxRetries == 3)
    #expect(settings.http.backoffFactor == 2)
    #expect(!settings.tls.isVerified)
    #expect(
      settings.warnings == [
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR is 'many', expected a number from 0 to 3600; using 2"
      ])
  }

  @Test(
    "MLflow's HTTP variables: a number out of range becomes the nearest one, what is none the default",
    arguments: [
      ("TIMEOUT", "1e30", 86_400.0, "1 to 86400"), ("TIMEOUT", "0.25", 1, "1 to 86400"),
      ("TIMEOUT", "1e400", 86_400, "1 to 86400"), ("TIMEOUT", "nan", 120, "1 to 86400"),
      ("MAX_RETRIES", "1e30", 1000, "0 to 1000"), ("MAX_RETRIES", "-3", 0, "0 to 1000"),
      ("MAX_RETRIES", "2.5", 7, "whole number from 0"), ("MAX_RETRIES", "0x10", 7, "0 to 1000"),
      ("MAX_RETRIES", "9223372036854775808", 1000, "0 to 1000"),
      ("BACKOFF_FACTOR", "1e30", 3600, "0 to 3600"), ("BACKOFF_FACTOR", "-inf", 2, "0 to 3600"),
      ("BACKOFF_JITTER", "1e30", 3600, "0 to 3600"), ("BACKOFF_JITTER", "\u{1B}[2J", 1, "u{1B}"),
    ])
  func bounds(name: String, text: String, expected: Double, words: String) throws {
    let variable = "MLFLOW_HTTP_REQUEST_" + name
    let settings = try settings([variable: text])
    let http = settings.http
    let value: Double? =
      switch name {
      case "TIMEOUT": http.timeoutSeconds
      case "MAX_RETRIES": Double(http.maxRetries)
      case "BACKOFF_FACTOR": http.backoffFactor
      default: http.backoffJitter
      }
    #expect(value == expected)
    #expect(settings.warnings.count == 1)
    let warning = try #require(settings.warnings.first)
    #expect(warning.contains(variable) && warning.contains(words), "\(warning)")
    #expect(!warning.unicodeScalars.contains("\u{1B}"))
    // And with these settings there is a client, and a wait.
    _ = try CurlTransport(tls: TLSSettings(), timeoutSeconds: http.timeoutSeconds)
    for failures in [1, 100, Int.max] { #expect(http.backoffSeconds(failures: failures) < 8000) }
  }

  @Test(
    "an address that cannot be delivered to is an error that says what to use instead",
    arguments: [
      ("file:./mlruns", "MLflow's file store"), ("./mlruns", "MLflow's file store"),
      ("file:///abs/mlruns", "MLflow's file store"),
      ("mlflow.db", "write sqlite:///mlflow.db"), ("sqlite://x", "expected sqlite:///FILE"),
      ("sqlite:///", "expected sqlite:///FILE"), ("sqlite:///:memory:", "expected sqlite:///FILE"),
      ("postgresql://u:pw-pw-pw@h/d", "start `mlflow server"),
      ("databricks://x", "a Databricks workspace"),
      ("databricks", "a Databricks workspace"), ("Databricks", "MLFLOW_TRACKING_TOKEN"),
      ("databricks-uc", "a Databricks workspace"), ("uc:catalog", "a Databricks workspace"),
      ("databricks:5000", "write http://databricks:5000"),
      ("arn:aws:sagemaker:eu-1:1:mlflow/x", "a service of Amazon"),
      ("azureml://region/x", "a service of Azure"),
      ("http://", "http(s)://HOST"),
      ("localhost:5000", "has no scheme; write http://localhost:5000"),
      ("127.0.0.1:5000/ml", "write http://127.0.0.1:5000/ml"),
      ("http:/host:5000", "write http://host:5000"), ("https//host/ml", "write https://host/ml"),
      ("mlflow.example.org", "write https://mlflow.example.org"),
      ("u:pw-pw-pw@host:5000", "'…@host:5000' has no scheme; write http://host:5000"),
      ("http:/u:pw-pw-pw@host:5000", "'…@host:5000' has no scheme; write http://host:5000"),
      ("u:pw-pw-pw@host", "'…@host' means MLflow's file store"),
      ("sqlite:x.db", "write sqlite:///x.db"), ("sqlite:/x.db", "write sqlite:////x.db"),
      ("http://host:99999", "the port 99999; expected a number from 1 to 65535"),
      ("mlruns", "MLflow's file store"), ("runs/2024.1", "MLflow's file store"),
    ])
  func refused(uri: String, expected: String) throws {
    let error = try #require(throws: TrackingError.self) { try settings(uri: uri) }
    #expect(error.description.contains(expected))
    #expect(!error.description.contains("pw-pw-pw"))
  }

  @Test("relative and absolute SQLite addresses mean what they mean to SQLAlchemy")
  func sqlite() throws {
    #expect(try settings(uri: "sqlite:///a/b.db").destination == .file("/work/here/a/b.db"))
    #expect(try settings(uri: "sqlite:////a/b.db?x=1").destination == .file("/a/b.db"))
  }

  @Test("the password of a proxy is a secret, too")
  func proxyPassword() throws {
    let settings = try settings(["https_proxy": "http://otto:pr0xy-w0rd@proxy:3128"])
    let header = Data("otto:pr0xy-w0rd".utf8).base64EncodedString()
    #expect(
      settings.redaction("Proxy-Authorization: Basic \(header), pr0xy-w0rd")
        == "Proxy-Authorization: Basic <redacted>, <redacted>")
  }

  @Test("a certificate file that is not there is an error")
  func certificate() throws {
    let error = try #require(throws: TrackingError.self) {
      try settings(["MLFLOW_TRACKING_SERVER_CERT_PATH": "/nowhere.pem"])
    }
    #expect(
      error.description
        == "MLFLOW_TRACKING_SERVER_CERT_PATH names '/nowhere.pem', which does not exist")
  }
}

@Suite("Secrets")
struct SecretTests {
  @Test("a secret prints as <redacted>, however it is printed")
  func printing() {
    let secret = Secret("hunter2-hunter2")
    var dumped = ""
    dump(Authorization.basic(user: "anna", password: secret), to: &dumped)
    let all = "\(secret)" + String(reflecting: secret) + dumped + "\([secret])"
    #expect(!all.contains("hunter2"))
    #expect(all.contains("<redacted>"))
  }

  @Test("secrets and the user part of addresses are removed from texts")
  func redaction() {
    let redaction = Redaction([Secret("hunter2-hunter2"), Secret("abc"), nil])
    #expect(
      redaction("--x hunter2-hunter2 at https://a:b@h/p?q=u@v and http://h2/ abc")
        == "--x <redacted> at https://h/p?q=u@v and http://h2/ abc")
  }

  @Test(
    "a secret is found in every form that requests and pages have it in",
    arguments: ["p\"q\\r/s+t&<ü>%1 '?", "simple-password", "ab;", "ключ-пароль"])
  func encodings(password: String) throws {
    let redaction = Redaction([Secret(password)], users: ["anna"])
    let data = Data(password.utf8)
    let login = Data("anna:\(password)".utf8).base64EncodedString()
    let json = String(
      decoding: try JSONSerialization.data(withJSONObject: [password]), as: UTF8.self)
    let unescaped = String(
      decoding: try JSONSerialization.data(
        withJSONObject: [password], options: .withoutEscapingSlashes), as: UTF8.self)
    let percent = try #require(
      password.addingPercentEncoding(
        withAllowedCharacters: CharacterSet(charactersIn: "-._~").union(
          .init(charactersIn: "a"..."z")
        )
        .union(.init(charactersIn: "A"..."Z")).union(.init(charactersIn: "0"..."9"))))
    // As another program does it, which leaves slashes alone.
    let inPath = percent.replacing("%2F", with: "/")
    var forms = [
      inPath, login, login.replacing("=", with: ""), data.base64EncodedString(), percent,
      percent.lowercased(), String(json.dropFirst(2).dropLast(2)),
      String(unescaped.dropFirst(2).dropLast(2)),
      password.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
        .replacing(">", with: "&gt;").replacing("\"", with: "&quot;").replacing(
          "'", with: "&#x27;"),
    ]
    // Too short to be told from other text, in whatever form.
    forms.removeAll { $0.utf8.count < 8 }
    if password.count >= 6 { forms.append(password) }
    for form in forms {
      let text = redaction("before \(form) after")
      #expect(text == "before <redacted> after", "\(form): \(text)")
    }
  }
}
