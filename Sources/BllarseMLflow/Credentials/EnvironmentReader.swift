/// Reads numbers and flags from variables: what cannot be read, or is out of range, is a warning, and a
/// value that can be used takes its place.
struct EnvironmentReader {
  let environment: [String: String]
  private(set) var warnings: [String] = []

  init(environment: [String: String]) { self.environment = environment }

  mutating func flag(_ name: String, default fallback: Bool) -> Bool {
    switch environment[name]?.lowercased() {
    case nil: return fallback
    case "true", "1": return true
    case "false", "0": return false
    default:
      warnings.append("\(name) must be true or false; using \(fallback)")
      return fallback
    }
  }

  /// A number in a range; one beyond an end of it becomes that end.
  mutating func number(
    _ name: String, default fallback: Double, in range: ClosedRange<Double>
  ) -> Double {
    guard let text = environment[name] else { return fallback }
    return number(name, text, default: fallback, in: range, kind: "a number") { $0 }
  }

  /// A whole number in a range.
  mutating func integer(_ name: String, default fallback: Int, in range: ClosedRange<Int>) -> Int {
    guard let text = environment[name] else { return fallback }
    let value = number(
      name, text, default: Double(fallback),
      in: Double(range.lowerBound)...Double(range.upperBound), kind: "a whole number"
    ) { $0.rounded() == $0 ? $0 : nil }
    return Int(value)
  }

  private mutating func number(
    _ name: String, _ text: String, default fallback: Double, in range: ClosedRange<Double>,
    kind: String, _ accept: (Double) -> Double?
  ) -> Double {
    let expected =
      "expected \(kind) from \(Self.text(range.lowerBound)) to \(Self.text(range.upperBound))"
    let shown = "\(name) is '\(text.printable(upTo: 40))', \(expected)"
    // Swift reads hexadecimal numbers and words too, which MLflow's client does not.
    let isDecimal = text.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || "+-.eE".utf8.contains(byte)
    }
    guard isDecimal, let value = Double(text), let value = accept(value), !value.isNaN else {
      warnings.append("\(shown); using \(Self.text(fallback))")
      return fallback
    }
    guard !range.contains(value) else { return value }
    let nearest = min(max(value, range.lowerBound), range.upperBound)
    warnings.append("\(shown); using \(Self.text(nearest))")
    return nearest
  }

  private static func text(_ value: Double) -> String {
    Int(exactly: value).map(String.init) ?? "\(value)"
  }
}
