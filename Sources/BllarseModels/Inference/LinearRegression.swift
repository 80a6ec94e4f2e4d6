public import BllarseNumerics
import Glibc

/// How a Bayesian linear regression is fitted.
public struct LinearRegressionConfiguration: Sendable, Equatable {
  /// Where the prior precisions of the weights come from.
  public enum Prior: Sendable, Equatable {
    /// λ is given, relative to the noise's precision, which is integrated out: the conjugate normal-gamma model.
    case fixed(precision: Double)
    /// The same model with the λ of the largest evidence, a number for each target, found exactly on one
    /// eigendecomposition.
    case evidence
    /// Precisions of noise and weights are both estimated, by MacKay's fixed point (scikit-learn's BayesianRidge).
    case bayesianRidge(RegressionHyperpriors)
    /// The precision of the weights is given in absolute terms, that of the noise is estimated: what the regression
    /// layer of VBLL is trained to, for given features, in closed form.
    case variational(VariationalRegressionPrior)
    /// The same as the ridge with a precision for each weight (scikit-learn's ARDRegression without a threshold).
    case relevance(RegressionHyperpriors, RelevanceIteration)
  }

  /// How relevance determination comes to its fixed point.
  public enum RelevanceIteration: String, Sendable, Equatable, CaseIterable {
    /// With extrapolated steps and Newton's; the evidence falls by no more than rounding.
    case accelerated
    /// Step by step, as scikit-learn does.
    case fixedPoint
  }

  /// Where prior precisions come from.
  public var prior = Prior.evidence
  /// The prior of the noise's precision where it is integrated out, in the model's units.
  ///
  /// By default it is worth one row whose noise has a thousandth of the targets' variance: enough for a
  /// distribution where there is one row only, or no noise, and of no weight against a few rows.
  public var noisePrior = GammaParameters(shape: 0.5, rate: 0.0005)
  /// How features are scaled; `nil` to centre them only.
  public var scaling: FeatureScaling? = .standard
  /// Whether targets are divided by their standard deviations: units of hyperpriors and the noise's prior.
  public var standardizesTargets = true
  /// What the prior precision of each input is multiplied by, D positive numbers; `nil` for ones.
  ///
  /// Not with relevance determination, which finds them.
  public var featurePrecisions: [Double]?
  /// The largest number of iterations for a target.
  public var iterationLimit = 10_000

  /// Takes what is default.
  public init() {}

  /// Takes a prior, and what is default.
  public init(prior: Prior) { self.prior = prior }

  func check(featureCount: Int) throws(NumericsError) {
    switch prior {
    case .fixed(let precision):
      try NumericsError.require(
        precision > 0 && precision.isFinite, "the prior precision", precision, "a positive number")
    case .evidence: break
    case .bayesianRidge(let hyperpriors), .relevance(let hyperpriors, _): try hyperpriors.check()
    case .variational(let prior): try prior.check()
    }
    try noisePrior.check("the noise's prior")
    try NumericsError.require(
      iterationLimit >= 1, "the limit of iterations", Double(iterationLimit), "1 or more")
    guard let featurePrecisions else { return }
    guard featurePrecisions.count == featureCount else {
      throw .sizeMismatch(
        of: "precisions of features", found: featurePrecisions.count, expected: featureCount,
        reason: "one for each feature")
    }
    for value in featurePrecisions {
      try NumericsError.require(
        value > 0 && value.isFinite, "the precision of a feature", value, "a positive number")
    }
    if case .relevance = prior {
      throw .invalidParameter(
        "the number of given precisions of features", value: Double(featurePrecisions.count),
        expected: "none with relevance determination, which finds them")
    }
  }
}

/// The priors of a variational Bayesian last layer for regression.
///
/// - Note: Source: Harrison, Willes and Snoek, "Variational Bayesian last layers", ICLR 2024, section 3.1.
public struct VariationalRegressionPrior: Sendable, Equatable {
  /// s, the prior variance of every weight, in the model's units.
  public let weightVariance: Double
  /// ν and ω: the noise's precision has the log density `ν log τ - ½ωτ`, up to a constant.
  public let wishartExponent, wishartScale: Double

