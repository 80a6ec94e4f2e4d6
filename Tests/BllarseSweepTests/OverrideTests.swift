import BllarseTestSupport
import Testing

@testable import BllarseSweep

@Suite("Values for all configurations")
struct OverrideTests {
  /// The configurations of a sweep with `--set`, each as `key=value` words.
  static func expand(_ yaml: String, _ set: String...) throws -> [String] {
    let file = try SweepFile.decode(yaml, path: "s.yaml").overriding(try Override.parse(set))
    let expansion = try Expansion(file)
    return try (0..<expansion.count).map {
      try expansion.configuration(at: $0).parameters
        .map { "\($0.key)=\($0.value.plainText)" }.joined(separator: " ")
    }
  }

  @Test(
    "values are read as in a file; what is no list or string in quotes is taken as it stands",
    arguments: [
      ("a=3", JSON.int(3)), ("a=1e-3", .double(0.001)), ("a=true", .bool(true)), ("a=", .null),
      ("a=null", .null), ("a=x y: z # w", "x y: z # w"), ("a=\"3\"", "3"), ("a=''", ""),
      ("a=[1, x, 0.5]", .array([1, "x", .double(0.5)])), ("a=b=c", "b=c"), ("a=$${x}", "${x}"),
      (" a = no ", "no"),
    ])
  func values(text: String, value: JSON) throws {
    let override = try Override(parsing: text)
    #expect(override.key == "a" && override.value == value)
  }

  @Test("dashes and underscores are the same in a key, and each key is set once")
  func keys() throws {
    #expect(try Override(parsing: "batch-size=3").key == "batch_size")
    #expect(
      throws: SweepError(.usage, "--set b-c=2: 'b_c' is set to 1 already; each key once")
    ) { try Override.parse(["b_c=1", "b-c=2"]) }
  }

  @Test(
    "what cannot be a key or a value is a wrong command line",
    arguments: [
      ("x", "--set x: expected KEY=VALUE, such as epochs=3"),
      (
        "=3", "--set =3: '' cannot be an option's name: letters, digits and underscores are allowed"
      ),
      (
        "a={b: 1}",
        "--set a={b: 1}: a value is a word, a number, true, false, null or a list of those; found a mapping"
      ),
      ("a=[[1]]", "--set a=[[1]]: a list holds words, numbers, true, false and null; found a list"),
      (
        "a=${b}",
        "--set a=${b}: a value for all configurations is fixed; references such as ${key} belong in the file"
      ),
    ])
  func faults(text: String, message: String) {
    #expect(throws: SweepError(.usage, message)) { try Override(parsing: text) }
  }

  @Test("a value in brackets that does not end is told as such")
  func unclosed() {
    let error = #expect(throws: SweepError.self) { try Override(parsing: "a=[1") }
    #expect(error?.code == .usage)
    #expect(error?.description.hasPrefix("--set a=[1: the value cannot be read (") == true)
  }

  @Test("an axis of the key alone is gone; zipped keys and random draws stay as they were")
  func axes() throws {
    let yaml = """
      base: {x: 0}
      grid: {a: [1, 2], b: [3, 4]}
      zip: {p: [5, 6], q: [7, 8]}
      """
    #expect(
      try Self.expand(yaml, "a=9", "q=1") == [
        "x=0 a=9 q=1 b=3 p=5", "x=0 a=9 q=1 b=3 p=6", "x=0 a=9 q=1 b=4 p=5", "x=0 a=9 q=1 b=4 p=6",
      ])
    #expect(try Self.expand(yaml, "x=1")[0] == "x=1 a=1 b=3 p=5 q=7")
    let random = "random: {count: 2, seed: 1, parameters: {u: {int: [0, 9]}, v: {int: [0, 9]}}}"
    let drawn = try Self.expand(random).map { $0.split(separator: " ")[1] }
    #expect(try Self.expand(random, "u=5") == drawn.map { "u=5 \($0)" })
    #expect(try Self.expand("seeds: 4", "seed=7") == ["seed=7"])
  }

  @Test("conditions, tables and references see the value that is set")
  func dependents() throws {
    let yaml = """
      base: {epochs: {by: head, cases: {one: 1}, default: 10}, name: "${head}-x"}
      grid:
        head: [one, two]
        rate: {values: [1, 2], when: {head: two}}
      exclude: {head: three, rate: 1}
      """
    #expect(try Self.expand(yaml, "head=one") == ["epochs=1 name=one-x head=one"])
    #expect(
      try Self.expand(yaml, "head=two") == [
        "epochs=10 name=two-x head=two rate=1", "epochs=10 name=two-x head=two rate=2",
      ])
    let blocks = "concat: [{base: {a: 1}, grid: {b: [1, 2]}}, {base: {a: 2}}]"
    #expect(try Self.expand(blocks, "a=3") == ["a=3 b=1", "a=3 b=2", "a=3"])
  }

  @Test("what is set is written into the manifest's entries and the sweep's description")
  func frozen() throws {
    let temporary = try TemporaryDirectory()
    let file = try SweepFile.decode("list: [{a: 1, b: 2}, {a: 2, b: 2}]", path: "/nowhere/s.yaml")
      .overriding(try Override.parse(["b=[x, 1]", "c=true"]))
    let program = Program(
      command: ["/bin/true"], checksum: nil, options: nil, describer: [], description: file.program)
    let directory = try SweepDirectory.freeze(
      file, expansion: Expansion(file), program: program, at: temporary.file("sweep")
    ).directory
    let arguments = try directory.manifest.entries().map(\.arguments)
    #expect(
      arguments == ["1", "2"].map { ["-b", "x", "-b", "1", "-c", "-a", $0] })
    let json = try JSON.parse(try #require(try Files.text(of: temporary.file("sweep/sweep.json"))))
    #expect(json["set"] == .object(["b": .array(["x", 1]), "c": .bool(true)]))
  }

  @Test("an unknown key is told with its neighbour, and the sweep's own keys stay the sweep's")
  func program() throws {
    let options = try #require(ProgramOptions(dump: ProgramOptionsTests.dump, program: "p"))
    let file = try SweepFile.decode("base: {batch_size: 1}", path: "s.yaml")
    #expect(
      throws: SweepError(
        .usage, "--set batch_sise: p has no option --batch-sise; did you mean 'batch_size'?")
    ) { try options.check(try file.overriding(try Override.parse(["batch_sise=3"]))) }
    #expect(
      throws: SweepError(.usage, "--set output: the sweep itself gives each run its 'output'")
    ) { try file.overriding(try Override.parse(["output=x"])) }
  }
}
