/// A parameter's value as a sweep file states it: fixed, built from other keys, or looked up.
package indirect enum Template: Sendable, Hashable {
  case literal(JSON)
  /// A list of which some element depends on other keys.
  case list([Template])
  /// A string with `${key}` references. A reference that is the whole string keeps the key's type.
  case text([Piece])
  /// The value of `cases` that belongs to the value of `key`, else `otherwise`.
  case table(key: String, cases: [(String, Template)], otherwise: Template?)

  package enum Piece: Sendable, Hashable {
    case verbatim(String)
    case reference(String)
  }

  package static func == (a: Template, b: Template) -> Bool {
    switch (a, b) {
    case (.literal(let x), .literal(let y)): x == y
    case (.text(let x), .text(let y)): x == y
    case (.list(let x), .list(let y)): x == y
    case (.table(let k, let x, let d), .table(let l, let y, let e)):
      k == l && d == e && x.map(\.0) == y.map(\.0) && x.map(\.1) == y.map(\.1)
    default: false
    }
  }

  /// Adds what tells templates apart, but for what the cases of a table say.
  package func hash(into hasher: inout Hasher) {
    switch self {
    case .literal(let value): hasher.combine(value)
    case .list(let elements): hasher.combine(elements)
    case .text(let pieces): hasher.combine(pieces)
    case .table(let key, let cases, _):
      hasher.combine(key)
      for (value, _) in cases { hasher.combine(value) }
    }
  }

  /// Reads a string: `${key}` is a reference, `$${` a verbatim `${`; nil when one is not closed.
  package static func parse(_ string: String) -> Template? {
    guard string.contains("${") else { return .literal(.string(string)) }
    var pieces: [Piece] = []
    var verbatim = ""
    var rest = Substring(string)
    while let dollar = rest.firstIndex(of: "$") {
      verbatim += rest[..<dollar]
      let after = rest[rest.index(after: dollar)...]
      if after.hasPrefix("${") {
        verbatim += "${"
        rest = after.dropFirst(2)
      } else if after.hasPrefix("{") {
        guard let end = after.firstIndex(of: "}") else { return nil }
        if !verbatim.isEmpty { pieces.append(.verbatim(verbatim)) }
        verbatim = ""
        pieces.append(.reference(String(after[after.index(after: after.startIndex)..<end])))
        rest = after[after.index(after: end)...]
      } else {
        verbatim += "$"
        rest = after
      }
    }
    verbatim += rest
    if !verbatim.isEmpty { pieces.append(.verbatim(verbatim)) }
    let isPlain = pieces.allSatisfy { if case .verbatim = $0 { true } else { false } }
    return isPlain ? .literal(.string(verbatim)) : .text(pieces)
  }

  /// The keys that the value depends on.
  package var references: [String] {
    switch self {
    case .literal: []
    case .list(let elements): elements.flatMap(\.references)
    case .text(let pieces):
      pieces.compactMap { if case .reference(let key) = $0 { key } else { nil } }
    case .table(let key, let cases, let otherwise):
      [key] + cases.flatMap { $0.1.references } + (otherwise?.references ?? [])
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
      cases.flatMap { $0.1.possibleLiterals } + (otherwise?.possibleLiterals ?? [])
    }
  }
}
