/// The CRC-32 of zip and Ethernet (reflected polynomial EDB88320), which any tool can check.
package enum CRC32 {
  private static let table: [UInt32] = (0..<256).map { index in
    var remainder = UInt32(index)
    for _ in 0..<8 {
      remainder = remainder & 1 == 1 ? (remainder >> 1) ^ 0xEDB8_8320 : remainder >> 1
    }
    return remainder
  }

  package static func checksum(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt32 {
    table.withUnsafeBufferPointer { table in
      var remainder: UInt32 = 0xFFFF_FFFF
      for byte in bytes {
        remainder = table[Int((remainder ^ UInt32(byte)) & 0xFF)] ^ (remainder >> 8)
      }
      return ~remainder
    }
  }
}
