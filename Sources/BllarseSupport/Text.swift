extension String {
  /// The digits of a number that is not negative, with zeros in front.
  package static func digits(_ number: some BinaryInteger, radix: Int = 10, width: Int) -> String {
    let digits = String(number, radix: radix)
    return String(repeating: "0", count: Swift.max(0, width - digits.count)) + digits
  }

  /// The text in one line, with what a terminal obeys escaped: names, and what servers say, come from
  /// anywhere.
  ///
  /// Escaped are control characters, line and paragraph separators, and invisible characters, but for the
  /// two joiners that scripts and emoji need.
  package var printable: String {
    guard unicodeScalars.contains(where: Self.isHidden) else { return self }
    return unicodeScalars.reduce(into: "") { result, scalar in
      result += Self.isHidden(scalar) ? scalar.escaped(asASCII: true) : String(scalar)
    }
  }

  package func printable(upTo limit: Int) -> String {
    let text = printable
    return text.count > limit ? text.prefix(limit) + "…" : text
  }

  /// The lines of a text, each printable and ended.
  package var printableLines: String {
    split(separator: "\n", omittingEmptySubsequences: false)
      .map { String($0).printable + "\n" }.joined()
  }

  /// The text between quotation marks, cut after `limit` characters; for quoting bad input.
  package func quoted(limit: Int = 60) -> String {
    "'" + (count > limit ? String(prefix(limit)) + "…" : self) + "'"
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

/// Words as a POSIX shell reads them.
package enum Shell {
  package static func quote(_ word: String) -> String {
    let isPlain = word.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte & 0xDF)
        || "%+,-./:=@_".utf8.contains(byte)
    }
    return isPlain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
  }

  package static func join(_ words: [String]) -> String { words.map(quote).joined(separator: " ") }
}

package enum TextTable {
  /// A line of comma-separated values (RFC 4180).
  package static func csvLine(_ fields: [String]) -> String {
    fields.map { field in
      field.utf8.contains(where: { ",\"\n\r".utf8.contains($0) })
        ? "\"" + field.replacing("\"", with: "\"\"") + "\"" : field
    }.joined(separator: ",") + "\n"
  }

  /// Columns padded with spaces, for a terminal, a line a row; from `firstNumber` on cells stand at the
  /// right.
  package static func aligned(_ rows: [[String]], firstNumber: Int = .max) -> String {
    let rows = rows.map { $0.map(\.printable) }
    let widths = (rows.first ?? []).indices.map { column in
      rows.map { $0[column].count }.max() ?? 0
    }
    return rows.map { row in
      let cells = row.indices.map { column in
        let space = String(repeating: " ", count: widths[column] - row[column].count)
        return column >= firstNumber ? space + row[column] : row[column] + space
      }
      let line = cells.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed()) + "\n"
    }.joined()
  }
}

extension Sequence where Element: Hashable {
  /// Each element once, where it first appeared.
  package var uniqued: [Element] {
    var seen: Set<Element> = []
    return filter { seen.insert($0).inserted }
  }
}

/// The versions of what takes part in a run.
public enum Versions {
  /// The version of this package.
  public static let bllarse = "0.1.0"
}
