/// The options of the built-in ways to fit heads; each is declared here, listed by the ways that take it,
/// and read where they fit.
public enum FitOptions {
  // MARK: The default recipe

  /// Where the prior precision comes from.
  public static let prior = FitOption<LaplacePrior>(
    info: OptionInfo(
      "prior", group: .recipe,
      """
      The prior precision of the weights: folds (one, by the log score of rows left out in folds), \
      evidence (one, the most probable), evidence-per-class, ard (one a feature), or a number. For gaussian it \
      is relative to the noise's precision, which is integrated out; bayesian-ridge estimates both, as ard does, and \
      variational takes VBLL's priors.
      """,
      default:
        """
        folds for softmax and a converged IBProbit, evidence for laplace, OrderedProbit and gaussian, 1 otherwise
        """
    ),
    defaultValue: .folds, parse: { LaplacePrior($0) }, text: { $0.description },
    record: { .text($0.description) }
  ).with { $0.expected = "folds, evidence, evidence-per-class, ard or a positive number" }

  /// The prior precision of every weight, for heads that take a number only.
  public static let priorPrecision = FitOption(
    "prior", group: .recipe, prior.info.help, default: 1, .positive
  ).with { $0.recordedAs = "prior_precision" }

  /// The prior precision for weights that are given.
  public static let priorOfGivenWeights = FitOption<LaplacePrior>(
    info: OptionInfo(
      "prior", group: .recipe, prior.info.help, default: "evidence, at the given weights"),
    defaultValue: .evidence,
    parse: { text in
      let value = LaplacePrior(text)
      return switch value {
      case .evidence, .fixed: value
      default: nil
      }
    }, text: { $0.description }, record: { .text($0.description) }
  ).with {
    $0.expected =
      "evidence or a positive number (other priors need fits of the weights, and these are given)"
  }

  /// The covariance.
  public static let posterior = FitOption<CovarianceStructure?>(
    "posterior", group: .recipe,
    """
    The covariance behind predictions: full (the whole Hessian, all classes coupled), kron (one matrix between \
    features, one between classes), block (one a class), shared (one for all classes), diag (variances alone), \
    meanfield (every row with curvature 1).
    """, default: "kron; block with --prior evidence-per-class", recordedDefault: "auto")

  /// How the softmax of random logits is integrated.
  public static let link = FitOption<LinkApproximation>(
    info: OptionInfo(
      "link", group: .recipe,
      """
      How random logits become probabilities: mean-probit (MacKay's formula with one variance a row), probit (with one \
      a logit), mc (the mean over --link-samples draws), bridge, bridge-norm (the Laplace bridge, without and with \
      scaling of the variances).
      """, default: LinkApproximation.meanProbit.rawValue),
    defaultValue: .meanProbit,
    // laplace-torch writes bridge_norm.
    parse: { LinkApproximation(rawValue: $0.replacing("_", with: "-")) }, text: { $0.rawValue },
    record: { $0 == .meanProbit ? nil : .text($0.rawValue) }
  ).with { $0.expected = oneOf(LinkApproximation.allCases.map(\.rawValue)) }

  /// Draws a row, where the link is by Monte Carlo.
  public static let linkSamples = FitOption(
    "link-samples", group: .recipe,
    "Draws of the logits of a row; which ones depends on --seed and the row's features alone.",
    default: Link.defaultSampleCount, .from(2, to: 1_000_000)
  ).with { $0.neededOption = ("link", "mc") }

  /// The file with the weights of a layer.
  public static let weights = FitOption<String?>(
    "weights", group: .method,
    """
    The file, safetensors or npz, with the weights of a softmax layer that was trained elsewhere: arrays weight, \
    (classes, features), and bias, or names that end in .weight and .bias.
    """
  ).with { ($0.isRequired, $0.expected) = (true, "a file") }

  /// The scaling of the features.
  public static let scaling = FitOption<FeatureScaling?>(
    "scaling", group: .recipe,
    """
    The scaling of the features: columns (each of variance 1), global (one factor for all), rows (each \
    row of mean 0 and variance 1 before); for gaussian also none (columns are centred, targets are in their units).
    """,
    default: """
      columns, unless another predicts left-out rows plainly better; columns for OrderedProbit and gaussian; VBLL takes features as they \
      are, without a bias
      """,
    recordedDefault: "folds")

  /// The array that says how often each training row counts.
  public static let sampleWeight = FitOption<String?>(
    "sample-weight", group: .rows,
    """
    The array of the feature file, NAME_train or NAME, that says how often each training row counts: numbers \
    that are not negative.
    """
  ).with { ($0.needs, $0.expected) = (.featureFile, "the name of an array") }

  /// The array that says which training rows are left out together.
  public static let group = FitOption<String?>(
    "group", group: .rows,
    """
    The array of the feature file, NAME_train or NAME, that says which training rows belong together \
    (integers): those of one group are left out together.
    """
  ).with { ($0.needs, $0.expected) = (.featureFile, "the name of an array") }

  /// Whether every class counts as much as any other, however many rows it has.
  public static let classWeight = FitOption<ClassWeight?>(
    "class-weight", group: .rows,
    """
    balanced: every class counts as much as any other, however many rows it has; predictions, and the scores to \
    expect on new rows, are for rows that are as often of one class as of another.
    """, default: "each row counts once, or as --sample-weight says")

  // MARK: Closed-form updates

  /// Whether IBProbit is fitted and scored as the Python original does.
  public static let parity = FitOption<Bool>(
    "parity", group: .recipe,
    """
    Fit IBProbit as the Python original does, in every respect: layer-normalised rows, prior precision 1, posterior \
    means, likelihoods of the mixture and accuracy of CBC; --update is merge unless given.
    """
  ).with { $0.namesMethod = true }

