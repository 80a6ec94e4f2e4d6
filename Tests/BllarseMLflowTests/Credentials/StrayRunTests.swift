@testable import BllarseMLflow
import BllarseTestSupport
import Foundation
import Testing

@Suite("Runs that may go elsewhere than was meant")
struct StrayRunTests {
  private static let server = "[mlflow]\nmlflow_tracking_uri = http://anna:word-word@filed/ml\n"

  private func warnings(
    _ environment: [String: String] = [:], file: String? = nil, accountFile: String? = nil,
    uri: String? = nil
  ) throws -> [String] {
    let scratch = try TemporaryDirectory()
    for (home, text) in [("home", file), ("account", accountFile)] {
      try Files.makeDirectory(scratch.file(home) + "/.mlflow")
      if let text { try scratch.write(home + "/.mlflow/credentials", Array(text.utf8)) }
    }
    for name in ["home", "account"] { chmod(scratch.file(name) + "/.mlflow/credentials", 0o600) }
    var configuration = TrackerConfiguration(
      trackingURI: uri, directory: "/w",
      environment: ["HOME": scratch.file("home")].merging(environment) { $1 })
    configuration.accountHome = scratch.file("account")
    return try TrackingSettings(configuration).warnings
      .map { $0.replacing(scratch.path, with: "") }
  }

  @Test("what is meant to be local, or reaches a server, is no news")
  func expected() throws {
    #expect(try warnings() == [])
    #expect(try warnings(file: "[mlflow]\n") == [])
    #expect(try warnings(["MLFLOW_TRACKING_URI": "sqlite:///x.db"]) == [])
    #expect(try warnings(file: Self.server, uri: "sqlite:///x.db") == [])
    #expect(try warnings(file: Self.server) == [])
    #expect(
      try warnings(
        ["MLFLOW_TRACKING_URI": "http://s", "MLFLOW_TRACKING_TOKEN": "t"],
        file: "[mlflow]\nmlflow_tracking_username = anna\n") == [])
    #expect(try warnings(["BLLARSE_MLFLOW_STORE": "sqlite:////w/mlflow.db"], uri: "") == [])
    #expect(
      try warnings(["BLLARSE_MLFLOW_STORE": "http://filed/ml"], file: Self.server) == [])
  }

  @Test(
    "a local file where a server may be meant: what is missing, and what to do, without secrets")
  func local() throws {
    #expect(
      try warnings(accountFile: Self.server) == [
        "/account/.mlflow/credentials names the server http://filed/ml, but HOME is /home here; set HOME=/account or MLFLOW_TRACKING_URI=http://filed/ml (runs go to /w/mlflow.db)"
      ])
    #expect(
      try warnings(["MLFLOW_TRACKING_USERNAME": "a", "MLFLOW_TRACKING_PASSWORD": "b"]) == [
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are set, but no server; set MLFLOW_TRACKING_URI (runs go to /w/mlflow.db)"
      ])
    #expect(
      try warnings(file: "[mlflow]\nmlflow_tracking_username = anna\n") == [
        "/home/.mlflow/credentials has a user or password, but no server; add mlflow_tracking_uri, or set MLFLOW_TRACKING_URI (runs go to /w/mlflow.db)"
      ])
    #expect(
      try warnings(file: "[DEFAULT]\nmlflow_tracking_uri = http://x\n") == [
        "/home/.mlflow/credentials has no section [mlflow], so that nothing in it counts; set MLFLOW_TRACKING_URI (runs go to /w/mlflow.db)"
      ])
    #expect(
      try warnings(["MLFLOW_TRACKING_URI": "sqlite:///x.db"], file: Self.server) == [
        "runs go to /w/x.db, as MLFLOW_TRACKING_URI says, and not to http://filed/ml, which /home/.mlflow/credentials names; unset the variable if that is not meant"
      ])
  }

  @Test("a credentials file that cannot be read is named, and the address that it may hold")
  func unreadable() throws {
    let scratch = try TemporaryDirectory()
    // A folder in the file's place: that stops the superuser too.
    try Files.makeDirectory(scratch.file(".mlflow/credentials"))
    var configuration = TrackerConfiguration(
      directory: "/w", environment: ["HOME": scratch.path])
    configuration.accountHome = nil
    let warnings = try TrackingSettings(configuration).warnings
    #expect(warnings.count == 2 && warnings[0].contains("cannot read \(scratch.path)"))
    #expect(
      warnings.last
        == "if \(scratch.path)/.mlflow/credentials, which cannot be read, names a server, set MLFLOW_TRACKING_URI (runs go to /w/mlflow.db)"
    )
  }

  @Test("a child of a sweep goes where its parent is, and says so if it goes elsewhere")
  func child() throws {
    let store = ["BLLARSE_MLFLOW_STORE": "http://parent:5000"]
    var configuration = TrackerConfiguration(
      trackingURI: "", experiment: "", directory: "/w", environment: store)
    configuration.credentialsFile = "/nowhere"
    let settings = try TrackingSettings(configuration)
    #expect(settings.destination == .server("http://parent:5000") && settings.warnings == [])
    #expect(settings.experiment == "bllarse" && !settings.isDefaultDestination)
    #expect(
      try warnings(
        store.merging(["MLFLOW_TRACKING_URI": "sqlite:///x.db"]) { $1 }, file: Self.server)
        == [
          "this run goes to sqlite:////w/x.db, but the parent run of its sweep is in http://parent:5000: it is not nested there; correct --mlflow-tracking-uri, MLFLOW_TRACKING_URI or /home/.mlflow/credentials, which say otherwise here"
        ])
  }
}
