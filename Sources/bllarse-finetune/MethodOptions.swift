public import ArgumentParser
public import BllarseCore

extension RunConfiguration.Update: ExpressibleByArgument {}

/// What is fitted, and how: the names of the Python original.
struct MethodOptions: ParsableArguments {
  @Option(help: "What is trained: last_layer (full_network does not exist here).")
  var tuneMode = "last_layer"

  @Option(help: "The head: \(HeadRegistry.lossFunctions.joined(separator: ", ")).")
  var lossFn = "IBProbit"

  @Option(
    help: """
      How a closed-form head goes through the data: converged (full batch, to the optimum), cavi (full \
      batch, --num-update-iters iterations), merge (each batch alone, then merged), sites \
      (batches, several epochs, towards the optimum of the full batch). Default: converged, \
      unless --num-update-iters or --batch-size is given: then merge.
      """)
  var update: RunConfiguration.Update?

  @Option(help: "Coordinate-ascent iterations of a batch. (default: 16)")
  var numUpdateIters: Int?

  @Option(
    name: [.customShort("e"), .long],
    help: """
      Passes over the data; a converged fit is one; 0 only scores the backbone's own classifier. (default: 100)
      """)
  var epochs: Int?

  @Option(
    name: [.customLong("bs", withSingleDash: true), .long], help: "Rows of a batch. (default: 64)")
  var batchSize: Int?

  @Option(help: "The seed of everything random.")
  var seed: UInt64 = 137

  @Option(help: "The fraction of what it knew that the posterior forgets with each batch.")
  var forgettingRate = 1e-3

  @Option(help: "The relative distance to the optimum at which a converged fit ends.")
  var tolerance = 1e-6

  @Flag(
    help: """
      Let the converged fit of --parity end only when the distance is proven, which takes a Gram matrix \
      for each class; otherwise where that costs much an estimate is enough.
      """)
  var certify = false

  @Flag(help: "Return the posterior to the prior at the start of each epoch.")
  var resetLossPerEpoch = false

  @Flag(
    help: """
      Take training images as they are in every epoch of batches. (default: CIFAR's are cropped and mirrored \
      at random)
      """)
  var nodataaug = false

  func check() throws {
    guard tuneMode == "last_layer" else {
      throw ValidationError(
        tuneMode == "full_network"
          ? "--tune-mode full_network does not exist yet; use last_layer"
          : "--tune-mode is '\(tuneMode)'; expected last_layer")
    }
    guard HeadRegistry.lossFunctions.contains(lossFn) else {
      throw ValidationError(
        "--loss-fn is '\(lossFn)'; expected one of "
          + HeadRegistry.lossFunctions.joined(separator: ", "))
    }
    if update == .sites && lossFn != "IBProbit" {
      throw ValidationError("--update sites needs --loss-fn IBProbit; use merge")
    }
    try require(
      epochs.map { 0...1_000_000_000 ~= $0 }, "--epochs must be at least 0 and at most 1000000000")
    for (name, value) in [
      ("--num-update-iters", numUpdateIters), ("--batch-size", batchSize),
    ] {
      // Products of these must stay within an integer.
      try require(
        value.map { 1...1_000_000_000 ~= $0 }, "\(name) must be at least 1 and at most 1000000000")
    }
    try require(0...1 ~= forgettingRate, "--forgetting-rate must be between 0 and 1")
    try require(tolerance > 0 && tolerance < 1, "--tolerance must be between 0 and 1")
    if update == .converged && numUpdateIters != nil {
      throw ValidationError("--num-update-iters does not go with --update converged")
    }
    if let update, update == .converged || update == .cavi, batchSize != nil {
      throw ValidationError("--batch-size does not go with --update \(update.rawValue)")
    }
  }

  private func require(_ condition: Bool?, _ message: String) throws {
    if condition == false { throw ValidationError(message) }
  }

  /// What the user should know about options that change nothing.
  func warnings(_ optimizer: RunConfiguration.Optimizer?) -> [String] {
    guard !HeadRegistry.isClosedForm(lossFn) else { return [] }
    var warnings: [String] = []
    for (name, isGiven) in [
      ("--update", update != nil), ("--num-update-iters", numUpdateIters != nil),
    ]
    where isGiven {
      warnings.append("\(name) is ignored: \(lossFn) is fitted by --optimizer")
    }
    if batchSize != nil && optimizer ?? .newton == .newton {
      warnings.append(
        "--batch-size is ignored: --optimizer newton takes all rows at once; "
          + "give adamw, adam, lion or ivon for batches")
    }
    return warnings
  }

  func apply(to configuration: inout RunConfiguration, parity: Bool) {
    configuration.lossFunction = lossFn
    configuration.update =
      update ?? (numUpdateIters != nil || batchSize != nil || parity ? .merge : .converged)
    configuration.updateIterations = numUpdateIters ?? 16
    configuration.epochs = epochs ?? (configuration.reachesOptimumAtOnce ? 1 : 100)
    configuration.batchSize = batchSize ?? 64
    configuration.seed = seed
    configuration.forgettingRate = forgettingRate
    configuration.tolerance = tolerance
    configuration.isCertified = certify
    configuration.resetsEachEpoch = resetLossPerEpoch
    configuration.augments = !nodataaug
  }
}
