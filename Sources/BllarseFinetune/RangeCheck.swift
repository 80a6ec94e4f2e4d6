import ArgumentParser

/// Refuses a value that is out of an option's range.
///
/// - Parameters:
///   - name: the option.
///   - value: what was given; nothing to refuse where that is nothing.
///   - expected: the range in words: "a number above 0".
///   - isAllowed: whether a value is in the range.
/// - Throws: `ValidationError` that names the option, the value and the range.
func requireRange<Value>(
  _ name: String, _ value: Value?, _ expected: String, _ isAllowed: (Value) -> Bool
) throws {
  guard let value, !isAllowed(value) else { return }
  throw ValidationError("\(name) is \(value); expected \(expected)")
}

/// The range of what is counted: products of two such numbers stay within an integer.
let countRange = 1...1_000_000_000
