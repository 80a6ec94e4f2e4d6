import CCurl
import Foundation
import Synchronization

package struct HTTPRequest: Sendable {
  package enum Body: Sendable {
    case none
    case bytes([UInt8])
    case file(path: String, size: Int)
  }

  package var method: String
  package var url: String
  package var headers: [(name: String, value: String)] = []
  package var body = Body.none

  package init(_ method: String, _ url: String) { (self.method, self.url) = (method, url) }
}

/// A whole answer; its headers by lower-case name, the last of several equal ones.
package struct HTTPResponse: Sendable {
  var status: Int
  var headers: [String: String] = [:]
  var body: [UInt8] = []
}

/// Why there is no whole answer: one line.
package struct TransportError: Error, Sendable, Equatable {
  package var message: String
  /// Whether the server may have acted on the request.
  package var mayHaveArrived: Bool
  /// Whether it will be so until somebody changes something.
  package var isPermanent = false
}

/// Sends requests, one at a time, and waits for the answers.
package protocol HTTPTransport: Sendable {
  /// Sends one request; `isCancelled` is asked often while waiting, and true gives it up.
  func send(
    _ request: HTTPRequest, isCancelled: @escaping @Sendable () -> Bool
  ) throws(TransportError) -> HTTPResponse
}

/// HTTP through libcurl, the library below Foundation's URLSession on Linux.
///
/// URLSession there can neither take a certificate authority nor leave a certificate unchecked nor show one
/// of its own, which MLflow's variables ask for; libcurl can, and streams files from disk.
package final class CurlTransport: HTTPTransport {
  // Touched under the lock only.
  private let handle: Mutex<Handle>
  private let tls: TLSSettings
  /// How long a server may be silent.
  private let silenceSeconds: Int

  /// What is slower counts as silence: two bytes a second keep a connection open, and say nothing.
  static let minBytesPerSecond = 100
  /// How many times as long as a silence a whole request may take.
  static let wholeFactor = 5
  /// The slowest line that an artifact of any size is sent over to its end.
  static let minUploadBytesPerSecond = 10_000

  private struct Handle: ~Copyable, @unchecked Sendable {
    // A curl handle may move between threads, one at a time: the mutex sees to that.
    let pointer: UnsafeMutableRawPointer
    deinit { curl_easy_cleanup(pointer) }
  }

  private static let isInitialized = curl_global_init(Int(CURL_GLOBAL_ALL)) == CURLE_OK

  package init(tls: TLSSettings, timeoutSeconds: Double) throws(TrackingError) {
    guard Self.isInitialized, let pointer = curl_easy_init() else {
      throw TrackingError(.server, "libcurl cannot be initialised")
    }
    handle = Mutex(Handle(pointer: pointer))
    self.tls = tls
    silenceSeconds = Int(min(max(timeoutSeconds, 1), 86_400).rounded(.up))
  }

  package func send(
    _ request: HTTPRequest, isCancelled: @escaping @Sendable () -> Bool
  ) throws(TransportError) -> HTTPResponse {
    try handle.withLock { handle throws(TransportError) in
      try exchange(request, on: handle.pointer, isCancelled: isCancelled)
    }
  }

  private func exchange(
    _ request: HTTPRequest, on curl: UnsafeMutableRawPointer,
    isCancelled: @escaping @Sendable () -> Bool
  ) throws(TransportError) -> HTTPResponse {
    curl_easy_reset(curl)  // keeps open connections
    let exchange = Exchange(isCancelled: isCancelled)
    let context = Unmanaged.passRetained(exchange)
    defer { context.release() }
    var headerList: UnsafeMutablePointer<curl_slist>?
    defer { curl_slist_free_all(headerList) }
    for header in request.headers {
      headerList = curl_slist_append(headerList, "\(header.name): \(header.value)")
    }
    // Without this libcurl waits a second for "100 Continue" before a large body.
    headerList = curl_slist_append(headerList, "Expect:")

    var bodyCount = 0
    bllarse_curl_set_text(curl, CURLOPT_URL, request.url)
    bllarse_curl_set_text(curl, CURLOPT_CUSTOMREQUEST, request.method)
    if request.method == "HEAD" { bllarse_curl_set_long(curl, CURLOPT_NOBODY, 1) }
    switch request.body {
    case .none: break
    case .bytes(let bytes):
      bodyCount = bytes.count
      bllarse_curl_set_long(curl, CURLOPT_POST, 1)
      bllarse_curl_set_off(curl, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(bytes.count))
      // COPYPOSTFIELDS takes its own copy: nothing has to outlive this call.
      bytes.withUnsafeBytes { body in
        _ = bllarse_curl_set_pointer(
          curl, CURLOPT_COPYPOSTFIELDS, UnsafeMutableRawPointer(mutating: body.baseAddress))
      }
      if bytes.isEmpty { bllarse_curl_set_text(curl, CURLOPT_COPYPOSTFIELDS, "") }
    case .file(let path, let size):
      guard let input = fopen(path, "rb") else {
        throw TransportError(
          message: "cannot read \(path): \(SystemError.text())", mayHaveArrived: false)
      }
      exchange.input = input
      bodyCount = size
      bllarse_curl_set_long(curl, CURLOPT_UPLOAD, 1)
      bllarse_curl_set_off(curl, CURLOPT_INFILESIZE_LARGE, curl_off_t(size))
      bllarse_curl_set_pointer(curl, CURLOPT_READDATA, context.toOpaque())
      bllarse_curl_set_data_callback(curl, CURLOPT_READFUNCTION, Exchange.read)
    }
    setOptions(curl, headers: headerList, context: context.toOpaque(), sending: bodyCount)

    var detail = [CChar](repeating: 0, count: Int(CURL_ERROR_SIZE))
    let code = detail.withUnsafeMutableBufferPointer { buffer in
      bllarse_curl_set_pointer(curl, CURLOPT_ERRORBUFFER, buffer.baseAddress)
      defer { bllarse_curl_set_pointer(curl, CURLOPT_ERRORBUFFER, nil) }
      return curl_easy_perform(curl)
    }
    guard code == CURLE_OK else {
      let bytes = detail.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
      throw error(code, detail: String(decoding: bytes, as: UTF8.self), exchange, request)
    }
    var status = 0
    bllarse_curl_status(curl, &status)
    return HTTPResponse(status: status, headers: exchange.headers, body: exchange.body)
  }

  private func error(
    _ code: CURLcode, detail: String, _ exchange: Exchange, _ request: HTTPRequest
  ) -> TransportError {
    let text = String(cString: curl_easy_strerror(code))
    let words = detail.isEmpty ? text : detail
    var message =
      switch code {
      case CURLE_ABORTED_BY_CALLBACK: "given up while waiting"
      case CURLE_PEER_FAILED_VERIFICATION:
        "the server's certificate is not trusted (\(text)); name the certificate of its authority "
          + "with MLFLOW_TRACKING_SERVER_CERT_PATH"
      case CURLE_SSL_CACERT_BADFILE: "\(text) (MLFLOW_TRACKING_SERVER_CERT_PATH)"
      case CURLE_SSL_CERTPROBLEM: "\(text) (MLFLOW_TRACKING_CLIENT_CERT_PATH)"
      case CURLE_OPERATION_TIMEDOUT: "no whole answer in time: \(words)"
      case CURLE_WRITE_ERROR where exchange.isTooLarge:
        "the answer is larger than \(Exchange.maxBodyCount >> 20) MB"
      default: words
      }
    if let proxy = ProxyVariable(for: request.url, ProcessInfo.processInfo.environment),
      code == CURLE_COULDNT_RESOLVE_PROXY || proxy.isMeant(by: detail)
    {
      message = proxy.failure(words)
    }
    return TransportError(
      message: message.printable(upTo: 400),
      mayHaveArrived: !Self.neverSent.contains(code), isPermanent: Self.permanent.contains(code))
  }

  /// Failures that come back until somebody changes a setting.
  private static let permanent = [
    CURLE_PEER_FAILED_VERIFICATION, CURLE_URL_MALFORMAT, CURLE_SSL_CACERT_BADFILE,
    CURLE_SSL_CERTPROBLEM,
  ]

  /// Failures before the first byte of the request.
  private static let neverSent =
    permanent + [
      CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY,
      CURLE_SSL_CONNECT_ERROR,
    ]

  private func setOptions(
    _ curl: UnsafeMutableRawPointer, headers: UnsafeMutablePointer<curl_slist>?,
    context: UnsafeMutableRawPointer, sending bodyCount: Int
  ) {
    bllarse_curl_set_pointer(curl, CURLOPT_HTTPHEADER, headers)
    bllarse_curl_set_text(curl, CURLOPT_PROTOCOLS_STR, "http,https")
    bllarse_curl_set_text(curl, CURLOPT_USERAGENT, "bllarse")
    // Silence is limited, a trickle counts as silence, and the whole is limited too: by several times
    // as much, and by the size of what is sent, as a large artifact may take long.
    let limit = silenceSeconds * Self.wholeFactor + bodyCount / Self.minUploadBytesPerSecond
    for (option, number) in [
      (CURLOPT_NOSIGNAL, 1), (CURLOPT_NOPROGRESS, 0),
      // Redirects are decided on by the caller, who knows what may be sent where.
      (CURLOPT_FOLLOWLOCATION, 0),
      (CURLOPT_CONNECTTIMEOUT, min(silenceSeconds, 30)), (CURLOPT_TIMEOUT, limit),
      (CURLOPT_LOW_SPEED_LIMIT, Self.minBytesPerSecond), (CURLOPT_LOW_SPEED_TIME, silenceSeconds),
      // MLflow's server closes connections that were idle for five seconds.
      (CURLOPT_MAXAGE_CONN, 4),
      // What libcurl does by itself: the certificate, and the name in it.
      (CURLOPT_SSL_VERIFYPEER, tls.isVerified ? 1 : 0),
      (CURLOPT_SSL_VERIFYHOST, tls.isVerified ? 2 : 0),
    ] { bllarse_curl_set_long(curl, option, number) }
    if let path = tls.authorityPath {
      bllarse_curl_set_text(curl, Files.isDirectory(path) ? CURLOPT_CAPATH : CURLOPT_CAINFO, path)
    }
    if let path = tls.clientPath {
      bllarse_curl_set_text(curl, CURLOPT_SSLCERT, path)
      bllarse_curl_set_text(curl, CURLOPT_SSLKEY, path)
    }
    bllarse_curl_set_pointer(curl, CURLOPT_WRITEDATA, context)
    bllarse_curl_set_data_callback(curl, CURLOPT_WRITEFUNCTION, Exchange.write)
    bllarse_curl_set_pointer(curl, CURLOPT_HEADERDATA, context)
    bllarse_curl_set_data_callback(curl, CURLOPT_HEADERFUNCTION, Exchange.header)
    bllarse_curl_set_pointer(curl, CURLOPT_XFERINFODATA, context)
    bllarse_curl_set_progress_callback(curl, Exchange.progress)
  }
}

