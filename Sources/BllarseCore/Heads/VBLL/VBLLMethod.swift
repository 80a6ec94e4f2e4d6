public import BllarseNumerics

extension HeadMethod {
  /// Variational Bayesian last layers.
  static let vbll = {
    let common: [any AnyFitOption] = [
      FitOptions.priorScale, FitOptions.wishartScale, FitOptions.vbllScaling, FitOptions.tolerance,
      FitOptions.sampleWeight, FitOptions.classWeight,
    ]
    var method = HeadMethod(
      "VBLL", selector: .vbllType,
      ways: [
        FittingWay(
          "discriminative", [FitOptions.parameterization, FitOptions.covarianceRank] + common,
          .isOnePass, memory: { $0.discriminative($1[FitOptions.parameterization], $1) },
          trainer: { plan, data, execution in
            OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
              let (head, info) = try VBLLHead<Float>.fit(
                request.features, labels: request.labels, classCount: request.classCount,
                weights: request.rowWeights, scaling: request.method[FitOptions.vbllScaling],
                VBLLConfiguration(request.method), execution: request.execution)
              return (head, FitInfo(info, request.method))
            }
          }),
        FittingWay(
          "generative", [FitOptions.diagonalParameterization] + common, .isOnePass,
          memory: { shape, _ in
            // The rows in double precision are made in blocks; the search remembers 20 pairs of three numbers for each
            // mean, and some more.
            60 * 3 * 8 * shape.columns * shape.classes + 3 * shape.threads * shape.block
          },
          trainer: { plan, data, execution in
            OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
              let (head, info) = try GenerativeVBLLHead.fit(
                request.features, labels: request.labels, classCount: request.classCount,
                weights: request.rowWeights, scaling: request.method[FitOptions.vbllScaling],
                VBLLConfiguration(request.method), execution: request.execution)
              var fitInfo = FitInfo(info, request.method)
              if request.method.isGiven("parameterization", VBLLParameterization.dense.rawValue) {
                let note =
                  "--parameterization dense: the covariances of a generative head are diagonal"
                fitInfo.note = [note, fitInfo.note].compactMap(\.self).joined(separator: "; ")
              }
              return (head, fitInfo)
            }
          }),
      ], kinds: [VBLLHead<Float>.self, GenerativeVBLLHead.self])
    method.meaningOptions = [OptionInfo.vbllType.name]
    method.variants = [[:], ["parameterization": "diagonal"], ["vbll-type": "generative"]]
    return method
  }()
}

extension OptionInfo {
  /// Which variational Bayesian last layer.
  static let vbllType = OptionInfo(
    "vbll-type", group: .vbll,
    """
    discriminative (softmax regression with Gaussian weights and noise) or generative (a Gaussian density of the \
    features for each class).
    """, default: "discriminative")
}

extension FitOptions {
  /// The form of the covariances.
  public static let parameterization = FitOption<VBLLParameterization?>(
    "parameterization", group: .vbll,
    """
    The covariance of the weights of a class: dense, diagonal, or lowrank (a diagonal and a product of a factor with \
    its transpose). A generative head's is diagonal.
    """, default: "dense", recordedDefault: VBLLParameterization.dense.rawValue)

  /// The form of the covariances of a generative head.
  public static let diagonalParameterization = FitOption<VBLLParameterization?>(
    info: parameterization.info, defaultValue: nil,
    // Dense is vbll's default, which files of both types state.
    parse: { text in
      VBLLParameterization(rawValue: text).flatMap { $0 == .lowRank ? nil : .some(.diagonal) }
    },
    text: { $0?.rawValue }, record: { _ in .text(VBLLParameterization.diagonal.rawValue) }
  ).with { $0.expected = "diagonal (or dense, which is taken as that)" }

  /// The columns of the factors of low-rank covariances.
  public static let covarianceRank = FitOption(
    "cov-rank", group: .vbll, "The columns of the factor of a low-rank covariance.", default: 3,
    .count
  ).with {
    ($0.neededOption, $0.isNotedWhereIdle) = (("parameterization", "lowrank"), true)
  }

  /// The variance of the weights under the prior.
  public static let priorScale = FitOption(
    "prior-scale", group: .vbll,
    """
    The prior variance: of a weight, in units of 2/D for D features, of 1/D with --prior variational; of a mean of the \
    generative head, itself.
    """, default: 1, .positive)

  /// The scale of the Wishart prior.
  public static let wishartScale = FitOption(
    "wishart-scale", group: .vbll,
    """
    The scale of the Wishart prior of the noise's precision; more makes more noise. 0.01 by default with --prior \
    variational.
    """, default: 1, .positive)

  /// The scaling of the features, which are otherwise as they are and have no bias.
  public static let vbllScaling = FitOption<FeatureScaling?>(
    info: scaling.info, defaultValue: nil,
    parse: { FeatureScaling(rawValue: $0).map { .some($0) } }, text: { $0?.rawValue },
    record: { .text($0?.rawValue ?? "none") })
}

extension VBLLConfiguration {
  /// What the options say.
  fileprivate init(_ method: Method) {
    self.init()
    parameterization = method[FitOptions.parameterization] ?? .dense
    rank = method[FitOptions.covarianceRank]
    priorScale = method[FitOptions.priorScale]
    wishartScale = method[FitOptions.wishartScale]
    tolerance = method[FitOptions.tolerance]
  }
}

extension FitInfo {
  fileprivate init(_ info: VBLLInfo, _ method: Method) {
    self.init(iterations: info.iterations, evidence: info.bounds.last)
    if !info.converged {
      note =
        "stopped after \(info.iterations) iterations, before the bound settled to --tolerance "
        + "\(method[FitOptions.tolerance])"
    }
  }
}

