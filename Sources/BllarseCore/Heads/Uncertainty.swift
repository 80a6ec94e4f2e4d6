public import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Predictions with the scores of their uncertainty, one number a row each.
///
/// Total uncertainty is the entropy of the predictive distribution. For a head with a posterior over its
/// weights it is split by draws of the logits, `f ~ N(m, v)`, with `p(f)` the calibrated distribution
/// given the logits:
///
///     mutual information = H(E[p(f)]) - E[H(p(f))]      epistemic: what more training rows would tell
///     aleatoric          = E[H(p(f))]                   what they would not
///
/// - Note: Source: Depeweg et al., "Decomposition of uncertainty in Bayesian deep learning for efficient
///   and risk-sensitive learning", ICML 2018.
public struct Uncertainty: Sendable {
  /// The logarithms of the class probabilities, which serve as logits, too, n x K.
  public let logProbabilities: Matrix<Float>
  /// The entropy of the predictive distribution, in nats.
  public let entropy: [Double]
  /// One less the highest probability.
  public let doubt: [Double]
  /// The mutual information between the label and the weights, in nats; heads with a posterior only.
  public let mutualInformation: [Double]?
  /// The expected entropy given the weights, in nats; heads with a posterior only.
  public let aleatoric: [Double]?
  /// `-log Σ_k exp(f_k)` of the mean logits at the calibrated temperature; heads with logits only.
  public let energy: [Double]?
  /// `xᵀΣx`, the variance of the logits, averaged over classes and members; heads with a posterior only.
  public let leverage: [Double]?

  /// Predicts rows.
  ///
  /// - Parameters:
  ///   - head: fitted.
  ///   - features: n x D, finite.
  /// - Throws: as the head's `logProbabilities`.
  public init(_ head: any Head, _ features: FeatureMatrix) throws(NumericsError) {
    logProbabilities = try head.logProbabilities(features)
    let logs = logProbabilities
    entropy = (0..<logs.rowCount).map { row in
      logs.withRow(row) { values in
        var sum = 0.0
        for k in values.indices where values[k] > -.infinity {
          sum -= exp(Double(values[k])) * Double(values[k])
        }
        return max(0, sum)
      }
    }
    doubt = (0..<logs.rowCount).map { row in
      logs.withRow(row) { values in
        var best = values[0]
        for k in values.indices { best = max(best, values[k]) }
        return 1 - exp(Double(best))
      }
    }
    guard let evidence = head.uncalibrated as? EvidenceHead else {
      (mutualInformation, aleatoric, energy, leverage) = (nil, nil, nil, nil)
      return
    }
    let parts = evidence.uncertaintyParts(features)
    mutualInformation = parts.map(\.mutualInformation)
    aleatoric = parts.map(\.aleatoric)
    energy = parts.map(\.energy)
    leverage = parts.map(\.leverage)
  }

  /// The scores by name; in each, higher means less certain.
  public var scores: [String: [Double]] {
    var result = ["entropy": entropy, "max_probability": doubt]
    if let mutualInformation { result["mutual_information"] = mutualInformation }
    if let aleatoric { result["aleatoric"] = aleatoric }
    if let energy { result["energy"] = energy }
    if let leverage { result["leverage"] = leverage }
    return result
  }
}

extension EvidenceHead {
  /// What the posterior says about one row.
  struct UncertaintyParts: Sendable {
    var mutualInformation = 0.0
    var aleatoric = 0.0
    var energy = 0.0
    var leverage = 0.0
  }

  /// Draws of the logits for the softmax.
  private static var drawCount: Int { 64 }

