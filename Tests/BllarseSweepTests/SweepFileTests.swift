import BllarseTestSupport
import Testing

@testable import BllarseSweep

@Suite("Sweep files")
struct SweepFileTests {
  static func expand(_ yaml: String) throws -> [Configuration] {
    let expansion = try Expansion(try SweepFile.decode(yaml, path: "sweep.yaml"))
    return try (0..<expansion.count).map { try expansion.configuration(at: $0) }
  }

  static func texts(_ yaml: String) throws -> [String] {
    try expand(yaml).map { configuration in
      configuration.parameters.map { "\($0.key)=\($0.value.plainText)" }.joined(separator: " ")
    }
  }

  @Test("a grid varies its last axis fastest, seeds faster still")
  func order() throws {
    #expect(
      try Self.texts("grid: {a: [1, 2], b: [x, y]}\nseeds: 2") == [
        "a=1 b=x seed=0", "a=1 b=x seed=1", "a=1 b=y seed=0", "a=1 b=y seed=1",
        "a=2 b=x seed=0", "a=2 b=x seed=1", "a=2 b=y seed=0", "a=2 b=y seed=1",
      ])
  }

  @Test("zip, list, product and concat combine as their names say")
  func combinations() throws {
    #expect(
      try Self.texts("zip: {a: [1, 2], b: [3, 4]}") == ["a=1 b=3", "a=2 b=4"])
    #expect(
      try Self.texts("base: {k: 0}\nlist: [{a: 1}, {k: 5, b: 2}]") == ["k=0 a=1", "k=5 b=2"])
    #expect(
      try Self.texts("product: [{grid: {a: [1, 2]}}, {list: [{b: 3}]}]") == ["a=1 b=3", "a=2 b=3"])
    #expect(
      try Self.texts("concat: [{grid: {a: [1, 2]}}, {base: {b: 3}}]\nseeds: [7]") == [
        "a=1 seed=7", "a=2 seed=7", "b=3 seed=7",
      ])
  }

  @Test("an axis with a condition is left out where the condition does not hold")
  func conditionalAxis() throws {
    let yaml = """
      grid:
        optimizer: [adamw, ivon]
        ivon_peak_lr: {values: [0.1, 0.2], when: {optimizer: ivon}}
      """
    #expect(
      try Self.texts(yaml) == [
        "optimizer=adamw", "optimizer=ivon ivon_peak_lr=0.1", "optimizer=ivon ivon_peak_lr=0.2",
      ])
  }

  @Test("a block's condition skips it in a product, drops it from a concat, filters at the top")
  func blockConditions() throws {
    #expect(
      try Self.texts(
        "grid: {a: [1, 2]}\nproduct: [{when: {a: 2}, base: {z: 9}, grid: {b: [3, 4]}}]") == [
          "a=1", "a=2 z=9 b=3", "a=2 z=9 b=4",
        ])
    #expect(
      try Self.texts(
        "grid: {a: [1, 2]}\nconcat: [{base: {c: x}}, {when: {a: {ge: 2}}, base: {c: y}}]")
        == ["a=1 c=x", "a=2 c=x", "a=2 c=y"])
    #expect(try Self.texts("grid: {a: [1, 2, 3]}\nwhen: {a: {not: 2}}") == ["a=1", "a=3"])
  }

  @Test("references copy values with their types, tables look them up")
  func templates() throws {
    let yaml = """
      name: demo
      base:
        batch_size: 64
        eval_batch: ${batch_size}
        epochs: {by: dataset, cases: {digits: 5, cifar10: {by: aug, cases: {true: 100}, default: 50}}}
        uid: ${sweep.name}-${dataset}-$${x}-${config.hash}
      grid: {dataset: [digits, cifar10], aug: [true, false]}
      """
    let configurations = try Self.expand(yaml)
    #expect(configurations.map { $0["epochs"] } == [5, 5, 100, 50])
    #expect(configurations.allSatisfy { $0["eval_batch"] == 64 })
    #expect(
      configurations[2]["uid"]
        == .string("demo-cifar10-${x}-\(configurations[2].hash.prefix(8))"))
  }

  @Test("plain scalars follow YAML 1.2: words stay words, exponents are numbers")
  func scalars() {
    let cases: [(String, JSON)] = [
      ("no", "no"), ("on", "on"), ("true", .bool(true)), ("null", .null), ("~", .null),
      ("1e-3", .double(0.001)), ("-.5", .double(-0.5)), ("3.", 3), ("+7", 7), ("0x1F", 31),
      ("1_000", "1_000"), ("12:30", "12:30"), ("1.2.3", "1.2.3"), ("-", "-"), (".inf", ".inf"),
      ("1e5", 100_000), ("007", 7),
    ]
    for (text, value) in cases { #expect(YAMLReader.resolve(text) == value, "\(text)") }
  }

  @Test("anchors and merge keys work")
  func merge() throws {
    let yaml = "base: &b {a: 1, c: 2}\nlist:\n  - {<<: *b, a: 5}\n"
    #expect(try Self.texts(yaml) == ["a=5 c=2"])
  }

  @Test("options become arguments as the command line writes them")
  func arguments() throws {
    let configuration = try Self.expand(
      "base: {batch_size: 64, nodataaug: true, reset: false, x: null, lr: -1e-3, tag: [a, b]}")[0]
    #expect(
      configuration.arguments(inversions: ["reset": "--no-reset"]) == [
        "--batch-size", "64", "--nodataaug", "--no-reset", "--lr=-0.001", "--tag", "a", "--tag",
        "b",
      ])
    #expect(!configuration.arguments().contains("--no-reset"))
  }

  @Test(
    "each fault is told with its place and what to do",
    arguments: [
      (
        "gird: {a: [1]}",
        "s.yaml:1:1: unknown section 'gird'; did you mean 'grid'? (sections: name, program, identity, executor, slurm, resources, base, grid, zip, list, random, product, concat, seeds, when, exclude)"
      ),
      (
        "grid:\n  lr: 3",
        "s.yaml:2:7: the axis 'lr' is a list of values; found 3 (a single value belongs under 'base')"
      ),
      (
        "grid: {a: [1, 2, 1]}",
        "s.yaml:1:18: the value 1 of 'a' appears twice; its configurations would run twice"
      ),
      (
        "grid: {a: []}",
        "s.yaml:1:11: 'a' is an empty list, which would leave no configuration at all; remove it or fill it"
      ),
      (
        "zip: {a: [1, 2], b: [1]}",
        "s.yaml:1:21: zipped axes have one length: 'a' has 2 values, 'b' has 1"
      ),
      (
        "grid: {a: [1]}\nzip: {a: [2]}",
        "s.yaml:2:6: 'a' already varies in 'grid' (line 1); in a product each key varies once"
      ),
      (
        "base: {optimizer: x}\nexclude: {optimiser: x}",
        "s.yaml:2:11: nothing sets the key 'optimiser'; did you mean 'optimizer'?"
      ),
      (
        "base: {dataset: d, uid: '${datset}'}",
        "s.yaml:1:25: nothing sets the key 'datset'; did you mean 'dataset'?"
      ),
      ("base: {uid: '${a'}", "s.yaml:1:13: the '${' in '${a' is not closed by '}'"),
      (
        "random: {count: 3, parameters: {a: {uniform: [0, 1]}}}",
        "s.yaml:1:9: 'random' needs 'seed': with both, every machine draws the same values"
      ),
      (
        "random: {count: 3, seed: 1, parameters: {a: {unifrm: [0, 1]}}}",
        "s.yaml:1:46: unknown distribution 'unifrm'; did you mean 'uniform'? (known: choice, uniform, loguniform, int, normal)"
      ),
      (
        "random: {count: 3, seed: 1, parameters: {a: {loguniform: [0, 1]}}}",
        "s.yaml:1:58: 'loguniform' needs positive ends; found 0"
      ),
      (
        "base: {a: 1}\nexclude: {a: {gtt: 1}}",
        "s.yaml:2:15: unknown comparison 'gtt'; did you mean 'gt'? (known: in, not, lt, le, gt, ge, set)"
      ),
      (
        "name: a/b",
        "s.yaml:1:7: 'name' becomes a directory: letters, digits, '.', '_' and '-' are allowed; found \"a/b\""
      ),
      (
        "slurm: {partion: x}",
        "s.yaml:1:9: unknown key 'partion' under 'slurm'; did you mean 'partition'? (keys: job_name, partition, account, qos, constraint, gres, time, mem, cpus_per_task, exclude_nodes, max_concurrent, array_order, signal_seconds, max_requeues, retry, sbatch_args, job_script, venv, log_dir, strict; anything else goes under 'sbatch_args')"
      ),
      (
        "base: {output: x}",
        "s.yaml:1:8: the sweep itself gives each run its 'output'; remove the key"
      ),
      ("grid: {a: [1]}\ngrid: {b: [1]}", "s.yaml:1:1: the key 'grid' appears twice in one mapping"),
      ("base: {a: {by: b, cases: {x: 1}}, b: y}", nil),
      (
        "a: [1",
        "s.yaml:2:1: not YAML: did not find expected ',' or ']' (while parsing a flow sequence)"
      ),
    ] as [(String, String?)])
  func faults(yaml: String, message: String?) throws {
    guard let message else { return }
    #expect(throws: SweepError(.data, message)) { try SweepFile.decode(yaml, path: "s.yaml") }
  }

  @Test(
    "an axis that no memory holds is a fault, whatever follows",
    arguments: [
      "seeds: 1000000000", "seeds: {count: 9223372036854775807, start: 5}",
      "grid: {a: [1, 2]}\nseeds: {count: 9223372036854775807}",
      "random: {count: 100000000000, seed: 1, parameters: {a: {choice: [1, 2]}}}\nexclude: {a: 1}",
    ])
  func tooLong(yaml: String) {
    #expect {
      try SweepFile.decode(yaml, path: "s.yaml")
    } throws: { error in
      "\(error)".contains("one axis has at most 10000000 values; found ")
    }
  }

  @Test("all faults of a file are told at once, in the file's order")
  func allFaults() {
    #expect {
      try SweepFile.decode("seeds: none\ngrid: {a: 3}\nbase: [1]", path: "s.yaml")
    } throws: { error in
      let lines = "\(error)".split(separator: "\n")
      return lines.count == 3 && lines[0].hasPrefix("s.yaml:1:8")
        && lines[2].hasPrefix("s.yaml:3:7")
    }
  }

  @Test("a table without a case for a value names the configuration's key and value")
  func missingCase() throws {
    let file = try SweepFile.decode(
      "base: {e: {by: d, cases: {digits: 1}}}\ngrid: {d: [digits, digit]}", path: "s.yaml")
    let expansion = try Expansion(file)
    #expect(
      throws: SweepError(
        .data,
        "s.yaml:1:8: the table of 'e' has no case for d = digit; did you mean 'digits'?; add it, or a 'default'"
      )
    ) { try expansion.configuration(at: 1) }
  }

  @Test("references in a circle are an error, not an endless loop")
  func circle() throws {
    let expansion = try Expansion(
      try SweepFile.decode("base: {a: '${b}', b: 'x${a}'}", path: "s.yaml"))
    #expect(throws: SweepError.self) { try expansion.configuration(at: 0) }
  }
}

