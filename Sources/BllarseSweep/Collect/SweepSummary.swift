/// What a parent run is told of its children: how many have ended how, and of the scores that a person
/// compares the best value and the mean.
public struct SweepSummary: Sendable, Equatable {
  /// The scores: of every split, and the evidence.
  package static let scoreNames = [
    "acc", "accuracy", "nll", "ece", "brier", "elbo", "log_evidence", "loss", "auroc", "f1",
  ]
  /// Of so many scores the best value and the mean are told, so that all is a dozen metrics; a program
  /// whose results hold no score is told of by so many numbers from their top level.
  static let scoreLimit = 4

  /// `sweep/total`, `sweep/done`, `sweep/failed`; `best/NAME` and `mean/NAME` for each main score.
  public let metrics: [String: Double]
  /// The number of children that had ended well, under which the metrics are logged.
  public let step: Int
  /// When the last of them ended, in seconds since 1970; zero when none has.
  ///
  /// Who logs the same summary again logs the same points.
  public let time: Double

  /// Summarises some configurations of a sweep.
  ///
  /// - Parameters:
  ///   - collector: the results.
  ///   - indices: the configurations.
  ///   - states: what became of each configuration of the sweep.
  public init(_ collector: Collector, indices: [Int], states: [RunStatus.State]) {
    let wanted = Set(indices)
    let finished = collector.results.filter { wanted.contains($0.index) }
    var metrics = [
      "sweep/total": Double(indices.count), "sweep/done": Double(finished.count),
      "sweep/failed": Double(
        indices.count { states[$0] == .failed || states[$0] == .lost }),
    ]
    for (path, name) in Self.mainScores(among: collector.metricNames) {
      let values = finished.compactMap { $0.metrics[path: path]?.doubleValue }
        .filter(\.isFinite)
      let best = Collector.isBetterLarge(name) ? values.max() : values.min()
      guard let best else { continue }
      metrics["best/\(name)"] = best
      metrics["mean/\(name)"] = values.reduce(0, +) / Double(values.count)
    }
    self.metrics = metrics
    step = finished.count
    time = finished.map(\.finished).max() ?? 0
  }

  /// The scores that are told: where each is found, and its name.
  static func mainScores(among names: [String]) -> [(path: String, name: String)] {
    let scores = MainScores.scores(among: names).prefix(scoreLimit)
    guard scores.isEmpty else { return Array(scores) }
    return names.filter { !$0.contains(".") }.prefix(scoreLimit).map { ($0, $0) }
  }

  /// The scores among the numbers of results: where each is found, and its name.
  ///
  /// A score stands at the top level (`elbo`, `val_acc`), or for a split (`test.nll`, also
  /// `splits.val_m.nll`, which is called `val_m.nll`).
  static func splitScores(among names: [String]) -> [(path: String, name: String)] {
    let known = Set(names)
    return names.compactMap { path -> (path: String, name: String)? in
      let name = path.hasPrefix("splits.") ? String(path.dropFirst(7)) : path
      let parts = name.split(separator: ".")
      guard parts.count <= 2, let last = parts.last,
        scoreNames.contains(where: { last == $0 || last.hasSuffix("_\($0)") }),
        // The splits that have always been there are there twice.
        path == name || !known.contains(name),
        !["baseline", "uncalibrated", "best", "chosen"].contains(parts.first ?? "")
          || parts.count == 1
      else { return nil }
      return (path, name)
    }
  }
}
