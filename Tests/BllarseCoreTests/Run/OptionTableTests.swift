import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore

@Suite("The table of options")
struct OptionTableTests {
  @Test("docs/options.md is what the declarations say")
  func documentation() throws {
    let path = Fixtures.packageRoot + "/docs/options.md"
    // BLLARSE_WRITE_DOCS=1 make test TESTS="--filter OptionTable" writes it again.
    if ProcessInfo.processInfo.environment["BLLARSE_WRITE_DOCS"] != nil {
      try OptionTable.markdown.write(toFile: path, atomically: true, encoding: .utf8)
    }
    let text = try String(contentsOfFile: path, encoding: .utf8)
    #expect(text == OptionTable.markdown, "docs/options.md should be\n\(OptionTable.markdown)")
  }

  @Test("every option has one row, with a meaning, and says which heads take it")
  func rows() throws {
    let rows = OptionTable.markdown.split(separator: "\n").filter { $0.hasPrefix("| `") }
    #expect(rows.count == RunConfiguration.options.count)
    for info in RunConfiguration.options {
      let row = try #require(
        rows.first { $0.hasPrefix("| `--\(info.name)`") }, "there is no row of --\(info.name)")
      #expect(row.hasSuffix("\(info.help) |") && !info.help.contains("\n"), "\(row)")
    }
    let penalty = try #require(rows.first { $0.hasPrefix("| `--l2`") })
    #expect(penalty.contains("| CrossEntropy and MSE by --optimizer newton | refused |"))
  }
}

/// The options of a run as a document: `docs/options.md` holds this text, and nothing in it is written by
/// hand.
enum OptionTable {
  /// The document.
  static var markdown: String {
    let options = RunConfiguration.options
    let sections = OptionInfo.Group.allCases.compactMap { group -> String? in
      let rows = options.filter { $0.group == group }.map(row)
      guard !rows.isEmpty else { return nil }
      return "\n## \(group.rawValue)\n\n\(head)\(rows.joined())"
    }
    return introduction + sections.joined()
  }

  private static let introduction = """
    # Options

    Every option of a run, `bllarse-finetune [train]`. "For" says what an option is for: the heads and the ways to fit \
    them that take it, or the runs in which it has an effect. Where it would change nothing it is noted (the run starts) \
    or refused (status 64); a value that is none of the option's is refused everywhere. Options of tracking are in \
    [mlflow.md](mlflow.md), those of `bllarse-finetune text` in [text.md](text.md), the models in [heads.md](heads.md) \
    and [method.md](method.md).

    The package writes this page from the declarations of the options; a test compares the two.

    """

  private static let head = """
    | option | values | default | for | elsewhere | meaning |
    |---|---|---|---|---|---|

    """

  private static func row(_ info: OptionInfo) -> String {
    let names =
      ["--" + info.name] + (info.shortName.map { ["-" + $0] } ?? [])
      + (info.otherName.map { ["--" + $0] } ?? [])
    let place = use(of: info)
    let cells = [
      names.map { "`\($0)`" }.joined(separator: ", "),
      info.arity == .flag ? "a switch" : HeadRegistry.values(of: info.name) ?? info.expected,
      info.defaultText ?? "", place ?? "every run",
      place == nil ? "" : info.isNotedWhereIdle ? "noted" : "refused", info.help,
    ]
    return "| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |\n"
  }

  /// What an option is for; `nil` for one of every run.
  private static func use(of info: OptionInfo) -> String? {
    guard HeadRegistry.owners(of: info.name).isEmpty else { return info.place }
    let option = RunOption.all.first { $0.info.name == info.name }
    // What follows a semicolon says what happens elsewhere.
    let place = String((option?.place ?? "").prefix(while: { $0 != ";" }))
    return place.isEmpty ? nil : place
  }
}
