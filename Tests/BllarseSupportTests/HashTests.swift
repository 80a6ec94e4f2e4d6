import BllarseSupport
import Testing

@Suite("SHA-1")
struct SHA1Tests {
  // python3 -c 'import hashlib; print(hashlib.sha1(b"a" * N).hexdigest())'
  @Test(
    "the digest of every length around a block's end is hashlib's",
    arguments: [
      (0, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
      (1, "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
      (3, "7e240de74fb1ed08fa08d38063f6a6a91462a815"),
      (55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"),
      (56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"),
      (63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"),
      (64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
      (65, "11655326c708d70319be2610e8a57d9a5b959d3b"),
      (1000, "291e9a6c66994949b57ba5e650361e98fc36b1ba"),
    ])
  func lengths(count: Int, digest: String) {
    #expect(Digest.hex(String(repeating: "a", count: count), .sha1) == digest)
  }

  @Test("the digests of the standard's example and of UTF-8")
  func texts() {
    #expect(Digest.hex("abc", .sha1) == "a9993e364706816aba3e25717850c26c9cd0d89d")
    #expect(Digest.hex("häß", .sha1) == "9a56228008ae9636a8d6a455dfcf168bf539580a")
  }
}

@Suite("SHA-256")
struct SHA256Tests {
  @Test(
    "the examples of FIPS 180-4",
    arguments: [
      ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
      ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
      (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
      ),
    ])
  func examples(text: String, digest: String) {
    #expect(Digest.hex(text) == digest)
  }

  @Test(
    "the pieces in which a message comes do not matter", arguments: [1, 55, 56, 63, 64, 65, 1000])
  func pieces(size: Int) {
    let message = [UInt8](repeating: UInt8(ascii: "a"), count: 10_000)
    let whole = Digest(.sha256)
    let pieces = Digest(.sha256)
    message.withUnsafeBytes { bytes in
      whole.update(bytes)
      for start in stride(from: 0, to: bytes.count, by: size) {
        pieces.update(
          UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + size, bytes.count)]))
      }
    }
    let digest = whole.finish()
    #expect(pieces.finish() == digest)
    #expect(digest == "27dd1f61b867b6a0f6e9d8a41c43231de52107e53ae424de8f847b821db4b711")
  }
}

@Suite("CRC-32")
struct CRC32Tests {
  @Test("the check value of the catalogue, in pieces too, and of nothing")
  func check() {
    var sum = CRC32()
    for piece in ["1234", "", "56789"] { Array(piece.utf8).withUnsafeBytes { sum.update($0) } }
    #expect(sum.value == 0xCBF4_3926)
    #expect(Array("123456789".utf8).withUnsafeBytes { CRC32.checksum($0) } == 0xCBF4_3926)
    #expect(CRC32().text == "00000000")
  }
}
