import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseSweep

@Suite("Expansion")
struct ExpansionTests {
  @Test("any space expands to what plain enumeration gives", arguments: 0..<300)
  func againstEnumeration(seed: Int) throws {
    var generator = SplitMix64(seed: seed)
    let block = RandomSpace.block(depth: 2, &generator)
    let file = SweepFile(
      name: "s", program: ProgramDescription(), space: block, replicateKeys: [], ignoredKeys: [],
      slurm: [], sourceText: "", path: "s", keyPositions: [:])
    let expected = Enumeration.expand(block)
    guard !expected.isEmpty else {
      #expect(throws: SweepError.self) { try Expansion(file) }
      return
    }
    let expansion = try Expansion(file)
    #expect(expansion.count == expected.count)
    for index in 0..<min(expected.count, expansion.count) {
      let configuration = try expansion.configuration(at: index)
      #expect(configuration.parameters == expected[index], "index \(index)")
    }
  }

  @Test("an index leads to a configuration and its hash back to the index")
  func indexAndBack() throws {
    let file = try SweepFile.decode(
      """
      grid: {a: [1, 2, 3, 4], b: {values: [x, y, z], when: {a: {gt: 2}}}, c: [true, false]}
      random: {count: 20, seed: 5, parameters: {lr: {loguniform: [1e-5, 1]}}}
      seeds: 3
      """, path: "s.yaml")
    let expansion = try Expansion(file)
    #expect(expansion.count == (2 + 2 * 3) * 2 * 20 * 3)
    var indexOfHash: [String: Int] = [:]
    for index in 0..<expansion.count {
      let hash = try expansion.configuration(at: index).hash
      #expect(indexOfHash.updateValue(index, forKey: hash) == nil)
    }
    for (hash, index) in indexOfHash {
      #expect(try expansion.configuration(at: index).hash == hash)
    }
  }

  @Test("the order of sections and of fixed keys changes neither order nor hashes")
  func unrelatedOrder() throws {
    let a = """
      name: one
      base: {dataset: digits, epochs: 3}
      grid: {x: [1, 2], y: [3, 4]}
      zip: {p: [1, 2], q: [3, 4]}
      slurm: {partition: gpu, time: 10}
      seeds: 2
      """
    let b = """
      seeds: 2
      zip: {q: [3, 4], p: [1, 2]}
      slurm: {time: 10, partition: gpu}
      grid: {x: [1, 2], y: [3, 4]}
      base: {epochs: 3, dataset: digits}
      name: two
      """
    let hashes = try [a, b].map { try SweepFileTests.expand($0).map(\.hash) }
    #expect(hashes[0] == hashes[1])
    #expect(Set(hashes[0]).count == 16)
  }

  // Computed by Python: hashlib.sha256(json.dumps({"parameters": …, "program": […]},
  // sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
  @Test("hashes are those that another language computes")
  func goldenHashes() throws {
    let first = try SweepFileTests.expand(
      "base: {dataset: digits, num_update_iters: 8, uid: x, enable_mlflow: true, group_id: g}\nseeds: [1]"
    )[0]
    #expect(first.hash == "8decd09a8f075b0e90021e0e89c44399caa9a5e758db993c67a914326de17deb")
    #expect(first.groupHash == "61dce7e3390b110adf867d091e151998ce3994bda436c9070b6df4449b0b0707")
    let second = try SweepFileTests.expand(
      "base: {optimizer: ädamw, nodataaug: true, learning_rate: 1.0e-3, label_smooth: 0.0, x: null}"
    )[0]
    #expect(second.hash == "117f719697435aafdf564dd431814d1edaaf1842f45cd181ae902521e1b3b14f")
  }

  @Test("keys named under identity do not change the hash")
  func ignored() throws {
    let yaml = "identity: {ignore: [data-dir]}\ngrid: {data_dir: [/a, /b]}"
    let configurations = try SweepFileTests.expand(yaml)
    #expect(configurations[0].hash == configurations[1].hash)
  }

  @Test(
    "conditions over 10^12 configurations are counted and indexed without a walk",
    .timeLimit(.minutes(5)))
  func million() throws {
    let digits = (0..<10).map(String.init).joined(separator: ", ")
    let yaml =
      "grid:\n" + "abcdefhijklm".map { "  \($0): [\(digits)]\n" }.joined()
      + "  g: {values: [1, 2, 3], when: {a: {lt: 5}, f: 9}}\n"
      + "exclude:\n  - {a: 9, c: 0}\n"
    let expansion = try Expansion(try SweepFile.decode(yaml, path: "s.yaml"))
    #expect(expansion.count == 1_000_000_000_000 - 10_000_000_000 + 2 * 50_000_000_000)
    let last = try expansion.configuration(at: expansion.count - 1)
    #expect(last.parameters.map(\.value.plainText) == Array(repeating: "9", count: 12))
  }

