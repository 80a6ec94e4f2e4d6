import BllarseCore
import BllarseTestSupport
import Foundation
import Testing

@Suite("Atomic files")
struct AtomicFileTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  @Test("a file appears under its name only when it is committed")
  func commit() throws {
    let path = directory.file("a.txt")
    try Files.write("old", to: path)
    let file = try AtomicFile(path: path)
    try file.write("new")
    #expect(try directory.read("a.txt") == Array("old".utf8))
    #expect(directory.contents.count == 2)
    try file.commit()
    #expect(try directory.read("a.txt") == Array("new".utf8))
    #expect(directory.contents == ["a.txt"])
  }

  @Test("a file that is given up leaves nothing behind")
  func abandon() throws {
    do {
      let file = try AtomicFile(path: directory.file("a.txt"))
      try file.write([UInt8](repeating: 1, count: 200_000))
      #expect(directory.contents.count == 1)
    }
    #expect(directory.contents.isEmpty)
  }

  @Test("parts of every size arrive in order")
  func parts() throws {
    let file = try AtomicFile(path: directory.file("a"))
    var expected: [UInt8] = []
    for (index, size) in [0, 1, 65_535, 2, 65_536, 65_537, 300_000, 3].enumerated() {
      let part = [UInt8](repeating: UInt8(index), count: size)
      try file.write(part)
      expected += part
    }
    try file.commit()
    #expect(try directory.read("a") == expected)
  }

  @Test("a symbolic link keeps pointing at the file, whose content and mode change and stay")
  func symbolicLink() throws {
    let target = try directory.write("target", [1])
    try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: target)
    let link = directory.file("link")
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
    try Files.write("new", to: link)
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == target)
    #expect(try directory.read("target") == Array("new".utf8))
    let mode = try FileManager.default.attributesOfItem(atPath: target)[.posixPermissions]
    #expect(mode as? Int == 0o640)
  }

  @Test("devices are written in place")
  func device() throws {
    try Files.write("text", to: "/dev/null")
    #expect(
      try FileManager.default.attributesOfItem(atPath: "/dev/null")[.type] as? FileAttributeType
        == .typeCharacterSpecial)
  }

  @Test("a full disk is an error, not a short file")
  func fullDisk() throws {
    #expect {
      try Files.write([UInt8](repeating: 0, count: 1_000_000), to: "/dev/full")
    } throws: { error in
      "\(error)" == "/dev/full: the file cannot be written (No space left on device); "
        + "free some space"
    }
  }

  @Test("a directory that does not exist, and a directory in place of the file, are named")
  func impossible() throws {
    #expect {
      try Files.write("x", to: "/nonexistent/a")
    } throws: { error in
      "\(error)" == "/nonexistent/a: the file cannot be written (No such file or directory); "
        + "create the directory first"
    }
    #expect {
      try Files.write("x", to: directory.path)
    } throws: { error in
      "\(error)" == "\(directory.path): a directory has this name, expected a file; "
        + "choose another name"
    }
  }
}

@Suite("Output directories")
struct OutputDirectoryTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  @Test("missing parents are made, and nothing is left in the directory")
  func parents() throws {
    let path = directory.file("a/b/c")
    try Files.prepareDirectory(path)
    try Files.prepareDirectory(path + "/")
    #expect(try FileManager.default.contentsOfDirectory(atPath: path).isEmpty)
  }

  @Test("a file in the way is named")
  func fileInTheWay() throws {
    let file = try directory.write("file", [])
    for path in [file, file + "/below"] {
      #expect {
        try Files.prepareDirectory(path)
      } throws: { error in
        "\(error)" == "\(path): '\(file)' is a file, expected a directory; "
          + "choose another output directory"
      }
    }
  }

  @Test("a directory that takes no files is an error before any work")
  func notWritable() throws {
    // /proc takes no files from anybody, root included.
    #expect {
      try Files.prepareDirectory("/proc")
    } throws: { error in
      (error as? DataError)?.code == .unwritableFile
        && "\(error)".hasPrefix("/proc: the directory cannot be written (")
    }
    #expect(throws: DataError.self) { try Files.prepareDirectory("/proc/below/it") }
  }
}

@Suite("Data errors")
struct DataErrorTests {
  @Test("the description has every part, in one line")
  func description() {
    let error = DataError(
      .notFinite, file: "a\nb.safetensors", key: "X", line: 4, row: 3, column: 7,
      found: "the value is nan", expected: "a finite number", advice: "remove the row")
    #expect(
      error.description
        == #"a\nb.safetensors: X, line 4, row 3, column 7 (from 0): the value is nan, "#
        + "expected a finite number; remove the row")
  }

  @Test("a fault found in memory is located in a file once")
  func located() {
    let error = DataError(.wrongShape, found: "2 rows")
    #expect(error.inFile("a").inFile("b").file == "a")
    #expect(error.description == "2 rows")
  }
}