  /// Takes the numbers as they are.
  public init(weightVariance: Double, wishartExponent: Double, wishartScale: Double) {
    self.weightVariance = weightVariance
    (self.wishartExponent, self.wishartScale) = (wishartExponent, wishartScale)
  }

  /// The constants of `vbll.Regression` 0.4.9: the prior scale over D, ν = (dof + T + 1)/2, and ω.
  public init(
    featureCount: Int, targetCount: Int, priorScale: Double = 1, wishartScale: Double = 0.01,
    degreesOfFreedom: Double = 1
  ) {
    self.init(
      weightVariance: priorScale / Double(max(featureCount, 1)),
      wishartExponent: 0.5 * (degreesOfFreedom + Double(targetCount) + 1),
      wishartScale: wishartScale)
  }

  func check() throws(NumericsError) {
    for (name, value) in [
      ("the prior variance of the weights", weightVariance), ("the Wishart scale", wishartScale),
    ] {
      try NumericsError.require(value > 0 && value.isFinite, name, value, "a positive number")
    }
    try NumericsError.require(
      wishartExponent >= 0 && wishartExponent.isFinite, "the Wishart exponent", wishartExponent,
      "a finite number that is not negative")
  }
}

extension LinearRegressionPosterior {
  /// Fits a model to rows.
  ///
  /// - Parameters:
  ///   - features: N x D, finite.
  ///   - targets: N x T, finite.
  ///   - weights: how much each row counts, N numbers that are not negative, not all 0: a row of weight 2 counts as
  ///     two rows; `nil` for 1 each.
  ///   - configuration: how.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` with the first row at fault, for options that cannot be, and where the noise of a
  ///   target cannot be told (see the messages).
  /// - Complexity: O(N·D² + D³), or O(N²·D + N³) for more features than rows; relevance determination repeats
  ///   O(D·R²) for R = min(N, D).
  public init(
    fitting features: FeatureMatrix, targets: Matrix<Double>, weights: [Double]? = nil,
    _ configuration: LinearRegressionConfiguration = .init(), execution: Execution = .available
  ) throws(NumericsError) {
    try RegressionRows.check(features, targets: targets, weights: weights, execution: execution)
    try configuration.check(featureCount: features.columnCount)
    let transform = Self.transform(features, weights, configuration.scaling, execution)
    let source = RegressionSource(
      RegressionRows(
        features, transform: transform, targets: targets, weights: weights, execution: execution),
      weights: weights, execution: execution)
    try self.init(source, transform, configuration, execution)
  }

  /// Fits a model to the statistics of rows: to what is left of several batches, or without a fold.
  ///
  /// - Parameters:
  ///   - statistics: of inputs and targets in their own units.
  ///   - transform: what has made inputs of features.
  ///   - configuration: how; its scaling is not looked at, as the transform is given.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError`, as a fit to rows.
  /// - Complexity: O(D³).
  public init(
    fitting statistics: RegressionStatistics, transform: FeatureTransform,
    _ configuration: LinearRegressionConfiguration = .init(), execution: Execution = .available
  ) throws(NumericsError) {
    try configuration.check(featureCount: statistics.inputCount)
    try self.init(RegressionSource(statistics), transform, configuration, execution)
  }

  private static func transform(
    _ features: FeatureMatrix, _ weights: [Double]?, _ scaling: FeatureScaling?,
    _ execution: Execution
  ) -> FeatureTransform {
    if let scaling {
      return scaling.transform(of: features, weights: weights, execution: execution)
    }
    let statistics = ColumnStatistics(features, weights: weights, execution: execution)
    let scale = statistics.variation.map { $0 ? 1.0 : 0 }
    return .columns(scale: scale, shift: zip(scale, statistics.means).map { -$0 * $1 })
  }

