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
