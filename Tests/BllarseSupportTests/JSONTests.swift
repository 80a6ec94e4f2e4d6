import BllarseSupport
import BllarseTestSupport
import Testing

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
    #expect(try JSON.parse(bytes: value.bytes) == value)
    #expect(JSON.lenient(value.bytes) == value)
  }

  static func random(depth: Int, _ generator: inout SplitMix64) -> JSON {
    switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &generator) {
    case 0: return .null
    case 1: return .bool(Bool.random(using: &generator))
    case 2: return .int(Int.random(in: .min ... .max, using: &generator))
    case 3: return .number(Double(bitPattern: UInt64.random(in: .min ... .max, using: &generator)))
    case 4 where Bool.random(using: &generator):
      let scalars = (0..<Int.random(in: 0..<12, using: &generator)).compactMap { _ in
        Unicode.Scalar(UInt32.random(in: 0..<0x11_0000, using: &generator))
      }
      return .string(String(String.UnicodeScalarView(scalars)))
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
        (0..<count).map { JSON.Member("k\($0)\"\\\n", random(depth: depth - 1, &generator)) })
    }
  }

  @Test("values of every kind are read, in order")
  func values() throws {
    let text =
      #" {"b": [1, -0.5, 2e3, true, false, null], "a": {"x": "\u00e9é\ud83d\ude00\n\/\t\""}} "#
    let value = try JSON.parse(text)
    #expect(
      value
        == .object([
          "b": .array([1, .double(-0.5), 2000, .bool(true), .bool(false), .null]),
          "a": .object(["x": "éé😀\n/\t\""]),
        ]))
    #expect(value["a"]?["x"] == "éé😀\n/\t\"")
    #expect(value["c"] == nil)
  }

  @Test("whole numbers beyond 64 bits keep all their digits")
  func largeIntegers() throws {
    #expect(try JSON.parse("18446744073709551615").unsignedValue == .max)
    let text = "[18446744073709551616,-9223372036854775809]"
    #expect(try JSON.parse(text).compact == text)
  }

  @Test(
    "a fault is told with its byte, line and column",
    arguments: [
      ("{\"a\": 1,\n \"a\": 2}", 10, 2, 2, "the name 'a' occurs twice"),
      ("{", 1, 1, 2, "expected a member's name"), ("{\"a\" 1}", 5, 1, 6, "expected ':'"),
      ("{\"a\":1", 6, 1, 7, "expected '}'"), ("[1, 2", 5, 1, 6, "expected ']'"),
      ("[1,]", 3, 1, 4, "expected a value"), ("[1 2]", 3, 1, 4, "expected ']'"),
      ("[01]", 3, 1, 4, "a number that begins with 0"), ("+1", 0, 1, 1, "expected a value"),
      ("--1", 0, 1, 1, "expected a value"), ("1.", 2, 1, 3, "expected a digit after '.'"),
      ("1e", 2, 1, 3, "expected an exponent"), ("nan", 1, 1, 2, "expected 'null'"),
      ("{} x", 3, 1, 4, "text after the end of the value"), ("", 0, 1, 1, "unexpected end"),
      ("[1e999]", 1, 1, 2, "the number '1e999' is too large"),
      ("[\"a\nb\"]", 4, 2, 1, "a control character in a string"),
      ("\"abc", 4, 1, 5, "a string without an end"), (#""\x""#, 3, 1, 4, "an unknown escape"),
      (#""\ud800""#, 7, 1, 8, "half of a surrogate pair"), ("nul", 3, 1, 4, "expected 'null'"),
      (#""\ud800\u0041""#, 7, 1, 8, "half of a surrogate pair"),
      (#""\u+123""#, 3, 1, 4, "expected four hexadecimal digits"),
      (#""\u12""#, 3, 1, 4, "expected four hexadecimal digits"),
    ])
  func faults(text: String, offset: Int, line: Int, column: Int, problem: String) {
    #expect {
      try JSON.parse(text)
    } throws: {
      guard let error = $0 as? JSONSyntaxError else { return false }
      return error.offset == offset && (error.line, error.column) == (line, column)
        && error.problem == problem
    }
  }

  @Test("bytes that are not UTF-8 are refused in a string")
  func notUTF8() {
    #expect(throws: JSONSyntaxError.self) { try JSON.parse(bytes: [0x22, 0xFF, 0x22]) }
  }

  @Test("deep nesting is refused, not a crash", arguments: [500, 100_000])
  func depth(count: Int) {
    let text = [UInt8](repeating: 0x5B, count: count)
    #expect(throws: JSONSyntaxError.self) { try JSON.parse(bytes: text) }
    #expect(JSON.lenient(text) == nil)
  }

  @Test("what a server answers is read although its strings are broken and its names repeat")
  func lenient() throws {
    let text =
      [UInt8](#"{"a":"\ud800\u0041\ud801","a":1.0,"b":"#.utf8) + [0x22, 0xFF, 0x01, 0x22, 0x7D]
    let value = try #require(JSON.lenient(text))
    #expect(value["a"] == "\u{FFFD}A\u{FFFD}")
    #expect(value["b"] == "\u{FFFD}\u{1}")
    #expect(value.members?[1].value == .double(1))
  }

  @Test(
    "broken text is nothing also when it is read leniently",
    arguments: [
      "", "{", "[1,", "[1 2]", "{\"a\"}", "nul", "\"abc", "1 2", "{\"a\":1,}", #""\x""#, #""\u12""#,
      "--1",
    ])
  func broken(text: String) {
    #expect(JSON.lenient(Array(text.utf8)) == nil)
  }

  @Test("every finite double survives a journal to the bit", arguments: 0..<200)
  func doubles(seed: Int) throws {
    var generator = SplitMix64(seed: seed)
    let values = [
      Double(bitPattern: generator.next()), Double.random(in: -1e6...1e6, using: &generator),
    ]
    for value in values + [0, -0.0] where value.isFinite {
      let read = try #require(JSON.lenient(JSON.double(value).bytes))
      #expect(read.doubleValue?.bitPattern == value.bitPattern)
      #expect(try JSON.parse("\(value)").doubleValue == value)
    }
  }

  @Test("NaN and infinities are strings in a journal, as MLflow reads them, never bare words")
  func nonFinite() {
    let values = JSON.array([.double(.nan), .double(.infinity), .double(-.infinity), .double(1)])
    #expect(String(decoding: values.bytes, as: UTF8.self) == #"["NaN","Infinity","-Infinity",1.0]"#)
  }

  @Test("control characters are escaped by code in a journal, by letter elsewhere")
  func escapes() {
    let text = JSON.string("\r\t\u{8}\u{C}\n\u{1}\u{7F}\"\\é")
    #expect(
      String(decoding: text.bytes, as: UTF8.self)
        == #""\u000d\u0009\u0008\u000c\n\u0001\u007f\"\\é""#)
    #expect(text.compact == #""\r\t\b\f\n\u0001"# + "\u{7F}" + #"\"\\é""#)
  }

  @Test("members are found by a dotted path")
  func path() throws {
    let value = try JSON.parse(#"{"test": {"nll": 0.5}, "a.b": 3}"#)
    #expect(value[path: "test.nll"] == .double(0.5))
    #expect(value[path: "a.b"] == 3)
    #expect(value[path: "test.acc"] == nil)
  }
}
