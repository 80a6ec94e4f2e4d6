import BllarseNumerics

/// A fitted head in a safetensors file, with what made it.
///
/// The format is version 1: the metadata entries `format` ("bllarse-head"), `format_version`, `head`
/// (the kind), `feature_count`, `class_count`, `class_names` (a JSON list), `dataset`, `backbone`,
/// `backbone_digest` (where there is a backbone) and `arguments` (a JSON object); tensors and further
/// entries belong to the kind of head.
public struct HeadCheckpoint: Sendable {
  /// The version of the format that this package writes.
  public static let formatVersion = 1

  /// The head.
  public var head: any Head
  /// One name for each class.
  public var classNames: [String]
  /// The data set that the head was fitted to.
  public var dataset: String
  /// The backbone whose features the head expects, as a path; empty when the data are features.
  public var backbone: String
  /// ``ResidualMLP/digest`` of that backbone; empty when the data are features.
  public var backboneDigest: String
  /// The arguments that made it, as a JSON object.
  public var arguments: String

  /// Describes a checkpoint.
  public init(
    head: any Head, classNames: [String], dataset: String, backbone: String,
    backboneDigest: String = "", arguments: String
  ) {
    self.head = head
    self.classNames = classNames
    self.dataset = dataset
    self.backbone = backbone
    self.backboneDigest = backboneDigest
    self.arguments = arguments
  }

  /// Writes the checkpoint, in one step: a reader sees the old file or the new one.
  ///
  /// - Parameter path: where to.
  /// - Throws: `DataError` when the file cannot be written.
  public func write(to path: String) throws(DataError) {
    var writer = SafetensorsWriter(metadata: [
      "format": "bllarse-head",
      "format_version": String(Self.formatVersion),
      "head": type(of: head).kind,
      "feature_count": String(head.featureCount),
      "class_count": String(head.classCount),
      "class_names": ClassNames.format(classNames, separator: ", "),
      "dataset": dataset,
      "backbone": backbone,
      "arguments": arguments,
    ])
    if !backboneDigest.isEmpty { writer.metadata["backbone_digest"] = backboneDigest }
    head.encode(into: &writer)
    try writer.write(to: path)
  }

  /// Reads a checkpoint.
  ///
  /// - Parameter path: the file.
  /// - Throws: `DataError` when it is missing, malformed, of a newer format or of an unknown kind, or
  ///   holds a NaN or an infinity.
  public init(path: String) throws(DataError) {
    let file = try SafetensorsFile(path: path)
    guard try file.metadata("format") == "bllarse-head" else {
      throw DataError(
        .wrongType, file: path, key: "format", found: "the file holds no head",
        expected: "the metadata entry format = bllarse-head",
        advice: "give a head.safetensors that bllarse-finetune wrote")
    }
    let version = try file.metadata("format_version")
    guard version == String(Self.formatVersion) else {
      throw DataError(
        .wrongType, file: path, key: "format_version", found: "the version is \(version)",
        expected: "\(Self.formatVersion)", advice: "update bllarse to read it")
    }
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
    if kind != CalibratedHead.self, HeldOutCalibration.isStored(in: file) {
      // Heads of the default recipe once held the map themselves.
      let map = try HeldOutCalibration(decoding: file, classCount: head.classCount)
      if map != .none { head = CalibratedHead(head, map) }
    }
    dataset = try file.metadata("dataset")
    backbone = try file.metadata("backbone")
    backboneDigest = file.metadata["backbone_digest"] ?? ""
    arguments = try file.metadata("arguments")
    let names = try file.metadata("class_names")
    guard let parsed = ClassNames.parse(names), parsed.count == head.classCount else {
      throw DataError(
        .wrongType, file: path, key: "metadata class_names", found: "the entry is '\(names)'",
        expected: "a JSON list of \(head.classCount) names")
    }
    classNames = parsed
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