extension MemoryShape {
  /// What the discriminative head is fitted in: Gram matrix and preconditioner; logits, variances and shares of the rows, now
  /// and after a step; and the covariances.
  fileprivate func discriminative(
    _ parameterization: VBLLParameterization?, _ method: Method
  ) -> Double {
    let base = 1.2 * design + 12 * logits + (6 + 2 * threads) * square
    switch parameterization ?? .dense {
    case .dense: return base + 3.2 * classes * square
    case .diagonal: return base
    case .lowRank:
      let rank = min(Double(method[FitOptions.covarianceRank]), columns)
      return base + 6 * square + (24 + 20 / classes) * 8 * columns * rank * classes
    }
  }
}

// MARK: - What a run asks of them

extension VBLLHead: Head, ClassificationHead, LatentHead, ColumnSelectingHead,
  UncertaintySplittingHead
where Scalar == Float {
  /// "VBLL".
  public static var kind: String { "VBLL" }
  /// The number of features of a row.
  public var featureCount: Int { configuration.featureCount }
  /// The number of classes.
  public var classCount: Int { configuration.classCount }

  var leftOutColumns: [Int] { configuration.transform.leftOutColumns }

  /// The logarithms of the means of the softmax over weights and noise.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    Matrix<Float>(try predictive(features, execution: execution))
  }

  /// Adds `mean`, `noise_variances` and the covariances: `factors` (K x D(D+1)/2, the rows of the lower triangles of the
  /// precisions' factors), or `variances` (D x K) and, for low-rank ones, `factor.0` … (D x R).
  public func encode(into writer: inout SafetensorsWriter) {
    configuration.encode(into: &writer)
    writer.metadata["parameterization"] = covariance.parameterization.rawValue
    writer.add("mean", mean)
    writer.add("noise_variances", noiseVariances)
    switch covariance {
    case .dense(let factors):
      let size = configuration.designColumnCount
      writer.add(
        "factors", factors.flatMap { $0.factor.lowerTriangle },
        shape: [factors.count, size * (size + 1) / 2])
    case .diagonal(let variances):
      writer.add("variances", variances)
    case .lowRank(let variances, let factors):
      writer.add("variances", variances)
      for (k, factor) in factors.enumerated() { writer.add("factor.\(k)", factor) }
    }
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let shape = try HeadShape(decoding: file)
    let (size, classes) = (shape.designColumnCount, shape.classCount)
    let covariance: VBLLCovariance<Float>
    let parameterization: VBLLParameterization = try file.choice("parameterization")
    switch parameterization {
    case .dense:
      let packed: Matrix<Float> = try file.matrix(
        "factors", rows: classes, columns: size * (size + 1) / 2)
      covariance = .dense(
        (0..<classes).map { k in
          Cholesky(factor: Matrix(lowerTriangle: packed.row(k), size: size))
        })
    case .diagonal:
      covariance = .diagonal(try file.variances("variances", rows: size, columns: classes))
    case .lowRank:
      var factors: [Matrix<Double>] = []
      for k in 0..<classes {
        let columns = try file.matrix("factor.\(k)", as: Double.self).columnCount
        factors.append(try file.matrix("factor.\(k)", rows: size, columns: columns))
      }
      covariance = .lowRank(
        try file.variances("variances", rows: size, columns: classes), factors)
    }
    let mean: Matrix<Double> = try file.matrix("mean", rows: size, columns: classes)
    let noise = try file.variances("noise_variances", count: classes)
    do {
      try self.init(shape, mean: mean, covariance: covariance, noiseVariances: noise)
    } catch {
      throw DataError(.malformedFile, file: file.path, found: "\(error)")
    }
  }
}

extension GenerativeVBLLHead: ClassificationHead, ColumnSelectingHead {
  /// "GenerativeVBLL".
  public static var kind: String { "GenerativeVBLL" }
  /// The number of features of a row.
  public var featureCount: Int { means.columnCount }
  /// The number of classes.
  public var classCount: Int { means.rowCount }

  var leftOutColumns: [Int] { transform.leftOutColumns }

  /// The logarithms of the class probabilities by Bayes' rule.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    Matrix<Float>(try predictive(features, execution: execution))
  }

  /// Adds `means` and `variances` (K x D), `noise_variances`, and what describes the transform.
  public func encode(into writer: inout SafetensorsWriter) {
    transform.encode(into: &writer)
    writer.add("means", means)
    writer.add("variances", variances)
    writer.add("noise_variances", noiseVariances)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let size = try file.integer("feature_count", atLeast: 1)
    let classes = try file.integer("class_count", atLeast: 2)
    self.init(
      transform: try FeatureTransform(decoding: file),
      means: try file.matrix("means", rows: classes, columns: size),
      variances: try file.variances("variances", rows: classes, columns: size),
      noiseVariances: try file.variances("noise_variances", count: size))
  }
}

extension SafetensorsFile {
  /// A matrix of numbers above 0.
  fileprivate func variances(
    _ name: String, rows: Int, columns: Int
  ) throws(DataError) -> Matrix<Double> {
    let values: Matrix<Double> = try matrix(name, rows: rows, columns: columns)
    try requirePositive(values.elements, name)
    return values
  }

  /// A vector of numbers above 0.
  fileprivate func variances(_ name: String, count: Int) throws(DataError) -> [Double] {
    let values = try vector(name, count: count)
    try requirePositive(values, name)
    return values
  }

  private func requirePositive(_ values: [Double], _ name: String) throws(DataError) {
    if let place = values.firstIndex(where: { !($0 > 0 && $0.isFinite) }) {
      throw DataError(
        .malformedFile, file: path, key: name, found: "element \(place) is \(values[place])",
        expected: "variances, finite numbers above 0", advice: "write the checkpoint again")
    }
  }
}
