/// The number format of a tensor in a safetensors file.
public enum SafetensorsType: String, Sendable, CaseIterable {
  case bool = "BOOL"
  case uint8 = "U8"
  case int8 = "I8"
  case float8e5m2 = "F8_E5M2"
  case float8e4m3 = "F8_E4M3"
  case int16 = "I16"
  case uint16 = "U16"
  case float16 = "F16"
  case bfloat16 = "BF16"
  case int32 = "I32"
  case uint32 = "U32"
  case float32 = "F32"
  case int64 = "I64"
  case uint64 = "U64"
  case float64 = "F64"

  /// The size of an element in bytes, which is also its alignment.
  public var size: Int {
    switch self {
    case .bool, .uint8, .int8, .float8e5m2, .float8e4m3: 1
    case .int16, .uint16, .float16, .bfloat16: 2
    case .int32, .uint32, .float32: 4
    case .int64, .uint64, .float64: 8
    }
  }
}

/// A Swift number type that a safetensors file stores as it is.
///
/// The protocol is closed: it is there for the conformances below.
public protocol SafetensorsElement: BitwiseCopyable, Sendable {
  /// The number format in the file.
  static var safetensorsType: SafetensorsType { get }
}

/// A floating-point type that tensors are read as: `Float16`, `Float` or `Double`.
public protocol SafetensorsFloat: SafetensorsElement, BinaryFloatingPoint {}

extension Float16: SafetensorsFloat {
  /// `F16`.
  public static var safetensorsType: SafetensorsType { .float16 }
}
extension Float: SafetensorsFloat {
  /// `F32`.
  public static var safetensorsType: SafetensorsType { .float32 }
}
extension Double: SafetensorsFloat {
  /// `F64`.
  public static var safetensorsType: SafetensorsType { .float64 }
}
extension UInt8: SafetensorsElement {
  /// `U8`.
  public static var safetensorsType: SafetensorsType { .uint8 }
}
extension Int8: SafetensorsElement {
  /// `I8`.
  public static var safetensorsType: SafetensorsType { .int8 }
}
extension Int32: SafetensorsElement {
  /// `I32`.
  public static var safetensorsType: SafetensorsType { .int32 }
}
extension UInt32: SafetensorsElement {
  /// `U32`.
  public static var safetensorsType: SafetensorsType { .uint32 }
}
extension Int64: SafetensorsElement {
  /// `I64`.
  public static var safetensorsType: SafetensorsType { .int64 }
}
extension UInt64: SafetensorsElement {
  /// `U64`.
  public static var safetensorsType: SafetensorsType { .uint64 }
}
extension Bool: SafetensorsElement {
  /// `BOOL`.
  public static var safetensorsType: SafetensorsType { .bool }
}
