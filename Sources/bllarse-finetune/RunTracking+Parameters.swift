import BllarseCore
import Foundation

extension RunConfiguration {
  /// The parameters a run is tracked with: the keys of the Python original, also where there is one
  /// answer only here.
  var trackedParameters: [String: any CustomStringConvertible] {
    var parameters: [String: any CustomStringConvertible] = [
      "optimizer": "none", "label_smooth": 0.0, "nodataaug": "True", "sequential_update": "False",
    ]
    for (name, value) in arguments { parameters[name] = value }
    parameters["num_vb_iters"] = parameters.removeValue(forKey: "num_update_iters")
    return parameters.merging(backboneParameters) { given, _ in given }
  }

  /// Which backbone the features come from; a file that cannot be read is for the run to report.
  private var backboneParameters: [String: any CustomStringConvertible] {
    guard featuresPath == nil else { return ["pretrained": "none"] }
    if let path = backbonePath {
      var parameters: [String: any CustomStringConvertible] = ["pretrained": Self.stem(path)]
      parameters["num_blocks"] = (try? SafetensorsFile(path: path))?.metadata["num_blocks"]
      return parameters
    }
    guard dataset == "digits", let backbone = try? DigitsDataset.backbone(resources: resourcesPath)
    else { return [:] }
    return [
      "pretrained": Self.stem(backbone.path), "num_blocks": backbone.configuration.blockCount,
    ]
  }

  private static func stem(_ path: String) -> String {
    URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
  }
}
