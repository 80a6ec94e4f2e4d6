import BllarseNumerics

extension LinearHead: Head {
  /// Adds the weights; and the means of the features and the biases there, where they are known.
  ///
  /// A reader that knows `weights` alone predicts the same, as far as the digits of their biases go.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.add("weights", weights)
    guard let center else { return }
    writer.add("column_mean", center.means)
    writer.add("bias_at_mean", center.biases)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    self.init(
      featureCount: try file.integer("feature_count", atLeast: 1),
      classCount: try file.integer("class_count", atLeast: 2))
    try decode(from: file)
  }

  /// Takes the weights of a checkpoint.
  mutating func decode(from file: SafetensorsFile) throws(DataError) {
    weights = try file.matrix("weights", rows: featureCount + 1, columns: classCount)
    guard file.contains("column_mean") else { return }
    center = Center(
      means: try file.vector("column_mean", count: featureCount),
      biases: try file.vector("bias_at_mean", count: classCount).map(Float.init))
  }
}
