/// What a run is to do: the options of `bllarse-finetune`, checked against one another.
public struct RunConfiguration: Sendable, Equatable {
  /// How a head that is fitted in closed form goes through the data.
  public enum Update: String, Sendable, Equatable, CaseIterable {
    /// The full batch, to the optimum.
    case converged
    /// A fixed number of coordinate-ascent iterations on the full batch.
    case cavi
    /// Each batch alone by a fixed number of iterations, then merged with forgetting.
    case merge
    /// Batches, several epochs, towards the optimum of the full batch.
    case sites
  }

  /// How a classical head is fitted.
  public enum Optimizer: String, Sendable, Equatable, CaseIterable {
    /// All rows at once, to the optimum of the penalised loss.
    case newton
    /// Adam with decoupled weight decay.
    case adamw
    /// Adam.
    case adam
    /// Lion.
    case lion
    /// IVON, on a warm-up cosine schedule.
    case ivon
  }

  /// The name of a built-in data set; not used when there is a feature file.
  public var dataset = "digits"
  /// A feature file.
  public var featuresPath: String?
  /// The split whose scores are reported, or `nil` for "test".
  public var testSplit: String?
  /// The split that chooses the best epoch and calibrates, or `nil` for the data's own.
  public var validationSplit: String?
  /// The training rows to take, or `nil` for all.
  public var maxTrainSamples: Int?
  /// The rows of each validation split to take, the first ones, or `nil` for all.
  public var maxValidationSamples: Int?
  /// The seed by which training rows are chosen, by class; the first ones are taken when `nil`.
  public var trainSubsetSeed: UInt64?
  /// Batches between evaluations within an epoch, or 0 for none.
  public var evaluationInterval = 0
  /// Arrays of the feature file with weights and groups of the training rows.
  public var rowArrays = RowArrays()
  /// Where the files of a data set are that does not ship with the package.
  public var dataDirectory: String?
  /// Whether training images are changed at random in every epoch, where the data set and the method
  /// allow it.
  public var augments = true
  /// A backbone, instead of the data set's own.
  public var backbonePath: String?
  /// A backbone that is found by its name, instead of the data set's own.
  public var namedBackbone: NamedBackbone?
  /// The number of features that a backbone must have, or `nil` for any.
  public var embeddingSize: Int?
  /// The number of blocks that a backbone must have, or `nil` for any.
  public var blockCount: Int?
  /// Whether a head that starts from the backbone's own classifier starts from zero instead.
  public var reinitializes = false
  /// Where the package's data files are, when they are not beside the executable.
  public var resourcesPath: String?
  /// The kind of head, one of ``HeadRegistry/lossFunctions``.
  public var lossFunction = HeadRegistry.softmax
  /// How a head that is fitted by updates goes through the data; the others do not heed it.
  public var update = Update.converged
  /// Coordinate-ascent iterations of a batch, for `cavi`, `merge` and `sites`.
  public var updateIterations = 16
  /// Passes over the data.
  public var epochs = 100
  /// Rows of a batch, for `merge` and `sites`.
  public var batchSize = 64
  /// The seed of everything random.
  public var seed: UInt64 = 137
  /// The fraction of what it knew that the posterior forgets with each batch, for `merge` and `cavi`.
  public var forgettingRate = 1e-3
  /// The prior precision of every weight.
  public var priorPrecision = 1.0
  /// The relative distance to the optimum at which a converged fit ends.
  public var tolerance = 1e-6
  /// Whether a converged fit ends only when that distance is proven, whatever the proof costs.
  public var isCertified = false
  /// Whether the posterior returns to the prior at the start of each epoch.
  public var resetsEachEpoch = false
  /// What is left to the data, and what is given, for a head whose prior comes from the evidence.
  public var evidence = EvidenceOptions()
  /// Whether temperatures are fitted to parts of the test split, and how.
  public var temperatureScaling: TemperatureScaling?
  /// How a classical head is fitted.
  public var optimizer = Optimizer.newton
  /// The L2 strength of `newton`, or `nil` for the one with the best evidence.
  public var penalty: Double?
  /// The learning rate of `adamw`, `adam` and `lion`.
  public var learningRate = 1e-3
  /// The weight decay of `adamw` and `lion`.
  public var weightDecay = 1e-2
  /// The share of a label's weight that is spread over all classes.
  public var labelSmoothing = 0.0
  /// The share of features that a step leaves out.
  public var dropout = 0.0
  /// Samples of the posterior in a step of IVON.
  public var sampleCount = 1
  /// The largest learning rate of IVON.
  public var ivonPeakRate = 1e-2
  /// The weight decay of IVON.
  public var ivonWeightDecay = 1e-6
  /// The curvature that IVON starts with.
  public var ivonHessInit = 1.0
  /// The decay of IVON's curvature.
  public var ivonBeta2 = 0.999
  /// Whether the weight decay of `adamw` and `lion` draws biases to zero, too.
  public var decaysBiases = true
  /// The text task whose features are fitted, when they are a text script's.
  public var text: TextTask?
  /// Epochs between checkpoints.
  public var saveEvery = 10
  /// Whether the run goes on from the checkpoint in the output directory.
  public var resumes = false
  /// Whether the output directory must exist for that.
  public var resumesExistingOnly = false
  /// Where results go, or `nil` for nowhere.
  public var outputPath: String?
  /// Whether another run's results in the output directory are replaced.
  public var overwrites = false
  /// The number of threads, or `nil` for all that are allowed.
  public var threadCount: Int?

  /// The defaults.
  public init() {}

  /// The passes over the data that the run makes: one where one reaches the optimum, none where only the
  /// pretrained classifier is to be scored.
  public var effectiveEpochs: Int { reachesOptimumAtOnce ? min(epochs, 1) : epochs }

  /// Whether the first pass over the data ends at the optimum.
  public var reachesOptimumAtOnce: Bool {
    guard HeadRegistry.isClosedForm(lossFunction) else { return optimizer == .newton }
    return fitsEvidenceHead || update == .converged
  }

  /// Whether every epoch may see other rows: epochs of steps, not a fit to the optimum of all rows, nor
  /// `sites`, which remember what each row contributed.
  public var takesFreshRows: Bool {
    guard HeadRegistry.isClosedForm(lossFunction) else { return optimizer != .newton }
    return HeadRegistry.takesUpdates(lossFunction) && (update == .merge || update == .cavi)
  }

  /// Whether the head starts from the classifier that the backbone was trained with: where that was
  /// trained on the same data set, and the start matters.
  public var startsFromClassifier: Bool { mayStartFromClassifier && !reinitializes }

  /// Whether the head is fitted by steps from where it starts, and not to an optimum.
  public var dependsOnItsStart: Bool {
    !HeadRegistry.isClosedForm(lossFunction) && optimizer != .newton
  }
}
