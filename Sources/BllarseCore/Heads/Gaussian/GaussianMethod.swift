public import BllarseNumerics

extension HeadMethod {
  /// Bayesian linear regression.
  static let gaussian: HeadMethod = {
    var method = HeadMethod("gaussian", ways: [.regression], kinds: [GaussianHead.self])
    method.variants = [
      [:], ["prior": "bayesian-ridge"], ["prior": "ard"], ["prior": "variational"],
    ]
    return method
  }()
}

extension FittingWay {
  fileprivate static let regression = FittingWay(
    "",
    [
      GaussianOptions.prior, GaussianOptions.priorScale, GaussianOptions.wishartScale,
      GaussianOptions.scaling, FitOptions.sampleWeight, FitOptions.group,
    ], .isOnePass, memory: { shape, method in shape.regression(method) },
    trainer: { plan, data, execution in
      OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
        let head = try GaussianHead(request)
        return (head, head.fitInfo)
      }
    })
}

/// The options of Gaussian regression.
enum GaussianOptions {
  /// Where prior precisions come from.
  enum Prior: Sendable, Equatable {
    case evidence, bayesianRidge, relevance, variational
    case fixed(Double)

    init?(_ text: String) {
      switch text {
      case "evidence": self = .evidence
      case "bayesian-ridge": self = .bayesianRidge
      case "ard": self = .relevance
      case "variational": self = .variational
      default:
        guard let value = Double(text), value > 0, value.isFinite else { return nil }
        self = .fixed(value)
      }
    }

    var text: String {
      switch self {
      case .evidence: "evidence"
      case .bayesianRidge: "bayesian-ridge"
      case .relevance: "ard"
      case .variational: "variational"
      case .fixed(let value): String(value)
      }
    }
  }

  /// How columns are scaled; `none` leaves features and targets in their units, but for their means.
  enum Scaling: String, Sendable, CaseIterable { case columns, global, rows, none }

  static let prior = FitOption<Prior>(
    info: OptionInfo(
      "prior", group: .recipe, FitOptions.prior.info.help,
      default: FitOptions.prior.info.defaultText),
    defaultValue: .evidence, parse: { Prior($0) }, text: { $0.text }, record: { .text($0.text) }
  ).with {
    $0.expected = "evidence, bayesian-ridge, ard, variational or a positive number"
  }

  /// The scales of VBLL's priors, which are another's.
  static let priorScale = FitOptions.priorScale.with {
    $0.neededOption = ("prior", "variational")
  }
  static let wishartScale = FitOption(
    "wishart-scale", group: .vbll, FitOptions.wishartScale.info.help, default: 0.01, .positive
  ).with { $0.neededOption = ("prior", "variational") }

  static let scaling = FitOption<Scaling?>(
    "scaling", group: .recipe, FitOptions.scaling.info.help,
    default: FitOptions.scaling.info.defaultText ?? "columns", recordedDefault: "columns")
}

extension MemoryShape {
  /// Rows in double precision, a Gram matrix and its eigendecomposition, left-out rows.
  fileprivate func regression(_ method: Method) -> Double {
    let isRelevance = method[GaussianOptions.prior] == .relevance
    let bases = isRelevance ? classes : 1
    // Three points of Newton's method, and its matrices.
    let newton = isRelevance && !isWide ? 7.0 : 0
    return 2 * design + (isWide ? 4 * 2 * design : 0) + (5 + 2 * bases + newton) * small
      + 12 * 2 * logits
      + Self.megabytes(24)
  }
}

/// A Gaussian likelihood of target values that are linear in the features, with a distribution over weights and noise:
/// ``LinearRegressionPosterior``.
public struct GaussianHead: Sendable {
  /// Features, weights and noise.
  public private(set) var posterior: LinearRegressionPosterior
  /// What fits without them predicted of the training rows, with the targets of these and how often each counts; `nil`
  /// for a head that was read, or has learnt from further rows.
  private(set) var leftOut: LeftOutRegression?
  /// Why there are no such predictions, where there might be.
  private var leftOutNote: String?

  /// A head of a posterior.
  public init(_ posterior: LinearRegressionPosterior) { self.posterior = posterior }

