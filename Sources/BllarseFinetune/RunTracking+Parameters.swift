import BllarseCore
import Foundation

extension RunConfiguration {
  /// The parameters a run is tracked with.
  ///
  /// The keys of the Python original, also where there is one answer only here. The backbone's size is
  /// logged when it is there.
  var trackedParameters: [String: any CustomStringConvertible] {
    if data.text != nil {
      // The text script's own keys.
      let given: [String: any CustomStringConvertible] = [
        "max_train_samples": -1, "max_val_samples": -1, "train_subset_seed": -1,
      ]
      return given.merging(arguments.map { ($0.name, $0.value) }) { $1 }
    }
    var parameters: [String: any CustomStringConvertible] = [
      "optimizer": "none", "label_smooth": 0.0, "nodataaug": "True", "sequential_update": "False",
      "reset_loss_per_epoch": "False", "pretrained": pretraining,
    ]
    for (name, value) in arguments { parameters[name] = value }
    parameters["num_vb_iters"] = parameters.removeValue(forKey: "num_update_iters")
    return parameters
  }

  /// What the backbone was trained on, or the name of its file.
  private var pretraining: String {
    if data.featuresPath != nil { return "none" }
    if let namedBackbone = data.namedBackbone { return namedBackbone.pretraining.rawValue }
    let path = data.backbonePath ?? DigitsDataset.backboneName
    return URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
  }
}
