import ArgumentParser
import BllarseMLflow

/// `bllarse-mlflow check`.
struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say whether the server can be reached, who you are there and which version it is.",
    discussion: "Exits 0 if runs can be delivered, 1 if not.")

  @Option(help: "The address to check: http(s)://HOST or sqlite:///FILE.")
  var trackingURI: String?

  func run() throws {
    let settings = try settings(uri: trackingURI)
    let check =
      switch settings.destination {
      case .file(let path): DestinationCheck.file(path)
      default:
        try server(settings)
      }
    try output(check.text)
    if let problem = check.problem {
      complain(problem)
      throw Exit.failed
    }
  }

  private func server(_ settings: TrackingSettings) throws -> DestinationCheck {
    let client = try settings.makeClient()
    client.observe(tellingWaits)
    return DestinationCheck.server(client, authorization: settings.authorization)
  }
}
