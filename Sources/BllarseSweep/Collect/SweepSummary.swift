/// What a parent run is told of its children: how many have ended how, and of the scores that a person
/// compares the best value and the mean.
package struct SweepSummary: Sendable, Equatable {
  /// Of so many scores the best value and the mean are told, so that all is a dozen metrics; a program
  /// whose results hold no score is told of by so many numbers from their top level.
  static let scoreLimit = 4

  /// `sweep/total`, `sweep/done`, `sweep/failed`; `best/NAME` and `mean/NAME` for each main score.
  package let metrics: [String: Double]
  /// The number of children that had ended well, under which the metrics are logged.
  package let step: Int
  /// When the last of them ended, in seconds since 1970; zero when none has.
  ///
  /// Who logs the same summary again logs the same points.
  package let time: Double

  package init(_ collector: Collector, indices: [Int], states: [RunStatus.State]) {
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
      let best = collector.isHigherBetter(path) ? values.max() : values.min()
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
}
