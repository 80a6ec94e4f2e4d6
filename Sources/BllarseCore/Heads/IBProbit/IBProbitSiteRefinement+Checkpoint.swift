import BllarseNumerics

extension IBProbitSiteRefinement where Scalar == Float {
  /// Adds what every row contributes to a checkpoint.
  func encode(into writer: inout SafetensorsWriter) {
    writer.add("sites.latent_means", sites.latentMeans)
    writer.add("sites.reference_logits", sites.referenceLogits)
    writer.add("sites.natural_mean", sites.naturalMean)
  }

  /// Whether a checkpoint holds a refinement.
  static func isStored(in file: SafetensorsFile) -> Bool { file.contains("sites.latent_means") }

  /// Takes up a refinement of the same rows.
  ///
  /// - Throws: `DataError` for tensors that are not of these rows; what the initialiser throws.
  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    let (rows, classes) = (sites.latentMeans.rowCount, sites.latentMeans.columnCount)
    sites.restore(
      naturalMean: try file.matrix(
        "sites.natural_mean", rows: sites.naturalMean.rowCount, columns: classes),
      latentMeans: try file.matrix("sites.latent_means", rows: rows, columns: classes),
      referenceLogits: try file.matrix("sites.reference_logits", rows: rows, columns: classes))
  }
}
