import BllarseTestSupport
import Foundation
import Testing

/// How an option can be tried: a value that is not the default, and where its effect shows.
struct OptionProbe {
  /// Where the effect of an option shows.
  enum Sign {
    /// In the scores, the bound, the iterations or the stored head.
    case result
    /// In an output directory that appears, or does not.
    case output(appears: Bool)
    /// In the epoch of the checkpoints.
    case checkpoint
    /// In another run's output directory, which is refused without it.
    case replacing
    /// In the run's MLflow record.
    case tracking
    /// In the time that a run waits for a server that is not there.
    case waiting
  }

  /// The value; a switch has none.
  var value: String?
  /// The value where the mode has that one already.
  var alternative: String?
  var sign = Sign.result
  /// Options of the modes that this one stands for.
  var replaces: [String] = []
  /// What it is given with, one after the other: an option that belongs to another has no effect without.
  var companions: [[String]] = [[]]
  /// What an error says where its value is wrong; the value when `nil`.
  var said: String?
  /// Whether the small file has too few rows for a difference.
  var needsManyRows = false

  /// The words of the option.
  func words(_ name: String, mode: [String]) -> [String] {
    let value = value.flatMap { mode.contains($0) ? alternative ?? $0 : $0 }
    return ["--" + name] + (value.map { [$0] } ?? [])
  }

  /// A mode without the options that are replaced.
  func rest(of mode: [String]) -> [String] {
    var rest: [String] = []
    var words = mode[...]
    while let word = words.popFirst() {
      if replaces.contains(word) {
        words = words.dropFirst()
      } else {
        rest.append(word)
      }
    }
    return rest
  }
}

extension OptionProbe {
  /// A probe for every option of a run.
  ///
  /// - Parameters:
  ///   - other: a second feature file.
  ///   - weights: a second file of a layer's weights.
  ///   - nowhere: a path where nothing is.
  ///   - elsewhere: an output directory.
  /// - Returns: by the options' names, without dashes.
  static func all(
    other: String, weights: String, nowhere: String, elsewhere: String
  ) -> [String: OptionProbe] {
    let layer = ["weights": OptionProbe(value: weights, replaces: ["--weights"])]
    return fit.merging(layer) { $1 }.merging(data(other: other, nowhere: nowhere)) { $1 }
      .merging(running(nowhere: nowhere, elsewhere: elsewhere)) { $1 }
  }

  private static let fit: [String: OptionProbe] = [
    "tune-mode": OptionProbe(value: "full_network"),
    "task": OptionProbe(value: "regression", alternative: "classification", replaces: ["--task"]),
    "head": OptionProbe(
      value: "IBPolyaGamma", alternative: "IBProbit", replaces: ["--loss-fn"]),
    "update": OptionProbe(value: "cavi", alternative: "merge", replaces: ["--update"]),
    "num-update-iters": OptionProbe(value: "3", replaces: ["--num-update-iters"]),
    "epochs": OptionProbe(value: "3", replaces: ["-e"]),
    "batch-size": OptionProbe(value: "7", replaces: ["-bs"]), "seed": OptionProbe(value: "5"),
    "forgetting-rate": OptionProbe(value: "0.3"), "tolerance": OptionProbe(value: "0.5"),
    "temperature-scaling": OptionProbe(),
    "ts-iters": OptionProbe(value: "1", companions: [[], ["--temperature-scaling"]]),
    "ts-test-fractions": OptionProbe(value: "0.4", companions: [[], ["--temperature-scaling"]]),
    "certify": OptionProbe(needsManyRows: true), "reset-loss-per-epoch": OptionProbe(),
    "sequential-update": OptionProbe(), "prior": OptionProbe(value: "4.5"),
    "posterior": OptionProbe(value: "meanfield"), "link": OptionProbe(value: "probit"),
    "link-samples": OptionProbe(value: "7", companions: [[], ["--link", "mc"]]),
    "sample-weight": OptionProbe(value: "times"), "group": OptionProbe(value: "family"),
    "class-weight": OptionProbe(value: "balanced"), "scaling": OptionProbe(value: "rows"),
    "calibration": OptionProbe(value: "validation"),
    "parity": OptionProbe(), "l2": OptionProbe(value: "30"),
    "optimizer": OptionProbe(value: "lion", alternative: "adamw", replaces: ["-o"]),
    "learning-rate": OptionProbe(value: "0.03"), "weight-decay": OptionProbe(value: "0.7"),
    "label-smooth": OptionProbe(value: "0.3"), "dropout": OptionProbe(value: "0.4"),
    "mc-samples": OptionProbe(value: "3"), "ivon-peak-lr": OptionProbe(value: "0.1"),
    "ivon-weight-decay": OptionProbe(value: "0.4"), "ivon-hess-init": OptionProbe(value: "3"),
    "ivon-b2": OptionProbe(value: "0.5"),
    "vbll-type": OptionProbe(
      value: "generative", alternative: "discriminative", replaces: ["--vbll-type"]),
    "parameterization": OptionProbe(
      value: "lowrank", alternative: "diagonal", replaces: ["--parameterization"]),
    "cov-rank": OptionProbe(value: "1"),
    "prior-scale": OptionProbe(value: "4"), "wishart-scale": OptionProbe(value: "30"),
    "num-workers": OptionProbe(value: "4"), "return-ood": OptionProbe(),
    // Older spellings.
    "loss-function": OptionProbe(
      value: "IBPolyaGamma", alternative: "IBProbit", replaces: ["--loss-fn"]),
    "train-batch-size": OptionProbe(value: "7", replaces: ["-bs"]),
    "dropout-rate": OptionProbe(value: "0.4"), "ibprobit-alpha": OptionProbe(value: "0.3"),
    "finetuning-type": OptionProbe(value: "full_network"),
    "likelihood": OptionProbe(
      value: "softmax", alternative: "probit", replaces: ["--loss-fn"]),
  ]

