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

  /// The name of a built-in data set; not used when there is a feature file.
  public var dataset = "digits"
  /// A feature file.
  public var featuresPath: String?
  /// A backbone, instead of the data set's own.
  public var backbonePath: String?
  /// Where the package's data files are, when they are not beside the executable.
  public var resourcesPath: String?
  /// The kind of head.
  public var lossFunction = "IBProbit"
  /// How the head goes through the data.
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
  /// Whether the posterior returns to the prior at the start of each epoch.
  public var resetsEachEpoch = false
  /// What is left to the data, and what is given, for a head whose prior comes from the evidence.
  public var evidence = EvidenceOptions()
  /// Where results go, or `nil` for nowhere.
  public var outputPath: String?
  /// The number of threads, or `nil` for all that are allowed.
  public var threadCount: Int?

  /// The defaults.
  public init() {}

  /// The passes over the data that the run makes: one where one reaches the optimum.
  public var effectiveEpochs: Int { update == .converged ? 1 : epochs }

  /// The options under the names of the command line, in a fixed order.
  public var arguments: [(name: String, value: ArgumentValue)] {
    var list: [(String, ArgumentValue)] = []
    if let featuresPath {
      list.append(("features", .text(featuresPath)))
    } else {
      list.append(("dataset", .text(dataset)))
    }
    if let backbonePath { list.append(("backbone", .text(backbonePath))) }
    list += [
      ("loss_fn", .text(lossFunction)), ("tune_mode", .text("last_layer")),
      ("update", .text(update.rawValue)), ("num_update_iters", .integer(updateIterations)),
      ("epochs", .integer(effectiveEpochs)), ("batch_size", .integer(batchSize)),
      ("seed", .integer(Int(clamping: seed))), ("forgetting_rate", .number(forgettingRate)),
      ("prior_precision", .number(priorPrecision)), ("tolerance", .number(tolerance)),
      ("reset_loss_per_epoch", .flag(resetsEachEpoch)),
    ]
    list += evidenceArguments
    return list
  }
}

/// A value of an option, as result files and trackers show it.
public enum ArgumentValue: Sendable, Equatable {
  /// A text.
  case text(String)
  /// An integer.
  case integer(Int)
  /// A number.
  case number(Double)
  /// A switch.
  case flag(Bool)
}

extension ArgumentValue: CustomStringConvertible {
  /// The value as text; switches as "True" and "False", as the Python original logs them.
  public var description: String {
    switch self {
    case .text(let value): value
    case .integer(let value): String(value)
    case .number(let value): String(value)
    case .flag(let value): value ? "True" : "False"
    }
  }
}

extension ArgumentValue: Encodable {
  /// Writes the bare value.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .text(let value): try container.encode(value)
    case .integer(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .flag(let value): try container.encode(value)
    }
  }
}
