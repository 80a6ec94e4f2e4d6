extension BlockDecoder {
  mutating func grid(_ node: SourceNode) -> [Dimension] {
    mapping(node, of: "grid").compactMap { entry in
      let key = declare(entry.key, at: entry.position)
      switch entry.value.content {
      case .sequence: return gridAxis(key, entry.value, condition: nil, at: entry.position)
      case .mapping(let parts):
        var values: SourceNode?
        var condition: Condition?
        for part in parts {
          switch part.key {
          case "values": values = part.value
          case "when": condition = self.condition(part.value, section: "when")
          default:
            diagnostics.report(
              "an axis is a list, or {values: […], when: {…}}; found '\(part.key)'\(hint(for: part.key, among: ["values", "when"]))",
              at: part.position)
          }
        }
        guard let values else {
          return diagnostics.fault("the axis '\(key)' has no 'values'", at: entry.value.position)
        }
        return gridAxis(key, values, condition: condition, at: entry.position)
      case .scalar:
        return diagnostics.fault(
          "the axis '\(key)' is a list of values; found \(entry.value.kind) (a single value belongs under 'base')",
          at: entry.value.position)
      }
    }
  }

  private mutating func gridAxis(
    _ key: String, _ node: SourceNode, condition: Condition?, at position: Position
  ) -> Dimension? {
    guard let nodes = elements(node, of: key) else { return nil }
    var rows: [[(key: String, value: Template)]] = []
    var seen: Set<Template> = []
    for node in nodes {
      guard let value = template(node, key: key) else { continue }
      if !seen.insert(value).inserted {
        diagnostics.report(
          "the value \(node.kind) of '\(key)' appears twice; its configurations would run twice",
          at: node.position)
      }
      rows.append([(key, value)])
    }
    return .rows(rows, condition, in: "grid", at: position)
  }

  mutating func zip(_ node: SourceNode) -> [Dimension] {
    if case .sequence(let nodes) = node.content { return nodes.flatMap { zip($0) } }
    var columns: [(key: String, values: [Template])] = []
    var first: (key: String, count: Int)?
    for entry in mapping(node, of: "zip") {
      let key = declare(entry.key, at: entry.position)
      guard let nodes = elements(entry.value, of: key) else { continue }
      let values = nodes.compactMap { template($0, key: key) }
      // A value that is none has been reported, and leaves its axis shorter than it was written.
      if values.count == nodes.count { columns.append((key, values)) }
      if let first, nodes.count != first.count {
        return diagnostics.fault(
          "zipped axes have one length: '\(first.key)' has \(first.count) values, '\(key)' has \(nodes.count)",
          at: entry.value.position) ?? []
      }
      if first == nil { first = (key, nodes.count) }
    }
    guard let count = columns.first?.values.count else { return [] }
    let rows = (0..<count).map { row in columns.map { (key: $0.key, value: $0.values[row]) } }
    return [.rows(rows, in: "zip", at: node.position)]
  }

  mutating func list(_ node: SourceNode) -> [Dimension] {
    guard let nodes = elements(node, of: "list") else { return [] }
    let rows = nodes.map { assignments($0, section: "list") }
    return [.rows(rows, in: "list", at: node.position)]
  }

  /// More points than this on one axis are a slip of the keyboard, and would fill the memory.
  static let maximalCount = 10_000_000

  private func isTooLong(_ count: Int, at position: Position) -> Bool {
    guard count > Self.maximalCount else { return false }
    diagnostics.report(
      "one axis has at most \(Self.maximalCount) values; found \(count)", at: position)
    return true
  }

  mutating func seeds(_ node: SourceNode) -> [Dimension] {
    var key = "seed"
    var values: [JSON]?
    switch node.content {
    case .scalar(.int(let count)) where count > 0:
      if isTooLong(count, at: node.position) { return [] }
      values = (0..<count).map { .int($0) }
    case .sequence:
      guard let nodes = elements(node, of: "seeds") else { return [] }
      values = seedValues(nodes)
    case .mapping(let entries):
      let expected = [
        "key": "a word", "start": "a whole number", "count": "a positive number",
        "values": "a list of whole numbers",
      ]
      var start: JSON?
      var count: Int?
      for entry in entries {
        switch (entry.key, entry.value.content) {
        case ("key", .scalar(.string(let name))): key = Self.normalized(name)
        case ("start", .scalar(let number)) where number.isInteger: start = number
        case ("count", .scalar(.int(let number))) where number > 0: count = number
        case ("values", .sequence(let nodes)) where !nodes.isEmpty: values = seedValues(nodes)
        default:
          guard let what = expected[entry.key] else {
            return diagnostics.fault(
              "'seeds' is {count: N, start: FIRST, key: NAME} or {values: […], key: NAME}; found '\(entry.key)'\(hint(for: entry.key, among: expected.keys))",
              at: entry.position) ?? []
          }
          return diagnostics.fault(
            "'\(entry.key)' of 'seeds' is \(what); found \(entry.value.kind)",
            at: entry.value.position) ?? []
        }
      }
      if values != nil, count != nil || start != nil {
        return diagnostics.fault(
          "'seeds' has 'values', or 'count' and 'start'; found both", at: node.position) ?? []
      }
      if let count {
        if isTooLong(count, at: node.position) { return [] }
        let start = start ?? 0
        guard let range = Self.range(from: start, count: count) else {
          return diagnostics.fault(
            "\(count) seeds from \(start.compact) on pass 2^64 - 1, the largest that counting reaches; list them under 'values'",
            at: node.position) ?? []
        }
        values = range
      }
    default: break
    }
    guard let values else {
      return diagnostics.fault(
        "'seeds' is a positive number, a list of whole numbers, or {count: N, start: FIRST}; found \(node.kind)",
        at: node.position) ?? []
    }
    guard !values.isEmpty else { return [] }
    let declaredKey = declare(key, at: node.position)
    if !replicateKeys.contains(declaredKey) { replicateKeys.append(declaredKey) }
    let rows = values.map { [(key: declaredKey, value: Template.literal($0))] }
    return [.rows(rows, in: "seeds", at: node.position)]
  }

  /// Whole numbers of any size, each once; empty when a fault was reported.
  private func seedValues(_ nodes: [SourceNode]) -> [JSON] {
    var values: [JSON] = []
    var seen: Set<JSON> = []
    for node in nodes {
      guard case .scalar(let seed) = node.content, seed.isInteger, seen.insert(seed).inserted else {
        return diagnostics.fault(
          "seeds are whole numbers, each once; found \(node.kind)", at: node.position) ?? []
      }
      values.append(seed)
    }
    return values
  }

  /// So many whole numbers one after another; nil when they pass 2⁶⁴ − 1.
  private static func range(from start: JSON, count: Int) -> [JSON]? {
    if case .int(let first) = start, case (let end, false) = first.addingReportingOverflow(count) {
      return (first..<end).map { .int($0) }
    }
    guard let first = start.unsignedValue,
      case (let last, false) = first.addingReportingOverflow(UInt64(count - 1))
    else { return nil }
    return (first...last).compactMap { JSON.integer(String($0)) }
  }

  // MARK: - Random axes

  mutating func random(_ node: SourceNode) -> [Dimension] {
    if case .sequence(let nodes) = node.content { return nodes.flatMap { random($0) } }
    let entries = mapping(node, of: "random")
    guard case .mapping = node.content else { return [] }
    var count: Int?
    var seed: UInt64?
    var parameters: [RandomPoints.Parameter] = []
    for entry in entries {
      switch (entry.key, entry.value.content) {
      case ("count", .scalar(.int(let number))) where number > 0: count = number
      case ("seed", .scalar(.int(let number))): seed = UInt64(bitPattern: Int64(number))
      case ("seed", .scalar(let number)) where number.unsignedValue != nil:
        seed = number.unsignedValue
      case ("parameters", .mapping(let axes)):
        for axis in axes {
          let key = declare(axis.key, at: axis.position)
          if let distribution = distribution(axis.value, key: key) {
            parameters.append(RandomPoints.Parameter(key: key, distribution: distribution))
          }
        }
      case ("count", _), ("seed", _), ("parameters", _):
        let expected = [
          "count": "a positive number", "seed": "a whole number from -2^63 to 2^64 - 1",
          "parameters": "a mapping of keys to distributions",
        ]
        return diagnostics.fault(
          "'\(entry.key)' is \(expected[entry.key] ?? ""); found \(entry.value.kind)",
          at: entry.value.position) ?? []
      default:
        diagnostics.report(
          "'random' is {count: N, seed: S, parameters: {KEY: {uniform: [LOW, HIGH]}}}; found '\(entry.key)'\(hint(for: entry.key, among: ["count", "seed", "parameters"]))",
          at: entry.position)
      }
    }
    guard let count, let seed else {
      return diagnostics.fault(
        "'random' needs '\(count == nil ? "count" : "seed")': with both, every machine draws the same values",
        at: node.position) ?? []
    }
    if isTooLong(count, at: node.position) { return [] }
    let points = RandomPoints(count: count, seed: seed, parameters: parameters)
    return [.axis(Axis(points: .random(points), section: "random", position: node.position))]
  }

  private func distribution(_ node: SourceNode, key: String) -> Distribution? {
    let names = ["choice", "uniform", "loguniform", "int", "normal"]
    func fault(_ message: String, _ position: Position) -> Distribution? {
      diagnostics.fault(message, at: position)
    }
    func choice(_ nodes: [SourceNode]) -> Distribution? {
      var values: [JSON] = []
      for node in nodes {
        guard let value = fixed(node, "a value of the random '\(key)'") else { return nil }
        values.append(value)
      }
      return .choice(values)
    }
    if case .sequence(let nodes) = node.content, !nodes.isEmpty { return choice(nodes) }
    guard case .mapping(let entries) = node.content, entries.count == 1, let entry = entries.first
    else {
      return fault(
        "'\(key)' is drawn from one of {\(names.joined(separator: " | ")): […]}; found \(node.kind)",
        node.position)
    }
    guard names.contains(entry.key) else {
      return fault(
        "unknown distribution '\(entry.key)'\(hint(for: entry.key, among: names)) (known: \(names.joined(separator: ", ")))",
        entry.position)
    }
    guard case .sequence(let nodes) = entry.value.content, !nodes.isEmpty else {
      return fault("'\(entry.key)' takes a list; found \(entry.value.kind)", entry.value.position)
    }
    if entry.key == "choice" { return choice(nodes) }
    let numbers = nodes.compactMap { $0.json.doubleValue }
    guard numbers.count == 2, nodes.count == 2 else {
      return fault(
        "'\(entry.key)' takes two numbers, \(entry.key == "normal" ? "[mean, standard deviation]" : "[low, high]"); found \(entry.value.json.compact)",
        entry.value.position)
    }
    let (low, high) = (numbers[0], numbers[1])
    let place = entry.value.position
    // Beyond this, a difference or a power of two numbers is none.
    guard [low, high].allSatisfy({ $0 == 0 || (1e-300...1e300).contains($0.magnitude) }) else {
      return fault(
        "the numbers of '\(entry.key)' are 0, or from 1e-300 to 1e300 in size; found \(entry.value.json.compact)",
        place)
    }
    switch entry.key {
    case "normal":
      guard high > 0 else {
        return fault("the standard deviation \(nodes[1].kind) is not positive", place)
      }
      return .normal(mean: low, deviation: high)
    case "uniform" where low < high: return .uniform(low: low, high: high)
    case "loguniform" where low > 0 && low < high: return .logUniform(low: low, high: high)
    case "loguniform" where low <= 0:
      return fault("'loguniform' needs positive ends; found \(nodes[0].kind)", place)
    case "int":
      guard let first = nodes[0].json.intValue, let last = nodes[1].json.intValue, first <= last,
        !last.subtractingReportingOverflow(first).overflow
      else { return fault("'int' takes two whole numbers below 2^63, the smaller first", place) }
      return .integer(low: first, high: last)
    default: return fault("the ends of '\(entry.key)' stand the smaller first", place)
    }
  }
}
