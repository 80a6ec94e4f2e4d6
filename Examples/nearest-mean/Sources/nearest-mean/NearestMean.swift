import BllarseCore
import BllarseNumerics

/// The nearest mean: a class's logit is minus the squared distance of a row to the mean of its rows.
struct NearestMeanHead: ClassificationHead {
  static let kind = "NearestMean"
  /// How quickly probabilities fall with the distance.
  static let sharpness = FitOption(
    "sharpness", group: .registered,
    "NearestMean: how quickly probabilities fall with the distance.",
    default: 1, .positive)

  /// One row a class, classCount x featureCount.
  private(set) var means: Matrix<Float>
  /// The weights of the rows of each class, 1 x classCount.
  private var totals: Matrix<Double>
  let sharpness: Double
  var featureCount: Int { means.columnCount }
  var classCount: Int { means.rowCount }

  init(fitting request: FitRequest) {
    means = .zeros(request.classCount, request.features.columnCount)
    totals = .zeros(1, request.classCount)
    sharpness = request.method[Self.sharpness]
    learn(request.features, request.labels, request.weights)
  }

  /// Takes rows into the means of their classes.
  mutating func learn(_ features: FeatureMatrix, _ labels: [Int32], _ weights: [Double]?) {
    let rows = features.converted(to: Float.self)
    for (row, label) in labels.enumerated() where weights?[row] != 0 {
      let (k, weight) = (Int(label), weights?[row] ?? 1)
      totals[0, k] += weight
      for column in 0..<rows.columnCount {
        means[k, column] += (rows[row, column] - means[k, column]) * Float(weight / totals[0, k])
      }
    }
  }

  func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    try TrainingRows.checkFeatureCount(features, featureCount)
    let rows = features.converted(to: Float.self)
    var logits = Matrix<Float>.zeros(rows.rowCount, classCount)
    for row in 0..<rows.rowCount {
      for k in 0..<classCount {
        let distances = zip(rows.row(row), means.row(k)).map { ($0 - $1) * ($0 - $1) }
        logits[row, k] = -Float(sharpness) * distances.reduce(0, +)
      }
    }
    logits.formLogSoftmaxRows()
    return logits
  }

  func encode(into writer: inout SafetensorsWriter) {
    writer.add("means", means)
    writer.add("totals", totals)
    writer.metadata["sharpness"] = String(sharpness)
  }

  init(decoding file: SafetensorsFile) throws(DataError) {
    means = try file.matrix("means")
    totals = try file.matrix("totals", rows: 1, columns: means.rowCount)
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
