public import BllarseNumerics

extension PolyaGammaHead where Scalar == Float {
  /// "IBPolyaGamma" or "MultinomialPolyaGamma".
  public static var kind: String { Coding.kind }
  /// The number of features of a row.
  public var featureCount: Int { configuration.featureCount }
  /// The number of classes.
  public var classCount: Int { configuration.classCount }

  /// Adds the natural parameters, and what describes the design.
  public func encode(into writer: inout SafetensorsWriter) {
    encodePosterior(into: &writer)
    configuration.encode(into: &writer)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    self.init(try HeadShape(decoding: file))
    try decodePosterior(from: file)
  }

  func encodePosterior(into writer: inout SafetensorsWriter) {
    for (column, precision) in precisions.enumerated() {
      writer.add("precision.\(column)", precision)
    }
    writer.add("natural_mean", naturalMean)
  }

  mutating func decodePosterior(from file: SafetensorsFile) throws(DataError) {
    let (size, columns) = (configuration.designColumnCount, columnCount)
    naturalMean = try file.matrix("natural_mean", rows: size, columns: columns)
    for column in 0..<columns {
      precisions[column] = try file.matrix("precision.\(column)", rows: size, columns: size)
    }
  }
}

extension PolyaGammaHead: Head where Scalar == Float, Coding: ClassCoding {
  /// The logarithms of the predictive probabilities, with the posterior's uncertainty.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    Matrix<Float>(
      Coding.logProbabilities(try latent(features, execution: execution).moderated))
  }
}

/// A coding whose answers tell the class.
public protocol ClassCoding: BinaryCoding {
  /// The logarithms of the class probabilities from the logits of the answers.
  ///
  /// - Parameter logits: N x C.
  /// - Returns: N x K; the exponentials of a row sum to 1.
  static func logProbabilities(_ logits: Matrix<Double>) -> Matrix<Double>
}

extension OneAgainstRest: ClassCoding {
  /// The equal mixture of `σ(g_k)` normalised over the classes and softmax(g).
  public static func logProbabilities(_ logits: Matrix<Double>) -> Matrix<Double> {
    BinaryMixture(logistic: logits).mixture()
  }
}

extension StickBreaking: ClassCoding {
  /// What each question takes off the stick.
  public static func logProbabilities(_ logits: Matrix<Double>) -> Matrix<Double> {
    PolyaGammaHead<Float, StickBreaking>.stickLogits(
      logits, .zeros(logits.rowCount, logits.columnCount))
  }
}

extension PolyaGammaHead: ColumnSelectingHead, LatentHead
where Scalar == Float, Coding: ClassCoding {
  var leftOutColumns: [Int] { configuration.transform.leftOutColumns }
}
