import Testing

@testable import BllarseCore
@testable import BllarseModels

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
    #expect(SHA1.hex(String(repeating: "a", count: count)) == digest)
  }

  @Test("the digests of the standard's example and of UTF-8")
  func texts() {
    #expect(SHA1.hex("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d")
    #expect(SHA1.hex("häß") == "9a56228008ae9636a8d6a455dfcf168bf539580a")
  }
}
