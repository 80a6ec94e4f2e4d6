public import BllarseNumerics

extension IBProbitHead: Head where Scalar == Float {
  /// "IBProbit".
  public static var kind: String { "IBProbit" }
  /// The number of features of a row.
  public var featureCount: Int { configuration.featureCount }
  /// The number of classes.
  public var classCount: Int { configuration.classCount }

  /// Adds the natural parameters, the mean, and what describes the design and the predictive.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.add("precision", posterior.precision)
    writer.add("natural_mean", posterior.naturalMean)
    // Solving for it again could round otherwise on another machine.
    if let mean = try? mean() { writer.add("mean", mean) }
    configuration.transform.encode(into: &writer)
    writer.metadata["bias"] = String(configuration.usesBias)
    writer.metadata["prior_precision"] = String(configuration.priorPrecision)
    writer.metadata["cdf"] = cdfForm.rawValue
    writer.metadata["inverse_temperature"] = String(inverseTemperature)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let precision = try file.matrix("precision", as: Double.self)
    let naturalMean = try file.matrix("natural_mean", as: Double.self)
    let mean = try file.matrix("mean", as: Double.self)
    let cdf = try file.metadata("cdf")
    guard let cdfForm = NormalCDFForm(rawValue: cdf) else {
      throw DataError(
        .wrongType, file: file.path, key: "cdf", found: "'\(cdf)'",
        expected: NormalCDFForm.allCases.map(\.rawValue).joined(separator: " or "))
    }
    let configuration = HeadShape(
      featureCount: try file.integer("feature_count", atLeast: 1),
      classCount: try file.integer("class_count", atLeast: 2),
      usesBias: try file.metadata("bias") == "true",
      transform: try FeatureTransform(decoding: file),
      priorPrecision: try file.number("prior_precision", above: 0))
    let (size, classes) = (configuration.designColumnCount, configuration.classCount)
    for (name, matrix, columns) in [
      ("precision", precision, size), ("natural_mean", naturalMean, classes),
      ("mean", mean, classes),
    ] where matrix.rowCount != size || matrix.columnCount != columns {
      throw DataError(
        .wrongShape, file: file.path, key: name,
        found: "the shape is (\(matrix.rowCount), \(matrix.columnCount))",
        expected: "(\(size), \(columns)), as the metadata say", advice: "write the checkpoint again"
      )
    }
    self.init(
      configuration, posterior: GaussianPosterior(precision: precision, naturalMean: naturalMean),
      cdfForm: cdfForm)
    solvedMean = mean
    inverseTemperature = try file.number("inverse_temperature", above: 0)
  }
}

extension FeatureTransform {
  /// Adds the transform to a checkpoint.
  func encode(into writer: inout SafetensorsWriter, prefix: String = "") {
    switch self {
    case .identity:
      writer.metadata[prefix + "transform"] = "identity"
    case .layerNorm(let epsilon):
      writer.metadata[prefix + "transform"] = "layer_norm"
      writer.metadata[prefix + "layer_norm_epsilon"] = String(epsilon)
    case .centredLayerNorm(let epsilon, let mean):
      writer.metadata[prefix + "transform"] = "centred_layer_norm"
      writer.metadata[prefix + "layer_norm_epsilon"] = String(epsilon)
      writer.add(prefix + "column_mean", mean)
    case .columns(let scale, let shift):
      writer.metadata[prefix + "transform"] = "columns"
      writer.add(prefix + "column_scale", scale)
      writer.add(prefix + "column_shift", shift)
    }
  }

  /// Reads the transform of a checkpoint.
  init(decoding file: SafetensorsFile, prefix: String = "") throws(DataError) {
    let name = try file.metadata(prefix + "transform")
    switch name {
    case "identity": self = .identity
    case "layer_norm":
      self = .layerNorm(epsilon: try file.number(prefix + "layer_norm_epsilon", above: 0))
    case "centred_layer_norm":
      let count = try file.integer("feature_count", atLeast: 1)
      self = .centredLayerNorm(
        epsilon: try file.number(prefix + "layer_norm_epsilon", above: 0),
        mean: try file.vector(prefix + "column_mean", count: count))
    case "columns":
      let count = try file.integer("feature_count", atLeast: 1)
      self = .columns(
        scale: try file.vector(prefix + "column_scale", count: count),
        shift: try file.vector(prefix + "column_shift", count: count))
    default:
      throw DataError(
        .wrongType, file: file.path, key: prefix + "transform", found: "'\(name)'",
        expected: "identity, layer_norm, centred_layer_norm or columns",
        advice: "update bllarse to read it")
    }
  }
}

extension IBProbitSiteRefinement where Scalar == Float {
  /// Adds what every row contributes to a checkpoint.
  func encode(into writer: inout SafetensorsWriter) {
    writer.add("sites.latent_means", latentMeans)
    writer.add("sites.reference_logits", referenceLogits)
    writer.add("sites.natural_mean", naturalMean)
  }

  /// Whether a checkpoint holds a refinement.
  static func isStored(in file: SafetensorsFile) -> Bool { file.contains("sites.latent_means") }

  /// Takes up a refinement of the same rows.
  ///
  /// - Throws: `DataError` for tensors that are not of these rows.
  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    let (rows, classes) = (latentMeans.rowCount, latentMeans.columnCount)
    naturalMean = try file.matrix(
      "sites.natural_mean", rows: naturalMean.rowCount, columns: classes)
    latentMeans = try file.matrix("sites.latent_means", rows: rows, columns: classes)
    referenceLogits = try file.matrix("sites.reference_logits", rows: rows, columns: classes)
  }
}