  /// The parts for every row.
  func uncertaintyParts(_ features: FeatureMatrix) -> [UncertaintyParts] {
    // Two classes are integrated on a grid: the trapezoidal rule is exact to rounding for a Gaussian.
    let draws: [(weight: Double, deviations: [Double])]
    if classCount == 2 {
      let grid = stride(from: -6.0, through: 6.0, by: 0.5).map { z in
        (weight: exp(-0.5 * z * z), deviations: [z])
      }
      let total = grid.reduce(0) { $0 + $1.weight }
      draws = grid.map { ($0.weight / total, $0.deviations) }
    } else {
      // The same draws for all rows, so that rows differ by their moments only.
      var generator = Philox(seed: 0, purpose: .sampling, index: 1)
      draws = (0..<Self.drawCount).map { _ in
        (1 / Double(Self.drawCount), generator.normals(count: classCount))
      }
    }
    let parts = PartSlots(count: features.rowCount)
    forEachBlock(features) { range, moments in
      let block = self.parts(moments, draws, rowCount: range.count)
      for (offset, part) in block.enumerated() { parts.set(range.lowerBound + offset, part) }
    }
    return parts.values
  }

  private func parts(
    _ moments: [LogitMoments], _ draws: [(weight: Double, deviations: [Double])], rowCount: Int
  ) -> [UncertaintyParts] {
    var mean = Matrix<Double>.zeros(rowCount, classCount)
    var result = [UncertaintyParts](repeating: UncertaintyParts(), count: rowCount)
    for candidate in candidates {
      let member = moments[candidate.member]
      let likelihood = members[candidate.member].likelihood
      let columns = member.means.columnCount
      let deviations = member.variances.map { max($0, 0).squareRoot() }
      let plugIn: PredictiveKind = likelihood == .probit && columns > 1 ? candidate.kind : .plugIn
      for draw in draws {
        // Two logits are w and -w, and their difference has twice the variance.
        let opposite = classCount == 2 && columns == 2
        let half = 0.5.squareRoot() * draw.deviations[0]
        let shifts = opposite ? [-half, half] : draw.deviations
        var logits = member.means
        for row in 0..<rowCount {
          deviations.withRow(row) { scale in
            logits.withMutableRow(row) { values in
              for k in values.indices { values[k] += scale[k] * shifts[k] }
            }
          }
        }
        let logs = candidate.calibration.apply(
          to: plugIn.logProbabilities(
            likelihood, means: logits, variances: .zeros(rowCount, columns)),
          frequencies: classFrequencies, lapseFactor: Self.lapseFactor)
        let probabilities = logs.exponentials()
        let weight = candidate.weight * draw.weight
        mean.add(probabilities, times: weight)
        for row in 0..<rowCount {
          result[row].aleatoric += weight * Self.entropy(probabilities, logs, row)
        }
      }
      for row in 0..<rowCount {
        let beta = candidate.calibration.inverseTemperature
        var values = member.means.row(row)
        // A probit column as two logits: the logistic function of 1.702·f is close to Φ(f).
        if columns == 1 { values = [-0.851 * values[0], 0.851 * values[0]] }
        result[row].energy -=
          candidate.weight * SpecialFunctions.logSumExp(values.map { beta * $0 })
        result[row].leverage +=
          candidate.weight * member.variances.row(row).reduce(0, +) / Double(columns)
      }
    }
    let logs = mean.map { log(max($0, .leastNonzeroMagnitude)) }
    for row in 0..<rowCount {
      result[row].mutualInformation = max(
        0, Self.entropy(mean, logs, row) - result[row].aleatoric)
    }
    return result
  }

  private static func entropy(
    _ probabilities: Matrix<Double>, _ logs: Matrix<Double>, _ row: Int
  ) -> Double {
    probabilities.withRow(row) { p in
      logs.withRow(row) { l in
        var sum = 0.0
        for k in p.indices where p[k] > 0 { sum -= p[k] * l[k] }
        return sum
      }
    }
  }
}

/// One place for each row, each written by one thread, which is why sharing it is safe.
private final class PartSlots: @unchecked Sendable {
  private let places: UnsafeMutableBufferPointer<EvidenceHead.UncertaintyParts>

  init(count: Int) {
    places = .allocate(capacity: count)
    places.initialize(repeating: EvidenceHead.UncertaintyParts())
  }

  deinit { places.deallocate() }

  func set(_ index: Int, _ part: EvidenceHead.UncertaintyParts) { places[index] = part }
  var values: [EvidenceHead.UncertaintyParts] { Array(places) }
}
