import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("JSON text")
struct JSONTextTests {
  @Test("values of every kind are read, in order")
  func values() throws {
    let text = #" {"b": [1, -0.5, 2e3, true, false, null], "a": {"x": "é\u00e9\ud83d\ude00\n\/"}} "#
    let value = try JSONText(parsing: text)
    #expect(
      value
        == .object([
          (
            "b",
            .array([
              .integer(1), .number(-0.5), .number(2000), .boolean(true), .boolean(false), .null,
            ])
          ),
          ("a", .object([("x", .string("éé😀\n/"))])),
        ]))
    #expect(value["a"]?["x"] == .string("éé😀\n/"))
    #expect(value["c"] == nil)
  }

  @Test("quoted strings are read back", arguments: ["", "a\"b\\c", "\u{0}\u{1F}\u{7F}\n\t", "ü😀"])
  func quote(text: String) throws {
    #expect(try JSONText(parsing: JSONText.quote(text)) == .string(text))
  }

  @Test(
    "what is not JSON is refused where it is wrong",
    arguments: [
      ("", 0, "the text ends where a value should start"),
      ("{", 1, "a name in quotation marks is missing"),
      (#"{"a" 1}"#, 5, "a colon is missing"),
      (#"{"a":1"#, 6, "a comma or a closing brace is missing"),
      (#"{"a":1,"a":2}"#, 7, "the name 'a' occurs twice"),
      ("[1,]", 3, "no JSON value starts like this"),
      ("[1 2]", 3, "a comma or a closing bracket is missing"),
      ("1 x", 2, "there is more after the value"),
      ("01", 0, "no JSON value starts like this"),
      ("+1", 0, "no JSON value starts like this"),
      ("1.", 0, "no JSON value starts like this"),
      ("nan", 0, "no JSON value starts like this"),
      ("1e999", 0, "the number '1e999' is too large"),
      (#""abc"#, 0, "a string does not end"),
      (#""\x""#, 3, "an escape is none of JSON's"),
      (#""\ud800""#, 7, "a surrogate stands alone"),
      (#""\u+123""#, 3, "an escape needs four hexadecimal digits"),
      ("\"\u{1}\"", 2, "a string holds a bare control character"),
    ])
  func faults(text: String, offset: Int, reason: String) {
    #expect(throws: JSONText.Fault(offset: offset, reason: reason)) {
      try JSONText(parsing: text)
    }
  }

  @Test("nesting is bounded, so that no header can overflow the stack")
  func nesting() {
    let deep = String(repeating: "[", count: 100_000)
    #expect(throws: JSONText.Fault.self) { try JSONText(parsing: deep) }
  }

  @Test("a number's shortest text is read back as the number", arguments: 0..<50)
  func numbers(seed: Int) throws {
    var generator = SplitMix64(seed: seed)
    let number = Double.random(in: -1e6...1e6, using: &generator)
    #expect(try JSONText(parsing: "\(number)") == .number(number))
  }
}
