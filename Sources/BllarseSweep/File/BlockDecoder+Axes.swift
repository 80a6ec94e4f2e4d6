extension BlockDecoder {
  mutating func grid(_ node: SourceNode) -> [Dimension] {
    guard let entries = mapping(node, of: "grid") else { return [] }
    return entries.compactMap { entry in
      let key = declare(entry.key, at: entry.position)
      switch entry.value.content {
      case .sequence:
        return gridAxis(key, entry.value, condition: nil, at: entry.position)
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
          diagnostics.report("the axis '\(key)' has no 'values'", at: entry.value.position)
          return nil
        }
        return gridAxis(key, values, condition: condition, at: entry.position)
      case .scalar:
        diagnostics.report(
          "the axis '\(key)' is a list of values; found \(entry.value.kind) (a single value belongs under 'base')",
          at: entry.value.position)
        return nil
      }
    }
  }

  private mutating func gridAxis(
    _ key: String, _ node: SourceNode, condition: Condition?, at position: Position
  ) -> Dimension? {
    guard let nodes = elements(node, of: key) else { return nil }
    var rows: [[(key: String, value: Template)]] = []
    for node in nodes {
      guard let value = template(node, key: key) else { continue }
      if rows.contains(where: { $0[0].value == value }) {
        diagnostics.report(
          "the value \(node.kind) of '\(key)' appears twice; its configurations would run twice",
          at: node.position)
      }
      rows.append([(key, value)])
    }
    return .axis(
      Axis(points: .rows(rows), condition: condition, section: "grid", position: position))
  }

  mutating func zip(_ node: SourceNode) -> [Dimension] {
    if case .sequence(let nodes) = node.content { return nodes.flatMap { zip($0) } }
    guard let entries = mapping(node, of: "zip") else { return [] }
    var columns: [(key: String, values: [Template])] = []
    for entry in entries {
      let key = declare(entry.key, at: entry.position)
      guard let nodes = elements(entry.value, of: key) else { continue }
      columns.append((key, nodes.compactMap { template($0, key: key) }))
      if let first = columns.first, nodes.count != first.values.count {
        diagnostics.report(
          "zipped axes have one length: '\(first.key)' has \(first.values.count) values, '\(key)' has \(nodes.count)",
          at: entry.value.position)
        return []
      }
    }
    guard let count = columns.first?.values.count else { return [] }
    let rows = (0..<count).map { row in columns.map { (key: $0.key, value: $0.values[row]) } }
    return [
      .axis(Axis(points: .rows(rows), condition: nil, section: "zip", position: node.position))
    ]
  }

  mutating func list(_ node: SourceNode) -> [Dimension] {
    guard let nodes = elements(node, of: "list") else { return [] }
    let rows = nodes.map { assignments($0, section: "list") }
    return [
      .axis(Axis(points: .rows(rows), condition: nil, section: "list", position: node.position))
    ]
  }

  /// More points than this on one axis are a slip of the keyboard, and would fill the memory.
  static let maximalCount = 10_000_000

  /// Reports an axis that is too long.
  private func isTooLong(_ count: Int, at position: Position) -> Bool {
    guard count > Self.maximalCount else { return false }
    diagnostics.report(
      "one axis has at most \(Self.maximalCount) values; found \(count)", at: position)
    return true
  }

  mutating func seeds(_ node: SourceNode) -> [Dimension] {
    var key = "seed"
    var values: [JSON] = []
    switch node.content {
    case .scalar(.int(let count)) where count > 0:
      if isTooLong(count, at: node.position) { return [] }
      values = (0..<count).map { .int($0) }
    case .sequence:
      guard let nodes = elements(node, of: "seeds") else { return [] }
      for node in nodes {
        guard case .scalar(.int(let seed)) = node.content, !values.contains(.int(seed)) else {
          diagnostics.report(
            "seeds are whole numbers, each once; found \(node.kind)", at: node.position)
          return []
        }
        values.append(.int(seed))
      }
    case .mapping(let entries):
      var start = 0
      var count = 0
      for entry in entries {
        switch (entry.key, entry.value.content) {
        case ("key", .scalar(.string(let name))): key = Self.normalized(name)
        case ("start", .scalar(.int(let number))): start = number
        case ("count", .scalar(.int(let number))) where number > 0: count = number
        case ("values", .sequence(let nodes)): values = nodes.map(\.json)
        default:
          diagnostics.report(
            "'seeds' is {count: N, start: FIRST, key: NAME} or {values: […], key: NAME}; found '\(entry.key)'\(hint(for: entry.key, among: ["count", "start", "key", "values"]))",
            at: entry.position)
        }
      }
      if isTooLong(count, at: node.position) { return [] }
      let (end, overflow) = start.addingReportingOverflow(count)
      if values.isEmpty, !overflow { values = (start..<end).map { .int($0) } }
    default: break
    }
    guard !values.isEmpty else {
      diagnostics.report(
        "'seeds' is a positive number, a list of whole numbers, or {count: N, start: FIRST}; found \(node.kind)",
        at: node.position)
      return []
    }
    let declaredKey = declare(key, at: node.position)
    if !replicateKeys.contains(declaredKey) { replicateKeys.append(declaredKey) }
    let rows = values.map { [(key: declaredKey, value: Template.literal($0))] }
    return [
      .axis(Axis(points: .rows(rows), condition: nil, section: "seeds", position: node.position))
    ]
  }

  // MARK: - Random axes

  mutating func random(_ node: SourceNode) -> [Dimension] {
    if case .sequence(let nodes) = node.content { return nodes.flatMap { random($0) } }
    guard let entries = mapping(node, of: "random") else { return [] }
    var count: Int?
    var seed: Int?
    var parameters: [RandomPoints.Parameter] = []
    for entry in entries {
      switch (entry.key, entry.value.content) {
      case ("count", .scalar(.int(let number))) where number > 0: count = number
      case ("seed", .scalar(.int(let number))): seed = number
      case ("parameters", .mapping(let axes)):
        for axis in axes {
          let key = declare(axis.key, at: axis.position)
          if let distribution = distribution(axis.value, key: key) {
            parameters.append(RandomPoints.Parameter(key: key, distribution: distribution))
          }
        }
      case ("count", _):
        diagnostics.report(
          "'count' is a positive number; found \(entry.value.kind)", at: entry.value.position)
        return []
      default:
        diagnostics.report(
          "'random' is {count: N, seed: S, parameters: {KEY: {uniform: [LOW, HIGH]}}}; found '\(entry.key)'\(hint(for: entry.key, among: ["count", "seed", "parameters"]))",
          at: entry.position)
      }
    }
    guard let count, let seed else {
      diagnostics.report(
        "'random' needs '\(count == nil ? "count" : "seed")': with both, every machine draws the same values",
        at: node.position)
      return []
    }
    if isTooLong(count, at: node.position) { return [] }
    let points = RandomPoints(
      count: count, seed: UInt64(bitPattern: Int64(seed)), parameters: parameters)
    return [
      .axis(
        Axis(points: .random(points), condition: nil, section: "random", position: node.position))
    ]
  }

  private func distribution(_ node: SourceNode, key: String) -> Distribution? {
    let names = ["choice", "uniform", "loguniform", "int", "normal"]
    func fault(_ message: String, _ position: Position) -> Distribution? {
      diagnostics.report(message, at: position)
      return nil
    }
    if case .sequence(let nodes) = node.content, !nodes.isEmpty {
      return .choice(nodes.map(\.json))
    }
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
    if entry.key == "choice" { return .choice(nodes.map(\.json)) }
    let numbers = nodes.compactMap { $0.json.doubleValue }
    guard numbers.count == 2, nodes.count == 2 else {
      return fault(
        "'\(entry.key)' takes two numbers, \(entry.key == "normal" ? "[mean, standard deviation]" : "[low, high]"); found \(entry.value.json.compact)",
        entry.value.position)
    }
    let (low, high) = (numbers[0], numbers[1])
    let place = entry.value.position
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
      else { return fault("'int' takes two whole numbers, the smaller first", place) }
      return .integer(low: first, high: last)
    default: return fault("the ends of '\(entry.key)' stand the smaller first", place)
    }
  }
}
