/// A table of results, of strings and numbers.
public struct ResultTable: Sendable, Equatable {
  /// The columns' names.
  public var columns: [String]
  /// The rows, each as long as the columns.
  public var rows: [[JSON]]

  /// Makes a table.
  public init(columns: [String], rows: [[JSON]]) {
    self.columns = columns
    self.rows = rows
  }

  /// Comma-separated values (RFC 4180).
  public var csv: String {
    Self.csvLine(columns.map { .string($0) }) + rows.map(Self.csvLine).joined()
  }

  package static func csvLine(_ cells: [JSON]) -> String {
    TextTable.csvLine(cells.map { $0 == .null ? "" : $0.plainText })
  }

  /// A JSON list with an object a row.
  public var json: String {
    JSON.array(
      rows.map { row in .object(zip(columns, row).map { JSON.Member($0, $1) }) }
    ).pretty + "\n"
  }

  /// A Markdown table.
  public var markdown: String {
    func cell(_ text: String) -> String {
      text.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|")
        .split(whereSeparator: \.isNewline).joined(separator: " ")
    }
    let lines =
      [columns.map(cell), columns.map { _ in "---" }]
      + rows.map { $0.map { cell(Self.display($0)) } }
    return lines.map { "| " + $0.joined(separator: " | ") + " |\n" }.joined()
  }

  /// Columns padded with spaces, for a terminal.
  public var text: String {
    TextTable.aligned([columns] + rows.map { $0.map(Self.display) })
  }

  /// Six significant digits are what a reader compares.
  static func display(_ cell: JSON) -> String {
    guard case .double(let number) = cell else { return cell == .null ? "" : cell.plainText }
    return JSON.decimal(rounded(number, digits: 6))
  }

  package static func rounded(_ number: Double, digits: Int) -> Double {
    guard number != 0, number.isFinite else { return number }
    var scale = 1.0
    var magnitude = number.magnitude
    while magnitude >= 10 {
      magnitude /= 10
      scale /= 10
    }
    while magnitude < 1 {
      magnitude *= 10
      scale *= 10
    }
    for _ in 1..<digits { scale *= 10 }
    // Dividing by a power of ten is exact where multiplying by its inverse is not.
    return scale >= 1
      ? (number * scale).rounded() / scale : (number * scale).rounded() * (1 / scale)
  }
}
