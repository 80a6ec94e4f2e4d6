@testable import BllarseMLflow
import Testing

@Suite("Folders above a path")
struct WorkingDirectoryTests {
  @Test(
    "are finitely many, and none for a path without a root",
    arguments: [
      ("/a/b", ["/a/b", "/a", "/"]), ("/", ["/"]), ("/a/../b/.", ["/b", "/"]),
      ("/../..", ["/"]), ("", []), (".", []), ("../..", []),
    ])
  func ancestors(path: String, expected: [String]) {
    #expect(Files.ancestors(of: path) == expected)
  }
}