/// What libcurl's callbacks fill during one request, all on the thread that sends.
private final class Exchange {
  let isCancelled: @Sendable () -> Bool
  var body: [UInt8] = []
  var headers: [String: String] = [:]
  var isTooLarge = false
  var input: UnsafeMutablePointer<FILE>?

  init(isCancelled: @escaping @Sendable () -> Bool) { self.isCancelled = isCancelled }

  deinit { if let input { fclose(input) } }

  /// Answers beyond this are not MLflow's.
  static let maxBodyCount = 1 << 28

  typealias DataCallback =
    @convention(c) (UnsafeMutablePointer<CChar>?, Int, Int, UnsafeMutableRawPointer?) -> Int

  private static func of(_ context: UnsafeMutableRawPointer?) -> Exchange? {
    context.map { Unmanaged.fromOpaque($0).takeUnretainedValue() }
  }

  static let write: DataCallback = { data, size, count, context in
    guard let data, let exchange = of(context) else { return 0 }
    guard exchange.body.count + size * count <= maxBodyCount else {
      exchange.isTooLarge = true
      return 0
    }
    exchange.body.append(contentsOf: UnsafeRawBufferPointer(start: data, count: size * count))
    return size * count
  }

  static let header: DataCallback = { data, size, count, context in
    guard let data, let exchange = of(context) else { return 0 }
    let line = String(
      decoding: UnsafeRawBufferPointer(start: data, count: size * count), as: UTF8.self)
    if let colon = line.firstIndex(of: ":") {
      exchange.headers[line[..<colon].lowercased()] =
        line[line.index(after: colon)...].trimmingCharacters(in: .whitespacesAndNewlines)
    }
    return size * count
  }

