extension String {
  /// The text in one line, with what a terminal obeys escaped: names, and what servers say, come from
  /// anywhere.
  ///
  /// Escaped are control characters, line and paragraph separators, and the invisible characters that
  /// change the direction of a text or hide in it; the two joiners that scripts and emoji need stay.
  package var printable: String {
    guard unicodeScalars.contains(where: Self.isHidden) else { return self }
    return unicodeScalars.reduce(into: "") { result, scalar in
      result += Self.isHidden(scalar) ? scalar.escaped(asASCII: true) : String(scalar)
    }
  }

  private static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7F }
    switch scalar.properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator: return true
    case .format: return scalar.value != 0x200C && scalar.value != 0x200D
    default: return false
    }
  }
}
