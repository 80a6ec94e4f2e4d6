extension [ManifestEntry] {
  /// The keys whose values differ between configurations, in order of appearance; not those that only
  /// say where results go and how they are tracked.
  package var varyingKeys: [String] {
    var order: [String] = []
    var first: [String: JSON?] = [:]
    var varying: Set<String> = []
    for (position, entry) in enumerated() {
      for member in entry.parameters where !Configuration.bookkeepingKeys.contains(member.key) {
        if let known = first[member.key] {
          if known != member.value { varying.insert(member.key) }
        } else {
          order.append(member.key)
          first[member.key] = position == 0 ? member.value : .some(nil)
          if position > 0 { varying.insert(member.key) }
        }
      }
    }
    for entry in dropFirst() {
      for key in order where !varying.contains(key) && entry[key] == nil { varying.insert(key) }
    }
    return order.filter(varying.contains)
  }
}
