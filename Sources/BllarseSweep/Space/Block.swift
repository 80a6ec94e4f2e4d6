/// A part of a sweep: fixed values, and axes whose product they are combined with.
///
/// The axes stand in a fixed order, the first slowest: `grid` in the order written, `zip`, `list`,
/// `random`, `product`, `concat`, `seeds`. So the order of the sections in a file means nothing.
package struct Block: Sendable {
  /// Values that hold unless an axis says otherwise.
  package var base: [(key: String, value: Template)] = []
  /// The dimensions, slowest first.
  package var dimensions: [Dimension] = []
  /// The block counts only where this holds.
  package var condition: Condition?
  package var exclusion: Condition?
}

package indirect enum Dimension: Sendable {
  case axis(Axis)
  /// Combined with what stands before; left out where its condition does not hold.
  case block(Block)
  case concatenation([Block])

  static func rows(
    _ rows: [[(key: String, value: Template)]], _ condition: Condition? = nil, in section: String,
    at position: Position
  ) -> Dimension {
    .axis(Axis(points: .rows(rows), condition: condition, section: section, position: position))
  }
}

/// A list of points, each of which sets some keys.
package struct Axis: Sendable {
  package enum Points: Sendable {
    case rows([[(key: String, value: Template)]])
    case random(RandomPoints)
  }

  package var points: Points
  /// Where it does not hold, the axis is left out and its keys keep their base values.
  package var condition: Condition?
  /// The section of the file, for messages.
  package let section: String
  package let position: Position

  /// The keys that some point sets, in order of appearance.
  package var keys: [String] {
    switch points {
    case .rows(let rows): rows.joined().map(\.key).uniqued
    case .random(let random): random.parameters.map(\.key)
    }
  }
}

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
}

/// A test of one value; only `notIn` and `present(false)` accept an absent one.
package enum Predicate: Sendable, Hashable {
  case isIn(Set<JSON>)
  case notIn(Set<JSON>)
  case present(Bool)
  case less(Double)
  case lessOrEqual(Double)
  case greater(Double)
  case greaterOrEqual(Double)

  func accepts(_ value: JSON?) -> Bool {
    switch self {
    case .isIn(let values): value.map(values.contains) ?? false
    case .notIn(let values): value.map { !values.contains($0) } ?? true
    case .present(let expected): (value != nil && value != .null) == expected
    case .less(let bound): value?.doubleValue.map { $0 < bound } ?? false
    case .lessOrEqual(let bound): value?.doubleValue.map { $0 <= bound } ?? false
    case .greater(let bound): value?.doubleValue.map { $0 > bound } ?? false
    case .greaterOrEqual(let bound): value?.doubleValue.map { $0 >= bound } ?? false
    }
  }
}

/// A parameter's value as a sweep file states it: fixed, built from other keys, or looked up.
package indirect enum Template: Sendable, Hashable {
  case literal(JSON)
  /// A list of which some element depends on other keys.
  case list([Template])
  /// A string with `${key}` references. A reference that is the whole string keeps the key's type.
  case text([Piece])
  /// The value of `cases` that belongs to the value of `key`, else `otherwise`.
  case table(key: String, cases: [Case], otherwise: Template?)

  package enum Piece: Sendable, Hashable {
    case verbatim(String)
    case reference(String)
  }

  package struct Case: Sendable, Hashable {
    let value: String
    let template: Template
  }

  /// Reads a string: `${key}` is a reference, `$${` a verbatim `${`; nil when one is not closed.
  package static func parse(_ string: String) -> Template? {
    var pieces: [Piece] = []
    var verbatim = ""
    var rest = Substring(string)
    while let start = rest.firstRange(of: "${") {
      verbatim += rest[..<start.lowerBound]
      rest = rest[start.upperBound...]
      if verbatim.last == "$" {
        verbatim += "{"
        continue
      }
      guard let end = rest.firstIndex(of: "}") else { return nil }
      if !verbatim.isEmpty { pieces.append(.verbatim(verbatim)) }
      verbatim = ""
      pieces.append(.reference(String(rest[..<end])))
      rest = rest[rest.index(after: end)...]
    }
    verbatim += rest
    if pieces.isEmpty { return .literal(.string(verbatim)) }
    if !verbatim.isEmpty { pieces.append(.verbatim(verbatim)) }
    return .text(pieces)
  }

  /// The keys that the value depends on.
  package var references: [String] {
    switch self {
    case .literal: []
    case .list(let elements): elements.flatMap(\.references)
    case .text(let pieces):
      pieces.compactMap { if case .reference(let key) = $0 { key } else { nil } }
    case .table(let key, let cases, let otherwise):
      [key] + cases.flatMap { $0.template.references } + (otherwise?.references ?? [])
    }
  }

  /// The value, when it depends on nothing.
  package var literal: JSON? {
    if case .literal(let value) = self { return value }
    return nil
  }

  /// Every fixed value that the template may turn into.
  package var possibleLiterals: [JSON] {
    switch self {
    case .literal(let value): [value]
    case .text, .list: []
    case .table(_, let cases, let otherwise):
      cases.flatMap { $0.template.possibleLiterals } + (otherwise?.possibleLiterals ?? [])
    }
  }
}
