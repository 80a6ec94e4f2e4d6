public import BllarseNumerics

extension Metrics {
  /// The calibration error of every class's probability, averaged over classes.
  ///
  ///     classwise ECE = 1/K Σₖ Σ_m n_mk/N |freq_mk - p̄_mk|
  ///
  /// where `n_mk` rows have their probability of class `k` in bin `m`, `p̄_mk` is the mean of these
  /// probabilities and `freq_mk` the share of these rows whose label is `k`. `maximum` is the largest
  /// distance over all bins of all classes.
  ///
  /// - Parameters:
  ///   - probabilities: N x K, rows sum to 1.
  ///   - labels: N class indices in `0..<K`.
  ///   - binCount: the number of bins of each class, at least 1.
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  /// - Returns: the errors, and the bins of all classes, class after class.
  /// - Complexity: O(N·K).
  /// - Note: Source: Kull et al., "Beyond temperature scaling: obtaining well-calibrated multiclass
  ///   probabilities with Dirichlet calibration", NeurIPS 2019, eq. (2).
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public static func classwiseCalibrationError<Scalar: BLASScalar>(
    probabilities: Matrix<Scalar>, labels: [Int32], binCount: Int = 20
  ) throws(NumericsError) -> CalibrationError {
    precondition(binCount >= 1, "\(binCount) bins")
    try TrainingRows.matchLabels(
      labels, rowCount: probabilities.rowCount, classCount: probabilities.columnCount)
    var sums = [BinSums](repeating: BinSums(), count: binCount * probabilities.columnCount)
    for (row, label) in labels.enumerated() {
      probabilities.withRow(row) { values in
        for k in values.indices {
          let p = Double(values[k])
          sums[k * binCount + BinSums.index(p, binCount)].add(p, k == Int(label) ? 1 : 0)
        }
      }
    }
    // Every class has N rows, so the mean over all of them is the mean over classes.
    return CalibrationError(binning: .classwise, binCount: binCount, sums: sums)
  }
}
