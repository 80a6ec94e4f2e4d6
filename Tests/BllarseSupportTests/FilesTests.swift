import BllarseSupport
import BllarseTestSupport
import Foundation
import Testing

private typealias Files = FileSystem<SystemError>

@Suite("Files")
struct FilesTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  @Test("a file is created once, whole, and a written one is replaced whole")
  func createAndReplace() throws {
    for durability in [Durability.none, .content, .whole] {
      let path = directory.file("a")
      #expect(try Files.create(path, Array("one".utf8), durability: durability))
      #expect(try !Files.create(path, Array("two".utf8), durability: durability))
      #expect(try Files.text(of: path) == "one")
      try Files.write("three", to: path, durability: durability)
      #expect(try Files.text(of: path) == "three")
      #expect(directory.contents == ["a"])
      Files.remove(path)
    }
    #expect(try Files.text(of: directory.file("a")) == nil)
  }

  @Test("a failed call is told with what was tried, the path and the system's reason")
  func failures() throws {
    let path = directory.file("no/such/file")
    for (body, verb) in [
      ({ _ = try Files.bytes(of: path) }, "read"), ({ try Files.write("x", to: path) }, "write"),
    ] as [(() throws -> Void, String)] {
      #expect {
        try body()
      } throws: {
        "\($0)" == "cannot \(verb) \(path): No such file or directory"
      }
    }
  }

  @Test(
    "a directory is made with those above it, by several calls, and a file in its place is named")
  func makeDirectory() throws {
    let path = directory.file("a/b/c")
    for _ in 0..<2 { try Files.makeDirectory(path) }
    #expect(Files.isDirectory(path))
    let file = try directory.write("file", [])
    for path in [file, file + "/below"] {
      #expect {
        try Files.makeDirectory(path)
      } throws: {
        "\($0)" == "cannot create the directory \(path): '\(file)' is a file"
      }
    }
  }

  @Test("a copy has every byte, and a link stands in for it where it can")
  func copy() throws {
    let bytes = (0..<600_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let source = try directory.write("source", bytes)
    #expect(try Files.copy(source, to: directory.file("copy")) == bytes.count)
    #expect(try Files.bytes(of: directory.file("copy")) == bytes)
    for _ in 0..<2 {
      #expect(try Files.linkOrCopy(source, to: directory.file("link")) == bytes.count)
    }
    #expect(try Files.bytes(of: directory.file("link")) == bytes)
  }

  @Test(
    "the folders above a path are finitely many, and none for a path without a root",
    arguments: [
      ("/a/b", ["/a/b", "/a", "/"]), ("/", ["/"]), ("/a/../b/.", ["/b", "/"]),
      ("/../..", ["/"]), ("", []), (".", []), ("../..", []),
    ])
  func ancestors(path: String, expected: [String]) {
    #expect(Files.ancestors(of: path) == expected)
  }
}
