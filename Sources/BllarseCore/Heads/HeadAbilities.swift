import BllarseNumerics

// What some heads can do beside predicting: a run asks a head for it, and knows no kind of head by name.

/// A head that can tell which columns of the features it gives no weight.
protocol ColumnSelectingHead: Head {
  /// The columns, from 0, ascending.
  var leftOutColumns: [Int] { get }
}

/// A head whose fit predicted training rows by fits that left them out.
protocol LeftOutPredictingHead: Head {
  /// These predictions, where there are any.
  var leftOut: LeftOutPredictions? { get }
}

/// A head that says more of its fit than a trainer counts.
protocol ReportingHead: Head {
  /// What it says.
  var fitInfo: FitInfo { get }
}

/// A head with a posterior over its weights, by which uncertainty is split.
protocol UncertaintySplittingHead: Head {
  /// Predictions with their uncertainty in parts.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - map: the calibration.
  ///   - splitsEntropy: whether to split the entropy by draws, which takes up to ten times as long.
  ///   - parallelism: the threads to work with.
  /// - Returns: n rows of predictions, and a number a row for each part.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  func uncertaintyParts(
    _ features: FeatureMatrix, map: HeldOutCalibration, splitsEntropy: Bool,
    parallelism: Parallelism
  ) throws(NumericsError) -> UncertaintyParts
}

/// A head with logits.
protocol LogitHead: Head {
  /// The logits of rows, n x K.
  ///
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  func logits(
    _ features: FeatureMatrix, parallelism: Parallelism
  ) throws(NumericsError) -> Matrix<Float>
}

/// A head that the Python original scores otherwise than we do, where it makes the same fit.
protocol OriginallyScoredHead: Head {
  /// What the original logs under `acc`, `nll` and `ece`; what it does not log stays.
  ///
  /// - Parameters:
  ///   - split: labelled rows.
  ///   - own: our scores of them.
  ///   - method: how the head was fitted.
  ///   - parallelism: the threads to work with.
  /// - Returns: the scores under our names.
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  func originalScores(
    _ split: FeatureSplit, own: SplitScores, _ method: Method, _ parallelism: Parallelism
  ) throws(NumericsError) -> SplitScores
}