  private init(
    _ source: RegressionSource, _ transform: FeatureTransform,
    _ configuration: LinearRegressionConfiguration, _ execution: Execution
  ) throws(NumericsError) {
    var source = source
    let targetScales = source.standardizeTargets(configuration.standardizesTargets)
    let count = targetScales.count
    var scales =
      configuration.featurePrecisions.map { $0.map { 1 / $0.squareRoot() } }
      ?? [Double](repeating: 1, count: source.inputMeans.count)
    // What the transform multiplies by 0 gets no weight, not even by rounding.
    var isUsed = [Bool](repeating: true, count: scales.count)
    if case .columns(let factors, _) = transform, factors.count == scales.count {
      isUsed = factors.map { $0 != 0 }
    }
    for j in scales.indices where !isUsed[j] { scales[j] = 0 }
    var bases = [try source.basis(scales: scales, execution: execution)]
    let spectrum = source.spectrum(bases[0], execution: execution)
    var (precisions, evidence): ([Double], [Double]) = ([], [])
    var report = LinearRegressionReport()
    let noise: RegressionNoise
    var (noises, logs): ([Double], [Double]) = ([], [])
    /// Keeps a target's estimated noise, and how it was found.
    func keep(
      noise: Double, _ logHyperpriors: Double, _ logEvidence: Double, effectiveCount: Double,
      _ iterationCount: Int, _ hasConverged: Bool
    ) {
      noises.append(noise)
      logs.append(logHyperpriors)
      evidence.append(logEvidence - source.weight * log(targetScales[noises.count - 1]))
      report.isAtBound.append(false)
      report.hasConverged.append(hasConverged)
      report.iterationCounts.append(iterationCount)
      report.effectiveCounts.append(effectiveCount)
    }
    switch configuration.prior {
    case .fixed, .evidence:
      let prior = configuration.noisePrior
      for t in 0..<count {
        var best = (precision: 1.0, isAtBound: false)
        if case .fixed(let precision) = configuration.prior {
          best.precision = precision
        } else {
          best = spectrum.bestPrecision(t, prior: prior)
        }
        precisions.append(best.precision)
        evidence.append(
          spectrum.logEvidence(t, best.precision, prior: prior)
            - (source.weight - 1) * log(targetScales[t]))
        report.isAtBound.append(best.isAtBound)
        report.hasConverged.append(true)
        report.iterationCounts.append(0)
        report.effectiveCounts.append(spectrum.sums(t, best.precision).effectiveCount)
      }
      let all = (0..<count).map { spectrum.noise($0, precisions[$0], prior: prior) }
      noise = .integrated(prior: prior, shape: all[0].shape, rates: all.map(\.rate))
    case .bayesianRidge, .variational:
      for t in 0..<count {
        let limit = configuration.iterationLimit
        let result: EstimatedPrecisions
        switch configuration.prior {
        case .variational(let prior):
          let (found, trace) = spectrum.variational(t, prior, iterationLimit: limit)
          report.evidenceTraces.append(trace)
          result = found
        case .bayesianRidge(let hyperpriors):
          result = try spectrum.estimate(t, hyperpriors, iterationLimit: limit)
        default: continue
        }
        precisions.append(result.weights / result.noise)
        keep(
          noise: result.noise, result.logHyperpriors, result.logEvidence,
          effectiveCount: spectrum.sums(t, precisions[t]).effectiveCount, result.iterationCount,
          result.hasConverged)
      }
      noise = .estimated(precisions: noises, logHyperpriors: logs)
    case .relevance(let hyperpriors, let iteration):
      bases = []
      for t in 0..<count {
        let problem = RelevanceDetermination(
          spectrum, target: t, hyperpriors, execution: execution)
        let limit = configuration.iterationLimit
        let result =
          iteration == .accelerated
          ? try problem.accelerated(iterationLimit: limit)
          : try problem.fixedPoint(iterationLimit: limit)
        bases.append(
          try source.basis(
            scales: result.precisions.indices.map {
              isUsed[$0] ? (result.noise / result.precisions[$0]).squareRoot() : 0
            },
            execution: execution))
        precisions.append(1)
        keep(
          noise: result.noise, result.logHyperpriors, result.logEvidence,
          effectiveCount: result.effectiveCount, result.iterationCount, result.hasConverged)
        report.evidenceTraces.append(result.trace)
      }
      noise = .estimated(precisions: noises, logHyperpriors: logs)
    }
    try self.init(
      transform: transform, targetScales: targetScales, rowCount: source.rowCount,
      weight: source.weight, inputMeans: source.inputMeans,
      targetMeans: source.targetMeans, crossScatter: source.cross,
      targetScatter: source.targetScatter, bases: bases, precisions: precisions, noise: noise,
      logEvidence: evidence)
    self.report = report
  }
}

