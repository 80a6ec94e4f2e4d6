public import BllarseNumerics
import Glibc

/// Predictions with the scores of their uncertainty, one number a row each.
///
/// Total uncertainty is the entropy of the predictive distribution. For a head with a posterior over its
/// weights it is split, where that is asked for, by draws of the logits:
///
///     entropy = mutual information + aleatoric
///
/// The mutual information is between the label and the weights (epistemic: what more training rows would
/// tell), the rest is the expected entropy given the weights (what they would not). They add up to the
/// entropy of the very distribution that is predicted, through whatever calibration: see
/// ``DrawProjection``.
///
/// - Note: Source: Depeweg et al., "Decomposition of uncertainty in Bayesian deep learning for efficient
///   and risk-sensitive learning", ICML 2018.
public struct Uncertainty: Sendable {
  /// The logarithms of the class probabilities, which serve as logits, too, n x K.
  public let logProbabilities: Matrix<Float>
  /// The entropy of the predictive distribution, in nats.
  public let entropy: [Double]
  /// The highest probability.
  public let confidence: [Double]
  /// The mutual information between the label and the weights, in nats; heads with a posterior only.
  public let mutualInformation: [Double]?
  /// The expected entropy given the weights, in nats; heads with a posterior only.
  public let aleatoric: [Double]?
  /// `-log Σ_k exp(f_k)` of the mean logits at the calibrated temperature; heads with logits only.
  public let energy: [Double]?
  /// `xᵀΣx`, the variance of the logits, averaged over classes and members; heads with a posterior only.
  public let leverage: [Double]?

  /// Whether the predictions of a head can be split into mutual information and the rest.
  public static func canSplit(_ head: any Head) -> Bool {
    head.uncalibrated is any UncertaintySplittingHead
  }

  /// Predicts rows.
  ///
  /// - Parameters:
  ///   - head: fitted.
  ///   - features: n x D, finite.
  ///   - splitsEntropy: whether to split the entropy, where the head can; it takes up to ten times as
  ///     long as everything else.
  ///   - execution: the threads to work with.
  /// - Throws: as the head's `logProbabilities`.
  public init(
    _ head: any ClassificationHead, _ features: FeatureMatrix, splitsEntropy: Bool = true,
    execution: Execution = .available
  ) throws(NumericsError) {
    var parts: UncertaintyParts?
    if let splitting = head.uncalibrated as? any UncertaintySplittingHead {
      let map = (head as? CalibratedHead)?.calibration ?? .none
      let predicted = try splitting.uncertaintyParts(
        features, map: map, splitsEntropy: splitsEntropy, execution: execution)
      logProbabilities = predicted.logProbabilities
      parts = predicted
    } else {
      logProbabilities = try head.logProbabilities(features, execution: execution)
    }
    let logs = logProbabilities
    let entropy = (0..<logs.rowCount).map { row in
      logs.withRow(row) { values in
        var sum = 0.0
        for k in values.indices where values[k] > -.infinity {
          sum -= exp(Double(values[k])) * Double(values[k])
        }
        return max(0, sum)
      }
    }
    self.entropy = entropy
    confidence = (0..<logs.rowCount).map { row in
      logs.withRow(row) { values in
        var best = values[0]
        for k in values.indices { best = max(best, values[k]) }
        return exp(Double(best))
      }
    }
    energy = parts?.energy
    leverage = parts?.leverage
    guard let information = parts?.mutualInformation else {
      (mutualInformation, aleatoric) = (nil, nil)
      return
    }
    // The entropy is the one that is reported, of probabilities rounded to single precision.
    let bounded = zip(information, entropy).map { min($0, $1) }
    mutualInformation = bounded
    aleatoric = zip(entropy, bounded).map { $0 - $1 }
  }

  /// The scores by name; in each, higher means less certain.
  public var scores: [String: [Double]] {
    var result = ["entropy": entropy, "max_probability": confidence.map { 1 - $0 }]
    if let mutualInformation { result["mutual_information"] = mutualInformation }
    if let aleatoric { result["aleatoric"] = aleatoric }
    if let energy { result["energy"] = energy }
    if let leverage { result["leverage"] = leverage }
    return result
  }
}
