import BllarseNumerics

extension HeadShape {
  /// Adds what describes rows and prior to a checkpoint, but for the numbers of features and classes, which
  /// every head has.
  func encode(into writer: inout SafetensorsWriter) {
    transform.encode(into: &writer)
    writer.metadata["bias"] = String(usesBias)
    writer.metadata["prior_precision"] = String(priorPrecision)
  }

  /// Reads the shape of a stored head.
  init(decoding file: SafetensorsFile) throws(DataError) {
    self.init(
      featureCount: try file.integer("feature_count", atLeast: 1),
      classCount: try file.integer("class_count", atLeast: 2),
      usesBias: try file.metadata("bias") == "true",
      transform: try FeatureTransform(decoding: file),
      priorPrecision: try file.number("prior_precision", above: 0))
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

extension SafetensorsFile {
  /// A metadata entry that is one of a few names.
  func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String
  ) throws(DataError) -> Choice where Choice.RawValue == String {
    let text = try metadata(name)
    guard let value = Choice(rawValue: text) else {
      throw DataError(
        .wrongType, file: path, key: "metadata " + name, found: "the entry is '\(text)'",
        expected: Choice.allCases.map(\.rawValue).joined(separator: ", "),
        advice: "update bllarse to read it")
    }
    return value
  }
}
