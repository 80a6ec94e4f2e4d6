import BllarseNumerics

/// A fitted head in a safetensors file, with what made it.
///
/// The format is version 1: the metadata entries `format` ("bllarse-head"), `format_version`, `head`
/// (the kind), `feature_count`, `class_count` and `class_names` (a JSON list), or `target_count` and `target_names`
/// of a head that predicts values, `label_count` and `label_names` of one that predicts sets of labels, `dataset`, `backbone`, `backbone_digest` (where there is a backbone) and `arguments` (a
/// JSON object); tensors and further entries belong to the kind of head.
public struct HeadCheckpoint: Sendable {
  /// The version of the format that this package writes.
  public static let formatVersion = 1

  /// The head.
  public var head: any Head
  /// One name for each class, target value or label.
  public var outputNames: [String]
  /// What the head predicts.
  public var outputs: Outputs { Outputs(type(of: head).task, outputNames) }
  /// The data set that the head was fitted to.
  public var dataset: String
  /// The backbone whose features the head expects, as a path, and its ``ResidualMLP/digest``; empty when the
  /// data are features.
  public var backbone, backboneDigest: String
  /// The arguments that made it, as a JSON object.
  public var arguments: String

  /// Describes a checkpoint.
  public init(
    head: any Head, outputNames: [String], dataset: String, backbone: String,
    backboneDigest: String = "", arguments: String
  ) {
    (self.head, self.outputNames, self.dataset) = (head, outputNames, dataset)
    (self.backbone, self.backboneDigest) = (backbone, backboneDigest)
    self.arguments = arguments
  }

  /// Writes the checkpoint, in one step: a reader sees the old file or the new one.
  ///
  /// - Throws: `DataError` when the file cannot be written.
  public func write(to path: String) throws(DataError) {
    let task = type(of: head).task
    var writer = SafetensorsWriter(metadata: [
      "format": "bllarse-head", "format_version": String(Self.formatVersion),
      "head": type(of: head).kind, "feature_count": String(head.featureCount),
      task.countKey: String(head.outputCount),
      task.namesKey: ClassNames.format(outputNames, separator: ", "), "dataset": dataset,
      "backbone": backbone, "arguments": arguments,
    ])
    if !backboneDigest.isEmpty { writer.metadata["backbone_digest"] = backboneDigest }
    head.encode(into: &writer)
    try writer.write(to: path)
  }

  /// Reads a checkpoint.
  ///
  /// - Throws: `DataError` when it is missing, malformed, of a newer format or of an unknown kind, or
  ///   holds a NaN or an infinity.
  public init(path: String) throws(DataError) {
    let file = try SafetensorsFile(path: path)
    try DataError.require(
      try file.metadata("format") == "bllarse-head", .wrongType, file: path, key: "format",
      found: "the file holds no head", expected: "the metadata entry format = bllarse-head",
      advice: "give a head.safetensors that bllarse-finetune wrote")
    let version = try file.metadata("format_version")
    try DataError.require(
      version == String(Self.formatVersion), .wrongType, file: path, key: "format_version",
      found: "the version is \(version)", expected: "\(Self.formatVersion)",
      advice: "update bllarse to read it")
    try file.requireFinite()
    let name = try file.metadata("head")
    guard let kind = HeadRegistry.kind(named: name) else {
      throw DataError(
        .wrongType, file: path, key: "head", found: "the kind of head is '\(name)'",
        expected: "one of \(HeadRegistry.names.joined(separator: ", "))",
        advice: name == "Evidence"
          ? "fit the head again: the default of before is no more" : "update bllarse to read it")
    }
    head = try kind.init(decoding: file)
    if kind != CalibratedHead.self, file.metadata["held_out_calibration"] != nil {
      // Heads of the default recipe once held the map themselves.
      let classifier = try head.classifier()
      let map = try HeldOutCalibration(decoding: file, classCount: classifier.classCount)
      if map != .none { head = CalibratedHead(classifier, map) }
    }
    dataset = try file.metadata("dataset")
    backbone = try file.metadata("backbone")
    backboneDigest = file.metadata["backbone_digest"] ?? ""
    arguments = try file.metadata("arguments")
    let count = head.outputCount
    outputNames = try file.entry(kind.task.namesKey, "a JSON list of \(count) names") {
      ClassNames.parse($0).flatMap { $0.count == count ? $0 : nil }
    }
  }
}

