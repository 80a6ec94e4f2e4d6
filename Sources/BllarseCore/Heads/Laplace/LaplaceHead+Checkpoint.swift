import BllarseNumerics

/// How a Laplace head is stored.
///
/// `weights`, what describes the scaling, `rotation` where features outnumber rows, and the covariance: `center`,
/// `vectors`, `values`, `output_values`, `output_shares` of a Kronecker product, `factors`
/// (factors x D(D+1)/2, the rows of the lower triangles), or `variances`.
extension LaplaceHead: Head {
  /// "Laplace".
  public static var kind: String { "Laplace" }

  /// Adds everything that prediction needs.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.metadata["likelihood"] = likelihood.rawValue
    writer.metadata["scaling"] = scaling.rawValue
    writer.metadata["posterior"] = covariance.structure.rawValue
    writer.metadata["prior_precision"] = String(priorPrecision)
    writer.metadata["inverse_temperature"] = String(inverseTemperature)
    transform.encode(into: &writer, prefix: "")
    writer.add("weights", weights)
    if let rotation { writer.add("rotation", rotation) }
    if let kronecker = covariance.kronecker {
      kronecker.encode(into: &writer)
    } else if let variances = covariance.variances {
      writer.add("variances", variances)
    } else {
      writer.add(
        "factors", covariance.factors.flatMap { $0.factor.lowerTriangle },
        shape: [covariance.factors.count, weights.rowCount * (weights.rowCount + 1) / 2])
    }
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let featureCount = try file.integer("feature_count", atLeast: 1)
    let classCount = try file.integer("class_count", atLeast: 2)
    let likelihood: LaplaceLikelihood = try file.choice("likelihood")
    let structure: CovarianceStructure = try file.choice("posterior")
    let priorPrecision = try file.number("prior_precision", above: 0)
    let columnCount = likelihood.columnCount(classCount: classCount)
    var inputs = featureCount
    var rotation: Matrix<Float>?
    if file.contains("rotation") {
      let columns = try file.matrix("rotation", as: Float.self).columnCount
      let matrix: Matrix<Float> = try file.matrix("rotation", rows: featureCount, columns: columns)
      rotation = matrix
      inputs = matrix.columnCount
    }
    let weights: Matrix<Double> = try file.matrix(
      "weights", rows: inputs + 1, columns: columnCount)
    let covariance: PosteriorCovariance<Float>
    switch structure {
    case .kronecker:
      covariance = PosteriorCovariance(
        try KroneckerCovariance(
          decoding: file, inputs: inputs, columns: columnCount, priorPrecision: priorPrecision))
    case .diagonal:
      covariance = PosteriorCovariance(
        structure: structure, columnCount: columnCount, factors: [],
        variances: try file.matrix("variances", rows: inputs + 1, columns: columnCount))
    case .block, .shared, .meanField:
      let size = inputs + 1
      let packed: Matrix<Float> = try file.matrix(
        "factors", rows: try file.matrix("factors", as: Float.self).rowCount,
        columns: size * (size + 1) / 2)
      guard packed.rowCount == 1 || packed.rowCount == columnCount else {
        throw DataError(
          .wrongShape, file: file.path, key: "factors",
          found: "\(packed.rowCount) factors", expected: "1 or \(columnCount)",
          advice: "write the checkpoint again")
      }
      covariance = PosteriorCovariance(
        structure: structure, columnCount: columnCount,
        factors: (0..<packed.rowCount).map { index in
          Cholesky(factor: Matrix(lowerTriangle: packed.row(index), size: size))
        }, variances: nil)
    }
    self.init(
      featureCount: featureCount, classCount: classCount, likelihood: likelihood,
      scaling: try file.choice("scaling"), priorPrecision: priorPrecision,
      inverseTemperature: try file.number("inverse_temperature", above: 0),
      transform: try FeatureTransform(decoding: file, prefix: ""), rotation: rotation,
      weights: weights, covariance: covariance)
  }
}

extension KroneckerCovariance<Float> {
  fileprivate func encode(into writer: inout SafetensorsWriter) {
    writer.add("center", inputs.center.map(Double.init))
    writer.add("vectors", inputs.vectors)
    writer.add("values", inputs.values)
    writer.add("output_values", outputValues)
    writer.add("output_shares", outputShares)
    writer.metadata["row_total"] = String(inputs.rowTotal)
    writer.metadata["bias_precision"] = String(biasPrecision)
  }

  fileprivate init(
    decoding file: SafetensorsFile, inputs: Int, columns: Int, priorPrecision: Double
  ) throws(DataError) {
    let vectors: Matrix<Float> = try file.matrix("vectors", rows: inputs, columns: inputs)
    let shares: Matrix<Double> = try file.matrix(
      "output_shares", rows: columns,
      columns: try file.matrix("output_shares", as: Double.self).columnCount)
    self.init(
      Inputs(
        center: try file.vector("center", count: inputs).map { Float($0) }, vectors: vectors,
        values: try file.vector("values", count: inputs),
        rowTotal: try file.number("row_total", above: 0)),
      outputValues: try file.vector("output_values", count: shares.columnCount),
      outputShares: shares, priorPrecision: priorPrecision,
      biasPrecision: try file.number("bias_precision", above: 0))
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