  /// Coordinate-ascent iterations of a batch.
  public static let updateIterations = FitOption(
    "num-update-iters", group: .method, "Coordinate-ascent iterations of a batch.", default: 16,
    .count
  ).with { $0.isNotedWhereIdle = true }

  /// Rows of a batch.
  public static let batchSize = FitOption(
    "batch-size", short: "bs", group: .method, "Rows of a batch.", default: 64, .count
  ).with { $0.isNotedWhereIdle = true }

  /// The fraction of what it knew that the posterior forgets with each batch.
  public static let forgettingRate = FitOption(
    "forgetting-rate", group: .method,
    "The fraction of what it knew that the posterior forgets with each batch.", default: 1e-3,
    OptionRange("a number from 0 to 1") { 0...1 ~= $0 }
  ).with { $0.isNotedWhereIdle = true }

  /// The relative distance to the optimum at which a fit ends.
  public static let tolerance = FitOption(
    "tolerance", group: .method,
    "The relative distance to the optimum at which a converged fit ends.", default: 1e-6,
    OptionRange("a number above 0 and below 1") { $0 > 0 && $0 < 1 })

  /// Whether that distance has to be proven.
  public static let certify = FitOption<Bool>(
    "certify", group: .method,
    """
    Let the converged fit of --parity end only when the distance is proven, which takes a Gram matrix \
    for each class; otherwise where that costs much an estimate is enough.
    """, isRecordedWhereOff: false)

  /// Whether the posterior returns to the prior at the start of each epoch.
  public static let resetLossPerEpoch = FitOption<Bool>(
    "reset-loss-per-epoch", group: .method,
    "Return the posterior to the prior at the start of each epoch."
  ).with { ($0.isNotedWhereIdle, $0.needs) = (true, .severalEpochs) }

  // MARK: Classical heads

  /// The L2 strength.
  public static let penalty = FitOption<Double?>(
    "l2", group: .classical, "The L2 strength of newton.",
    default: "the one with the best evidence",
    recordedDefault: "evidence", .positive)

  /// The share of a label's weight that is spread over all classes.
  public static let labelSmoothing = FitOption(
    "label-smooth", short: "ls", group: .classical,
    "The share of a label's weight that is spread over all classes.", default: 0, .share
  ).with { $0.isNotedWhereIdle = true }

  /// The learning rate.
  public static let learningRate = FitOption(
    "learning-rate", short: "lr", group: .classical, "The learning rate of adamw, adam and lion.",
    default: 1e-3, .positive
  ).with { $0.isNotedWhereIdle = true }

  /// The weight decay.
  public static let weightDecay = FitOption(
    "weight-decay", short: "wd", group: .classical, "The weight decay of adamw and lion.",
    default: 1e-2, .nonNegative
  ).with { $0.isNotedWhereIdle = true }

  /// Whether the weight decay draws biases to zero, too; no option of the command line.
  public static let decaysBiases = FitOption<Bool>(
    info: OptionInfo("decay-biases", group: .classical, ""), defaultValue: true,
    parse: { Bool($0) }, text: { String($0) }, record: { _ in nil })

  /// The share of features that a step leaves out.
  public static let dropout = FitOption(
    "dropout", group: .classical, "The share of features that a step on a batch leaves out.",
    default: 0, OptionRange("a number from 0 to 0.99") { 0...0.99 ~= $0 }
  ).with { $0.isNotedWhereIdle = true }

  /// Samples of the posterior in a step of IVON.
  public static let sampleCount = FitOption(
    "mc-samples", short: "mc", group: .classical, "Samples of the posterior in a step of ivon.",
    default: 1, .from(1, to: 65536)
  ).with { $0.isNotedWhereIdle = true }

  /// The largest learning rate of IVON.
  public static let ivonPeakRate = FitOption(
    "ivon-peak-lr", group: .classical,
    "The largest learning rate of ivon's warm-up cosine schedule.", default: 1e-2, .positive
  ).with { $0.isNotedWhereIdle = true }

  /// The weight decay of IVON.
  public static let ivonWeightDecay = FitOption(
    "ivon-weight-decay", group: .classical, "The weight decay of ivon.", default: 1e-6, .nonNegative
  ).with { $0.isNotedWhereIdle = true }

  /// The curvature that IVON starts with.
  public static let ivonHessInit = FitOption(
    "ivon-hess-init", group: .classical, "The curvature that ivon starts with.", default: 1,
    .positive
  ).with { $0.isNotedWhereIdle = true }

  /// The decay of IVON's curvature.
  public static let ivonBeta2 = FitOption(
    "ivon-b2", group: .classical, "The decay of ivon's curvature.", default: 0.999, .share
  ).with { $0.isNotedWhereIdle = true }
}

// MARK: - What chooses among the ways of a head

extension OptionInfo {
  /// How heads that are fitted in closed form go through the data.
  public static let update = OptionInfo(
    "update", group: .method,
    """
    How IBProbit and the Polya-Gamma heads go through the data: converged (full batch, to the optimum), cavi (full \
    batch, --num-update-iters iterations), merge (each batch alone, then merged), sites \
    (batches, several epochs, towards the optimum of the full batch). Default: converged, \
    unless --num-update-iters or --batch-size is given: then merge.
    """)

  /// How a classical head is fitted.
  public static let optimizer = {
    var info = OptionInfo(
      "optimizer", short: "o", group: .classical,
      """
      newton (all rows, to the optimum of the penalised loss), or steps on batches by adamw, adam, lion \
      or ivon. Heads fitted in closed form need none. cavi is --head IBProbit --update merge.
      """, default: "newton")
    info.isNotedWhereIdle = true
    return info
  }()
}
