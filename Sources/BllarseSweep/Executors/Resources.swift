/// What a run gets: what is nil is left to the cluster's or the machine's own default.
public struct Resources: Sendable, Equatable {
  /// Processors.
  public var cpus: Int?
  /// Memory; 0 for all that a machine has.
  public var memory: Memory?
  /// The time limit; 0 for none.
  public var time: Duration?
  /// GPUs; 0 asks for none.
  public var gpus: Int?

  /// Leaves everything to the defaults.
  public init() {}

  /// The keys in a sweep file.
  public static let keys = ["cpus", "memory", "time", "gpus"]

  /// Takes the value of a key, or says what was expected: `a positive number`.
  mutating func set(_ key: String, to value: JSON) -> String? {
    let text = value.plainText
    let isText = value.stringValue != nil || value.intValue != nil
    switch key {
    case "memory":
      guard isText, let memory = Memory(text) else { return Memory.form }
      self.memory = memory
    case "time":
      guard isText, let time = Duration(clock: text) else { return Duration.clockForm }
      self.time = time
    default:
      guard let count = value.intValue, count > 0 || (key == "gpus" && count == 0) else {
        return "a positive number"
      }
      if key == "cpus" { cpus = count } else { gpus = count }
    }
    return nil
  }
}

/// An amount of memory, in whole kibibytes.
public struct Memory: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// Kibibytes; no machine has so many that they do not fit.
  public let kibibytes: Int

  package static let form = "a whole number with K, M, G or T (megabytes without), such as 4G"
  private static let units: [(letter: Character, kibibytes: Int)] = [
    ("T", 1 << 30), ("G", 1 << 20), ("M", 1 << 10), ("K", 1),
  ]
  /// The largest amount that is taken for one, in megabytes.
  private static let largest = 1_000_000_000_000_000

  /// An amount of kibibytes, from 0.
  public init(kibibytes: Int) { self.kibibytes = max(0, kibibytes) }

  /// Bytes, rounded up to whole kibibytes.
  public init(bytes: Int) { self.init(kibibytes: bytes / 1024 + (bytes % 1024 > 0 ? 1 : 0)) }

  /// Reads `4G`, `400M`, `512` (megabytes); nil for what is no whole number of a unit.
  public init?(_ text: some StringProtocol) {
    let digits = text.prefix { ("0"..."9").contains($0) }
    let unit = text.dropFirst(digits.count).uppercased()
    guard let number = Int(digits),
      let size = unit.isEmpty ? 1 << 10 : Self.units.first(where: { String($0.letter) == unit })?.1,
      case (let product, false) = number.multipliedReportingOverflow(by: size),
      product <= Self.largest << 10
    else { return nil }
    kibibytes = product
  }

  static func * (memory: Memory, count: Int) -> Memory {
    let (product, isTooMuch) = memory.kibibytes.multipliedReportingOverflow(by: count)
    return Memory(kibibytes: isTooMuch ? .max : product)
  }

  /// A multiple, rounded up to whole megabytes.
  func multiplied(by factor: Double) -> Memory {
    let megabytes = (Double(kibibytes) / 1024 * factor).rounded(.up)
    return Memory(kibibytes: Int(exactly: megabytes * 1024) ?? .max)
  }

  /// `4G`, `1536M`: the largest unit of which it is a whole number.
  public var description: String {
    let unit = Self.units.first { kibibytes % $0.kibibytes == 0 && kibibytes > 0 }
    return unit.map { "\(kibibytes / $0.kibibytes)\($0.letter)" } ?? "0"
  }

  /// `400M`, `1.6G`: about so much, for a person.
  var rounded: String {
    let megabytes = Double(kibibytes) / 1024
    if megabytes < 1024 { return "\(Int(megabytes.rounded(.up)))M" }
    return "\(JSON.number((megabytes / 1024 * 10).rounded() / 10).compact)G"
  }

  /// Whether one amount is less than another.
  public static func < (a: Memory, b: Memory) -> Bool { a.kibibytes < b.kibibytes }
}

extension Duration {
  package static let clockForm =
    "minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, such as 30 or 1-12:00:00"
  /// The largest part of a time; a hundred times so many days are still a whole number of seconds.
  private static let longest = 1_000_000_000_000

  /// Reads a time as ``clockForm`` says, or `unlimited` for 0; nil for anything else.
  package init?(clock text: some StringProtocol) {
    if ["unlimited", "infinite"].contains(text.lowercased()) {
      self = .zero
      return
    }
    func split(_ text: String, _ separator: Character) -> [String] {
      text.split(separator: separator, omittingEmptySubsequences: false).map(String.init)
    }
    let dayParts = split(String(text), "-")
    let parts = split(dayParts.last ?? "", ":")
    let texts: [String] = dayParts.dropLast() + parts
    let numbers = texts.compactMap { text -> Int? in
      guard text.allSatisfy({ ("0"..."9").contains($0) }) else { return nil }
      return Int(text).flatMap { $0 <= Self.longest ? $0 : nil }
    }
    guard dayParts.count <= 2, parts.count <= 3, numbers.count == texts.count else { return nil }
    let units =
      dayParts.count == 2 ? [86400, 3600, 60, 1] : parts.count == 3 ? [3600, 60, 1] : [60, 1]
    self = .seconds(zip(numbers, units).map { $0 * $1 }.reduce(0, +))
  }

  /// Whole seconds of a number that may come from a damaged file.
  package init(wholeSeconds seconds: Double) {
    self = .seconds(seconds.isFinite ? Int(min(max(seconds, 0), 1e15)) : 0)
  }

  var wholeSeconds: Int { Int(clamping: components.seconds) }

  /// `[D-]HH:MM:SS`.
  package var clock: String {
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let (days, rest) = (wholeSeconds / 86400, wholeSeconds % 86400)
    let time = "\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))"
    return days > 0 ? "\(days)-\(time)" : time
  }
}
