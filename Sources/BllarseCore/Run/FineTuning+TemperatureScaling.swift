import BllarseNumerics

extension FineTuning {
  /// Refuses a share of the test rows that leaves none to fit a temperature to, or none to score it on.
  ///
  /// - Parameter data: the splits.
  /// - Throws: `DataError.Code.wrongShape`.
  func checkTemperatureScaling(_ data: RunData) throws(DataError) {
    let count = try data.dataset.split(data.roles.test).rowCount
    guard let fraction = configuration.temperatureScaling?.firstUnusable(of: count) else { return }
    throw DataError(
      .wrongShape, key: "\(data.roles.test) split",
      found:
        "\(fraction) of \(count) rows is \(TemperatureScaling.count(fraction, of: count)) rows",
      expected: "rows to fit a temperature to, and rows to score it on",
      advice: "give --ts-test-fractions another value")
  }

  /// Temperatures fitted to parts of the test split, where the run was asked for them: for the classifier
  /// that the backbone was trained with, where it has one, and for the head.
  ///
  /// - Parameters:
  ///   - loaded: the rows, and the classifier.
  ///   - head: what was fitted, or `nil` when nothing was.
  /// - Returns: a row for each of them, fraction and repeat; `nil` where the run was not asked.
  /// - Throws: `DataError` when predictions are not numbers.
  func temperatureScaling(
    _ loaded: LoadedRun, head: (any Head)?
  ) throws -> [TemperatureScaling.Row]? {
    guard let scaling = configuration.temperatureScaling else { return nil }
    let (data, notes) = (loaded.data, loaded.prepared.notes)
    notes.keep(
      "--temperature-scaling fits temperatures to rows of the test split: its scores say what a "
        + "temperature could do, and are no test of a model that has it")
    let test = try data.dataset.split(data.roles.test)
    var sources: [(name: String, logits: Matrix<Float>)] = []
    if let baseline = loaded.classifier {
      sources.append(("baseline", try baseline.logits(test)))
    } else {
      notes.keep(
        "there is no pretrained classifier of these classes: temperatures are fitted for the head")
    }
    if let head {
      sources.append(
        (
          "head",
          try head.logProbabilities(
            test.features, parallelism: loaded.prepared.parallelism)
        ))
    }
    return try sources.flatMap { source in
      let logits = HeldOutCalibration.arguments(source.logits)
      if let row = logits.firstNonFinite?.row {
        throw DataError(
          .notFinite, key: "predictions of the \(source.name)", row: row,
          found: "the logits of a row of the \(data.roles.test) split are not numbers",
          expected: "finite predictions for --temperature-scaling",
          advice: "lower the learning rate, or leave --temperature-scaling out")
      }
      return try scaling.rows(
        source.name, logits: logits, labels: test.labels, seed: configuration.seed,
        parallelism: loaded.prepared.parallelism)
    }
  }
}
