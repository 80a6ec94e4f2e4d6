extension RunConfiguration {
  /// Whether an epoch goes through the rows in batches.
  public var takesBatches: Bool {
    guard HeadRegistry.isClosedForm(lossFunction) else { return optimizer != .newton }
    return HeadRegistry.takesUpdates(lossFunction) && (update == .merge || update == .sites)
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