/// The statistics of rows in the model's units, where rows are at least as many as inputs; else the rows.
private struct RegressionSource {
  let rowCount: Int
  let weight: Double
  let inputMeans: [Double]
  var targetMeans: [Double]
  var cross: Matrix<Double>
  var targetScatter: [Double]
  private let inputs: Inputs

  private enum Inputs {
    /// `S_xx`.
    case scatter(Matrix<Double>)
    /// Centred, times the roots of their weights.
    case rows(Matrix<Double>)
  }

  init(_ rows: RegressionRows, weights: [Double]?, execution: Execution) {
    (rowCount, weight) = (rows.rowCount, rows.weight)
    (inputMeans, targetMeans) = (rows.inputMeans, rows.targetMeans)
    (cross, targetScatter) = rows.targetProducts(execution: execution)
    inputs =
      rows.design.columnCount > rows.design.rowCount
      ? .rows(rows.weightedInputs())
      : .scatter(rows.design.gram(rowWeights: weights, execution: execution))
  }

  init(_ statistics: RegressionStatistics) {
    (rowCount, weight) = (statistics.rowCount, statistics.weight)
    (inputMeans, targetMeans) = (statistics.inputMeans, statistics.targetMeans)
    (cross, targetScatter) = (statistics.crossScatter, statistics.targetScatter)
    inputs = .scatter(statistics.inputScatter)
  }

  /// The standard deviations of targets, 1 for those that do not vary.
  private var targetDeviations: [Double] {
    zip(targetScatter, targetMeans).map { scatter, mean in
      let deviation = (scatter / weight).squareRoot()
      return deviation > 1e-14 * mean.magnitude && deviation > 1e-140 ? deviation : 1
    }
  }

  /// Divides the targets by their deviations, if that is wanted, and returns what they were divided by.
  mutating func standardizeTargets(_ isWanted: Bool) -> [Double] {
    guard isWanted else { return [Double](repeating: 1, count: targetMeans.count) }
    let scales = targetDeviations
    targetMeans = zip(targetMeans, scales).map { $0 / $1 }
    cross = cross.scalingColumns(by: scales.map { 1 / $0 })
    targetScatter = zip(targetScatter, scales).map { $0 / $1 / $1 }
    return scales
  }

  func basis(scales: [Double], execution: Execution) throws(NumericsError) -> RegressionBasis {
    switch inputs {
    case .rows(let rows):
      return try RegressionBasis(
        rowsOf: rows.scalingColumns(by: scales), scales: scales, execution: execution)
    case .scatter(let scatter):
      var scaled = scatter.scalingColumns(by: scales)
      scaled.scaleRows(by: scales)
      return try RegressionBasis(scatter: scaled, scales: scales, execution: execution)
    }
  }

  func spectrum(_ basis: RegressionBasis, execution: Execution) -> RegressionSpectrum {
    RegressionSpectrum(
      basis, cross: cross, targetScatter: targetScatter, weight: weight, execution: execution)
  }
}