  /// Fits the head that a run asks for.
  fileprivate init(_ request: FitRequest) throws(NumericsError) {
    var configuration = LinearRegressionConfiguration()
    switch request.method[GaussianOptions.prior] {
    case .evidence: configuration.prior = .evidence
    case .bayesianRidge: configuration.prior = .bayesianRidge(.flat)
    case .relevance: configuration.prior = .relevance(.flat, .accelerated)
    case .variational:
      configuration.prior = .variational(
        VariationalRegressionPrior(
          featureCount: request.features.columnCount, targetCount: request.values.columnCount,
          priorScale: request.method[GaussianOptions.priorScale],
          wishartScale: request.method[GaussianOptions.wishartScale]))
    case .fixed(let precision): configuration.prior = .fixed(precision: precision)
    }
    switch request.method[GaussianOptions.scaling] ?? .columns {
    case .columns: configuration.scaling = .columns
    case .global: configuration.scaling = .global
    case .rows: configuration.scaling = .rows
    case .none: (configuration.scaling, configuration.standardizesTargets) = (nil, false)
    }
    posterior = try LinearRegressionPosterior(
      fitting: request.features, targets: request.values, weights: request.weights, configuration,
      execution: request.execution)
    // Rows that are there twice are left out together, as those of a group.
    let groups = EqualRows.merge(
      request.groups, with: Self.firstCopies(request.features, request.values))
    let sizes = Dictionary(groups.map { ($0, 1) }, uniquingKeysWith: +)
    if let largest = sizes.values.max(), largest > Self.largestGroup {
      leftOutNote =
        "\(largest) training rows are of one group or copies of one, more than the \(Self.largestGroup) that are left "
        + "out together: there are no scores to expect on new rows"
      return
    }
    do throws(NumericsError) {
      let predicted = try posterior.leavingOut(
        request.features, targets: request.values, weights: request.weights, groups: groups,
        execution: request.execution)
      leftOut = LeftOutRegression(
        predicted, request.values, weights: request.weights, groups: groups)
    } catch {
      guard error != .cancelled else { throw error }
      leftOutNote = "training rows cannot be left out to tell what to expect on new ones: \(error)"
    }
  }

  /// Rows that are left out together take matrices of their number squared: some hundred megabytes.
  private static var largestGroup: Int { 2048 }

  /// The first row that each row is a copy of, with its targets: itself for most.
  private static func firstCopies(_ features: FeatureMatrix, _ values: Matrix<Double>) -> [Int] {
    struct Key: Hashable {
      let first: Int
      let values: [Double]
    }
    var known: [Key: Int] = [:]
    return EqualRows.firsts(features).enumerated().map { row, first in
      let key = Key(first: first, values: values.row(row))
      let copy = known[key] ?? row
      known[key] = copy
      return copy
    }
  }
}

extension GaussianHead: RegressionHead {
  /// "Gaussian".
  public static var kind: String { "Gaussian" }
  /// D.
  public var featureCount: Int { posterior.featureCount }
  /// T.
  public var targetCount: Int { posterior.targetCount }

  /// Student-t distributions where the noise was integrated out, Gaussians where it was estimated.
  public func predict(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> TargetDistributions {
    try posterior.predict(features, execution: execution)
  }
}

extension GaussianHead: StreamingRegressionHead {
  /// The model is conjugate given its prior precisions.
  public static var mergesExactly: Bool { true }

  /// Learns from rows as a fit to all of them would, with the same scaling and prior precisions, and the same noise
  /// where it was estimated.
  public mutating func update(
    _ features: FeatureMatrix, values: Matrix<Double>, execution: Execution
  ) throws(NumericsError) {
    try posterior.update(features, targets: values, execution: execution)
    leftOut = nil
  }
}

// MARK: - What a run asks of it

extension GaussianHead: ColumnSelectingHead, LeftOutRegressingHead, ReportingHead {
  var leftOutColumns: [Int] { posterior.transform.leftOutColumns }

