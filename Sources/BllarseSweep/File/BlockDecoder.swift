/// Decodes the sections of a block, and remembers which keys exist and which are referred to.
struct BlockDecoder {
  let diagnostics: Diagnostics
  var listStyles = ListStyles()
  /// Every key that some part of the file sets, with its first place.
  var declared: [String: Position] = [:]
  var replicateKeys: [String] = []
  private var references: [(key: String, position: Position)] = []
  /// Keys that conditions look at: their values must be fixed.
  private var conditionKeys: Set<String> = []
  private var derived: [(key: String, position: Position)] = []

  init(diagnostics: Diagnostics) { self.diagnostics = diagnostics }

  static func normalized(_ key: String) -> String { String(key.map { $0 == "-" ? "_" : $0 }) }

  mutating func block(_ node: SourceNode, section: String) -> Block {
    guard case .mapping(let entries) = node.content else {
      diagnostics.report(
        "an element of '\(section)' is a block with sections of its own (\(SweepFile.blockSections.joined(separator: ", "))); found \(node.kind)",
        at: node.position)
      return Block()
    }
    for entry in entries where !SweepFile.blockSections.contains(entry.key) {
      let misplaced = SweepFile.topLevelSections.contains(entry.key)
      diagnostics.report(
        misplaced
          ? "'\(entry.key)' belongs to the whole sweep and stands at the top of the file"
          : "unknown section '\(entry.key)'\(hint(for: entry.key, among: SweepFile.blockSections)) in a block of '\(section)'",
        at: entry.position)
    }
    return block(entries)
  }

  mutating func block(_ entries: [SourceNode.Entry]) -> Block {
    var block = Block()
    for name in SweepFile.blockSections {
      guard let node = entries.first(where: { $0.key == name })?.value else { continue }
      switch name {
      case "base": block.base = assignments(node, section: name)
      case "grid": block.dimensions += grid(node)
      case "zip": block.dimensions += zip(node)
      case "list": block.dimensions += list(node)
      case "random": block.dimensions += random(node)
      case "product": block.dimensions += blocks(node, section: name).map { .block($0) }
      case "concat": block.dimensions.append(.concatenation(blocks(node, section: name)))
      case "seeds": block.dimensions += seeds(node)
      case "when": block.condition = condition(node, section: name)
      default: block.exclusion = condition(node, section: name)
      }
    }
    checkDoubleAxes(block)
    return block
  }

  private mutating func blocks(_ node: SourceNode, section: String) -> [Block] {
    guard let nodes = elements(node, of: section) else { return [] }
    return nodes.map { block($0, section: section) }
  }

  /// The elements of a list that must not be empty.
  func elements(_ node: SourceNode, of what: String) -> [SourceNode]? {
    guard case .sequence(let nodes) = node.content else {
      return diagnostics.fault("'\(what)' is a list; found \(node.kind)", at: node.position)
    }
    guard !nodes.isEmpty else {
      return diagnostics.fault(
        "'\(what)' is an empty list, which would leave no configuration at all; remove it or fill it",
        at: node.position)
    }
    return nodes
  }

  func mapping(_ node: SourceNode, of what: String) -> [SourceNode.Entry] {
    diagnostics.entries(node, else: "'\(what)' is a mapping; found \(node.kind)")
  }

  /// Whether a normalized key can be an option's name.
  static func isKey(_ key: String) -> Bool {
    guard !key.isEmpty, !key.hasPrefix("_") else { return false }
    return key.unicodeScalars.allSatisfy {
      $0.properties.isAlphabetic || ("0"..."9").contains($0) || $0 == "_" || $0 == "."
    }
  }

  mutating func declare(_ key: String, at position: Position) -> String {
    let key = Self.normalized(key)
    if !Self.isKey(key) {
      diagnostics.report(
        "'\(key)' cannot be an option's name: letters, digits and underscores are allowed",
        at: position)
    }
    if declared[key] == nil { declared[key] = position }
    return key
  }