@Suite("Suggestions")
struct SuggestionTests {
  @Test("swaps, insertions, deletions and replacements count one each")
  func distances() {
    #expect(editDistance("epcohs", "epochs") == 1)
    #expect(editDistance("epoch", "epochs") == 1)
    #expect(editDistance("", "abc") == 3)
    #expect(editDistance("kitten", "sitting") == 3)
  }

  @Test("only a near candidate is suggested")
  func nearness() {
    #expect(suggestion(for: "epcohs", among: ["epochs", "seed"]) == "epochs")
    #expect(suggestion(for: "zzz", among: ["epochs", "seed"]) == nil)
  }
}

@Suite("The schema of sweep files")
struct SchemaTests {
  @Test("it names exactly the keys that the program reads")
  func agreement() throws {
    let path = Fixtures.packageRoot + "/docs/sweep.schema.json"
    let schema = try JSON.parse(bytes: try Files.bytes(of: path))
    func keys(_ path: String...) throws -> Set<String> {
      let node = try path.reduce(schema) { try #require($0[$1]) }
      return Set(try #require(node["properties"]?.members).map(\.key))
    }
    let block = Set(SweepFile.blockSections)
    #expect(try keys() == block.union(SweepFile.topLevelSections))
    #expect(try keys("$defs", "block") == block)
    #expect(try keys("properties", "slurm") == Set(SlurmExecutor.keys))
    #expect(try keys("properties", "resources") == Set(Resources.keys))
    let executor = try #require(schema["properties"]?["executor"]?["anyOf"]?.arrayValue?.last)
    #expect(
      Set(executor["properties"]?.members?.map(\.key) ?? [])
        == Set(["name"] + Resources.keys + SlurmExecutor.keys + LocalExecutor.keys))
    let program = try #require(schema["properties"]?["program"]?["anyOf"]?.arrayValue?.last)
    #expect(
      Set(program["properties"]?.members?.map(\.key) ?? []) == Set(SweepFile.programKeys))
  }

  @Test("the demonstration sweeps are read, and the Python one names the same configurations")
  func demonstrations() throws {
    let reader = SweepReader()
    let sweeps = try ["last_layer.yaml", "last_layer.py", "optimizers.yaml"].map {
      let expansion = try Expansion(try reader.read(Fixtures.path("sweeps/\($0)")))
      return try (0..<expansion.count).map { try expansion.configuration(at: $0).hash }
    }
    #expect(sweeps.map(\.count) == [6, 6, 10])
    #expect(sweeps[0] == sweeps[1])
  }
}
