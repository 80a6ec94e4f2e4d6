/// What a parent run is told of its children: how many have ended how, and of every final metric the
/// best value and the mean.
public struct SweepSummary: Sendable, Equatable {
  /// More final metrics than this are not summarised: a program may print a number for every row.
  static let metricLimit = 400

  /// `sweep/total`, `sweep/done`, `sweep/failed`; `best/NAME` and `mean/NAME` for each final metric.
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
    for name in collector.metricNames.prefix(Self.metricLimit) {
      let values = finished.compactMap { $0.metrics[path: name]?.doubleValue }
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
}