  mutating func assignments(
    _ node: SourceNode, section: String
  ) -> [(key: String, value: Template)] {
    var result: [(key: String, value: Template)] = []
    var seen: Set<String> = []
    for entry in mapping(node, of: section) {
      let key = declare(entry.key, at: entry.position)
      guard seen.insert(key).inserted else {
        diagnostics.report(
          "'\(entry.key)' is given twice (dashes and underscores are the same)", at: entry.position)
        continue
      }
      if let value = template(entry.value, key: key) { result.append((key, value)) }
    }
    return result
  }

  mutating func template(_ node: SourceNode, key: String) -> Template? {
    switch node.content {
    case .scalar(.string(let text)):
      guard let template = Template.parse(text) else {
        return diagnostics.fault("the '${' in '\(text)' is not closed by '}'", at: node.position)
      }
      if template.literal == nil {
        derived.append((key, node.position))
        for reference in template.references { references.append((reference, node.position)) }
      }
      return template
    case .scalar(let value): return .literal(value)
    case .sequence(let nodes): return list(nodes, key: key, at: node.position)
    case .mapping(let entries): return table(entries, key: key, at: node.position)
    }
  }

  private mutating func list(
    _ nodes: [SourceNode], key: String, at position: Position
  ) -> Template? {
    guard !nodes.isEmpty || listStyles[key] == .json else {
      return diagnostics.fault(
        "'\(key)' is an empty list, which gives the program nothing: leave the key out, or write null",
        at: position)
    }
    var elements: [Template] = []
    for node in nodes {
      guard case .scalar = node.content else {
        return diagnostics.fault(
          "a value of '\(key)' is a word, a number, true, false, null or a list of those; found \(node.kind) inside a list",
          at: node.position)
      }
      guard let element = template(node, key: key) else { return nil }
      elements.append(element)
    }
    let fixed = elements.compactMap(\.literal)
    return fixed.count == elements.count ? .literal(.array(fixed)) : .list(elements)
  }

  /// A value that must not depend on other keys: a scalar, or a list of scalars.
  func fixed(_ node: SourceNode, _ what: String) -> JSON? {
    func none(_ found: String, at position: Position) -> JSON? {
      diagnostics.fault(
        "\(what) is a word, a number, true, false, null or a list of those; found \(found)",
        at: position)
    }
    switch node.content {
    case .scalar(.string(let text)):
      if let value = Template.parse(text)?.literal { return value }
      return diagnostics.fault(
        "\(what) is fixed, and '\(text)' refers to another key; write '$${' for a '${' that is meant as it stands",
        at: node.position)
    case .scalar(let value): return value
    case .sequence(let nodes) where !nodes.isEmpty:
      var values: [JSON] = []
      for node in nodes {
        guard case .scalar = node.content else {
          return none("\(node.kind) inside a list", at: node.position)
        }
        guard let value = fixed(node, what) else { return nil }
        values.append(value)
      }
      return .array(values)
    case .sequence: return none("an empty list", at: node.position)
    case .mapping: return none(node.kind, at: node.position)
    }
  }

  private mutating func table(
    _ entries: [SourceNode.Entry], key: String, at position: Position
  ) -> Template? {
    var by: String?
    var cases: [Template.Case] = []
    var otherwise: Template?
    for entry in entries {
      switch (entry.key, entry.value.content) {
      case ("by", .scalar(.string(let name))):
        by = Self.normalized(name)
        references.append((Self.normalized(name), entry.value.position))
      case ("cases", .mapping(let pairs)):
        for pair in pairs {
          guard let value = template(pair.value, key: key) else { continue }
          cases.append(Template.Case(value: pair.key, template: value))
        }
      case ("default", _): otherwise = template(entry.value, key: key)
      default:
        return diagnostics.fault(
          "a mapping as the value of '\(key)' is a table {by: KEY, cases: {VALUE: …}, default: …}; found '\(entry.key)'\(hint(for: entry.key, among: ["by", "cases", "default"]))",
          at: entry.position)
      }
    }
    guard let by, !cases.isEmpty else {
      return diagnostics.fault(
        "the table of '\(key)' needs 'by' (a key) and 'cases' (a value for each of its values)",
        at: position)
    }
    derived.append((key, position))
    return .table(key: by, cases: cases, otherwise: otherwise)
  }

