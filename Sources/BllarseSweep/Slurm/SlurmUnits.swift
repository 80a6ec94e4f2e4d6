/// Quantities as SLURM writes them.
package enum SlurmUnits {
  /// The largest quantity that is taken for one: no machine has more, and what is computed from it stays
  /// a whole number.
  private static let largestQuantity = 1e15
  /// The largest part of a time; a hundred times so many days are still a whole number of seconds.
  private static let longestTime = 1_000_000_000_000

  /// What SLURM reads as a time limit.
  package static let timeForm =
    "minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, such as 30 or 1-12:00:00"
  /// What SLURM reads as memory.
  package static let memoryForm = "a whole number with K, M, G or T (megabytes without), such as 4G"
  /// The seconds that `--signal` takes.
  package static let signalSeconds = 1...65_535

  /// Whether SLURM reads a text as a time limit.
  package static func isTime(_ text: String) -> Bool {
    ["UNLIMITED", "INFINITE"].contains(text.uppercased()) || seconds(text) != nil
  }

  /// Whether SLURM reads a text as memory: it takes no fractions.
  package static func isMemory(_ text: String) -> Bool {
    let digits = text.prefix { ("0"..."9").contains($0) }
    guard !digits.isEmpty,
      ["", "K", "M", "G", "T"].contains(text.dropFirst(digits.count).uppercased())
    else { return false }
    return megabytes(text) != nil
  }

  /// Megabytes of `500M`, `1.5G`, `2048` (megabytes), `1T`; nil when it is none of those.
  package static func megabytes(_ text: String) -> Double? {
    let factors: [Character: Double] = ["K": 1 / 1024, "M": 1, "G": 1024, "T": 1_048_576]
    guard let last = text.uppercased().last else { return nil }
    let number = factors[last] == nil ? Double(text) : Double(text.dropLast())
    let product = number.map { $0 * (factors[last] ?? 1) }
    return product.flatMap { (0...largestQuantity).contains($0) ? $0 : nil }
  }

  /// Seconds of `MM`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM` or `D-HH:MM:SS`.
  package static func seconds(_ text: String) -> Int? {
    let dayParts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard dayParts.count <= 2, let clockText = dayParts.last else { return nil }
    func number(_ text: Substring) -> Int? {
      text.allSatisfy { ("0"..."9").contains($0) }
        ? Int(text).flatMap { $0 <= longestTime ? $0 : nil } : nil
    }
    let clock = clockText.split(separator: ":", omittingEmptySubsequences: false).map(number)
    guard clock.count <= 3, !clock.contains(nil) else { return nil }
    let parts = clock.compactMap { $0 }
    if dayParts.count == 2 {
      guard let days = number(dayParts[0]) else { return nil }
      let padded = parts + [Int](repeating: 0, count: 3 - parts.count)
      return days * 86400 + padded[0] * 3600 + padded[1] * 60 + padded[2]
    }
    return switch parts.count {
    case 1: parts[0] * 60
    case 2: parts[0] * 60 + parts[1]
    default: parts[0] * 3600 + parts[1] * 60 + parts[2]
    }
  }

  /// `[D-]HH:MM:SS`, of a time that may come from a damaged file.
  package static func clock(_ seconds: Double) -> String {
    clock(seconds.isFinite ? Int(min(max(seconds, 0), largestQuantity)) : 0)
  }

  /// `[D-]HH:MM:SS`.
  package static func clock(_ seconds: Int) -> String {
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let (days, rest) = (seconds / 86400, seconds % 86400)
    let time = "\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))"
    return days > 0 ? "\(days)-\(time)" : time
  }
}
