public import BllarseNumerics

/// The built-in data: 1,797 images of handwritten digits, 8 x 8 pixels in 17 grey levels, with a small
/// backbone that was trained on other digits.
///
/// - Note: Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
///   Learning Repository, 1998, doi:10.24432/C50P49 (CC BY 4.0). 1,297 images are for training and 500
///   for testing.
public enum DigitsDataset {
  /// The name of the file of the backbone that ships with the images.
  public static let backboneName = "scaling_mlp_mnist5k.safetensors"

  /// The images.
  ///
  /// - Parameter resources: where the package's data files are, when they are not beside the executable
  ///   ($BLLARSE_RESOURCES).
  /// - Returns: the splits "train" and "test".
  /// - Throws: `DataError` when the data files are missing or damaged.
  public static func images(resources: String? = nil) throws(DataError) -> ImageDataset {
    let file = try SafetensorsFile(
      path: Resources.path("digits/digits.safetensors", in: resources))
    var splits: [(name: String, split: ImageSplit)] = []
    for name in ["train", "test"] {
      let pixels = try file.stored(name + "_images").pixels()
      let labels = try file.labels(name + "_labels")
      guard pixels.columnCount == 64, pixels.rowCount == labels.count else {
        throw DataError(
          .wrongShape, file: file.path, key: name + "_images", found: "\(pixels)",
          expected: "\(labels.count) images of 8 x 8")
      }
      splits.append(
        (
          name,
          ImageSplit(
            images: ImageSet(pixels: pixels, channels: 1, height: 8, width: 8, maximum: 16),
            labels: labels)
        ))
    }
    return ImageDataset(
      name: "digits", splits: splits, classNames: (0..<10).map(String.init))
  }

  /// The backbone that ships with the images.
  ///
  /// - Parameter resources: where the package's data files are, when they are not beside the executable.
  /// - Returns: a backbone of 128 features for images of one channel.
  /// - Throws: `DataError` when the file is missing or damaged.
  public static func backbone(resources: String? = nil) throws(DataError) -> ResidualMLP {
    try ResidualMLP(path: try backbonePath(resources: resources))
  }

  static func backbonePath(resources: String?) throws(DataError) -> String {
    try Resources.path("digits/" + backboneName, in: resources)
  }

  /// For every row of "train" and then of "test", its position in the published order of the images.
  ///
  /// - Parameter resources: where the package's data files are, when they are not beside the executable.
  /// - Returns: 1,797 positions from 0.
  /// - Throws: `DataError` when the file is missing or damaged.
  public static func publishedOrder(resources: String? = nil) throws(DataError) -> [Int32] {
    try SafetensorsFile(path: Resources.path("digits/digits.safetensors", in: resources))
      .labels("order")
  }
}

extension ImageDataset {
  /// The features that a backbone gives to all images.
  ///
  /// - Parameters:
  ///   - backbone: the backbone.
  ///   - parallelism: the threads to work with.
  /// - Returns: the same splits.
  /// - Throws: `DataError` when images and backbone do not fit, or a feature is not finite.
  public func features(
    through backbone: ResidualMLP, parallelism: Parallelism = .available
  ) throws(DataError) -> FeatureDataset {
    var result: [(name: String, split: FeatureSplit)] = []
    for (name, split) in splits {
      let features = try backbone.features(
        of: split.images, normalization: normalization, parallelism: parallelism)
      result.append(
        (
          name,
          try FeatureSplit(
            features: FeatureMatrix(features), labels: split.labels, name: name)
        ))
    }
    return try FeatureDataset(
      name: name, splits: result, classNames: classNames, parallelism: parallelism)
  }
}
