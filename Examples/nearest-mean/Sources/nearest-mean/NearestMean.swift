import BllarseCore
import BllarseNumerics

/// The nearest mean: a class's logit is minus the squared distance of a row to the mean of its rows.
struct NearestMeanHead: Head {
  static let kind = "NearestMean"
  /// How quickly probabilities fall with the distance.
  static let sharpness = FitOption(
    "sharpness", group: .registered,
    "NearestMean: how quickly probabilities fall with the distance.",
    default: 1, .positive)

  /// One row a class, classCount x featureCount.
  let means: Matrix<Float>
  let sharpness: Double
  var featureCount: Int { means.columnCount }
  var classCount: Int { means.rowCount }

  init(fitting request: FitRequest) {
    let rows = request.features.converted(to: Float.self)
    var means = Matrix<Float>.zeros(request.classCount, rows.columnCount)
    var totals = [Float](repeating: 0, count: request.classCount)
    for (row, label) in request.labels.enumerated() {
      let (k, weight) = (Int(label), Float(request.weights?[row] ?? 1))
      totals[k] += weight
      for column in 0..<rows.columnCount { means[k, column] += weight * rows[row, column] }
    }
    for k in 0..<means.rowCount where totals[k] > 0 {
      for column in 0..<means.columnCount { means[k, column] /= totals[k] }
    }
    self.means = means
    sharpness = request.method[Self.sharpness]
  }

  func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    guard features.columnCount == featureCount else {
      throw .sizeMismatch(
        of: "features a row", found: features.columnCount, expected: featureCount,
        reason: "as the head has")
    }
    let rows = features.converted(to: Float.self)
    var logits = Matrix<Float>.zeros(rows.rowCount, classCount)
    for row in 0..<rows.rowCount {
      for k in 0..<classCount {
        let distance = zip(rows.row(row), means.row(k)).reduce(Float(0)) { sum, pair in
          sum + (pair.0 - pair.1) * (pair.0 - pair.1)
        }
        logits[row, k] = -Float(sharpness) * distance
      }
    }
    logits.formLogSoftmaxRows()
    return logits
  }

  func encode(into writer: inout SafetensorsWriter) {
    writer.add("means", means)
    writer.metadata["sharpness"] = String(sharpness)
  }

  init(decoding file: SafetensorsFile) throws(DataError) {
    means = try file.matrix("means")
    sharpness = Double(try file.metadata("sharpness")) ?? 1
  }
}

extension HeadMethod {
  /// Registered before the command line is read: `--head NearestMean --sharpness 2`.
  static let nearestMean = HeadMethod(
    NearestMeanHead.kind,
    ways: [
      FittingWay(options: [NearestMeanHead.sharpness, FitOptions.sampleWeight]) { request in
        NearestMeanHead(fitting: request)
      }
    ], kinds: [NearestMeanHead.self])
}
