@testable import BllarseMLflow
import Testing

@Suite("Names that MLflow takes")
struct NamingTests {
  @Test(
    "letters and digits of any script, and _ - . space : / are allowed",
    arguments: ["loss", "train/loss", "a b:c-d.e_f", "точность", "損失/検証", "é9", "a/b/c.d"])
  func allowed(key: String) { #expect(Naming.keyFault(key) == nil) }

  @Test(
    "everything else is refused before it is sent",
    arguments: ["", "a@1", "a\"b", "/a", "a/", "a//b", "a/../b", "..", ".", "./a", "a\n", "😀"])
  func refused(key: String) { #expect(Naming.keyFault(key) != nil) }

  @Test("250 characters are allowed, 251 are not")
  func length() {
    #expect(Naming.keyFault(String(repeating: "ä", count: 250)) == nil)
    #expect(
      Naming.keyFault(String(repeating: "ä", count: 251))
        == "has 251 characters, at most 250 are allowed")
  }

  @Test("a long value is cut to the limit and says so")
  func shortened() {
    let text = String(repeating: "é", count: 7000)
    let short = Naming.shortened(text, to: 6000)
    #expect(short?.unicodeScalars.count == 6000)
    #expect(short?.hasSuffix("… (7000 characters in all)") == true)
    #expect(Naming.shortened(String(repeating: "é", count: 6000), to: 6000) == nil)
  }
}
