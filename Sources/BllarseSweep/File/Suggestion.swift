/// The candidate nearest to a misspelt word, when it is near enough to be what was meant.
package func suggestion(for word: String, among candidates: some Sequence<String>) -> String? {
  let limit = max(1, min(3, word.count / 3))
  var best: (word: String, distance: Int)?
  for candidate in candidates.sorted() {
    let distance = editDistance(word.lowercased(), candidate.lowercased())
    if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
  }
  return best?.word
}

/// `; did you mean 'x'?`, or the empty string.
package func hint(for word: String, among candidates: some Sequence<String>) -> String {
  suggestion(for: word, among: candidates).map { "; did you mean '\($0)'?" } ?? ""
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (Damerau's
/// distance, optimal string alignment).
package func editDistance(_ a: String, _ b: String) -> Int {
  let (a, b) = (Array(a), Array(b))
  var beforeLast = [Int](repeating: 0, count: b.count + 1)
  var last = Array(0...b.count)
  for i in 0..<a.count {
    var row = [i + 1]
    for j in 0..<b.count {
      var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
        cost = min(cost, beforeLast[j - 1] + 1)
      }
      row.append(cost)
    }
    (beforeLast, last) = (last, row)
  }
  return last[b.count]
}
