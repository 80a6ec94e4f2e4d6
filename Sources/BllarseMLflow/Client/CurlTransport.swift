import CCurl
import Foundation
import Synchronization

/// HTTP through libcurl, the library below Foundation's URLSession on Linux.
///
/// URLSession there can neither take a certificate authority nor leave a certificate unchecked nor
/// show one of its own, which MLflow's variables ask for; libcurl can, streams files from disk, and
/// adds nothing to a build.
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
    silenceSeconds =
      (1...86_400).contains(timeoutSeconds)
      ? Int(timeoutSeconds.rounded(.up)) : timeoutSeconds < 1 ? 1 : 86_400
  }

  /// The limit of a whole request, in seconds.
  private func wholeSeconds(sending bodyCount: Int) -> Int {
    silenceSeconds * Self.wholeFactor + bodyCount / Self.minUploadBytesPerSecond
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

    let bodyCount =
      switch request.body {
      case .none: 0
      case .bytes(let bytes): bytes.count
      case .file(_, let size): size
      }
    setOptions(curl, headers: headerList, context: context.toOpaque(), sending: bodyCount)
    bllarse_curl_set_text(curl, CURLOPT_URL, request.url)
    bllarse_curl_set_text(curl, CURLOPT_CUSTOMREQUEST, request.method)
    if request.method == "HEAD" { bllarse_curl_set_long(curl, CURLOPT_NOBODY, 1) }
    switch request.body {
    case .none: break
    case .bytes(let bytes):
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
      bllarse_curl_set_long(curl, CURLOPT_UPLOAD, 1)
      bllarse_curl_set_off(curl, CURLOPT_INFILESIZE_LARGE, curl_off_t(size))
      bllarse_curl_set_pointer(curl, CURLOPT_READDATA, context.toOpaque())
      bllarse_curl_set_data_callback(curl, CURLOPT_READFUNCTION, Exchange.read)
    }

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
      mayHaveArrived: !Self.neverSent.contains(code.rawValue),
      isPermanent: Self.permanent.contains(code.rawValue))
  }

  /// Failures that come back until somebody changes a setting.
  private static let permanent: Set<UInt32> = [
    CURLE_PEER_FAILED_VERIFICATION.rawValue, CURLE_URL_MALFORMAT.rawValue,
    CURLE_SSL_CACERT_BADFILE.rawValue, CURLE_SSL_CERTPROBLEM.rawValue,
  ]

  /// Failures before the first byte of the request.
  private static let neverSent: Set<UInt32> = [
    CURLE_COULDNT_CONNECT.rawValue, CURLE_COULDNT_RESOLVE_HOST.rawValue,
    CURLE_COULDNT_RESOLVE_PROXY.rawValue, CURLE_SSL_CONNECT_ERROR.rawValue,
    CURLE_PEER_FAILED_VERIFICATION.rawValue, CURLE_URL_MALFORMAT.rawValue,
    CURLE_SSL_CACERT_BADFILE.rawValue, CURLE_SSL_CERTPROBLEM.rawValue,
  ]

  private func setOptions(
    _ curl: UnsafeMutableRawPointer, headers: UnsafeMutablePointer<curl_slist>?,
    context: UnsafeMutableRawPointer, sending bodyCount: Int
  ) {
    bllarse_curl_set_pointer(curl, CURLOPT_HTTPHEADER, headers)
    bllarse_curl_set_long(curl, CURLOPT_NOSIGNAL, 1)
    bllarse_curl_set_text(curl, CURLOPT_PROTOCOLS_STR, "http,https")
    bllarse_curl_set_text(curl, CURLOPT_USERAGENT, "bllarse")
    // Redirects are decided on by the caller, who knows what may be sent where.
    bllarse_curl_set_long(curl, CURLOPT_FOLLOWLOCATION, 0)
    // Silence is limited, a trickle counts as silence, and the whole is limited too: by several times
    // as much, and by the size of what is sent, as a large artifact may take long.
    bllarse_curl_set_long(curl, CURLOPT_CONNECTTIMEOUT, min(silenceSeconds, 30))
    bllarse_curl_set_long(curl, CURLOPT_LOW_SPEED_LIMIT, Self.minBytesPerSecond)
    bllarse_curl_set_long(curl, CURLOPT_LOW_SPEED_TIME, silenceSeconds)
    bllarse_curl_set_long(curl, CURLOPT_TIMEOUT, wholeSeconds(sending: bodyCount))
    // MLflow's server closes connections that were idle for five seconds.
    bllarse_curl_set_long(curl, CURLOPT_MAXAGE_CONN, 4)
    if !tls.isVerified {
      bllarse_curl_set_long(curl, CURLOPT_SSL_VERIFYPEER, 0)
      bllarse_curl_set_long(curl, CURLOPT_SSL_VERIFYHOST, 0)
    }
    if let path = tls.authorityPath {
      bllarse_curl_set_text(
        curl, Files.isDirectory(path) ? CURLOPT_CAPATH : CURLOPT_CAINFO, path)
    }
    if let path = tls.clientPath {
      bllarse_curl_set_text(curl, CURLOPT_SSLCERT, path)
      bllarse_curl_set_text(curl, CURLOPT_SSLKEY, path)
    }
    bllarse_curl_set_pointer(curl, CURLOPT_WRITEDATA, context)
    bllarse_curl_set_data_callback(curl, CURLOPT_WRITEFUNCTION, Exchange.write)
    bllarse_curl_set_pointer(curl, CURLOPT_HEADERDATA, context)
    bllarse_curl_set_data_callback(curl, CURLOPT_HEADERFUNCTION, Exchange.header)
    bllarse_curl_set_long(curl, CURLOPT_NOPROGRESS, 0)
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

  static let write: DataCallback = { data, size, count, context in
    guard let data, let context else { return 0 }
    let exchange = Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue()
    guard exchange.body.count + size * count <= maxBodyCount else {
      exchange.isTooLarge = true
      return 0
    }
    exchange.body.append(
      contentsOf: UnsafeRawBufferPointer(start: data, count: size * count))
    return size * count
  }

  static let header: DataCallback = { data, size, count, context in
    guard let data, let context else { return 0 }
    let exchange = Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue()
    let line = String(
      decoding: UnsafeRawBufferPointer(start: data, count: size * count), as: UTF8.self)
    if let colon = line.firstIndex(of: ":") {
      exchange.headers[line[..<colon].lowercased()] =
        line[line.index(after: colon)...].trimmingCharacters(in: .whitespacesAndNewlines)
    }
    return size * count
  }

  static let read: DataCallback = { data, size, count, context in
    guard let data, let context else { return Int(CURL_READFUNC_ABORT) }
    let exchange = Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue()
    guard let input = exchange.input else { return Int(CURL_READFUNC_ABORT) }
    return fread(data, 1, size * count, input)
  }

  static let progress:
    @convention(c) (UnsafeMutableRawPointer?, curl_off_t, curl_off_t, curl_off_t, curl_off_t)
      -> Int32 = { context, _, _, _, _ in
        guard let context else { return 1 }
        let exchange = Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue()
        return exchange.isCancelled() ? 1 : 0
      }
}
