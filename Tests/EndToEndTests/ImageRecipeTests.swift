import BllarseTestSupport
import Foundation
import Testing

/// The Dockerfile and bllarse.def against what they are made of; carrying them out takes minutes
/// (Scripts/image-trial.sh).
@Suite("Images")
struct ImageRecipeTests {
  private static func lines(_ name: String) throws -> [String] {
    try String(contentsOfFile: Fixtures.packageRoot + "/" + name, encoding: .utf8)
      .split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
  }

  /// The words after those that a line begins with, of all such lines.
  private static func words(_ lines: [String], after start: String) -> [[String]] {
    lines.filter { $0.hasPrefix(start) }
      .map { $0.dropFirst(start.count).split(separator: " ").map(String.init) }
  }

  /// The elements of an array that a script assigns: `name=(a b c)`.
  private static func array(_ script: String, _ name: String, containing text: String = "") throws
    -> [String]
  {
    let contents = try String(contentsOfFile: Fixtures.packageRoot + "/" + script, encoding: .utf8)
    for part in contents.components(separatedBy: name + "=(").dropFirst() {
      let elements = part.prefix { $0 != ")" }.split { " \n".contains($0) }.map(String.init)
      if text.isEmpty || elements.contains(text) { return elements }
    }
    return []
  }

  @Test("what the recipes copy is there, and is in the build's context")
  func sources() throws {
    let docker = Self.words(try Self.lines("Dockerfile"), after: "COPY ")
      .filter { !$0[0].hasPrefix("--from") }.flatMap { $0.dropLast() }
    let definition = try Self.lines("bllarse.def").map { $0.split(separator: " ") }
      .filter { $0.count == 2 && $0[1].hasPrefix("/src/") }
    #expect(Set(definition.map { String($0[0]) }).union(["Scripts/setup.sh"]) == Set(docker))
    let context = Set(
      try Self.lines(".dockerignore").filter { $0.hasPrefix("!") }.map { $0.dropFirst() })
    for source in docker {
      #expect(
        FileManager.default.fileExists(atPath: Fixtures.packageRoot + "/" + source), "\(source)")
      #expect(source.split(separator: "/").first.map(context.contains) == true, "\(source)")
    }
    #expect(context == Set(docker.map { $0.split(separator: "/")[0] }))
  }

  @Test("both recipes start from the same images and do the same")
  func agreement() throws {
    let docker = try Self.lines("Dockerfile")
    let definition = try Self.lines("bllarse.def")
    let bases = Self.words(docker, after: "ARG ").map { String($0[0].split(separator: "=")[1]) }
    #expect(bases.count == 2 && Self.words(definition, after: "From: ").map { $0[0] } == bases)
    for step in ["Scripts/install.sh /opt/bllarse", "/opt/bllarse/Scripts/setup.sh --runtime"] {
      #expect(docker.contains { $0.contains(step) } && definition.contains { $0.contains(step) })
    }
    #expect(Self.words(docker, after: "USER ").last == ["bllarse"])
    let variables = docker + definition
    #expect(variables.count { $0.contains("PATH=/opt/bllarse/bin:") } == 2)
    let products = try Self.lines("Package.swift").filter { $0.hasPrefix(".executable(name: ") }
      .compactMap { $0.split(separator: "\"").dropFirst().first.map(String.init) }
    #expect(try Self.array("Scripts/install.sh", "programs") == products)
  }

  @Test(
    "an image has every library that the programs load, and for each that is built with its headers"
  )
  func libraries() throws {
    let runtime = try Self.array("Scripts/setup.sh", "wanted", containing: "python3")
    let build = try Self.array("Scripts/setup.sh", "wanted", containing: "pkg-config")
    try #require(!runtime.isEmpty && !build.isEmpty)
    for package in build where package.hasSuffix("-dev") {
      let stem = package.prefix { $0 != "-" && !$0.isNumber }
      #expect(runtime.contains { $0.hasPrefix(stem) }, "\(package) in \(runtime)")
    }
    guard FileManager.default.isExecutableFile(atPath: "/usr/bin/readelf"),
      FileManager.default.isExecutableFile(atPath: "/usr/bin/dpkg-query")
    else { return }
    for program in ["bllarse-finetune", "bllarse-sweep", "bllarse-mlflow"] {
      let dynamic = try Program(path: "/usr/bin/readelf")
        .run(["-d", SweepTool.product(program)], in: "/tmp").output
      let needed = dynamic.split(separator: "\n").filter { $0.contains("(NEEDED)") }
        .compactMap { $0.split(separator: "[").last?.dropLast() }
      #expect(needed.contains("libc.so.6"))
      for library in needed where library.contains(".so.") && !library.hasPrefix("libswift") {
        let owner = try Program(path: "/usr/bin/dpkg-query")
          .run(["--search", "*/\(library)"], in: "/tmp").output
        // The base system's, or one of those that are installed.
        let packages = owner.split(separator: "\n").compactMap { $0.split(separator: ":").first }
        let known = runtime + ["libc6", "libgcc-s1"]
        #expect(
          packages.contains { package in known.contains { package.hasPrefix($0) } },
          "\(program) needs \(library) of \(packages)")
      }
    }
  }

  @Test("setup.sh refuses what it does not know")
  func setup() throws {
    let outcome = try Program(path: Fixtures.packageRoot + "/Scripts/setup.sh")
      .run(["--runtimes"], in: Fixtures.packageRoot)
    #expect(outcome.status == 64)
    #expect(
      outcome.error
        == "setup: unknown argument '--runtimes'; expected --test, --runtime or nothing\n")
  }
}
