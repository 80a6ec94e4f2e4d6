/// An option of the fit that some heads know and others do not.
///
/// ``RunConfiguration/uses(_:)`` is the one place that says which: what a run records, what the command
/// line refuses and what it says to have no effect all follow from it.
public enum FitOption: String, Sendable, CaseIterable {
  /// How a head that is fitted in closed form goes through the data.
  case update
  /// Coordinate-ascent iterations of a batch.
  case updateIterations = "num_update_iters"
  /// Rows of a batch.
  case batchSize = "batch_size"
  /// What the posterior forgets with each batch.
  case forgettingRate = "forgetting_rate"
  /// The distance to the optimum at which a fit ends.
  case tolerance
  /// Whether that distance has to be proven.
  case certify
  /// Whether the posterior returns to the prior at the start of each epoch.
  case resetLossPerEpoch = "reset_loss_per_epoch"
  /// Whether the run behaves as the Python original.
  case parity
  /// The prior of the weights.
  case prior
  /// The covariance.
  case posterior
  /// The scaling of the features.
  case scaling
  /// How often each training row counts.
  case sampleWeight = "sample_weight"
  /// Which training rows are left out together.
  case group
  /// How a classical head is fitted.
  case optimizer
  /// The L2 strength.
  case l2
  /// The learning rate.
  case learningRate = "learning_rate"
  /// The weight decay.
  case weightDecay = "weight_decay"
  /// The share of a label's weight that is spread over all classes.
  case labelSmooth = "label_smooth"
  /// The share of features that a step leaves out.
  case dropout
  /// Samples of the posterior in a step of IVON.
  case sampleCount = "mc_samples"
  /// The largest learning rate of IVON.
  case ivonPeakRate = "ivon_peak_lr"
  /// The weight decay of IVON.
  case ivonWeightDecay = "ivon_weight_decay"
  /// The curvature that IVON starts with.
  case ivonHessInit = "ivon_hess_init"
  /// The decay of IVON's curvature.
  case ivonBeta2 = "ivon_b2"
}

extension RunConfiguration {
  /// Whether an option of the fit changes what this run does.
  public func uses(_ option: FitOption) -> Bool {
    guard effectiveEpochs > 0 else { return false }
    let isClosedForm = HeadRegistry.isClosedForm(lossFunction)
    let takesUpdates = HeadRegistry.takesUpdates(lossFunction)
    let isProbit = lossFunction == "IBProbit"
    // A method that takes steps on batches, or fits all rows at once, of the classical heads.
    let isStepped = !isClosedForm && optimizer != .newton
    return switch option {
    case .update: takesUpdates
    case .prior: isClosedForm
    case .updateIterations: takesUpdates && update != .converged
    case .batchSize: isStepped || takesUpdates && (update == .merge || update == .sites)
    case .forgettingRate: takesUpdates && (update == .merge || update == .cavi)
    case .tolerance: takesUpdates && update == .converged && !fitsEvidenceHead
    case .certify: isProbit && update == .converged && !fitsEvidenceHead
    case .resetLossPerEpoch: takesUpdates && update != .converged && epochs > 1
    case .parity: isProbit
    case .posterior, .scaling: fitsEvidenceHead
    case .sampleWeight, .group: takesRowArrays
    case .optimizer: !isClosedForm
    case .l2: !isClosedForm && optimizer == .newton
    case .learningRate: isStepped && optimizer != .ivon
    case .weightDecay: isStepped && (optimizer == .adamw || optimizer == .lion)
    case .labelSmooth: lossFunction == "CrossEntropy"
    case .dropout: isStepped
    case .sampleCount, .ivonPeakRate, .ivonWeightDecay, .ivonHessInit, .ivonBeta2:
      isStepped && optimizer == .ivon
    }
  }

  /// Whether the training images could be changed at random in every epoch: the data set allows it, and
  /// so does the method.
  public var mayAugment: Bool {
    featuresPath == nil && takesFreshRows && ImageDatasets.augmentation(of: dataset) != nil
  }

  /// Whether the head could start from the classifier that the backbone was trained with.
  public var mayStartFromClassifier: Bool {
    namedBackbone?.pretraining == .in21kCIFAR && dependsOnItsStart
  }
}
