extension RunConfiguration {
  /// The options that take effect, under the names of the command line, in a fixed order.
  ///
  /// A run that goes on is compared with its first start by these, so everything that changes a result is
  /// among them.
  public var arguments: [(name: String, value: ArgumentValue)] {
    if let text { return arguments(of: text) }
    return dataArguments
      + [
        ("loss_fn", .text(lossFunction)), ("tune_mode", .text("last_layer")),
        ("epochs", .integer(effectiveEpochs)), ("seed", ArgumentValue(seed)),
      ]
      + FitOption.allCases.compactMap { option in
        guard uses(option), let value = value(of: option) else { return nil }
        return (name(of: option), value)
      }
      + calibrationArguments.filter { effectiveEpochs > 0 || $0.0 != "calibration" }
      + (evidence.outOfDistributionPath.map { [("ood", .text($0))] } ?? [])
  }

  private var dataArguments: [(String, ArgumentValue)] {
    var list: [(String, ArgumentValue)] = []
    if let featuresPath {
      list.append(("features", .text(featuresPath)))
    } else {
      list.append(("dataset", .text(dataset)))
    }
    list += splitArguments
    if mayAugment { list.append(("nodataaug", .flag(!augments))) }
    if let backbonePath { list.append(("backbone", .text(backbonePath))) }
    if let namedBackbone {
      list += [
        ("pretrained", .text(namedBackbone.pretraining.rawValue)),
        ("embed_dim", .integer(namedBackbone.embeddingSize)),
        ("num_blocks", .integer(namedBackbone.blockCount)),
      ]
    }
    if mayStartFromClassifier { list.append(("reinitialize", .flag(reinitializes))) }
    return list
  }

  /// The prior is a number for most heads, and then goes by another name.
  private func name(of option: FitOption) -> String {
    option == .prior && !fitsEvidenceHead ? "prior_precision" : option.rawValue
  }

  /// What an option is set to; `nil` for a switch that is off and that few know.
  private func value(of option: FitOption) -> ArgumentValue? {
    switch option {
    case .update: .text(update.rawValue)
    case .updateIterations: .integer(updateIterations)
    case .batchSize: .integer(batchSize)
    case .forgettingRate: .number(forgettingRate)
    case .tolerance: .number(tolerance)
    case .certify: isCertified ? .flag(true) : nil
    case .resetLossPerEpoch: .flag(resetsEachEpoch)
    case .parity: fitsEvidenceHead ? nil : .flag(evidence.matchesReference)
    case .prior:
      fitsEvidenceHead ? .text(evidence.prior.description) : .number(priorPrecision)
    case .posterior: .text(evidence.posterior?.rawValue ?? "auto")
    case .scaling: .text(evidence.scaling?.rawValue ?? "folds")
    case .sampleWeight: rowArrays.weights.map(ArgumentValue.text)
    case .group: rowArrays.groups.map(ArgumentValue.text)
    case .optimizer: .text(optimizer.rawValue)
    case .l2: penalty.map(ArgumentValue.number) ?? .text("evidence")
    case .learningRate: .number(learningRate)
    case .weightDecay: .number(weightDecay)
    case .labelSmooth: .number(labelSmoothing)
    case .dropout: .number(dropout)
    case .sampleCount: .integer(sampleCount)
    case .ivonPeakRate: .number(ivonPeakRate)
    case .ivonWeightDecay: .number(ivonWeightDecay)
    case .ivonHessInit: .number(ivonHessInit)
    case .ivonBeta2: .number(ivonBeta2)
    }
  }
}
