import Foundation

/// Where runs are delivered to.
package enum Destination: Sendable, Hashable {
  /// An MLflow server; the address ends without a slash and holds no user name or password.
  case server(String)
  /// A SQLite file, by its absolute path.
  case file(String)
  /// A store in memory, for tests.
  case memory

  /// The address, without any secret.
  package var uri: String {
    switch self {
    case .server(let address): address
    case .file(let path): "sqlite:///\(path)"
    case .memory: "memory"
    }
  }

  /// Sixteen digits that stand for the address in file names.
  package var fingerprint: String {
    // FNV-1a, 64 bits: stable between processes, unlike Swift's own hashes.
    let hash = uri.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01B3
    }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  /// A destination, and the user name and password that stood in its address.
  package struct Parsed: Sendable {
    package var destination: Destination
    package var user: String?
    package var password: Secret?
  }

  /// Reads a tracking URI.
  ///
  /// - Throws: ``TrackingError`` for a URI that cannot be delivered to, with the alternative.
  package static func parse(_ text: String, directory: String) throws(TrackingError) -> Parsed {
    let text = text.trimmingCharacters(in: .whitespacesAndNewlines)
    let scheme = text.range(of: "://").map { text[..<$0.lowerBound].lowercased() }
    switch scheme {
    case "http", "https": return try server(text)
    case "sqlite": return Parsed(destination: .file(try sqlitePath(text, directory: directory)))
    case nil where !text.hasPrefix("file:") && text.hasSuffix(".db"):
      throw TrackingError(
        .settings, "the tracking URI '\(text)' is a path; write sqlite:///\(text)")
    case nil, "file":
      throw TrackingError(
        .settings,
        """
        the tracking URI '\(text)' means MLflow's file store, which MLflow itself now refuses to \
        open; use sqlite:///mlflow.db (the default) or the address of a server; `mlflow \
        migrate-filestore --source DIR --target sqlite:///mlflow.db` converts old runs
        """)
    default:
      throw TrackingError(
        .settings,
        """
        the tracking URI's scheme '\(scheme ?? "")' is not supported; expected http, https or \
        sqlite (for another database start `mlflow server --backend-store-uri …` and give its \
        address)
        """)
    }
  }

  private static func server(_ text: String) throws(TrackingError) -> Parsed {
    guard let components = URLComponents(string: text), let host = components.host, !host.isEmpty
    else {
      throw TrackingError(
        .settings,
        "a tracking URI for a server reads http(s)://HOST[:PORT][/PREFIX]; this one is "
          + "not like that: '\(Redaction.withoutUserInfo(text))'")
    }
    var bare = URLComponents()
    bare.scheme = components.scheme?.lowercased()
    bare.host = host
    bare.port = components.port
    bare.percentEncodedPath = components.percentEncodedPath
    var address = bare.string ?? text
    while address.hasSuffix("/") { address.removeLast() }
    return Parsed(
      destination: .server(address), user: components.user,
      password: components.password.map { Secret($0) })
  }

  /// SQLAlchemy's form: three slashes and a relative path, or four and an absolute one.
  private static func sqlitePath(
    _ text: String, directory: String
  ) throws(TrackingError) -> String {
    guard text.lowercased().hasPrefix("sqlite:///") else {
      throw TrackingError(
        .settings,
        "the tracking URI '\(text)' names no file; expected sqlite:///FILE (or sqlite:////ABSOLUTE)"
      )
    }
    let rest = text.dropFirst("sqlite:///".count)
    let path = String(rest.prefix { $0 != "?" })
    guard !path.isEmpty, path != ":memory:" else {
      throw TrackingError(
        .settings, "the tracking URI '\(text)' names no file; expected sqlite:///FILE")
    }
    return Files.absolute(path, in: directory)
  }
}
