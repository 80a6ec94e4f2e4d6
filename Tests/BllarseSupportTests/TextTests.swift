import BllarseSupport
import Testing

@Suite("Texts for shells, tables and terminals")
struct TextTests {
  @Test(
    "a word is quoted where a shell would read it as something else",
    arguments: [
      ("a-b_c/d.e=f:g,h@i%j+k", "a-b_c/d.e=f:g,h@i%j+k"), ("", "''"), ("a b", "'a b'"),
      ("it's", "'it'\\''s'"), ("$HOME", "'$HOME'"), ("é", "'é'"), ("*", "'*'"),
    ])
  func shell(word: String, quoted: String) {
    #expect(Shell.quote(word) == quoted)
    #expect(Shell.join([word, "x"]) == quoted + " x")
  }

  @Test("fields with separators, quotes and line ends of every kind are quoted in CSV")
  func csv() {
    let line = TextTable.csvLine(["a", "", "b,c", "d\"e", "f\ng", "h\r\ni", "j\rk", " l"])
    #expect(line == "a,,\"b,c\",\"d\"\"e\",\"f\ng\",\"h\r\ni\",\"j\rk\", l\n")
  }

  @Test("columns are as wide as their widest cell, numbers stand at the right")
  func aligned() {
    let rows = [["name", "acc", "nll"], ["a\u{7}", "0.5", ""], ["", "10", "2"]]
    #expect(
      TextTable.aligned(rows, firstNumber: 1)
        == "name     acc  nll\na\\u{07}  0.5\n          10    2\n")
    #expect(TextTable.aligned([["a", "b"], ["c", ""]]) == "a  b\nc\n")
    #expect(TextTable.aligned([]) == "")
  }

  @Test("what a terminal obeys is escaped, line by line")
  func printable() {
    #expect("a\u{1B}[2J\r".printable == "a\\u{1B}[2J\\r")
    #expect("\u{202E}x\u{200D}".printable == "\\u{202E}x\u{200D}")
    #expect("a\nb\tc".printableLines == "a\nb\\tc\n")
    #expect("abcdef".printable(upTo: 3) == "abc…")
    #expect("abcdef".quoted(limit: 3) == "'abc…'")
  }
}