  var fitInfo: FitInfo {
    var info = FitInfo()
    info.evidence = posterior.logEvidence.reduce(0, +)
    info.iterations = posterior.report?.iterationCounts.reduce(0, +) ?? 0
    if targetCount == 1 {
      if posterior.bases.allSatisfy({ $0.scales.allSatisfy { $0 == 1 } }) {
        info.chosen["prior_precision"] = posterior.precisions[0]
      }
      info.chosen["noise_precision"] = posterior.noisePrecisions[0]
    }
    let stopped = (posterior.report?.hasConverged ?? []).indices.filter {
      posterior.report?.hasConverged[$0] == false
    }
    let bound = (posterior.report?.isAtBound ?? []).indices.filter {
      posterior.report?.isAtBound[$0] == true
    }
    var notes = [leftOutNote].compactMap { $0 }
    func name(_ targets: [Int]) -> String {
      targetCount == 1 ? "" : " of target \(targets.map(String.init).joined(separator: ", "))"
    }
    if !bound.isEmpty {
      notes.append(
        "the evidence\(name(bound)) has no maximum within the range that is searched: the features tell nothing, or "
          + "everything, of the target")
    }
    if !stopped.isEmpty {
      notes.append("the prior precisions\(name(stopped)) did not settle in the iterations allowed")
    }
    info.note = notes.isEmpty ? nil : notes.joined(separator: "; ")
    return info
  }
}

// MARK: - How it is stored

/// `feature_count`, `target_count`, what describes the scaling, `target_scales`, `input_means`, `target_means`,
/// `cross_scatter`, `target_scatter`, `precisions`, `log_evidence`, the noise, and for each basis, of all targets or of one,
/// `basisI.scales`, `basisI.eigenvalues` and `basisI.vectors`.
extension GaussianHead {
  /// Adds everything that prediction and updates need.
  public func encode(into writer: inout SafetensorsWriter) {
    let model = posterior
    model.transform.encode(into: &writer)
    writer.metadata["row_count"] = String(model.rowCount)
    writer.metadata["row_weight"] = String(model.weight)
    writer.metadata["basis_count"] = String(model.bases.count)
    for (name, values) in [
      ("target_scales", model.targetScales), ("input_means", model.inputMeans),
      ("target_means", model.targetMeans), ("target_scatter", model.targetScatter),
      ("precisions", model.precisions), ("log_evidence", model.logEvidence),
    ] { writer.add(name, values) }
    writer.add("cross_scatter", model.crossScatter)
    for (index, basis) in model.bases.enumerated() {
      writer.add("basis\(index).scales", basis.scales)
      writer.add("basis\(index).eigenvalues", basis.eigenvalues)
      writer.add("basis\(index).vectors", basis.vectors)
    }
    switch model.noise {
    case .integrated(let prior, let shape, let rates):
      writer.metadata["noise"] = "integrated"
      writer.metadata["noise_prior_shape"] = String(prior.shape)
      writer.metadata["noise_prior_rate"] = String(prior.rate)
      writer.metadata["noise_shape"] = String(shape)
      writer.add("noise_rates", rates)
    case .estimated(let precisions, let logHyperpriors):
      writer.metadata["noise"] = "estimated"
      writer.add("noise_precisions", precisions)
      writer.add("noise_log_hyperpriors", logHyperpriors)
    }
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let features = try file.integer("feature_count", atLeast: 1)
    let targets = try file.integer("target_count", atLeast: 1)
    let basisCount = try file.integer("basis_count", atLeast: 1)
    try DataError.require(
      basisCount == 1 || basisCount == targets, .wrongShape, file: file.path,
      key: "metadata basis_count", found: "\(basisCount) bases", expected: "1 or \(targets)",
      advice: "write the checkpoint again")
    let noise: RegressionNoise
    let kind = try file.metadata("noise")
    switch kind {
    case "integrated":
      noise = .integrated(
        prior: GammaParameters(
          shape: try file.number("noise_prior_shape", above: -.leastNonzeroMagnitude),
          rate: try file.number("noise_prior_rate", above: -.leastNonzeroMagnitude)),
        shape: try file.number("noise_shape", above: 0),
        rates: try file.vector("noise_rates", count: targets))
    case "estimated":
      noise = .estimated(
        precisions: try file.vector("noise_precisions", count: targets),
        logHyperpriors: try file.vector("noise_log_hyperpriors", count: targets))
    default:
      throw DataError(
        .wrongType, file: file.path, key: "metadata noise", found: "the entry is \(kind.quoted())",
        expected: "integrated or estimated", advice: "update bllarse to read it")
    }
    func vector(_ name: String, _ count: Int) throws(DataError) -> [Double] {
      try file.vector(name, count: count)
    }
    let transform = try FeatureTransform(decoding: file)
    let (rowCount, weight) = (
      try file.integer("row_count", atLeast: 1), try file.number("row_weight", above: 0)
    )
    var parts: [(scales: [Double], eigenvalues: [Double], vectors: Matrix<Double>)] = []
    for index in 0..<basisCount {
      let eigenvalues = try file.array("basis\(index).eigenvalues", as: Double.self)
      parts.append(
        (
          try vector("basis\(index).scales", features), eigenvalues,
          try file.matrix("basis\(index).vectors", rows: eigenvalues.count, columns: features)
        ))
    }
    let (scales, inputMeans) = (
      try vector("target_scales", targets), try vector("input_means", features)
    )
    let (targetMeans, targetScatter) = (
      try vector("target_means", targets), try vector("target_scatter", targets)
    )
    let (precisions, evidence) = (
      try vector("precisions", targets), try vector("log_evidence", targets)
    )
    let cross: Matrix<Double> = try file.matrix("cross_scatter", rows: features, columns: targets)
    do throws(NumericsError) {
      var bases: [RegressionBasis] = []
      for part in parts {
        bases.append(
          try RegressionBasis(
            scales: part.scales, eigenvalues: part.eigenvalues, vectors: part.vectors))
      }
      posterior = try LinearRegressionPosterior(
        transform: transform, targetScales: scales, rowCount: rowCount, weight: weight,
        inputMeans: inputMeans, targetMeans: targetMeans, crossScatter: cross,
        targetScatter: targetScatter, bases: bases, precisions: precisions, noise: noise,
        logEvidence: evidence)
    } catch {
      throw DataError(
        .malformedFile, file: file.path, found: "its numbers are no regression: \(error)",
        expected: "a head that bllarse-finetune wrote", advice: "write the checkpoint again")
    }
  }
}
