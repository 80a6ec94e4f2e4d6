/// A value of an option, as result files and trackers show it.
public enum ArgumentValue: Sendable, Equatable {
  /// A text.
  case text(String)
  /// An integer.
  case integer(Int)
  /// An integer beyond those: a seed takes all 64 bits.
  case unsigned(UInt64)
  /// A number.
  case number(Double)
  /// A switch.
  case flag(Bool)

  /// A seed, or another integer from 0 on, exactly.
  public init(_ value: UInt64) {
    self = Int(exactly: value).map(ArgumentValue.integer) ?? .unsigned(value)
  }
}

extension ArgumentValue: CustomStringConvertible {
  /// The value as text; switches as "True" and "False", as the Python original logs them.
  public var description: String {
    switch self {
    case .text(let value): value
    case .integer(let value): String(value)
    case .unsigned(let value): String(value)
    case .number(let value): String(value)
    case .flag(let value): value ? "True" : "False"
    }
  }
}

extension ArgumentValue: Decodable {
  /// Reads a bare value.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let value = try? container.decode(Bool.self) {
      self = .flag(value)
    } else if let value = try? container.decode(Int.self) {
      self = .integer(value)
    } else if let value = try? container.decode(UInt64.self) {
      self = .unsigned(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else {
      self = .text(try container.decode(String.self))
    }
  }
}

extension ArgumentValue: Encodable {
  /// Writes the bare value.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .text(let value): try container.encode(value)
    case .integer(let value): try container.encode(value)
    case .unsigned(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .flag(let value): try container.encode(value)
    }
  }
}