  private static func data(other: String, nowhere: String) -> [String: OptionProbe] {
    [
      "features": OptionProbe(value: other, replaces: ["--features"]),
      "target": OptionProbe(value: "family"),
      "dataset": OptionProbe(
        value: "cifar100", replaces: ["--dataset"], said: "cifar-100"),
      "data-dir": OptionProbe(value: nowhere, replaces: ["--data-dir"]),
      "backbone": OptionProbe(
        value: nowhere,
        replaces: ["--pretrained", "--model-dir", "--embed-dim", "--num-blocks"]),
      "pretrained": OptionProbe(value: "in21k", replaces: ["--pretrained"]),
      "embed-dim": OptionProbe(value: "1024", replaces: ["--embed-dim"]),
      "num-blocks": OptionProbe(value: "12", replaces: ["--num-blocks"]),
      "model-dir": OptionProbe(value: nowhere, replaces: ["--model-dir"]),
      "reinitialize": OptionProbe(), "nodataaug": OptionProbe(),
      "max-train-samples": OptionProbe(value: "20"),
      "max-val-samples": OptionProbe(value: "10"),
      "train-subset-seed": OptionProbe(
        value: "5", companions: [[], ["--max-train-samples", "20"]]),
      "eval-every-batches": OptionProbe(value: "1"), "ood": OptionProbe(value: other),
      "test-split": OptionProbe(value: "val"),
      "validation-split": OptionProbe(value: "test"),
    ]
  }

  private static func running(nowhere: String, elsewhere: String) -> [String: OptionProbe] {
    let tracked = [[], ["--enable-mlflow"]]
    return [
      "output": OptionProbe(
        value: elsewhere, sign: .output(appears: true), replaces: ["--output"]),
      "overwrite": OptionProbe(sign: .replacing),
      "resume": OptionProbe(value: nowhere, replaces: ["--output"]),
      "threads": OptionProbe(value: "2", replaces: ["--threads"]),
      "check": OptionProbe(sign: .output(appears: false)), "device": OptionProbe(value: "gpu"),
      "save-every": OptionProbe(value: "7", sign: .checkpoint),
      "enable-mlflow": OptionProbe(sign: .tracking), "enable-wandb": OptionProbe(sign: .tracking),
      "mlflow-tracking-uri": OptionProbe(
        value: "sqlite:///store.db", sign: .tracking, companions: tracked),
      "mlflow-experiment": OptionProbe(value: "effects", sign: .tracking, companions: tracked),
      "mlflow-drain-seconds": OptionProbe(value: "0", sign: .waiting, companions: tracked),
      "group-id": OptionProbe(value: "grid", sign: .tracking, companions: tracked),
      "uid": OptionProbe(value: "mine", sign: .tracking, companions: tracked),
      "log-checkpoints": OptionProbe(sign: .tracking, companions: tracked),
      "version": OptionProbe(),
      "help": OptionProbe(),
    ]
  }
}
