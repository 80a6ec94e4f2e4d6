import BllarseModels
import BllarseNumerics
import Glibc
extension TargetPredictions {
  func target(_ t: Int) -> TargetPredictions { self }
}
struct PredictionIntervals { init(_ d: TargetDistributions, level: Double) throws {} }
struct ConformalIntervals {
  enum Source: String {
    case validation, leftOut = "left-out"
    func guarantee(level: Double, rowCount: Int) -> String { "" }
  }
  init(residuals: Matrix<Double>, level: Double) throws {}
  func intervals(_ d: TargetDistributions) throws -> PredictionIntervals {
    try PredictionIntervals(d, level: 0.9)
  }
}
extension Metric {
  static func values(of i: PredictionIntervals, _ t: Matrix<Double>) -> [String: Double] {
    ["coverage": 0.9]
  }
}
extension Metrics {
  static func pitHistogram(_ p: TargetPredictions, binCount: Int) -> [Int] { [] }
  static func bootstrapIntervals(
    _ p: TargetPredictions, replicateCount: Int, seed: UInt64, execution: Execution
  ) -> BootstrapIntervals {
    BootstrapIntervals(scores: [:], level: 0.95, replicateCount: replicateCount)
  }
  static func mean(_ m: Matrix<Double>) -> Double {
    m.elements.reduce(0, +) / Double(max(1, m.elements.count))
  }
  static func rmse(_ p: TargetPredictions) -> Double {
    Glibc.sqrt(mean(p.targets.combined(with: p.distributions.locations) { ($0 - $1) * ($0 - $1) }))
  }
}

extension TargetPredictions {
  var negativeLogLikelihood: Double {
    (try? -Metrics.mean(distributions.logDensities(targets))) ?? .nan
  }
  var crps: Double { (try? Metrics.mean(distributions.crps(targets))) ?? .nan }
  var rmse: Double { Metrics.rmse(self) }
}
