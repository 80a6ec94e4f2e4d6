/// How a program takes a value that is a list.
package enum ListStyle: String, Sendable, CaseIterable {
  /// `--key a --key b`: the option once for each element.
  case `repeat`
  /// `--key a b`: the option once, then all elements.
  case words
  /// `--key '["a","b"]'`: the option once, the list as one word of JSON.
  case json
}

package struct ListStyles: Sendable, Equatable {
  /// The style of keys that have none of their own.
  package var standard = ListStyle.repeat
  package var ofKeys: [String: ListStyle] = [:]

  package init() {}

  package subscript(key: String) -> ListStyle { ofKeys[key] ?? standard }

  /// What of the styles belongs to a configuration's identity: nothing where every list repeats its
  /// option.
  var identity: [String] {
    let own = ofKeys.filter { $0.value != standard }
    guard standard != .repeat || !own.isEmpty else { return [] }
    let keys = own.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.rawValue)" }
    return [(["lists=\(standard.rawValue)"] + keys).joined(separator: ",")]
  }
}
