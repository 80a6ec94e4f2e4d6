import BllarseTestSupport
import Testing

@testable import BllarseSweep

/// What people write into sweep files by hand, by programs and by mistake.
@Suite("What a sweep file may hold")
struct SweepInputTests {
  static func words(_ yaml: String) throws -> [[String]] {
    let file = try SweepFile.decode(yaml, path: "sweep.yaml")
    let expansion = try Expansion(file)
    return try (0..<expansion.count).map {
      try expansion.configuration(at: $0).arguments(lists: file.program.lists)
    }
  }

  static func fault(_ yaml: String) -> String? {
    do {
      _ = try words(yaml)
      return nil
    } catch {
      return (error as? SweepError)?.description ?? "not a SweepError: \(error)"
    }
  }

  // MARK: - Faults that must be told

  @Test(
    "values that are none are reported where they stand, in every section",
    arguments: [
      ("zip: {a: [1, 2], b: [{}, 5]}", "sweep.yaml:1:22: the table of 'b' needs 'by'"),
      ("zip: {b: [5, [[]]], a: [1, 2]}", "sweep.yaml:1:15: a value of 'b' is a word"),
      ("zip: {a: [\"${x\"], b: [1, 2]}", "zipped axes have one length: 'a' has 1 values"),
      ("zip: [{a: [{by: b}]}, {c: [1]}]", "the table of 'a' needs 'by'"),
      ("seeds: {values: [[1], {a: 1}]}", "seeds are whole numbers, each once; found a list"),
      ("seeds: {values: [1, 1]}", "seeds are whole numbers, each once; found 1"),
      ("seeds: {values: [1], count: 3}", "'values', or 'count' and 'start'; found both"),
      ("random: {count: 1, seed: x, parameters: {}}", "'seed' is a whole number from -2^63"),
      (
        "random: {count: 1, seed: 1, parameters: {a: {loguniform: [1.0e-305, 1]}}}",
        "'loguniform' are 0, or from 1e-300 to 1e300"
      ),
      (
        "random: {count: 1, seed: 1, parameters: {a: {uniform: [-1.7e308, 1.7e308]}}}",
        "'uniform' are 0, or from 1e-300 to 1e300"
      ),
      (
        "random: {count: 1, seed: 1, parameters: {a: [{}]}}",
        "a value of the random 'a' is a word"
      ),
      ("grid: {a: [1]}\nwhen: {a: []}", "at least one value; found an empty list"),
      ("grid: {a: [1]}\nexclude: {a: {in: []}}", "at least one value; found an empty list"),
    ])
  func faults(yaml: String, expected: String) throws {
    let found = try #require(Self.fault(yaml))
    #expect(found.contains(expected), "\(found)")
  }

  /// Random documents of the reader's own words, most of them wrong somewhere.
  struct Generator {
    var random: SplitMix64

    mutating func pick<Element>(_ elements: [Element]) -> Element {
      elements[Int.random(in: 0..<elements.count, using: &random)]
    }

    mutating func value(_ depth: Int) -> JSON {
      let kinds = depth > 3 ? 6 : 9
      switch Int.random(in: 0..<kinds, using: &random) {
      case 0: return .int(pick([0, 1, 2, 3, -1, .max, .min]))
      case 1: return .string(pick(["a", "b", "${a}", "$${a}", "${a", "", "1e999", "no", "seed"]))
      case 2: return .double(pick([0.5, 1e300, -1e308, 1e-307]))
      case 3: return .bool(Bool.random(using: &random))
      case 4: return .null
      case 5: return .largeInteger(pick(["9223372036854775808", "18446744073709551616"]))
      case 6: return .array(list(depth))
      default: return mapping(pick([Self.keys, Self.sections]), depth)
      }
    }

    mutating func list(_ depth: Int) -> [JSON] {
      (0..<Int.random(in: 0...3, using: &random)).map { _ in value(depth + 1) }
    }

    mutating func mapping(_ keys: [String], _ depth: Int) -> JSON {
      var members: [JSON.Member] = []
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        let key = pick(keys)
        if !members.contains(where: { $0.key == key }) {
          members.append(JSON.Member(key, value(depth + 1)))
        }
      }
      return .object(members)
    }