  @Test("more configurations than can be counted are an error")
  func overflow() throws {
    let axis = "[\((0..<1000).map(String.init).joined(separator: ","))]"
    let grid = "abcdefg".map { "\($0): \(axis)" }.joined(separator: ", ")
    let file = try SweepFile.decode("grid: {\(grid)}", path: "s.yaml")
    #expect(
      throws: SweepError(
        .data, "s.yaml: more than 9223372036854775807 configurations; shorten the axes")
    ) { try Expansion(file) }
  }
}

/// Spaces for property tests.
enum RandomSpace {
  static let names = ["a", "b", "c", "d", "e"]

  static func block(depth: Int, _ generator: inout SplitMix64) -> Block {
    var block = Block()
    for name in names where Int.random(in: 0..<4, using: &generator) == 0 {
      block.base.append((name, value(&generator)))
    }
    for _ in 0..<Int.random(in: 0..<4, using: &generator) {
      switch Int.random(in: 0..<(depth > 0 ? 5 : 3), using: &generator) {
      case 0, 1:
        let keys = names.filter { _ in Int.random(in: 0..<3, using: &generator) == 0 }
        let rows = (0..<Int.random(in: 1..<4, using: &generator)).map { _ in
          keys.filter { _ in Int.random(in: 0..<4, using: &generator) > 0 }
            .map { (key: $0, value: value(&generator)) }
        }
        block.dimensions.append(
          .axis(axis(.rows(rows), condition: maybeCondition(&generator))))
      case 2:
        let parameters = names.prefix(2).map {
          RandomPoints.Parameter(key: $0, distribution: .integer(low: 0, high: 2))
        }
        let points = RandomPoints(
          count: Int.random(in: 1..<5, using: &generator), seed: generator.next(),
          parameters: parameters)
        block.dimensions.append(.axis(axis(.random(points), condition: nil)))
      case 3: block.dimensions.append(.block(self.block(depth: depth - 1, &generator)))
      default:
        let count = Int.random(in: 1..<4, using: &generator)
        block.dimensions.append(
          .concatenation((0..<count).map { _ in self.block(depth: depth - 1, &generator) }))
      }
    }
    block.condition = maybeCondition(&generator)
    if Bool.random(using: &generator) { block.exclusion = condition(&generator) }
    return block
  }

  static func axis(_ points: Axis.Points, condition: Condition?) -> Axis {
    Axis(
      points: points, condition: condition, section: "test", position: Position(line: 1, column: 1))
  }

  static func value(_ generator: inout SplitMix64) -> Template {
    .literal(.int(Int.random(in: 0..<3, using: &generator)))
  }

  static func maybeCondition(_ generator: inout SplitMix64) -> Condition? {
    Int.random(in: 0..<3, using: &generator) == 0 ? condition(&generator) : nil
  }

  static func condition(_ generator: inout SplitMix64) -> Condition {
    let count = Int.random(in: 1..<3, using: &generator)
    return Condition(
      alternatives: (0..<count).map { _ in
        (0..<Int.random(in: 1..<3, using: &generator)).map { _ in
          let number = Int.random(in: 0..<3, using: &generator)
          let predicates: [BllarseSweep.Predicate] = [
            .isIn([.int(number)]), .notIn([.int(number)]), .present(true), .less(Double(number)),
            .greaterOrEqual(Double(number)),
          ]
          return Condition.Requirement(
            key: names[Int.random(in: 0..<names.count, using: &generator)],
            predicate: predicates[Int.random(in: 0..<predicates.count, using: &generator)])
        }
      })
  }
}

/// The meaning of a space, written as directly as can be: lists of partial configurations.
enum Enumeration {
  typealias Partial = [JSON.Member]

  static func expand(_ block: Block) -> [Partial] {
    let all = extend([[]], by: block)
    return all.filter { partial in block.condition.map { holds($0, partial) } ?? true }
  }

  static func extend(_ partials: [Partial], by block: Block) -> [Partial] {
    var result = partials.map { set($0, block.base) }
    for dimension in block.dimensions {
      result = result.flatMap { partial -> [Partial] in
        switch dimension {
        case .axis(let axis):
          if let condition = axis.condition, !holds(condition, partial) { return [partial] }
          switch axis.points {
          case .rows(let rows): return rows.map { set(partial, $0) }
          case .random(let random):
            return (0..<random.count).map { point in
              set(
                partial,
                random.parameters.map { ($0.key, .literal(random.value($0, at: point))) })
            }
          }
        case .block(let inner):
          if let condition = inner.condition, !holds(condition, partial) { return [partial] }
          return extend([partial], by: inner)
        case .concatenation(let blocks):
          return blocks.flatMap { inner -> [Partial] in
            if let condition = inner.condition, !holds(condition, partial) { return [] }
            return extend([partial], by: inner)
          }
        }
      }
    }
    return result.filter { partial in !(block.exclusion.map { holds($0, partial) } ?? false) }
  }

