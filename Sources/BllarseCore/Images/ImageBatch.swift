public import BllarseNumerics

/// Images of one size as numbers, (N, C, H, W) in row-major order.
public struct ImageBatch: Sendable, Equatable {
  /// N x (channels · height · width); intensities in [0, 1] until they are normalised.
  public var pixels: Matrix<Float>
  /// The channels of an image.
  public let channels: Int
  /// The rows of an image.
  public let height: Int
  /// The columns of an image.
  public let width: Int

  /// The number of images.
  public var count: Int { pixels.rowCount }

  /// Describes images.
  ///
  /// - Parameters:
  ///   - pixels: N x (channels · height · width).
  ///   - channels: the channels of an image.
  ///   - height: the rows of an image.
  ///   - width: the columns of an image.
  public init(pixels: Matrix<Float>, channels: Int, height: Int, width: Int) {
    precondition(
      pixels.columnCount == channels * height * width,
      "\(pixels.columnCount) pixels a row, \(channels) x \(height) x \(width) expected")
    self.pixels = pixels
    self.channels = channels
    self.height = height
    self.width = width
  }
}

/// The mean and the standard deviation of each channel, which a backbone was trained with.
public struct ChannelNormalization: Sendable, Equatable {
  /// The mean of each channel.
  public let mean: [Float]
  /// The standard deviation of each channel, positive.
  public let standardDeviation: [Float]

  /// Describes a normalisation.
  ///
  /// - Parameters:
  ///   - mean: one number for each channel, or one for all.
  ///   - standardDeviation: as many positive numbers.
  public init(mean: [Float], standardDeviation: [Float]) {
    precondition(
      mean.count == standardDeviation.count && !mean.isEmpty
        && standardDeviation.allSatisfy { $0 > 0 },
      "means \(mean) and standard deviations \(standardDeviation)")
    self.mean = mean
    self.standardDeviation = standardDeviation
  }

  /// CIFAR-10 and CIFAR-100.
  public static let cifar = ChannelNormalization(
    mean: [0.49139968, 0.48215827, 0.44653124],
    standardDeviation: [0.24703233, 0.24348505, 0.26158768])
  /// ImageNet.
  public static let imageNet = ChannelNormalization(
    mean: [0.485, 0.456, 0.406], standardDeviation: [0.229, 0.224, 0.225])
}

extension ImageBatch {
  /// Subtracts the mean of each channel and divides by its standard deviation, in place.
  public mutating func normalize(_ normalization: ChannelNormalization) {
    precondition(
      normalization.mean.count == channels || normalization.mean.count == 1,
      "\(normalization.mean.count) means for \(channels) channels")
    let (area, channels) = (height * width, channels)
    for row in 0..<count {
      pixels.withMutableRow(row) { values in
        for channel in 0..<channels {
          let index = normalization.mean.count == 1 ? 0 : channel
          let mean = normalization.mean[index]
          let factor = 1 / normalization.standardDeviation[index]
          for pixel in channel * area..<(channel + 1) * area {
            values[pixel] = (values[pixel] - mean) * factor
          }
        }
      }
    }
  }
}