  /// Reports references to keys that nothing sets, and conditions on values that are not fixed.
  mutating func checkReferences() {
    for (key, position) in references
    where declared[key] == nil && !Configuration.builtInReferences.contains(key) {
      diagnostics.report(
        "nothing sets the key '\(key)'\(hint(for: key, among: declared.keys))", at: position)
    }
    for (key, position) in derived where conditionKeys.contains(key) {
      diagnostics.report(
        "'\(key)' is built from other keys here, and conditions can only look at fixed values; write the condition on the key it is built from",
        at: position)
    }
  }

  /// Two axes of one product that set the same key would repeat configurations.
  private func checkDoubleAxes(_ block: Block) {
    var owners: [String: Axis] = [:]
    for case .axis(let axis) in block.dimensions {
      for key in axis.keys {
        if let other = owners[key] {
          diagnostics.report(
            "'\(key)' already varies in '\(other.section)' (line \(other.position.line)); in a product each key varies once",
            at: axis.position)
        }
        owners[key] = axis
      }
    }
  }

  private static let predicateNames = ["in", "not", "lt", "le", "gt", "ge", "set"]

  /// A mapping, all of which must hold, or a list of mappings, any of which may hold.
  mutating func condition(_ node: SourceNode, section: String) -> Condition? {
    switch node.content {
    case .mapping: return conjunction(node).map { Condition(alternatives: [$0]) }
    case .sequence:
      guard let nodes = elements(node, of: section) else { return nil }
      return Condition(alternatives: nodes.compactMap { conjunction($0) })
    case .scalar:
      return diagnostics.fault(
        "'\(section)' is a condition such as {optimizer: ivon} or a list of them; found \(node.kind)",
        at: node.position)
    }
  }

  private mutating func conjunction(_ node: SourceNode) -> [Condition.Requirement]? {
    guard case .mapping(let entries) = node.content, !entries.isEmpty else {
      return diagnostics.fault(
        "a condition is a mapping such as {optimizer: ivon}; found \(node.kind)", at: node.position)
    }
    return entries.flatMap { entry in
      let key = Self.normalized(entry.key)
      references.append((key, entry.position))
      conditionKeys.insert(key)
      return predicates(entry.value).map { Condition.Requirement(key: key, predicate: $0) }
    }
  }

  private func predicates(_ node: SourceNode) -> [Predicate] {
    switch node.content {
    case .scalar: return fixed(node, "what a condition compares with").map { [.isIn([$0])] } ?? []
    case .sequence(let nodes): return elements(node, nodes).map { [.isIn($0)] } ?? []
    case .mapping(let entries): return entries.compactMap { predicate($0) }
    }
  }

  private func predicate(_ entry: SourceNode.Entry) -> Predicate? {
    if entry.key == "in" || entry.key == "not" {
      let nodes: [SourceNode] =
        if case .sequence(let nodes) = entry.value.content { nodes } else { [entry.value] }
      guard let values = elements(entry.value, nodes) else { return nil }
      return entry.key == "in" ? .isIn(values) : .notIn(values)
    }
    let value = entry.value.json
    switch (entry.key, value.doubleValue, value.boolValue) {
    case ("set", _, let flag?): return .present(flag)
    case ("lt", let bound?, _): return .less(bound)
    case ("le", let bound?, _): return .lessOrEqual(bound)
    case ("gt", let bound?, _): return .greater(bound)
    case ("ge", let bound?, _): return .greaterOrEqual(bound)
    default: break
    }
    guard Self.predicateNames.contains(entry.key) else {
      return diagnostics.fault(
        "unknown comparison '\(entry.key)'\(hint(for: entry.key, among: Self.predicateNames)) (known: \(Self.predicateNames.joined(separator: ", ")))",
        at: entry.position)
    }
    return diagnostics.fault(
      "'\(entry.key)' is compared with \(entry.key == "set" ? "true or false" : "a number"); found \(entry.value.kind)",
      at: entry.value.position)
  }

  /// The fixed values that a condition compares with, at least one.
  private func elements(_ node: SourceNode, _ nodes: [SourceNode]) -> Set<JSON>? {
    guard !nodes.isEmpty else {
      return diagnostics.fault(
        "a condition compares with at least one value; found an empty list, which decides nothing",
        at: node.position)
    }
    let values = nodes.compactMap { fixed($0, "what a condition compares with") }
    return values.count == nodes.count ? Set(values) : nil
  }

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
