public import ArgumentParser
public import BllarseCore

extension RunConfiguration.Update: ExpressibleByArgument {}

/// What is fitted, and how: the names of the Python original.
struct MethodOptions: ParsableArguments {
  @Option(help: "What is trained: last_layer (full_network does not exist here).")
  var tuneMode: String?

  @Option(
    name: [.customLong("head"), .customLong("loss-fn")],
    help: """
      The head: \(HeadRegistry.lossFunctions.joined(separator: ", ")). Without it, an option that \
      belongs to one head means that head: --optimizer CrossEntropy; --update, --num-update-iters, \
      --batch-size and --parity IBProbit. (default: softmax)
      """)
  var head: String?

  @Option(
    help: """
      How IBProbit and the Polya-Gamma heads go through the data: converged (full batch, to the optimum), cavi (full \
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

  @Option(help: "The seed of everything random, from 0 to 2^64 - 1. (default: 137)")
  var seed: UInt64?

  @Option(
    help: "The fraction of what it knew that the posterior forgets with each batch. (default: 1e-3)"
  )
  var forgettingRate: Double?

  @Option(
    help: "The relative distance to the optimum at which a converged fit ends. (default: 1e-6)")
  var tolerance: Double?

  @Flag(
    help: """
      Let the converged fit of --parity end only when the distance is proven, which takes a Gram matrix \
      for each class; otherwise where that costs much an estimate is enough.
      """)
  var certify = false

  @Flag(help: "Return the posterior to the prior at the start of each epoch.")
  var resetLossPerEpoch = false

  @Flag(help: "Update the head first and then the network in each epoch; it needs full_network.")
  var sequentialUpdate = false

  @Flag(
    help: """
      Take training images as they are in every epoch of batches. (default: CIFAR's are cropped and mirrored \
      at random)
      """)
  var nodataaug = false

  /// The head that is meant: what is given; else what the optimiser or the updates belong to.
  func head(_ optimizer: OptimizerOptions, parity: Bool) -> String {
    if let head { return head }
    if let optimizer = optimizer.optimizer {
      return optimizer == .cavi ? "IBProbit" : "CrossEntropy"
    }
    let meansProbit = update != nil || numUpdateIters != nil || batchSize != nil || parity
    return meansProbit ? "IBProbit" : HeadRegistry.softmax
  }

  func check(_ optimizer: OptimizerOptions, parity: Bool) throws {
    let tuneMode = tuneMode ?? "last_layer"
    guard tuneMode == "last_layer" else {
      throw ValidationError(
        tuneMode == "full_network"
          ? "--tune-mode full_network does not exist yet; use last_layer"
          : "--tune-mode is '\(tuneMode)'; expected last_layer")
    }
    guard !sequentialUpdate else {
      throw ValidationError(
        "--sequential-update needs --tune-mode full_network, which does not exist yet")
    }
    let head = head(optimizer, parity: parity)
    guard HeadRegistry.lossFunctions.contains(head) else {
      let near = HeadRegistry.lossFunctions.first { $0.lowercased() == head.lowercased() }
      throw ValidationError(
        "--head is '\(head)'; "
          + (near.map { "did you mean \($0)?" }
            ?? "expected one of " + HeadRegistry.lossFunctions.joined(separator: ", ")))
    }
    if optimizer.optimizer == .cavi {
      guard HeadRegistry.takesUpdates(head) else {
        throw ValidationError(
          "--optimizer cavi is --update merge of IBProbit or a Polya-Gamma head; \(head) takes "
            + (HeadRegistry.isClosedForm(head)
              ? "no --optimizer" : "newton, adamw, adam, lion or ivon"))
      }
      guard update ?? .merge == .merge else {
        throw ValidationError(
          "--optimizer cavi is --update merge, and --update \(update?.rawValue ?? "") is given; "
            + "give one of them")
      }
    }
    if update == .sites && head != "IBProbit" && HeadRegistry.takesUpdates(head) {
      throw ValidationError("--update sites needs --head IBProbit; use merge")
    }
    try requireRange("--epochs", epochs, "a number from 0 to \(countRange.upperBound)") {
      0...countRange.upperBound ~= $0
    }
    for (name, value) in [
      ("--num-update-iters", numUpdateIters), ("--batch-size", batchSize),
    ] {
      try requireRange(
        name, value, "a number from 1 to \(countRange.upperBound)", countRange.contains)
    }
    try requireRange("--forgetting-rate", forgettingRate, "a number from 0 to 1") { 0...1 ~= $0 }
    try requireRange("--tolerance", tolerance, "a number above 0 and below 1") { $0 > 0 && $0 < 1 }
    guard HeadRegistry.takesUpdates(head) else { return }
    if update == .converged && numUpdateIters != nil {
      throw ValidationError("--num-update-iters does not go with --update converged")
    }
    if let update, update == .converged || update == .cavi, batchSize != nil {
      throw ValidationError("--batch-size does not go with --update \(update.rawValue)")
    }
  }

  func apply(
    to configuration: inout RunConfiguration, _ optimizer: OptimizerOptions, parity: Bool
  ) {
    let head = head(optimizer, parity: parity)
    configuration.lossFunction = head
    let isInBatches =
      numUpdateIters != nil || batchSize != nil || parity || optimizer.optimizer == .cavi
    configuration.update =
      update ?? (isInBatches && HeadRegistry.takesUpdates(head) ? .merge : .converged)
    configuration.updateIterations = numUpdateIters ?? 16
    configuration.epochs = epochs ?? (configuration.reachesOptimumAtOnce ? 1 : 100)
    configuration.batchSize = batchSize ?? 64
    configuration.seed = seed ?? 137
    configuration.forgettingRate = forgettingRate ?? 1e-3
    configuration.tolerance = tolerance ?? 1e-6
    configuration.isCertified = certify
    configuration.resetsEachEpoch = resetLossPerEpoch
    configuration.augments = !nodataaug
  }
}
