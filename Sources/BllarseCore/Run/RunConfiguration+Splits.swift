extension RunConfiguration {
  /// The options about splits that were given, under the names of the command line.
  var splitArguments: [(String, ArgumentValue)] {
    var list: [(String, ArgumentValue)] = []
    if let testSplit { list.append(("test_split", .text(testSplit))) }
    if let validationSplit { list.append(("validation_split", .text(validationSplit))) }
    return list
  }
}
