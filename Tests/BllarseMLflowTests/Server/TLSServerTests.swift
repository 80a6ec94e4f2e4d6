import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseMLflow

@Suite("An MLflow server behind TLS", .tags(.server), .withMLflow)
struct TLSServerTests {
  /// Makes a certificate that nobody has signed, and passes what arrives under it on to a server.
  private static let script = """
    import datetime, ipaddress, os, socket, ssl, sys, threading
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    folder, server = sys.argv[1], int(sys.argv[2])
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256()))
    with open(folder + "/certificate.pem", "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
    with open(folder + "/key.pem", "wb") as file:
        file.write(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder + "/certificate.pem", folder + "/key.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(client):
        try:
            client = context.wrap_socket(client, server_side=True)
        except (ssl.SSLError, OSError):
            return
        upstream = socket.create_connection(("127.0.0.1", server))
        threading.Thread(target=pump, args=(upstream, client), daemon=True).start()
        pump(client, upstream)

    def end_with_parent():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
    """

  @Test(
    "an unknown certificate is refused with the remedy; with its authority, or unchecked, it works")
  func certificates() throws {
    let server = try SharedServer.plain()
    let scratch = try TemporaryDirectory()
    let input = Pipe(), output = Pipe()
    let proxy = Process()
    proxy.executableURL = URL(fileURLWithPath: MLflowServer.environmentPath + "/bin/python")
    proxy.arguments = ["-c", Self.script, scratch.path, "\(server.port)"]
    proxy.standardInput = input
    proxy.standardOutput = output
    try proxy.run()
    // It ends when its input is closed, whatever becomes of this process.
    defer {
      input.fileHandleForWriting.closeFile()
      proxy.waitUntilExit()
    }
    let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    let port = try #require(Int(line.trimmingCharacters(in: .whitespacesAndNewlines)))
    let address = "https://127.0.0.1:\(port)"

    for (variable, value) in [
      ("MLFLOW_TRACKING_SERVER_CERT_PATH", scratch.file("certificate.pem")),
      ("MLFLOW_TRACKING_INSECURE_TLS", "true"),
    ] {
      let tracker = try Tracker(
        scratchConfiguration(scratch, uri: address, environment: [variable: value]))
      let run = try tracker.startRun(name: variable)
      run.log(metric: "m", 1)
      try run.log(text: "over TLS", as: "note.txt")
      #expect(run.finish().isComplete)
      let id = try #require(run.remoteID)
      #expect(try server.client().history(id, "m").count == 1)
    }
    let log = LogRecorder()
    let start = ContinuousClock.now
    let run = try Tracker(scratchConfiguration(scratch, uri: address, log: log)).startRun()
    let report = run.finish()
    // Nothing changes by waiting.
    #expect(start.duration(to: .now) < .seconds(10) && !report.isComplete)
    #expect(report.problem?.contains("certificate is not trusted") == true)
    #expect(report.problem?.contains("MLFLOW_TRACKING_SERVER_CERT_PATH") == true)
    let check = try Program("bllarse-mlflow").run(
      ["check"], in: scratch.path,
      environment: ["HOME": scratch.path, "MLFLOW_TRACKING_URI": address])
    #expect(check.status == 1 && check.error.contains("certificate is not trusted"))
  }
}
