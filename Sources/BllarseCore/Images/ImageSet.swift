public import BllarseNumerics

/// Images of one size as they are stored: one byte a pixel and channel.
public struct ImageSet: Sendable {
  /// N x (channels · height · width), each image channel by channel, each channel row by row.
  public let pixels: Matrix<UInt8>
  /// The channels of an image.
  public let channels: Int
  /// The rows of an image.
  public let height: Int
  /// The columns of an image.
  public let width: Int
  /// The stored value of full intensity, 255 for most images.
  public let maximum: Int

  /// The number of images.
  public var count: Int { pixels.rowCount }

  /// Describes stored images.
  ///
  /// - Parameters:
  ///   - pixels: N x (channels · height · width).
  ///   - channels: the channels of an image.
  ///   - height: the rows of an image.
  ///   - width: the columns of an image.
  ///   - maximum: the stored value of full intensity, at least 1.
  public init(
    pixels: Matrix<UInt8>, channels: Int, height: Int, width: Int, maximum: Int = 255
  ) {
    precondition(
      pixels.columnCount == channels * height * width && maximum > 0,
      "\(pixels.columnCount) pixels a row, \(channels) x \(height) x \(width) expected")
    self.pixels = pixels
    self.channels = channels
    self.height = height
    self.width = width
    self.maximum = maximum
  }

  /// A view of a range of images, sharing memory.
  public func images(_ range: Range<Int>) -> ImageSet {
    ImageSet(
      pixels: pixels.rows(range), channels: channels, height: height, width: width,
      maximum: maximum)
  }

  /// The images as intensities: stored values divided by `maximum`.
  public var batch: ImageBatch {
    let intensities = (0..<256).map { Float($0) / Float(maximum) }
    let count = pixels.columnCount
    return ImageBatch(
      pixels: Matrix(rows: pixels.rowCount, columns: count) { target in
        pixels.withUnsafePointer { source, stride in
          for row in 0..<pixels.rowCount {
            for index in 0..<count {
              target[row * count + index] = intensities[Int(source[row * stride + index])]
            }
          }
        }
      }, channels: channels, height: height, width: width)
  }
}

/// Images and the class of each.
public struct ImageSplit: Sendable {
  /// N images.
  public let images: ImageSet
  /// The class of each image, N.
  public let labels: [Int32]

  /// Joins images and labels, as many of one as of the other.
  public init(images: ImageSet, labels: [Int32]) {
    precondition(
      images.count == labels.count, "\(images.count) images but \(labels.count) labels")
    self.images = images
    self.labels = labels
  }
}

/// Images in named splits.
public struct ImageDataset: Sendable {
  /// What the data set is called, "cifar10".
  public let name: String
  /// The splits in their order; "train" and "test" are among them.
  public let splits: [(name: String, split: ImageSplit)]
  /// The classes' names.
  public let classNames: [String]
  /// The channels' statistics, for backbones whose file has none.
  public let normalization: ChannelNormalization?

  /// Joins splits.
  public init(
    name: String, splits: [(name: String, split: ImageSplit)], classNames: [String],
    normalization: ChannelNormalization? = nil
  ) {
    self.name = name
    self.splits = splits
    self.classNames = classNames
    self.normalization = normalization
  }

  /// The split of a name, if there is one.
  public subscript(name: String) -> ImageSplit? { splits.first { $0.name == name }?.split }

  /// The pixels themselves as features, intensities in [0, 1].
  ///
  /// - Throws: `DataError` when the data are not sound.
  public func pixelFeatures() throws(DataError) -> FeatureDataset {
    var result: [(name: String, split: FeatureSplit)] = []
    for (name, split) in splits {
      let features = FeatureMatrix(split.images.batch.pixels)
      result.append((name, try FeatureSplit(features: features, labels: split.labels, name: name)))
    }
    return try FeatureDataset(name: name, splits: result, classNames: classNames)
  }
}
