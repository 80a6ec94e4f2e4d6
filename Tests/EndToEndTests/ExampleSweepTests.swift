import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd {
  /// Examples/sweeps: each file is read whole, and some of its configurations are run as it stands.
  @Suite("Examples")
  struct ExampleSweepTests {
    struct Example: Sendable, CustomTestStringConvertible {
      let file: String
      let count: Int
      /// What is run: the ends, and what lies between where it is another kind.
      let indices: [Int]
      /// A score of every result.
      let score: String
      var testDescription: String { file }
    }

    static let examples = [
      Example(file: "chunks.yaml", count: 2400, indices: [0, 2399], score: "test.nll"),
      Example(file: "last-layer-grid.yaml", count: 9, indices: [0, 1, 3, 5, 8], score: "test.nll"),
      Example(file: "optimisers.yaml", count: 16, indices: [0, 8, 15], score: "test.nll"),
      Example(file: "own_run.py", count: 6, indices: [0, 1, 2, 3, 4, 5], score: "test.error"),
      Example(file: "seeds.yaml", count: 20, indices: [0, 19], score: "test.nll"),
      Example(file: "text-cache.yaml", count: 8, indices: [0, 7], score: "test.nll"),
    ]
    static let directory = Fixtures.packageRoot + "/Examples/sweeps"

    @Test("every example is in this test, and in the documentation")
    func complete() throws {
      let files = try FileManager.default.contentsOfDirectory(atPath: Self.directory).sorted()
      #expect(files == Self.examples.map(\.file))
      let text = try String(
        contentsOfFile: Fixtures.packageRoot + "/docs/sweeps.md", encoding: .utf8)
      for file in files { #expect(text.contains("Examples/sweeps/\(file)"), "\(file)") }
    }

    @Test("runs as it stands", arguments: examples)
    func example(example: Example) throws {
      let tool = try SweepTool()
      // A cache where text-cache.yaml looks for it.
      try FileManager.default.createDirectory(
        atPath: tool.temporary.file("data"), withIntermediateDirectories: true)
      try FileManager.default.createSymbolicLink(
        atPath: tool.temporary.file("data/feature_cache"),
        withDestinationPath: Fixtures.path("text"))
      let path = "\(Self.directory)/\(example.file)"
      let count = try tool.run("list", path, "--count")
      #expect(count.output == "\(example.count)\n", "\(count.errors)")
      let indices = example.indices.map(String.init).joined(separator: ",")
      let run = try tool.run("run", path, "--index", indices, "--jobs", "2")
      #expect(run.status == 0, "\(run.errors)")
      let table = try tool.run("collect", path, "--best", example.score, "--format", "csv")
      let rows = table.output.split(separator: "\n").map {
        // A head without a figure leaves its cell empty.
        $0.split(separator: ",", omittingEmptySubsequences: false)
      }
      try #require(rows.count == example.indices.count + 1, "\(table.errors)")
      let column = try #require(rows[0].firstIndex { $0 == example.score }, "\(rows[0])")
      for row in rows.dropFirst() {
        try #require(row.count == rows[0].count, "\(row) of \(rows[0])")
        let score = try #require(Double(row[column]))
        #expect(score > 0 && score < 3)
      }
      #expect(try tool.states(path).filter { $0.state == "done" }.map(\.index) == example.indices)
    }
  }
}
