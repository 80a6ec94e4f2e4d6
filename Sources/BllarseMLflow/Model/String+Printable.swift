extension String {
  /// The text in one line, with control characters escaped: names come from anywhere, and a terminal
  /// obeys some characters.
  package var printable: String {
    guard unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
      return self
    }
    return unicodeScalars.reduce(into: "") { result, scalar in
      result +=
        scalar.properties.generalCategory == .control
        ? scalar.escaped(asASCII: false) : String(scalar)
    }
  }
}