extension LearningTask {
  /// The metadata entry with the number of what is predicted.
  var countKey: String { noun + "_count" }
  /// The metadata entry with their names.
  var namesKey: String { noun + "_names" }

  /// What one of what is predicted is called.
  private var noun: String {
    switch self {
    case .classification: "class"
    case .regression: "target"
    case .multilabel: "label"
    }
  }
}

extension Versions {
  /// By name: the package, the linear algebra, the machine.
  public static var current: [String: String] {
    [
      "bllarse": bllarse,
      "blas": LinearAlgebraLibrary.description,
      "checkpoint_format": String(HeadCheckpoint.formatVersion),
    ]
  }
}

/// How a map to held-out rows is stored: `held_out_calibration` in the metadata is its kind.
extension HeldOutCalibration {
  func encode(into writer: inout SafetensorsWriter) {
    writer.metadata["held_out_calibration"] = kind
    switch self {
    case .none: break
    case .temperature(let beta):
      writer.metadata["held_out_inverse_temperature"] = String(beta)
    case .vector(let scales, let shifts):
      writer.add("held_out_scales", scales)
      writer.add("held_out_shifts", shifts)
    case .isotonic(let functions):
      for (k, function) in functions.enumerated() {
        writer.add("isotonic\(k).knots", function.knots)
        writer.add("isotonic\(k).values", function.values)
      }
    }
  }

  /// Reads the map of a checkpoint.
  ///
  /// - Throws: `DataError` that names the file and the entry that is missing or wrong.
  init(decoding file: SafetensorsFile, classCount: Int) throws(DataError) {
    let name = try file.metadata("held_out_calibration")
    switch name {
    case "none": self = .none
    case "temperature":
      self = .temperature(try file.number("held_out_inverse_temperature", above: 0))
    case "vector":
      self = .vector(
        scales: try file.vector("held_out_scales", count: classCount),
        shifts: try file.vector("held_out_shifts", count: classCount))
    case "isotonic":
      var functions: [IsotonicFunction] = []
      for k in 0..<classCount {
        let knots = try file.array("isotonic\(k).knots", as: Double.self)
        try DataError.require(
          !knots.isEmpty && knots.allSatisfy(\.isFinite)
            && zip(knots, knots.dropFirst()).allSatisfy({ $0 < $1 }), .wrongShape, file: file.path,
          key: "isotonic\(k).knots", found: "there are no numbers that ascend",
          expected: "one or more that do", advice: "write the checkpoint again")
        functions.append(
          IsotonicFunction(
            knots: knots, values: try file.vector("isotonic\(k).values", count: knots.count)))
      }
      self = .isotonic(functions)
    default:
      throw DataError(
        .wrongType, file: file.path, key: "held_out_calibration", found: "'\(name)'",
        expected: "none, temperature, vector or isotonic", advice: "update bllarse to read it")
    }
  }

  /// The kind's name: none, temperature, vector or isotonic.
  public var kind: String {
    switch self {
    case .none: "none"
    case .temperature: "temperature"
    case .vector: "vector"
    case .isotonic: "isotonic"
    }
  }
}

extension HeadShape {
  /// Adds what describes rows and prior to a checkpoint, but for the numbers of features and classes, which
  /// every head has.
  func encode(into writer: inout SafetensorsWriter) {
    transform.encode(into: &writer)
    writer.metadata["bias"] = String(usesBias)
    writer.metadata["prior_precision"] = String(priorPrecision)
  }

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

  init(decoding file: SafetensorsFile, prefix: String = "") throws(DataError) {
    let name = try file.metadata(prefix + "transform")
    func epsilon() throws(DataError) -> Double {
      try file.number(prefix + "layer_norm_epsilon", above: 0)
    }
    func columns(_ name: String) throws(DataError) -> [Double] {
      try file.vector(prefix + name, count: file.integer("feature_count", atLeast: 1))
    }
    switch name {
    case "identity": self = .identity
    case "layer_norm": self = .layerNorm(epsilon: try epsilon())
    case "centred_layer_norm":
      self = .centredLayerNorm(epsilon: try epsilon(), mean: try columns("column_mean"))
    case "columns":
      self = .columns(scale: try columns("column_scale"), shift: try columns("column_shift"))
    default:
      throw DataError(
        .wrongType, file: file.path, key: prefix + "transform", found: "'\(name)'",
        expected: "identity, layer_norm, centred_layer_norm or columns",
        advice: "update bllarse to read it")
    }
  }
}