  static let read: DataCallback = { data, size, count, context in
    guard let data, let input = of(context)?.input else { return Int(CURL_READFUNC_ABORT) }
    return fread(data, 1, size * count, input)
  }

  static let progress: @convention(c) (UnsafeMutableRawPointer?, Int, Int, Int, Int) -> Int32 = {
    context, _, _, _, _ in of(context)?.isCancelled() == false ? 0 : 1
  }
}

/// A variable by which libcurl is told to go through a proxy.
struct ProxyVariable: Sendable, Equatable {
  /// `https_proxy`, for one.
  let name: String
  /// What it says, user name and password included.
  private let value: String

  init?(for address: String, _ environment: [String: String]) {
    // What libcurl looks at, in this order; upper case HTTP_PROXY is what a web server calls a request's
    // header: libcurl leaves it alone.
    let isSecure = address.lowercased().hasPrefix("https:")
    let names =
      (isSecure ? ["https_proxy", "HTTPS_PROXY"] : ["http_proxy"]) + ["all_proxy", "ALL_PROXY"]
    guard let name = names.first(where: { environment[$0]?.isEmpty == false }),
      let value = environment[name]
    else { return nil }
    (self.name, self.value) = (name, value)
  }

  private var components: URLComponents? {
    URLComponents(string: value.contains("://") ? value : "http://" + value)
  }

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

  func failure(_ text: String) -> String {
    """
    the proxy \(address), which \(name) names, cannot be used (\(text)); correct or unset \(name), \
    or name the server in no_proxy to reach it without
    """
  }
}
