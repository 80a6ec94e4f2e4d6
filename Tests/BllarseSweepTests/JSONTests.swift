import BllarseTestSupport
import Testing

@testable import BllarseSweep

@Suite("JSON values")
struct JSONTests {
  @Test(
    "numbers are laid out as ECMAScript does",
    arguments: [
      (0.001, "0.001"), (1e-6, "0.000001"), (1e-7, "1e-7"), (1.5e-10, "1.5e-10"), (0.1, "0.1"),
      (123456.75, "123456.75"), (1e21, "1e+21"), (1e20, "100000000000000000000"),
      (-2.5, "-2.5"), (9007199254740993.0 * 4, "36028797018963970"),
      (2.2250738585072014e-308, "2.2250738585072014e-308"),
      (1.7976931348623157e308, "1.7976931348623157e+308"),
      (333333333.33333329, "333333333.3333333"),
    ])
  func numberLayout(number: Double, text: String) {
    #expect(JSON.decimal(number) == text)
    #expect(Double(text) == number)
  }

  @Test("a number has one representation however it is spelled")
  func oneRepresentation() throws {
    for text in ["16", "16.0", "1.6e1", "160E-1"] { #expect(try JSON.parse(text) == 16) }
    #expect(try JSON.parse("-0.0") == 0)
    #expect(JSON.number(.nan) == .null)
  }

  @Test("writing and parsing give back the value", arguments: 0..<200 as Range<UInt64>)
  func roundTrip(seed: UInt64) throws {
    var generator = SplitMix64(seed: seed)
    let value = Self.random(depth: 4, &generator)
    #expect(try JSON.parse(value.compact) == value)
    #expect(try JSON.parse(value.pretty) == value)
    #expect(try JSON.parse(value.canonical).canonical == value.canonical)
  }

  static func random(depth: Int, _ generator: inout SplitMix64) -> JSON {
    switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &generator) {
    case 0: return .null
    case 1: return .bool(Bool.random(using: &generator))
    case 2: return .int(Int.random(in: .min ... .max, using: &generator))
    case 3: return .number(Double(bitPattern: UInt64.random(in: .min ... .max, using: &generator)))
    case 4:
      let alphabet = Array("aé\"\\/\n\t\u{1}\u{7f}😀z")
      let count = Int.random(in: 0..<6, using: &generator)
      return .string(
        String(
          (0..<count).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &generator)] }))
    case 5:
      let count = Int.random(in: 0..<4, using: &generator)
      return .array((0..<count).map { _ in random(depth: depth - 1, &generator) })
    default:
      let count = Int.random(in: 0..<4, using: &generator)
      return .object(
        (0..<count).map { JSON.Member("k\($0)", random(depth: depth - 1, &generator)) })
    }
  }

  @Test(
    "a fault is told with its line and column",
    arguments: [
      ("{\"a\": 1,\n \"a\": 2}", 2, 2, "the name 'a' appears twice"),
      ("[1, 2", 1, 6, "expected ']'"), ("[01]", 1, 4, "a number that begins with 0"),
      ("{} x", 1, 4, "text after the end of the value"), ("", 1, 1, "unexpected end"),
      ("[1e999]", 1, 7, "the number 1e999 is too large"),
      ("[\"a\nb\"]", 2, 1, "a control character in a string"),
      ("\"\\ud800\"", 1, 8, "half of a surrogate pair"), ("nul", 1, 4, "expected 'null'"),
    ])
  func faults(text: String, line: Int, column: Int, problem: String) {
    #expect(throws: JSONSyntaxError(line: line, column: column, problem: problem)) {
      try JSON.parse(text)
    }
  }

  @Test("deep nesting is refused, not a crash")
  func depth() {
    #expect(throws: JSONSyntaxError.self) {
      try JSON.parse(String(repeating: "[", count: 100_000))
    }
  }

  @Test("members are found by a dotted path")
  func path() throws {
    let value = try JSON.parse(#"{"test": {"nll": 0.5}, "a.b": 3}"#)
    #expect(value[path: "test.nll"] == .double(0.5))
    #expect(value[path: "a.b"] == 3)
    #expect(value[path: "test.acc"] == nil)
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
    #expect(SHA256.hex(text) == digest)
  }

  @Test(
    "the pieces in which a message comes do not matter", arguments: [1, 55, 56, 63, 64, 65, 1000])
  func pieces(size: Int) {
    let message = [UInt8](repeating: UInt8(ascii: "a"), count: 10_000)
    var whole = SHA256()
    whole.update(message)
    var pieces = SHA256()
    for start in stride(from: 0, to: message.count, by: size) {
      pieces.update(Array(message[start..<min(start + size, message.count)]))
    }
    let digest = whole.finish()
    #expect(pieces.finish() == digest)
    #expect(digest == "27dd1f61b867b6a0f6e9d8a41c43231de52107e53ae424de8f847b821db4b711")
  }
}
