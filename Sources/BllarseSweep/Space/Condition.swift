/// A condition on the keys of a configuration: one of several sets of requirements holds.
///
/// In a file, a mapping (`{optimizer: ivon, batch_size: {gt: 64}}`: all must hold) or a list of
/// mappings (any may hold).
package struct Condition: Sendable, Equatable {
  package struct Requirement: Sendable, Hashable {
    package let key: String
    package let predicate: Predicate
  }

  /// A disjunction of conjunctions.
  package let alternatives: [[Requirement]]

  package init(_ alternatives: [[Requirement]]) { self.alternatives = alternatives }

  package var keys: Set<String> { Set(alternatives.joined().map(\.key)) }

  /// Whether a configuration satisfies the condition.
  package func holds(_ value: (String) -> JSON?) -> Bool {
    alternatives.contains { $0.allSatisfy { $0.predicate.accepts(value($0.key)) } }
  }
}

/// A test of one value.
///
/// An absent key equals nothing: only `notIn` and `present(false)` accept it.
package enum Predicate: Sendable, Hashable {
  case isIn([JSON])
  case notIn([JSON])
  case present(Bool)
  case less(Double)
  case lessOrEqual(Double)
  case greater(Double)
  case greaterOrEqual(Double)

  /// The values that it names, where they are so many that going through them takes long.
  var members: Set<JSON>? {
    switch self {
    case .isIn(let values) where values.count > 16, .notIn(let values) where values.count > 16:
      Set(values)
    default: nil
    }
  }

  /// The same as ``accepts(_:)``, with the named values in a set if there are many.
  func accepts(_ value: JSON?, among members: Set<JSON>?) -> Bool {
    guard let members else { return accepts(value) }
    let isMember = value.map(members.contains) ?? false
    if case .notIn = self { return !isMember }
    return isMember
  }

  package func accepts(_ value: JSON?) -> Bool {
    switch self {
    case .isIn(let values): value.map { values.contains($0) } ?? false
    case .notIn(let values): value.map { !values.contains($0) } ?? true
    case .present(let expected): (value != nil && value != .null) == expected
    case .less(let bound): value?.doubleValue.map { $0 < bound } ?? false
    case .lessOrEqual(let bound): value?.doubleValue.map { $0 <= bound } ?? false
    case .greater(let bound): value?.doubleValue.map { $0 > bound } ?? false
    case .greaterOrEqual(let bound): value?.doubleValue.map { $0 >= bound } ?? false
    }
  }
}
