import BllarseNumerics

/// The columns of the features that a head gives no weight, because they do not vary over its training rows.
///
/// A column is constant by the precision that it was stored in: see `ColumnStatistics`.
struct LeftOutColumns {
  /// The columns, from 0, ascending.
  let columns: [Int]
  /// The number of features.
  let featureCount: Int

  /// Asks a fitted head.
  init(_ head: any Head) {
    featureCount = head.featureCount
    columns = (head.uncalibrated as? any ColumnSelectingHead)?.leftOutColumns ?? []
  }

  /// What the user should know, in one line; `nil` when all columns are used.
  var note: String? {
    guard !columns.isEmpty else { return nil }
    let list =
      columns.prefix(8).map(String.init).joined(separator: ", ") + (columns.count > 8 ? ", …" : "")
    return columns.count == 1
      ? "1 of \(featureCount) columns does not vary over the training rows and is left out: \(list) (from 0)"
      : "\(columns.count) of \(featureCount) columns do not vary over the training rows and are left out: "
        + "\(list) (from 0)"
  }
}

extension FeatureTransform {
  /// The columns that are multiplied by 0.
  var leftOutColumns: [Int] {
    guard case .columns(let scale, _) = self else { return [] }
    return scale.indices.filter { scale[$0] == 0 }
  }
}
