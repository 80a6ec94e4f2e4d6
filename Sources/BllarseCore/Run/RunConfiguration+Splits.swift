extension RunConfiguration {
  /// Whether an epoch goes through the rows in batches.
  public var takesBatches: Bool {
    guard HeadRegistry.isClosedForm(lossFunction) else { return optimizer != .newton }
    return HeadRegistry.takesUpdates(lossFunction) && (update == .merge || update == .sites)
  }

  /// Whether the fit weighs rows and leaves them out in groups.
  var takesRowArrays: Bool { fitsEvidenceHead && featuresPath != nil }

  /// The arrays with weights and groups that this run reads; a head that takes none has none.
  var usedRowArrays: RowArrays {
    RowArrays(
      weights: uses(.sampleWeight) ? rowArrays.weights : nil,
      groups: uses(.group) ? rowArrays.groups : nil)
  }

  /// Refuses arrays that this run would not read.
  ///
  /// - Throws: `DataError` that names the first of them.
  func checkRowArrays() throws(DataError) {
    guard effectiveEpochs > 0 else { return }
    for (name, option) in [
      (rowArrays.weights, FitOption.sampleWeight), (rowArrays.groups, .group),
    ] {
      guard let name, !uses(option) else { continue }
      throw DataError(
        .wrongType, file: featuresPath, key: name,
        found: featuresPath == nil
          ? "images have no such array" : "\(lossFunction) by \(fitName) does not take it",
        expected: "no \(option.rawValue)", advice: "leave it out, or fit another head")
    }
  }

  private var fitName: String {
    HeadRegistry.isClosedForm(lossFunction) ? update.rawValue : optimizer.rawValue
  }

  /// The options about splits that were given, under the names of the command line.
  var splitArguments: [(String, ArgumentValue)] {
    var list: [(String, ArgumentValue)] = []
    if let testSplit { list.append(("test_split", .text(testSplit))) }
    if let validationSplit { list.append(("validation_split", .text(validationSplit))) }
    if let maxTrainSamples {
      list.append(("max_train_samples", .integer(maxTrainSamples)))
      // What it does not change is not in the way of a resumed run.
      if let trainSubsetSeed {
        list.append(("train_subset_seed", ArgumentValue(trainSubsetSeed)))
      }
    }
    if let maxValidationSamples {
      list.append(("max_val_samples", .integer(maxValidationSamples)))
    }
    if evaluationInterval > 0 {
      list.append(("eval_every_batches", .integer(evaluationInterval)))
    }
    return list
  }
}
