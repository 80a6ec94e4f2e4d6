/// The SHA-1 digest (FIPS 180-4): a name for a text, not a protection.
///
/// The Python original names the folders of its feature caches with it.
enum SHA1 {
  /// The digest of a text's UTF-8, as 40 hexadecimal digits.
  static func hex(_ text: String) -> String {
    var message = Array(text.utf8)
    let bitCount = UInt64(message.count) * 8
    message.append(0x80)
    message += [UInt8](repeating: 0, count: (120 - message.count % 64) % 64)
    message += (0..<8).map { UInt8(truncatingIfNeeded: bitCount >> (56 - 8 * UInt64($0))) }

    var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
    for block in stride(from: 0, to: message.count, by: 64) {
      compress(message[block..<block + 64], into: &state)
    }
    return state.map { word in
      let digits = String(word, radix: 16)
      return String(repeating: "0", count: 8 - digits.count) + digits
    }.joined()
  }

  /// Takes in a block of 64 bytes (FIPS 180-4, section 6.1.2).
  private static func compress(_ block: ArraySlice<UInt8>, into state: inout [UInt32]) {
    // 1. The message schedule.
    var schedule = [UInt32](repeating: 0, count: 80)
    for (index, byte) in block.enumerated() {
      schedule[index / 4] |= UInt32(byte) << UInt32(24 - 8 * (index % 4))
    }
    for t in 16..<80 {
      schedule[t] = rotate(
        schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16], 1)
    }

    // 2. and 3. The working variables, eighty times.
    var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
    for t in 0..<80 {
      let (mixed, constant): (UInt32, UInt32) =
        switch t {
        case ..<20: ((b & c) ^ (~b & d), 0x5A82_7999)
        case ..<40: (b ^ c ^ d, 0x6ED9_EBA1)
        case ..<60: ((b & c) ^ (b & d) ^ (c & d), 0x8F1B_BCDC)
        default: (b ^ c ^ d, 0xCA62_C1D6)
        }
      let sum = rotate(a, 5) &+ mixed &+ e &+ constant &+ schedule[t]
      (e, d, c, b, a) = (d, c, rotate(b, 30), a, sum)
    }

    // 4. The next value.
    for (index, word) in [a, b, c, d, e].enumerated() { state[index] &+= word }
  }

  private static func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 {
    word << count | word >> (32 - count)
  }
}
