extension BlockDecoder {
  static let predicateNames = ["in", "not", "lt", "le", "gt", "ge", "set"]

  /// A mapping, all of which must hold, or a list of mappings, any of which may hold.
  mutating func condition(_ node: SourceNode, section: String) -> Condition? {
    switch node.content {
    case .mapping: return conjunction(node, section: section).map { Condition([$0]) }
    case .sequence:
      guard let nodes = elements(node, of: section) else { return nil }
      return Condition(nodes.compactMap { conjunction($0, section: section) })
    case .scalar:
      return diagnostics.fault(
        "'\(section)' is a condition such as {optimizer: ivon} or a list of them; found \(node.kind)",
        at: node.position)
    }
  }

  private mutating func conjunction(
    _ node: SourceNode, section: String
  ) -> [Condition.Requirement]? {
    guard case .mapping(let entries) = node.content, !entries.isEmpty else {
      return diagnostics.fault(
        "a condition is a mapping such as {optimizer: ivon}; found \(node.kind)", at: node.position)
    }
    var requirements: [Condition.Requirement] = []
    for entry in entries {
      let key = Self.normalized(entry.key)
      noteConditionKey(key, at: entry.position)
      for predicate in predicates(entry.value) {
        requirements.append(Condition.Requirement(key: key, predicate: predicate))
      }
    }
    return requirements
  }

  private func predicates(_ node: SourceNode) -> [Predicate] {
    switch node.content {
    case .scalar: return fixed(node, "what a condition compares with").map { [.isIn([$0])] } ?? []
    case .sequence(let nodes):
      guard let nodes = elements(node, nodes) else { return [] }
      return [.isIn(nodes)]
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
    if Self.predicateNames.contains(entry.key) {
      diagnostics.report(
        "'\(entry.key)' is compared with \(entry.key == "set" ? "true or false" : "a number"); found \(entry.value.kind)",
        at: entry.value.position)
    } else {
      diagnostics.report(
        "unknown comparison '\(entry.key)'\(hint(for: entry.key, among: Self.predicateNames)) (known: \(Self.predicateNames.joined(separator: ", ")))",
        at: entry.position)
    }
    return nil
  }

  /// The fixed values that a condition compares with, at least one.
  private func elements(_ node: SourceNode, _ nodes: [SourceNode]) -> [JSON]? {
    guard !nodes.isEmpty else {
      return diagnostics.fault(
        "a condition compares with at least one value; found an empty list, which decides nothing",
        at: node.position)
    }
    let values = nodes.compactMap { fixed($0, "what a condition compares with") }
    return values.count == nodes.count ? values : nil
  }
}
