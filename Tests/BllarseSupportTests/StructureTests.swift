import BllarseTestSupport
import Foundation
import Testing

/// What the sources import, and what they name.
@Suite("Structure")
struct StructureTests {
  private struct Source {
    let path: String
    let module: String
    let text: String
  }

  private static let root = Fixtures.packageRoot + "/Sources/"

  private func sources() throws -> [Source] {
    let paths = try #require(FileManager.default.enumerator(atPath: Self.root))
    return try paths.compactMap { $0 as? String }.filter { $0.hasSuffix(".swift") }.sorted()
      .map { path in
        Source(
          path: path, module: String(path.split(separator: "/")[0]),
          text: try String(contentsOfFile: Self.root + path, encoding: .utf8))
      }
  }

  /// The modules of this package that each module imports.
  private func imports() throws -> [String: Set<String>] {
    let sources = try sources()
    let modules = Set(sources.map(\.module))
    var imports = Dictionary(uniqueKeysWithValues: modules.map { ($0, Set<String>()) })
    for source in sources {
      for line in source.text.split(separator: "\n") {
        let words = line.split(separator: " ")
        guard let place = words.firstIndex(of: "import"), place < 3, place + 1 < words.count,
          words[..<place].allSatisfy({
            ["public", "package", "internal", "private", "@_exported"].contains($0)
          })
        else { continue }
        let name = String(words[place + 1])
        if modules.contains(name) { imports[source.module]?.insert(name) }
      }
    }
    return imports
  }

  @Test("Modules: none imports itself by way of others")
  func cycles() throws {
    let imports = try imports()
    #expect(imports["BllarseCore"]?.contains("BllarseModels") == true)
    for module in imports.keys {
      var reached: Set<String> = []
      var next = imports[module] ?? []
      while let name = next.popFirst() {
        if reached.insert(name).inserted { next.formUnion(imports[name] ?? []) }
      }
      #expect(!reached.contains(module), "\(module) imports itself")
    }
  }

  @Test("Modules: leaves import no other, and sweeps and tracking know no heads")
  func directions() throws {
    let imports = try imports()
    for leaf in ["BllarseSupport", "BllarseNumerics"] { #expect(imports[leaf] == []) }
    #expect(imports["BllarseModels"] == ["BllarseNumerics"])
    for module in ["BllarseSweep", "BllarseMLflow"] {
      #expect(imports[module] == ["BllarseSupport"])
    }
  }

  @Test("Heads: no file outside a head's room and the registry names its types")
  func rooms() throws {
    let rooms = "BllarseCore/Heads/"
    let names = try Regex(
      #"\b(LaplaceHead|IBProbit(Head|ReferenceHead|Trainer|SiteRefinement)|LinearHead|LinearTrainer"#
        + #"|PolyaGamma(Head|Trainer)|CrossEntropyLoss|SquaredErrorLoss|OneAgainstRest|StickBreaking)\b"#
    )
    for source in try sources()
    where ["BllarseCore", "BllarseFinetune", "BllarseTesting", "BllarseSweep"]
      .contains(source.module)
      && !["IBProbit", "Laplace", "PolyaGamma", "Classical"]
        .contains(where: { source.path.hasPrefix(rooms + $0 + "/") })
      && !source.path.hasSuffix("HeadRegistry.swift")
    {
      for (number, line) in source.text.split(
        separator: "\n", omittingEmptySubsequences: false
      ).enumerated() where !line.drop(while: { $0 == " " }).hasPrefix("//") {
        #expect(line.firstMatch(of: names) == nil, "\(source.path):\(number + 1): \(line)")
      }
    }
  }
}
