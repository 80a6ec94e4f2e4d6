public import BllarseNumerics

extension HeadMethod {
  /// Ordered probit regression.
  static let orderedProbit: HeadMethod = {
    var method = HeadMethod(
      "OrderedProbit", ways: [.orderedProbit], kinds: [OrderedProbitHead.self])
    // Whether classes have an order is not in the data.
    (method.variants, method.namedVariants) = ([], [[:]])
    return method
  }()
}

extension FittingWay {
  fileprivate static let orderedProbit = FittingWay(
    "",
    [
      OrdinalOptions.prior, OrdinalOptions.scaling, FitOptions.sampleWeight, FitOptions.classWeight,
    ], .isOnePass, memory: { shape, _ in shape.orderedProbit },
    trainer: { plan, data, execution in
      OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
        let head = try OrderedProbitHead(request)
        return (head, head.fitInfo)
      }
    })
}

/// The options of ordered probit regression.
enum OrdinalOptions {
  /// Where the prior precision comes from.
  enum Prior: Sendable, Equatable {
    case evidence
    case fixed(Double)

    init?(_ text: String) {
      if text == "evidence" {
        self = .evidence
      } else {
        guard let value = Double(text), value > 0, value.isFinite else { return nil }
        self = .fixed(value)
      }
    }

    var text: String {
      switch self {
      case .evidence: "evidence"
      case .fixed(let value): String(value)
      }
    }
  }

  static let prior = FitOption<Prior>(
    info: OptionInfo(
      "prior", group: .recipe, FitOptions.prior.info.help,
      default: FitOptions.prior.info.defaultText),
    defaultValue: .evidence, parse: { Prior($0) }, text: { $0.text }, record: { .text($0.text) }
  ).with { $0.expected = "evidence or a positive number" }

  static let scaling = FitOption<Scaling?>(
    "scaling", group: .recipe, FitOptions.scaling.info.help,
    default: FitOptions.scaling.info.defaultText ?? "columns", recordedDefault: "columns")

  /// How columns are scaled.
  enum Scaling: String, Sendable, CaseIterable {
    case columns, global, rows

    var scaling: FeatureScaling {
      switch self {
      case .columns: .columns
      case .global: .global
      case .rows: .rows
      }
    }
  }
}

extension MemoryShape {
  /// Rows in double precision, a Gram matrix for each thread, the Hessian and its factor, and a few numbers a row.
  fileprivate var orderedProbit: Double {
    min(2 * design, Self.megabytes(128)) + (isWide ? 3 * design + 4 * small : 0)
      + (4 + threads) * small + 12 * 8 * rows
  }
}

extension OrderedProbitHead {
  /// Fits the head that a run asks for.
  fileprivate init(_ request: FitRequest) throws(NumericsError) {
    var configuration = OrderedProbitConfiguration()
    if case .fixed(let precision) = request.method[OrdinalOptions.prior] {
      configuration.priorPrecision = precision
    }
    configuration.scaling = (request.method[OrdinalOptions.scaling] ?? .columns).scaling
    try self.init(
      fitting: request.features, labels: request.labels, classCount: request.classCount,
      weights: request.rowWeights, configuration, execution: request.execution)
  }
}

extension OrderedProbitHead: OrderedClassHead {
  /// "OrderedProbit".
  public static var kind: String { "OrderedProbit" }

  /// ``logPredictive(_:execution:)`` in single precision.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    Matrix<Float>(try logPredictive(features, execution: execution))
  }
}

// MARK: - What a run asks of it

extension OrderedProbitHead: ColumnSelectingHead, ReportingHead {
  var leftOutColumns: [Int] { transform.features.leftOutColumns }

  var fitInfo: FitInfo {
    var info = FitInfo()
    info.evidence = logEvidence
    info.iterations = report?.iterations ?? 0
    info.chosen["prior_precision"] = priorPrecision
    guard let report else { return info }
    var notes: [String] = []
    if !report.emptyClasses.isEmpty {
      let classes = report.emptyClasses.map(String.init).joined(separator: ", ")
      notes.append(
        "class \(classes) has no training rows: its interval is that of 1/\(classCount) of a row "
          + "at the mean of the features")
    }
    if let end = report.end {
      notes.append(
        "the prior precision \(priorPrecision) is the "
          + (end == .weakest ? "least" : "largest")
          + " of those that are searched: the evidence finds "
          + (end == .weakest ? "no reason to hold the weights back" : "nothing in the features")
          + "; give another with --prior")
    }
    if !report.converged {
      notes.append(
        "stopped \(report.gap) nats before the maximum, after \(report.iterations) steps")
    }
    info.note = notes.isEmpty ? nil : notes.joined(separator: "; ")
    return info
  }
}

// MARK: - How it is stored

/// `feature_count`, `class_count`, what describes the scaling, `rotation` where features outnumber rows, `weights` (D),
/// `cutpoints` (K - 1), `factor` (the rows of the lower triangle of the posterior precision's factor, cutpoints first),
/// `prior_precision`, `log_evidence`.
extension OrderedProbitHead {
  /// Adds everything that prediction needs.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.metadata["scaling"] = transform.scaling.rawValue
    transform.features.encode(into: &writer)
    writer.metadata["prior_precision"] = String(priorPrecision)
    writer.metadata["log_evidence"] = String(logEvidence)
    if let basis = transform.basis { writer.add("rotation", basis) }
    writer.add("weights", weights)
    writer.add("cutpoints", cutpoints)
    writer.add("factor", factor.factor.lowerTriangle)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let featureCount = try file.integer("feature_count", atLeast: 1)
    let classCount = try file.integer("class_count", atLeast: 2)
    var inputs = featureCount
    var basis: Matrix<Float>?
    if file.contains("rotation") {
      let matrix: Matrix<Float> = try file.matrix(
        "rotation", rows: featureCount,
        columns: try file.matrix("rotation", as: Float.self).columnCount)
      (basis, inputs) = (matrix, matrix.columnCount)
    }
    let cutpoints = try file.vector("cutpoints", count: classCount - 1)
    let order = classCount - 1 + inputs
    let triangle = try file.vector("factor", count: order * (order + 1) / 2)
    let matrix = Matrix<Double>(lowerTriangle: triangle, size: order)
    let isAscending = zip(cutpoints, cutpoints.dropFirst()).allSatisfy { $0 < $1 }
    try DataError.require(
      isAscending && cutpoints.allSatisfy(\.isFinite), .malformedFile, file: file.path,
      key: "cutpoints", found: "they do not ascend", expected: "finite numbers that ascend",
      advice: "write the checkpoint again")
    try DataError.require(
      (0..<order).allSatisfy { matrix[$0, $0] > 0 && matrix[$0, $0].isFinite }, .malformedFile,
      file: file.path, key: "factor", found: "its diagonal is not positive",
      expected: "the factor of a precision", advice: "write the checkpoint again")
    self.init(
      transform: InputTransform(
        featureCount: featureCount, scaling: try file.choice("scaling"),
        features: try FeatureTransform(decoding: file), basis: basis),
      weights: try file.vector("weights", count: featureCount), cutpoints: cutpoints,
      priorPrecision: try file.number("prior_precision", above: 0),
      logEvidence: try file.number("log_evidence", above: -.infinity),
      factor: Cholesky(factor: matrix))
  }
}
