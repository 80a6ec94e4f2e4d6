/// The few numbers of results that a person compares.
enum MainScores {
  static let count = 5
  /// The scores that are known by name, in order, and whether large values are the better ones.
  private static let known: KeyValuePairs = [
    "acc": true, "accuracy": true, "f1": true, "nll": false, "loss": false, "ece": false,
    "brier": false, "auroc": true, "auprc": true, "elbo": true, "log_evidence": true,
  ]

  /// The place among the known of the score that a name is, or ends in: `top_2_acc`.
  private static func place(_ name: some StringProtocol) -> Int? {
    known.firstIndex { name == $0.key || name.hasSuffix("_\($0.key)") }
  }

  /// Whether large values of a metric are better, by its name alone.
  static func isHigherBetter(_ metric: String) -> Bool {
    var parts = metric.split(separator: ".")
    // An interval's ends are as good as its value.
    if parts.count > 1, ["lower", "upper", "value"].contains(parts.last) { parts.removeLast() }
    let name = parts.last?.split(separator: "/").last
    return name.flatMap(place).map { known[$0].value } ?? false
  }

  /// The main scores among the numbers of results: those of the test split first, then those of the
  /// whole, of other splits and of the training rows; of a program that has fewer, the first numbers.
  static func among(_ names: [String], count: Int = count) -> [String] {
    var chosen = Array(scores(among: names).map(\.path).prefix(count))
    // Beside scores, numbers of a part are details; where there is no score, they may be all there is.
    let nested = chosen.isEmpty ? names.filter { $0.contains(".") } : []
    chosen += (names.filter { !$0.contains(".") } + nested).filter { !chosen.contains($0) }
    return Array(chosen.prefix(count))
  }

  /// Where each score is found and its short name, the most telling first.
  static func scores(among names: [String]) -> [(path: String, name: String)] {
    scoresInOrder(among: names).enumerated().map { (score: $1, rank: rank($1.name), place: $0) }
      .sorted { ($0.rank, $0.place) < ($1.rank, $1.place) }.map(\.score)
  }

  /// The scores among the numbers of results: where each is found, and its name.
  ///
  /// A score stands at the top level (`elbo`, `val_acc`), or for a split (`test.nll`, also
  /// `splits.val_m.nll`, which is called `val_m.nll`).
  static func scoresInOrder(among names: [String]) -> [(path: String, name: String)] {
    let all = Set(names)
    return names.compactMap { path -> (path: String, name: String)? in
      let name = path.hasPrefix("splits.") ? String(path.dropFirst(7)) : path
      let parts = name.split(separator: ".")
      guard parts.count <= 2, let last = parts.last, place(last) != nil,
        // The splits that have always been there are there twice.
        path == name || !all.contains(name),
        !["baseline", "uncalibrated", "best", "chosen"].contains(parts[0]) || parts.count == 1
      else { return nil }
      return (path, name)
    }
  }

  private static func rank(_ name: String) -> Int {
    let words = name.split(separator: ".")
    guard let last = words.last, let score = place(last) else { return .max }
    var split = words.count > 1 ? String(words[0]) : ""
    if split.isEmpty { split = String(last.dropLast(known[score].key.count + 1)) }
    let place =
      switch split {
      case "test": 0
      case "": 1
      case "train": 3
      default: 2
      }
    return place * known.count + score
  }

  /// A name in one spelling of several.
  private static func plain(_ name: String) -> String {
    let dotted = String(name.lowercased().map { "_/-".contains($0) ? "." : $0 })
    return dotted.hasSuffix("accuracy") ? dotted.dropLast(8) + "acc" : dotted
  }

  /// The name that somebody meant who wrote another: one that ends so, one that is spelt nearly so,
  /// or one whose last part is; nil where nothing is near.
  static func meant(by word: String, among names: [String]) -> String? {
    let preferred = among(names) + names.sorted { ($0.count, $0) < ($1.count, $1) }
    if let name = preferred.first(where: { $0.hasSuffix(".\(word)") || $0.hasSuffix("/\(word)") }) {
      return name
    }
    if let name = suggestion(for: word, among: names) { return name }
    let ends = Set(names.compactMap { $0.split(separator: ".").last.map(String.init) })
    if let end = suggestion(for: word, among: ends) {
      return preferred.first { $0.hasSuffix(".\(end)") || $0 == end }
    }
    // "accuracy" and "test.accuracy" for "test.acc", "val_nll" for "splits.val.nll".
    let plain = plain(word)
    return preferred.first { ".\(Self.plain($0))".hasSuffix(".\(plain)") }
  }
}

extension JSON {
  /// `test.acc 0.988`: a number of a result to four digits; nil where there is none of the name.
  package func score(_ name: String) -> String? {
    self[path: name]?.doubleValue.map {
      "\(name) \(JSON.number(ResultTable.rounded($0, digits: 4)).compact)"
    }
  }

  /// The three main scores of a result in a line; empty for a result without numbers.
  package var scoreText: String {
    MainScores.among(Collector.numbers(in: self), count: 3).compactMap(score)
      .joined(separator: ", ")
  }
}
