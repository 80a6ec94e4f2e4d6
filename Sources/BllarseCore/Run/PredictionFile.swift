/// A file of predictions that is there already.
enum PredictionFile {
  /// How a table of predictions begins.
  static let tableStart = "row,predicted,"

  /// Makes sure that predictions take the place of predictions at most: not of the head or the features
  /// that they are made of, nor of anything else.
  ///
  /// - Parameter path: where they are to be written.
  /// - Throws: `DataError.Code.unwritableFile`.
  static func requireReplaceable(_ path: String) throws(DataError) {
    guard Files.isFile(path), !isPredictions(path) else { return }
    throw DataError(
      .unwritableFile, file: path, found: "the file is there already, and holds no predictions",
      expected: "a new file, or predictions to replace",
      advice: "choose another --out, or remove the file")
  }

  private static func isPredictions(_ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    let start = file.withBytes { Array($0.prefix(tableStart.utf8.count)) }
    // An empty file is what a shell leaves that was to write there.
    if start.isEmpty || start == Array(tableStart.utf8) { return true }
    return (try? SafetensorsFile(path: path))?.metadata["format"] == "bllarse-predictions"
  }
}
