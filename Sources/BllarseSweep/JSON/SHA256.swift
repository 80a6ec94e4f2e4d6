/// The SHA-256 digest (FIPS 180-4), fed in pieces.
package struct SHA256 {
  private var state: [UInt32] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab,
    0x5be0_cd19,
  ]
  private var block: [UInt8] = []
  private var length: UInt64 = 0

  package init() { block.reserveCapacity(64) }

  /// The digest of a text's UTF-8, as 64 hexadecimal digits.
  package static func hex(_ text: String) -> String {
    var digest = SHA256()
    digest.update(Array(text.utf8))
    return digest.finish()
  }

  package mutating func update(_ bytes: [UInt8]) {
    length += UInt64(bytes.count)
    var start = 0
    if !block.isEmpty {
      let missing = min(64 - block.count, bytes.count)
      block.append(contentsOf: bytes[..<missing])
      start = missing
      guard block.count == 64 else { return }
      let full = block
      block.removeAll(keepingCapacity: true)
      full.withUnsafeBufferPointer { compress($0) }
    }
    bytes.withUnsafeBufferPointer { all in
      while start + 64 <= all.count {
        compress(UnsafeBufferPointer(rebasing: all[start..<start + 64]))
        start += 64
      }
    }
    block.append(contentsOf: bytes[start...])
  }

  /// Ends the message and returns the digest as 64 hexadecimal digits.
  package mutating func finish() -> String {
    let bits = length &* 8
    let padding = (block.count < 56 ? 56 : 120) - block.count
    update([0x80] + [UInt8](repeating: 0, count: padding - 1))
    update((0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * UInt64($0))) })
    let digits = Array("0123456789abcdef".utf8)
    var hex: [UInt8] = []
    for word in state {
      for shift in stride(from: 28, through: 0, by: -4) {
        hex.append(digits[Int(word >> UInt32(shift)) & 15])
      }
    }
    return String(decoding: hex, as: UTF8.self)
  }

  private mutating func compress(_ chunk: UnsafeBufferPointer<UInt8>) {
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { schedule in
      for t in 0..<16 {
        schedule[t] =
          UInt32(chunk[4 * t]) << 24 | UInt32(chunk[4 * t + 1]) << 16
          | UInt32(chunk[4 * t + 2]) << 8 | UInt32(chunk[4 * t + 3])
      }
      for t in 16..<64 {
        let x = schedule[t - 15]
        let y = schedule[t - 2]
        let s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >> 3)
        let s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >> 10)
        schedule[t] = schedule[t - 16] &+ s0 &+ schedule[t - 7] &+ s1
      }
      var (a, b, c, d) = (state[0], state[1], state[2], state[3])
      var (e, f, g, h) = (state[4], state[5], state[6], state[7])
      for t in 0..<64 {
        let s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
        let choice = (e & f) ^ (~e & g)
        let t1 = h &+ s1 &+ choice &+ Self.constants[t] &+ schedule[t]
        let s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
        let t2 = s0 &+ ((a & b) ^ (a & c) ^ (b & c))
        (h, g, f, e, d, c, b, a) = (g, f, e, d &+ t1, c, b, a, t1 &+ t2)
      }
      for (index, word) in [a, b, c, d, e, f, g, h].enumerated() { state[index] &+= word }
    }
  }

  private func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 {
    word >> count | word << (32 - count)
  }

  private static let constants: [UInt32] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
  ]
}
