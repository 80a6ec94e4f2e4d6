import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Weights for averaging predictive distributions by their leave-one-out log densities: pseudo-BMA+.
///
/// With u the weights of a Bayesian bootstrap of the rows, `w_c = E_u softmax_c(N Σᵢ uᵢ lp_ic)`:
/// candidates that the rows cannot tell apart share the weight.
///
/// - Note: Source: Yao, Vehtari, Simpson and Gelman, "Using stacking to average Bayesian predictive
///   distributions", Bayesian Analysis 2018, section 3.4.
enum PredictivePool {
  static let replicateCount = 200
  /// Candidates with less than this share of the largest weight are dropped.
  static let smallestShare = 0.2

  /// The weights.
  ///
  /// - Parameters:
  ///   - logDensities: for each candidate, the log density of every row.
  ///   - logPriors: for each candidate, the logarithm of its weight beforehand; equal by default.
  ///   - seed: of the bootstrap.
  /// - Returns: one weight for each candidate; they sum to 1.
  static func weights(_ logDensities: [[Double]], logPriors: [Double]? = nil, seed: UInt64)
    -> [Double]
  {
    let count = logDensities.first?.count ?? 0
    guard logDensities.count > 1, count > 0 else {
      return logDensities.indices.map { $0 == 0 ? 1 : 0 }
    }
    var weights = [Double](repeating: 0, count: logDensities.count)
    for replicate in 0..<replicateCount {
      var generator = Philox(seed: seed, purpose: .bootstrap, index: UInt64(replicate))
      // Exponential numbers over their sum are Dirichlet(1).
      let draws = (0..<count).map { _ in -log(generator.uniform()) }
      let scale = Double(count) / draws.reduce(0, +)
      let scores = logDensities.enumerated().map { candidate, densities in
        var sum = 0.0
        for row in 0..<count { sum += draws[row] * densities[row] }
        return scale * sum + (logPriors?[candidate] ?? 0)
      }
      let logSum = SpecialFunctions.logSumExp(scores)
      for (candidate, score) in scores.enumerated() {
        weights[candidate] += exp(score - logSum) / Double(replicateCount)
      }
    }
    let threshold = smallestShare * (weights.max() ?? 0)
    let kept = weights.map { $0 < threshold ? 0 : $0 }
    let total = kept.reduce(0, +)
    return kept.map { $0 / total }
  }
}
