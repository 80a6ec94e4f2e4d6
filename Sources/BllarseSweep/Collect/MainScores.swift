/// The few numbers of results that a person compares.
enum MainScores {
  /// How many a table shows.
  static let count = 5
  /// The order in which scores of one split are looked at.
  private static let order = [
    "acc", "accuracy", "f1", "nll", "loss", "ece", "brier", "auroc", "elbo", "log_evidence",
  ]

  /// The main scores among the numbers of results: those of the test split first, then those of the
  /// whole, of other splits and of the training rows; of a program that has fewer, the first numbers.
  ///
  /// - Parameters:
  ///   - names: dotted names, in the order of the results.
  ///   - count: how many at most.
  /// - Returns: some of the names.
  static func among(_ names: [String], count: Int = count) -> [String] {
    var chosen = Array(scores(among: names).map(\.path).prefix(count))
    // Beside scores, numbers of a part are details; where there is no score, they may be all there is.
    let nested = chosen.isEmpty ? names.filter { $0.contains(".") } : []
    for name in names.filter({ !$0.contains(".") }) + nested
    where chosen.count < count && !chosen.contains(name) {
      chosen.append(name)
    }
    return chosen
  }

  /// Where each score is found and its short name, the most telling first.
  static func scores(among names: [String]) -> [(path: String, name: String)] {
    SweepSummary.splitScores(among: names).enumerated()
      .map { (score: $1, rank: rank($1.name), place: $0) }
      .sorted { ($0.rank, $0.place) < ($1.rank, $1.place) }
      .map(\.score)
  }

  /// The split's rank before the score's.
  private static func rank(_ name: String) -> Int {
    let words = name.split(whereSeparator: { ".".contains($0) })
    let last = words.last.map(String.init) ?? ""
    let score = order.firstIndex { last == $0 || last.hasSuffix("_\($0)") } ?? order.count
    var split = words.count > 1 ? String(words[0]) : ""
    if split.isEmpty, score < order.count { split = String(last.dropLast(order[score].count + 1)) }
    let place =
      switch split {
      case "test": 0
      case "": 1
      case "train": 3
      default: 2
      }
    return place * (order.count + 1) + score
  }

  /// A name in one spelling of several.
  private static func plain(_ name: String) -> String {
    let dotted = String(name.lowercased().map { "_/-".contains($0) ? "." : $0 })
    return dotted.hasSuffix("accuracy") ? dotted.dropLast(8) + "acc" : dotted
  }

  /// The name that somebody meant who wrote another: one that ends so, one that is spelt nearly so,
  /// or one whose last part is.
  ///
  /// - Returns: nil where nothing is near.
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
