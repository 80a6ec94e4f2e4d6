import BllarseNumerics

/// How an evidence head is stored.
///
/// Tensors of member I begin with `memberI.`: `weights`, what describes the scaling, `rotation` where
/// features outnumber rows, and the covariance as `factors` (factors x D(D+1)/2, the rows of the lower
/// triangles) or `variances`. `candidates` in the metadata is a JSON list.
extension EvidenceHead: Head {
  /// "Evidence".
  public static var kind: String { "Evidence" }

  /// Adds everything that prediction needs.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.metadata["likelihood"] = likelihood.rawValue
    writer.metadata["members"] = String(members.count)
    writer.metadata["candidates"] = RunOutput.json(candidates.map(StoredCandidate.init))
    writer.add("class_frequencies", classFrequencies)
    for (index, member) in members.enumerated() {
      member.encode(into: &writer, prefix: "member\(index).")
    }
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let features = try file.integer("feature_count", atLeast: 1)
    let classes = try file.integer("class_count", atLeast: 2)
    let likelihood: EvidenceLikelihood = try file.choice("likelihood")
    let count = try file.integer("members", atLeast: 1)
    var members: [Member] = []
    for index in 0..<count {
      members.append(
        try Member(
          decoding: file, prefix: "member\(index).", featureCount: features, classCount: classes,
          likelihood: likelihood))
    }
    let text = try file.metadata("candidates")
    guard let stored = StoredCandidate.parse(text), !stored.isEmpty,
      stored.allSatisfy({ members.indices.contains($0.member) && $0.isUsable })
    else {
      throw DataError(
        .wrongType, file: file.path, key: "metadata candidates", found: "the entry is '\(text)'",
        expected: "a JSON list of predictive distributions of \(count) members, all numbers finite",
        advice: "write the checkpoint again")
    }
    self.init(
      featureCount: features, classCount: classes, likelihood: likelihood,
      classFrequencies: try file.vector("class_frequencies", count: classes), members: members,
      candidates: stored.map(\.candidate))
  }
}

extension EvidenceHead.Member {
  fileprivate func encode(into writer: inout SafetensorsWriter, prefix: String) {
    writer.metadata[prefix + "likelihood"] = likelihood.rawValue
    writer.metadata[prefix + "scaling"] = scaling.rawValue
    writer.metadata[prefix + "posterior"] = covariance.kind.rawValue
    writer.metadata[prefix + "prior_precision"] = String(priorPrecision)
    transform.encode(into: &writer, prefix: prefix)
    writer.add(prefix + "weights", weights)
    if let rotation { writer.add(prefix + "rotation", rotation) }
    if let variances = covariance.variances {
      writer.add(prefix + "variances", variances)
    } else {
      writer.add(
        prefix + "factors", covariance.factors.flatMap { $0.factor.lowerTriangle },
        shape: [covariance.factors.count, weights.rowCount * (weights.rowCount + 1) / 2])
    }
  }

  fileprivate init(
    decoding file: SafetensorsFile, prefix: String, featureCount: Int, classCount: Int,
    likelihood: EvidenceLikelihood
  ) throws(DataError) {
    // A member without a likelihood of its own has the head's.
    self.likelihood =
      file.metadata[prefix + "likelihood"] == nil
      ? likelihood : try file.choice(prefix + "likelihood")
    let columnCount = self.likelihood.columnCount(classCount: classCount)
    scaling = try file.choice(prefix + "scaling")
    let kind: PosteriorKind = try file.choice(prefix + "posterior")
    priorPrecision = try file.number(prefix + "prior_precision", above: 0)
    transform = try FeatureTransform(decoding: file, prefix: prefix)
    weights = try file.matrix(prefix + "weights", as: Double.self)
    var inputs = featureCount
    if file.contains(prefix + "rotation") {
      let matrix = try file.matrix(prefix + "rotation", as: Float.self)
      try file.check(prefix + "rotation", matrix, rows: featureCount, columns: matrix.columnCount)
      rotation = matrix
      inputs = matrix.columnCount
    } else {
      rotation = nil
    }
    try file.check(prefix + "weights", weights, rows: inputs + 1, columns: columnCount)
    if kind == .laplaceDiagonal {
      let variances = try file.matrix(prefix + "variances", as: Double.self)
      try file.check(prefix + "variances", variances, rows: inputs + 1, columns: columnCount)
      covariance = PosteriorCovariance(
        kind: kind, columnCount: columnCount, factors: [], variances: variances)
      return
    }
    let packed = try file.matrix(prefix + "factors", as: Float.self)
    let size = inputs + 1
    try file.check(
      prefix + "factors", packed, rows: packed.rowCount, columns: size * (size + 1) / 2)
    guard packed.rowCount == 1 || packed.rowCount == columnCount else {
      throw DataError(
        .wrongShape, file: file.path, key: prefix + "factors",
        found: "\(packed.rowCount) factors", expected: "1 or \(columnCount)",
        advice: "write the checkpoint again")
    }
    covariance = PosteriorCovariance(
      kind: kind, columnCount: columnCount,
      factors: (0..<packed.rowCount).map { index in
        Cholesky(factor: Matrix(lowerTriangle: packed.row(index), size: size))
      }, variances: nil)
  }
}

/// A candidate in the metadata.
private struct StoredCandidate: Codable {
  var member: Int
  var predictive: PredictiveKind
  var calibration: LapsedTemperature
  var weight: Double

  init(_ candidate: EvidenceHead.Candidate) {
    member = candidate.member
    predictive = candidate.kind
    calibration = candidate.calibration
    weight = candidate.weight
  }

  var candidate: EvidenceHead.Candidate {
    EvidenceHead.Candidate(
      member: member, kind: predictive, calibration: calibration, weight: weight)
  }

  /// Whether its numbers are what they can be.
  var isUsable: Bool {
    let beta = calibration.inverseTemperature
    return weight > 0 && weight.isFinite && beta > 0 && beta.isFinite
      && (0..<1).contains(calibration.lapse)
  }

  static func parse(_ text: String) -> [StoredCandidate]? {
    RunOutput.decode([StoredCandidate].self, from: text)
  }
}

extension SafetensorsFile {
  /// A metadata entry that is one of a few names.
  fileprivate func choice<Choice: RawRepresentable & CaseIterable>(
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

  /// Checks the shape of a tensor.
  fileprivate func check<Element>(
    _ name: String, _ matrix: Matrix<Element>, rows: Int, columns: Int
  ) throws(DataError) {
    guard matrix.rowCount == rows && matrix.columnCount == columns else {
      throw DataError(
        .wrongShape, file: path, key: name,
        found: "the shape is (\(matrix.rowCount), \(matrix.columnCount))",
        expected: "(\(rows), \(columns)), as the metadata say", advice: "write the checkpoint again"
      )
    }
  }
}

extension Matrix where Element: BLASScalar {
  /// The rows of the lower triangle, one after the other.
  fileprivate var lowerTriangle: [Element] {
    (0..<rowCount).flatMap { row in self.row(row).prefix(row + 1) }
  }

  /// A lower triangular matrix from its rows.
  fileprivate init(lowerTriangle elements: [Element], size: Int) {
    self = .zeros(size, size)
    var next = 0
    for row in 0..<size {
      withMutableRow(row) { values in
        for column in 0...row { values[column] = elements[next + column] }
      }
      next += row + 1
    }
  }
}
