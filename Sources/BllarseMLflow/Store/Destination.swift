import Foundation

package enum Destination: Sendable, Hashable {
  /// An MLflow server; the address ends without a slash and holds no user name or password.
  case server(String)
  case file(String)
  case memory

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
    return .digits(hash, radix: 16, width: 16)
  }

  /// A destination, and the user name and password that stood in its address.
  package struct Parsed: Sendable {
    package var destination: Destination
    package var user: String?
    package var password: Secret?
  }

  /// Reads a tracking URI; one that cannot be delivered to is refused with the alternative.
  package static func parse(_ text: String, directory: String) throws(TrackingError) -> Parsed {
    let text = text.trimmingCharacters(in: .whitespacesAndNewlines)
    if let reason = foreignService(text) { throw failure(reason) }
    let scheme = text.range(of: "://").map { text[..<$0.lowerBound].lowercased() }
    switch scheme {
    case "http", "https": return try server(text)
    case "sqlite": return Parsed(destination: .file(try sqlitePath(text, directory: directory)))
    case nil where meantAddress(text) != nil:
      throw failure(
        "the tracking URI '\(Redaction.withoutUserInfo(inAnyText: text))' has no scheme; "
          + "write \(meantAddress(text) ?? "")")
    case nil where !text.hasPrefix("file:") && text.hasSuffix(".db"):
      // sqlite:/x.db, sqlite:x.db
      let path = text.lowercased().hasPrefix("sqlite:") ? String(text.dropFirst(7)) : text
      throw failure("the tracking URI '\(text)' is a path; write sqlite:///\(path)")
    case nil, "file":
      throw failure(
        """
        the tracking URI '\(Redaction.withoutUserInfo(inAnyText: text))' means MLflow's file store, which MLflow itself now refuses to \
        open; use sqlite:///mlflow.db (the default) or the address of a server; `mlflow \
        migrate-filestore --source DIR --target sqlite:///mlflow.db` converts old runs
        """)
    default:
      throw failure(
        """
        the tracking URI's scheme '\(scheme ?? "")' is not supported; expected http, https or \
        sqlite (for another database start `mlflow server --backend-store-uri …` and give its \
        address)
        """)
    }
  }

  /// Why an address that MLflow's client takes for a service with a sign-in of its own cannot be used;
  /// nil for any other.
  private static func foreignService(_ text: String) -> String? {
    let lower = text.lowercased()
    let shown = Redaction.withoutUserInfo(inAnyText: text).printable(upTo: 200)
    if ["databricks", "databricks-uc"].contains(lower)
      || ["databricks://", "databricks-uc://", "uc:"].contains(where: lower.hasPrefix)
    {
      return """
        the tracking URI '\(shown)' names a Databricks workspace, which MLflow's client signs in to \
        with Databricks' own library; that is not supported here. Write the workspace's address, \
        https://…, as for any server, with an access token in MLFLOW_TRACKING_TOKEN and an experiment \
        that is a path (/Users/NAME/EXPERIMENT), or keep the runs with sqlite:///mlflow.db
        """
    }
    if lower.hasPrefix("arn:") || lower.hasPrefix("azureml:") {
      return """
        the tracking URI '\(shown)' names a service of \(lower.hasPrefix("arn:") ? "Amazon" : "Azure"), which \
        MLflow's client signs in to with a plug-in; that is not supported here. Give the address of an \
        MLflow server, or keep the runs with sqlite:///mlflow.db
        """
    }
    return nil
  }

  /// The address that somebody meant who left something of the scheme out: `localhost:5000`,
  /// `http:/host`, `https//host`, `mlflow.example.org`; without user name and password.
  private static func meantAddress(_ text: String) -> String? {
    for scheme in ["https", "http"] where text.lowercased().hasPrefix(scheme) {
      let after = text.dropFirst(scheme.count)
      guard let first = after.first, first == ":" || first == "/" else { continue }
      let rest = after.drop { $0 == ":" || $0 == "/" }
      return rest.isEmpty ? nil : scheme + "://" + withoutUser(rest)
    }
    guard let first = text.first, first != ".", first != "/" else { return nil }
    let address = withoutUser(text[...])
    let host = address.prefix { $0 != "/" }
    let parts = host.split(separator: ":", omittingEmptySubsequences: false)
    let hasPort = parts.count == 2 && Int(parts[1]) != nil && !parts[0].isEmpty
    let isName =
      parts.count == 1 && host.contains(".") && !host.hasSuffix(".db")
      && host.allSatisfy { $0.isLetter || $0.isNumber || $0 == "." || $0 == "-" }
    guard hasPort || isName || host == "localhost" else { return nil }
    return (isName && host.contains(where: \.isLetter) ? "https://" : "http://") + address
  }

  private static func withoutUser(_ text: Substring) -> String {
    let end = text.firstIndex(of: "/") ?? text.endIndex
    guard let at = text[..<end].lastIndex(of: "@") else { return String(text) }
    return String(text[text.index(after: at)...])
  }

  private static func failure(_ text: String) -> TrackingError { TrackingError(.settings, text) }

  private static func server(_ text: String) throws(TrackingError) -> Parsed {
    guard let components = URLComponents(string: text), let host = components.host, !host.isEmpty
    else {
      throw failure(
        "a tracking URI for a server reads http(s)://HOST[:PORT][/PREFIX]; this one is "
          + "not like that: '\(Redaction.withoutUserInfo(text))'")
    }
    if let port = components.port, !(1...65535).contains(port) {
      throw failure("the tracking URI names the port \(port); expected a number from 1 to 65535")
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
      throw failure(
        "the tracking URI '\(text)' names no file; expected sqlite:///FILE (or sqlite:////ABSOLUTE)"
      )
    }
    let rest = text.dropFirst("sqlite:///".count)
    let path = String(rest.prefix { $0 != "?" })
    guard !path.isEmpty, path != ":memory:" else {
      throw failure("the tracking URI '\(text)' names no file; expected sqlite:///FILE")
    }
    return Files.absolute(path, relativeTo: directory)
  }

  /// The kind of a file system that several machines share, nil if `path` is on a local one; `mounts` has
  /// lines of device, mount point, type and options.
  package static func sharedFileSystem(
    _ path: String, mounts: String? = try? Files.text(of: "/proc/self/mounts")
  ) -> String? {
    var best = (length: 0, kind: "")
    for line in (mounts ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 2 else { continue }
      let point = fields[1].replacing("\\040", with: " ")
      let isAbove = point == "/" || path == point || path.hasPrefix(point + "/")
      // A later mount at the same point hides the earlier one.
      if isAbove, point.count >= best.length { best = (point.count, String(fields[2])) }
    }
    let shared = ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "afs", "9p"]
    return shared.contains(best.kind) || best.kind.hasPrefix("fuse.") ? best.kind : nil
  }
}
