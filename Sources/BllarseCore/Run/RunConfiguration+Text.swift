/// A run on a feature cache of the Python original's text script.
public struct TextTask: Sendable, Equatable {
  /// How a head is fitted, by the script's names.
  public enum Optimizer: String, Sendable, CaseIterable {
    /// The probit head in closed form, batch by batch.
    case cavi
    /// Softmax regression by steps of Adam.
    case adam
    /// Softmax regression by steps of AdamW.
    case adamw
    /// Softmax regression by steps of Lion.
    case lion
  }

  /// The stage that was asked for, "train_eval" or "all".
  public var stage: String
  /// The cache.
  public var cache: TextCache
  /// How the head is fitted.
  public var optimizer: Optimizer

  /// Describes a run.
  public init(stage: String, cache: TextCache, optimizer: Optimizer) {
    self.stage = stage
    self.cache = cache
    self.optimizer = optimizer
  }
}

extension RunConfiguration {
  /// The options that took effect under the names of the text script.
  func arguments(of text: TextTask) -> [(name: String, value: ArgumentValue)] {
    var list: [(String, ArgumentValue)] = [
      ("stage", .text(text.stage)), ("backbone", .text(text.cache.encoder)),
      ("max_length", .integer(text.cache.maxLength)),
      ("cache_dtype", .text(text.cache.elementType.rawValue)),
      ("cache_dir", .text(text.cache.path)), ("cache_key", .text(text.cache.key)),
      ("hf_subdir_prefix", .text(text.cache.prefix)),
      ("optimizer", .text(text.optimizer.rawValue)), ("epochs", .integer(epochs)),
      ("train_batch_size", .integer(method[FitOptions.batchSize])), ("seed", ArgumentValue(seed)),
    ]
    switch text.optimizer {
    case .cavi:
      list += [
        ("num_update_iters", .integer(method[FitOptions.updateIterations])),
        ("ibprobit_alpha", .number(method[FitOptions.forgettingRate])),
        ("reset_loss_per_epoch", .flag(method[FitOptions.resetLossPerEpoch])),
      ]
    case .adam, .adamw, .lion:
      list.append(("learning_rate", .number(method[FitOptions.learningRate])))
      if text.optimizer != .adam {
        list.append(("weight_decay", .number(method[FitOptions.weightDecay])))
      }
      list.append(("dropout_rate", .number(method[FitOptions.dropout])))
    }
    return list
      + RunOption.splits.compactMap { option in
        option.recorded(self).map { (option.info.recordedName, $0) }
      }
  }
}
