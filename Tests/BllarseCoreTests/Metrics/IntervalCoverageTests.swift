import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// How often an interval holds the value of the population that test rows come from.
///
/// `BLLARSE_COVERAGE_SETS=300` makes as many test sets of every kind, and prints the table of docs/heads.md.
@Suite("Coverage of the intervals of scores")
struct IntervalCoverageTests {
  /// Rows of two classes: how confident predictions are, and how often they are right.
  enum Population: String, CaseIterable {
    /// Right as often as they say.
    case calibrated
    /// Three points too confident everywhere.
    case slightly
    /// Ten points too confident everywhere.
    case overconfident
    /// Confidences near 1, right as often as they say: most small sets hold no error.
    case sure
    /// Right at most confidences, wrong at some.
    case wavy

    func confidence(_ uniform: Double) -> Double {
      // Most of the mass near 1, as classifiers have it.
      self == .sure ? 1 - 0.3 * pow(uniform, 12) - 1e-4 : 1 - 0.45 * pow(uniform, 2) - 1e-4
    }

    func accuracy(_ confidence: Double) -> Double {
      let gap: Double =
        switch self {
        case .calibrated, .sure: 0
        case .slightly: -0.03
        case .overconfident: -0.1
        case .wavy: 0.05 * sin(20 * confidence)
        }
      return min(max(confidence + gap, 0), 1)
    }

    /// Accuracy, likelihood, Brier score and calibration error over 20 bins, by quadrature.
    var scores: [Double] {
      let count = 200_000
      var (accuracy, nll, brier) = (0.0, 0.0, 0.0)
      var gaps = [Double](repeating: 0, count: 20)
      for i in 0..<count {
        let c = confidence((Double(i) + 0.5) / Double(count))
        let a = self.accuracy(c)
        accuracy += a
        nll -= a * log(c) + (1 - a) * log(1 - c)
        brier += 2 * (a * (1 - c) * (1 - c) + (1 - a) * c * c)
        gaps[BinSums.index(c, 20)] += a - c
      }
      return [accuracy, nll, brier, gaps.reduce(0) { $0 + $1.magnitude }].map {
        $0 / Double(count)
      }
    }

    func sample(_ count: Int, seed: Int) throws -> Predictions {
      var generator = SplitMix64(seed: seed)
      var (elements, labels): ([Double], [Int32]) = ([], [])
      for _ in 0..<count {
        let c = Double(Float(confidence(Double.random(in: 0..<1, using: &generator))))
        elements += [log(c), log(1 - c)]
        labels.append(Double.random(in: 0..<1, using: &generator) < accuracy(c) ? 0 : 1)
      }
      return try Predictions(
        logProbabilities: Matrix<Double>(rows: count, columns: 2, elements: elements),
        labels: labels)
    }
  }

  static let setCount = ProcessInfo.processInfo.environment["BLLARSE_COVERAGE_SETS"].flatMap(
    Int.init)

  @Test(
    "95 % intervals hold the population's scores about that often, and always their own value",
    arguments: setCount == nil ? [.calibrated, .overconfident, .sure] : Population.allCases,
    setCount == nil ? [100] : [100, 400])
  func coverage(population: Population, rows: Int) throws {
    let sets = Self.setCount ?? 40
    let truth = population.scores
    var covered = [0, 0, 0, 0]
    var (widths, values) = ([0.0, 0, 0, 0], [0.0, 0, 0, 0])
    for set in 0..<sets {
      let intervals = Metrics.bootstrapIntervals(
        try population.sample(rows, seed: 1000 * rows + set), replicateCount: 200, seed: UInt64(set)
      )
      let all = try ["acc", "nll", "brier", "ece"].map { try #require(intervals[$0]) }
      for (index, interval) in all.enumerated() {
        #expect(interval.lower <= interval.value && interval.value <= interval.upper)
        if interval.lower <= truth[index] + 1e-12, truth[index] <= interval.upper {
          covered[index] += 1
        }
        widths[index] += (interval.upper - interval.lower) / Double(sets)
        values[index] += interval.value / Double(sets)
      }
    }
    if Self.setCount != nil {
      let cells = covered.indices.map { index in
        String(
          format: "%.3f (%.4f, %.4f ± %.4f)", Double(covered[index]) / Double(sets), truth[index],
          values[index], widths[index] / 2)
      }
      print("coverage | \(population.rawValue) | \(rows) | " + cells.joined(separator: " | "))
    }
    // Of a true coverage of 0.88, fewer than 30 of 40 come once in a hundred times; the percentiles
    // before were at 0 of 40 for the calibration error of calibrated rows, and at 18 for sure ones.
    for (index, name) in ["acc", "nll", "brier", "ece"].enumerated() {
      #expect(covered[index] >= sets * 30 / 40, "\(name): \(covered[index]) of \(sets)")
    }
  }

  @Test("binomial quantiles invert the cumulated probabilities", arguments: [0.0, 0.003, 0.4, 1])
  func quantiles(probability: Double) {
    // By the definition, with factorials in logarithms.
    let count = 30
    let quantiles = BinomialQuantiles(count: count, probability: probability)
    var sum = 0.0
    for k in 0...count {
      let logMass =
        lgamma(Double(count + 1)) - lgamma(Double(k + 1)) - lgamma(Double(count - k + 1))
        + (k == 0 ? 0 : Double(k) * log(probability))
        + (k == count ? 0 : Double(count - k) * log(1 - probability))
      let mass = exp(logMass)
      if mass > 1e-9 { #expect(quantiles(sum + 0.5 * mass) == Double(k)) }
      sum += mass
    }
  }
}
