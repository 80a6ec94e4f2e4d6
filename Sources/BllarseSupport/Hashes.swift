import COpenSSL
import CZlib

/// A digest of bytes that are fed in pieces: a name for what was read, not a protection.
package struct Digest: ~Copyable {
  package enum Algorithm: Sendable { case sha1, sha256 }

  private let context = EVP_MD_CTX_new()

  package init(_ algorithm: Algorithm) {
    let isReady = EVP_DigestInit_ex(context, algorithm == .sha1 ? EVP_sha1() : EVP_sha256(), nil)
    precondition(isReady == 1, "libcrypto has no \(algorithm)")
  }

  deinit { EVP_MD_CTX_free(context) }

  package func update(_ bytes: UnsafeRawBufferPointer) {
    EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
  }

  /// Ends the message and returns the digest as hexadecimal digits.
  package consuming func finish() -> String {
    var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var count: UInt32 = 0
    EVP_DigestFinal_ex(context, &digest, &count)
    return digest[..<Int(count)].map { .digits($0, radix: 16, width: 2) }.joined()
  }

  /// The digest of a text's UTF-8, as hexadecimal digits.
  package static func hex(_ text: String, _ algorithm: Algorithm = .sha256) -> String {
    let digest = Digest(algorithm)
    Array(text.utf8).withUnsafeBytes { digest.update($0) }
    return digest.finish()
  }
}

/// The CRC-32 of zip and Ethernet, which any tool can check, of bytes that are fed in pieces.
package struct CRC32: Sendable {
  private var sum = crc32(0, nil, 0)

  package init() {}

  package var value: UInt32 { UInt32(truncatingIfNeeded: sum) }

  package var text: String { .digits(value, radix: 16, width: 8) }

  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    // zlib takes a null pointer for a call to start again.
    guard let base = bytes.baseAddress else { return }
    sum = crc32_z(sum, base.assumingMemoryBound(to: UInt8.self), bytes.count)
  }

  package static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    var sum = CRC32()
    sum.update(bytes)
    return sum.value
  }
}