    /// A section as it should be, with a value or two that should not.
    mutating func section(_ name: String) -> JSON {
      if Int.random(in: 0..<8, using: &random) == 0 { return value(1) }
      switch name {
      case "grid", "zip":
        return .object(
          ["a", "b", "c"].prefix(Int.random(in: 1...3, using: &random)).map {
            JSON.Member($0, .array((0..<2).map { _ in value(2) }))
          })
      case "list", "product", "concat": return .array(list(1))
      case "random":
        return .object([
          "count": value(4), "seed": value(4),
          "parameters": .object([
            "a": .object([JSON.Member(pick(Self.distributions), .array([value(4), value(4)]))])
          ]),
        ])
      default: return value(1)
      }
    }

    static let distributions = ["choice", "uniform", "loguniform", "int", "normal"]
    static let keys = [
      "a", "b", "c", "by", "cases", "default", "values", "when", "not", "lt", "in",
    ]
    static let sections =
      SweepFile.blockSections + ["count", "start", "key", "name", "program", "identity", "slurm"]
  }

  @Test("no document ends the reader: it is expanded or refused with a place", arguments: 0..<8)
  func hostileDocuments(seed: Int) throws {
    var generator = Generator(random: SplitMix64(seed: 4000 + seed))
    var good = 0
    for _ in 0..<400 {
      var members: [JSON.Member] = []
      for _ in 0..<Int.random(in: 1...3, using: &generator.random) {
        let name = generator.pick(SweepFile.blockSections + ["program"])
        if !members.contains(where: { $0.key == name }) {
          members.append(JSON.Member(name, generator.section(name)))
        }
      }
      let text = JSON.object(members).compact
      do {
        let file = try SweepFile.decode(text, path: "s.yaml")
        let expansion = try Expansion(file)
        for index in Set([0, expansion.count / 2, expansion.count - 1]) {
          _ = try expansion.configuration(at: index).arguments(lists: file.program.lists)
        }
        good += 1
      } catch let error as SweepError {
        #expect(error.code == .data && error.description.hasPrefix("s.yaml:"), "\(text): \(error)")
      }
    }
    #expect(good > 3)
  }

  @Test(
    "quantities for SLURM that no cluster has are none, and no arithmetic is done with them",
    arguments: ["1e300G", "infT", "nan", "-5M", "99999999999999999999", "1e18"])
  func quantities(text: String) {
    #expect(Memory(text) == nil)
    for time in ["999999999999999999", "999999999999999999-0", "1-999999999999999999", text] {
      #expect(Duration(clock: time) == nil)
    }
    var options = SubmitOptions()
    for key in ["mem", "time"] {
      #expect(throws: SweepError.self) { try options.set(key, to: .string(text)) }
    }
    for change in ["oom:1:mem*100", "timeout:1:time*100"] {
      let rule = try? RetryRule(parsing: change)
      #expect(rule.map { options.changed(by: $0, nodes: []) } == options)
    }
    #expect(Duration(wholeSeconds: 1e300) == Duration(wholeSeconds: 1e15))
  }

  // MARK: - Whole numbers

  @Test(
    "whole numbers of any size are exact, from the file to the words and back from the manifest")
  func largeIntegers() throws {
    let yaml = """
      grid: {a: [9223372036854775807, 9223372036854775808, -9223372036854775809, 123456789012345678901234567890]}
      seeds: [18446744073709551615]
      """
    let a = [
      "9223372036854775807", "9223372036854775808", "-9223372036854775809",
      "123456789012345678901234567890",
    ]
    #expect(
      try Self.words(yaml)
        == a.map {
          ["-a", $0] + ["--seed", "18446744073709551615"]
        })
    let scratch = try Scratch(yaml)
    let entries = try SweepDirectory.open(scratch.directory.path).manifest.entries()
    #expect(entries.map { $0["a"]?.plainText } == a)
    #expect(Set(entries.map(\.hash)).count == 4)
    // What was written with an exponent is another number's type, and stays that.
    let large = try JSON.parse("[1e20, 100000000000000000000]")
    #expect(large.arrayValue?[0] == .double(1e20))
    #expect(try JSON.parse(large.compact) == large)
    #expect(JSON.integer("+0009223372036854775808") == .largeInteger("9223372036854775808"))
    #expect(JSON.integer("-00000000000000000000001") == -1)
    #expect(JSON.integer("-") == nil && JSON.integer("1.0") == nil)
  }

  @Test("seeds are counted up to 2^64 - 1, and no further")
  func seedRanges() throws {
    let range = try Self.words("seeds: {start: 9223372036854775806, count: 4}")
    #expect(
      range.map { $0[1] } == [
        "9223372036854775806", "9223372036854775807", "9223372036854775808", "9223372036854775809",
      ])
    #expect(try Self.words("seeds: {start: 18446744073709551614, count: 2}").count == 2)
    let fault = try #require(Self.fault("seeds: {start: 18446744073709551614, count: 3}"))
    #expect(fault.contains("3 seeds from 18446744073709551614 on pass 2^64 - 1"))
    #expect(
      try Self.words(
        "random: {count: 1, seed: 18446744073709551615, parameters: {a: {int: [1, 9]}}}")
        == Self.words("random: {count: 1, seed: -1, parameters: {a: {int: [1, 9]}}}"))
  }

  // MARK: - Lists

  @Test("a list is given to the program as the file says")
  func listStyles() throws {
    let base = "base: {m: [acc, 1], n: [2]}"
    #expect(try Self.words(base) == [["-m", "acc", "-m", "1", "-n", "2"]])
    #expect(
      try Self.words("program: {run: p, lists: words}\n\(base)") == [
        ["-m", "acc", "1", "-n", "2"]
      ])
    #expect(
      try Self.words("program: {run: p, lists: {m: json}}\n\(base)") == [
        ["-m", "[\"acc\",1]", "-n", "2"]
      ])
    #expect(try Self.words("program: {run: p, lists: json}\nbase: {m: []}") == [["-m", "[]"]])
    // Another style is another command, and so another configuration.
    let hashes = try ["repeat", "words", "json", "{m: words}"].map {
      let yaml = "program: {run: p, lists: \($0)}\n\(base)"
      return try Expansion(SweepFile.decode(yaml, path: "s.yaml")).configuration(at: 0).hash
    }
    #expect(Set(hashes).count == 4)
    let plain = try Expansion(SweepFile.decode("program: p\n\(base)", path: "s.yaml"))
    #expect(try plain.configuration(at: 0).hash == hashes[0])
  }

  @Test(
    "an empty list, which would silently give the program nothing, is refused everywhere",
    arguments: [
      "base: {m: []}", "grid: {m: [[], [1]]}", "zip: {m: [[1], []]}", "list: [{m: []}]",
      "base: {m: {by: k, cases: {1: []}}, k: 1}",
      "random: {count: 1, seed: 1, parameters: {m: {choice: [[]]}}}",
    ])
  func emptyLists(yaml: String) throws {
    #expect(try #require(Self.fault(yaml)).contains("an empty list"))
  }

  @Test("styles of lists that mean nothing are reported")
  func listStyleFaults() throws {
    #expect(
      try #require(Self.fault("program: {run: p, lists: word}\nbase: {m: [1]}")).contains(
        "'lists' says how the program takes a list: repeat, words, json, or {KEY: one of them}; found \"word\"; did you mean 'words'?"
      ))
    #expect(
      try #require(Self.fault("program: {run: p, lists: {n: words}}\nbase: {m: [1]}")).contains(
        "'lists' names the key 'n', which nothing sets"))
  }

  // MARK: - Texts

  @Test("$${ is a verbatim ${ wherever a text may stand, and ${ refers wherever it can")
  func literals() throws {
    #expect(
      try Self.words("base: {a: '$${HOME}/x', b: 'y-$${a}-${c}', c: 3}") == [
        ["-a", "${HOME}/x", "-b", "y-${a}-3", "-c", "3"]
      ])
    #expect(
      try Self.words("base: {a: ['$${x}', '${c}', 'p${c}'], c: 3}") == [
        ["-a", "${x}", "-a", "3", "-a", "p3", "-c", "3"]
      ])
    #expect(
      try Self.words("random: {count: 1, seed: 1, parameters: {a: {choice: ['$${x}']}}}") == [
        ["-a", "${x}"]
      ])
    #expect(
      try Self.words("grid: {a: ['$${x}', y]}\nexclude: {a: '$${x}'}") == [["-a", "y"]])
    #expect(
      try Override.parse(["a=[\"$${x}\", 1]"])[0].value == .array([.string("${x}"), 1]))
    #expect(throws: SweepError.self) { try Override.parse(["a=[\"${x}\"]"]) }
    for yaml in [
      "random: {count: 1, seed: 1, parameters: {a: {choice: ['${x}']}}}",
      "grid: {a: [y]}\nexclude: {a: '${x}'}",
    ] {
      #expect(try #require(Self.fault(yaml)).contains("write '$${' for a '${'"))
    }
    #expect(try #require(Self.fault("base: {a: ['${x}']}")).contains("nothing sets the key 'x'"))
  }

  @Test("a byte order mark before a file is no part of it")
  func byteOrderMark() throws {
    #expect(try Self.words("\u{FEFF}grid: {a: [1, 2]}") == [["-a", "1"], ["-a", "2"]])
    #expect(try Self.words("\u{FEFF}{\"grid\": {\"a\": [1]}}") == [["-a", "1"]])
    #expect(try JSON.parse("\u{FEFF}{\"nll\": 1}")["nll"] == 1)
    // In a text it is one.
    #expect(try JSON.parse("\"\u{FEFF}\"") == "\u{FEFF}")
  }

  // MARK: - Tags

  @Test("a tag that is written out decides what a value is")
  func tags() throws {
    let yaml = """
      base: {a: !!str 3, b: !!int "3", c: !!float "1e-3", d: !!bool "true", e: !!null "", f: ! 7, g: !!str null, h: !!seq [1]}
      """
    let configuration = try SweepFileTests.expand(yaml)[0]
    #expect(
      configuration.parameters.map(\.value) == [
        "3", 3, .double(0.001), .bool(true), .null, "7", "null", .array([1]),
      ])
  }

  @Test(
    "a tag that does not fit, or has no meaning, is refused",
    arguments: [
      ("a: !!int x", "1:11: 'x' is no value of !!int"),
      ("a: !!int 3.5", "'3.5' is no value of !!int"),
      ("a: !!float nan", "'nan' is no value of !!float"),
      ("a: !!bool 1", "'1' is no value of !!bool"), ("a: !!null 0", "'0' is no value of !!null"),
      ("a: !!timestamp 2001-01-01", "the tag !!timestamp has no meaning here"),
      ("a: !!binary aGk=", "the tag !!binary has no meaning here"),
      ("a: !custom 3", "the tag !custom has no meaning here"),
      ("a: !!set {x}", "the tag !!set has no meaning here"),
      ("a: !!str [1]", "a list is no value of !!str"), ("!x a: 3", "the tag !x has no meaning"),
      ("a: !!python/tuple [1, 2]", "the tag !!python/tuple has no meaning here"),
    ])
  func tagFaults(text: String, expected: String) throws {
    let found = try #require(Self.fault("base: {\(text)}"))
    #expect(found.contains(expected), "\(found)")
  }

  // MARK: - Sizes

  @Test("a long axis is read, compared and counted in time that grows with its length")
  func longAxis() throws {
    let axis = (0..<30_000).map(String.init).joined(separator: ", ")
    let yaml = "grid: {a: [\(axis)]}\nexclude: {a: {in: [\(axis), x]}, b: 1}\nbase: {b: 2}"
    #expect(try Expansion(try SweepFile.decode(yaml, path: "s.yaml")).count == 30_000)
    let twice = try #require(Self.fault("zip: {a: [\(axis), 7], b: [\(axis)]}"))
    #expect(twice.contains("'a' has 30001 values, 'b' has 30000"))
    let unknown = (0..<5_000).map { "k\($0): '${n\($0)}'" }.joined(separator: ", ")
    #expect(
      try #require(Self.fault("base: {\(unknown)}")).hasSuffix("sweep.yaml: and 4900 more faults"))
  }

  @Test("aliases that stand for a million values are refused at a stated limit")
  func aliasBomb() throws {
    var yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...7 {
      let aliases = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
      yaml += "a\(level): &a\(level) [\(aliases)]\n"
    }
    #expect(
      Self.fault(yaml)?.hasPrefix("sweep.yaml: more than 1000000 values, with aliases") == true)
  }
}