  static func set(_ partial: Partial, _ row: [(key: String, value: Template)]) -> Partial {
    var result = partial
    for (key, template) in row {
      let value = template.literal ?? .null
      if let place = result.firstIndex(where: { $0.key == key }) {
        result[place].value = value
      } else {
        result.append(JSON.Member(key, value))
      }
    }
    return result
  }

  static func holds(_ condition: Condition, _ partial: Partial) -> Bool {
    condition.alternatives.contains { requirements in
      requirements.allSatisfy { requirement in
        requirement.predicate.accepts(partial.first { $0.key == requirement.key }?.value)
      }
    }
  }
}

@Suite("Random axes")
struct DistributionTests {
  @Test("portable log and exp agree with the system's", arguments: 0..<500)
  func elementary(seed: Int) {
    var generator = SplitMix64(seed: seed)
    let x = Foundation.exp(Double.random(in: -600...600, using: &generator))
    #expect(PortableMath.log(x).isClose(to: Foundation.log(x), ulps: 4))
    let y = Double.random(in: -600...600, using: &generator)
    #expect(PortableMath.exp(y).isClose(to: Foundation.exp(y), ulps: 4))
    let z = Double.random(in: 0...50, using: &generator)
    #expect(PortableMath.arcTangent(z).isClose(to: Foundation.atan(z), ulps: 8))
  }

  // scipy.stats.norm.ppf
  @Test(
    "the normal quantile is within the approximation's stated error",
    arguments: [
      (1e-6, -4.753424308822899), (0.01, -2.3263478740408408), (0.3, -0.5244005127080409),
      (0.9, 1.2815515655446004), (0.999, 3.090232306167813),
    ])
  func quantile(p: Double, expected: Double) {
    #expect(abs(PortableMath.normalQuantile(p) / expected - 1) < 1.2e-9)
  }

  @Test("draws lie in their ranges and fill them evenly")
  func ranges() {
    let points = RandomPoints(
      count: 10_000, seed: 3,
      parameters: [
        RandomPoints.Parameter(key: "u", distribution: .uniform(low: -2, high: 3)),
        RandomPoints.Parameter(key: "l", distribution: .logUniform(low: 1e-5, high: 1e-1)),
        RandomPoints.Parameter(key: "i", distribution: .integer(low: 1, high: 4)),
        RandomPoints.Parameter(key: "n", distribution: .normal(mean: 10, deviation: 2)),
      ])
    func draws(_ place: Int) -> [Double] {
      (0..<points.count).map { points.value(points.parameters[place], at: $0).doubleValue! }
    }
    let uniform = draws(0)
    #expect(uniform.allSatisfy { -2 <= $0 && $0 < 3 })
    // Five standard errors of the mean of 10,000 draws.
    #expect(abs(uniform.reduce(0, +) / 1e4 - 0.5) < 5 * 5 / Foundation.sqrt(12.0) / 100)
    let logs = draws(1).map { Foundation.log10($0) }
    #expect(logs.allSatisfy { -5 <= $0 && $0 <= -1 })
    #expect(abs(logs.reduce(0, +) / 1e4 + 3) < 5 * 4 / Foundation.sqrt(12.0) / 100)
    let counts = Dictionary(grouping: draws(2)) { $0 }.mapValues(\.count)
    #expect(counts.keys.sorted() == [1, 2, 3, 4])
    #expect(counts.values.allSatisfy { abs($0 - 2500) < 220 })
    let normal = ReplicateStatistics(draws(3))!
    #expect(abs(normal.mean - 10) < 0.1 && abs(normal.deviation! - 2) < 0.1)
  }

  @Test("a new key disturbs no other key's draws")
  func independence() throws {
    let one = "random: {count: 5, seed: 1, parameters: {a: {uniform: [0, 1]}}}"
    let two =
      "random: {count: 5, seed: 1, parameters: {b: {uniform: [0, 1]}, a: {uniform: [0, 1]}}}"
    let values = try [one, two].map { try SweepFileTests.expand($0).map { $0["a"] } }
    #expect(values[0] == values[1])
    #expect(try SweepFileTests.expand(two).allSatisfy { $0["a"] != $0["b"] })
  }

  /// Computed by a separate implementation in Python from the documented recipe.
  @Test("draws are those of the documented generator")
  func golden() throws {
    let points = RandomPoints(
      count: 3, seed: 7,
      parameters: [RandomPoints.Parameter(key: "x", distribution: .uniform(low: 0, high: 1))])
    let draws = (0..<3).map { points.value(points.parameters[0], at: $0) }
    #expect(
      draws == [
        .double(0.0009091631404480882), .double(0.04000296109107693), .double(0.24725868230696169),
      ])
  }
}
