import Foundation

/// A variable by which libcurl is told to go through a proxy.
struct ProxyVariable: Sendable, Equatable {
  /// `https_proxy`, for one.
  let name: String
  /// What it says, user name and password included.
  private let value: String

  /// The names that libcurl looks at, for each scheme in this order.
  private static let names: [(scheme: String, names: [String])] = [
    // Upper case HTTP_PROXY is what a web server calls a request's header: libcurl leaves it alone.
    ("http", ["http_proxy", "all_proxy", "ALL_PROXY"]),
    ("https", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
  ]

  /// The variable that counts for an address; nil if none is set.
  init?(for address: String, _ environment: [String: String]) {
    let scheme = address.lowercased().hasPrefix("https:") ? "https" : "http"
    let names = Self.names.first { $0.scheme == scheme }?.names ?? []
    guard let name = names.first(where: { environment[$0]?.isEmpty == false }),
      let value = environment[name]
    else { return nil }
    self.name = name
    self.value = value
  }

  /// Those that are set, for any address.
  static func all(_ environment: [String: String]) -> [ProxyVariable] {
    ["http://", "https://"].compactMap { ProxyVariable(for: $0, environment) }
  }

  private var components: URLComponents? {
    URLComponents(string: value.contains("://") ? value : "http://" + value)
  }

  /// The user name and password in its address.
  var login: (user: String, password: Secret)? {
    guard let components, let password = components.password else { return nil }
    return (components.user ?? "", Secret(password))
  }

  /// The proxy's address without user name and password.
  var address: String {
    guard let components, let host = components.host else { return "(unreadable)" }
    return "\(components.scheme ?? "http")://\(host)" + (components.port.map { ":\($0)" } ?? "")
  }

  /// Whether libcurl's words about a failure are about the proxy, and not the server behind it.
  func isMeant(by text: String) -> Bool {
    if ["CONNECT tunnel failed", "Proxy CONNECT aborted", "SOCKS", "resolve proxy"].contains(
      where: text.contains)
    {
      return true
    }
    guard let components, let host = components.host else { return false }
    let isSecure = components.scheme?.lowercased() == "https"
    // libcurl's port for a proxy without one is 1080, and 443 for one that is spoken to by TLS.
    return text.contains("connect to \(host) port \(components.port ?? (isSecure ? 443 : 1080)) ")
  }

  /// What to tell of a proxy that cannot be used.
  func failure(_ text: String) -> String {
    """
    the proxy \(address), which \(name) names, cannot be used (\(text)); correct or unset \(name), \
    or name the server in no_proxy to reach it without
    """
  }
}
