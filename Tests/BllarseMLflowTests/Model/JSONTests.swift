@testable import BllarseMLflow
import BllarseTestSupport
import Testing

@Suite("JSON")
struct JSONTests {
  private func random(_ generator: inout SplitMix64, depth: Int) -> JSON {
    switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &generator) {
    case 0: .null
    case 1: .bool(Bool.random(using: &generator))
    case 2: .integer(Int.random(in: .min ... .max, using: &generator))
    case 3: .number(Double(bitPattern: generator.next() & ~(0x7FF << 52)) + 0.5)
    case 4:
      .string(
        String(
          String.UnicodeScalarView(
            (0..<Int.random(in: 0..<12, using: &generator)).compactMap { _ in
              Unicode.Scalar(UInt32.random(in: 0..<0x11_0000, using: &generator))
            })))
    case 5: .array((0..<3).map { _ in random(&generator, depth: depth - 1) })
    default:
      .object((0..<3).map { .init("k\($0)\"\\\n", random(&generator, depth: depth - 1)) })
    }
  }

  @Test("what is written is read back equal", arguments: 0..<200)
  func roundTrip(seed: Int) throws {
    var generator = SplitMix64(seed: seed)
    let value = random(&generator, depth: 3)
    #expect(try JSON(parsing: value.bytes) == value)
  }

  @Test("every finite double survives to the bit", arguments: 0..<200)
  func doubles(seed: Int) throws {
    var generator = SplitMix64(seed: seed)
    let value = Double(bitPattern: generator.next())
    guard value.isFinite else { return }
    #expect(try JSON(parsing: JSON.number(value).bytes).double?.bitPattern == value.bitPattern)
  }

  @Test("NaN and infinities are the strings that MLflow reads, never bare words")
  func nonFinite() throws {
    let text = String(
      decoding: JSON.array([.number(.nan), .number(.infinity), .number(-.infinity)]).bytes,
      as: UTF8.self)
    #expect(text == #"["NaN","Infinity","-Infinity"]"#)
    #expect(JSON.string("NaN").double?.isNaN == true)
    #expect(JSON.string("-Infinity").double == -.infinity)
  }

  @Test("escapes and surrogate pairs are read")
  func escapes() throws {
    let text = #"{"a":"\u00e4\ud83d\ude00\/\t\"","b":[1,-2.5e3,true]}"#
    let value = try JSON(parsing: Array(text.utf8))
    #expect(value["a"] == .string("ä😀/\t\""))
    #expect(value["b"] == .array([.integer(1), .number(-2500), .bool(true)]))
  }

  @Test(
    "broken text is an error, not a guess",
    arguments: [
      "", "{", "[1,", "[1 2]", "{\"a\"}", "nul", "\"abc", "1 2", "{\"a\":1,}", "\"\\x\"",
      "\"\\u12\"", "--1", String(repeating: "[", count: 500),
    ])
  func broken(text: String) {
    #expect(throws: JSONSyntaxError.self) { try JSON(parsing: Array(text.utf8)) }
  }
}
