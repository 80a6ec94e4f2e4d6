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

/// The weights that resample a line of pixels to another length with the triangle filter.
///
/// Output pixel `i` is centred at `c = (i + ½)·n/m` on the input's axis, where pixel `j` covers
/// `[j, j+1]`. Its weights are `max(0, 1 - |j + ½ - c|/s)`, divided by their sum, with the support
/// `s = max(n/m, 1)`: so making an image smaller averages over all of it (antialiasing), and making it
/// larger interpolates linearly. Weights beyond the edge are left out of the sum.
///
/// - Note: Source: the resampling of Pillow (`ImageFilter.BILINEAR` with `reducing_gap` off), which
///   torchvision (`antialias=True`) and `jax.image.resize` share.
struct ResampleWeights: Sendable, Equatable {
  /// The length of the input.
  let inputLength: Int
  /// The first input pixel of each output pixel.
  private(set) var starts: [Int] = []
  /// How many input pixels an output pixel has weights for, the same for all.
  let tapCount: Int
  /// The weights, `tapCount` for each output pixel, for the input pixels from its start on.
  private(set) var weights: [Float] = []

  /// Describes the resampling from one length to another, both at least 1.
  init(from inputLength: Int, to outputLength: Int) {
    self.init(inputLength: inputLength, start: 0, length: inputLength, outputLength: outputLength)
  }

  /// Describes the resampling of a part of a line, as a crop needs it; pixels outside have no weight.
  ///
  /// - Parameters:
  ///   - inputLength: the length of the whole line.
  ///   - start: the first pixel of the part.
  ///   - length: the length of the part, at least 1.
  ///   - outputLength: the length to resample to, at least 1.
  init(inputLength: Int, start: Int, length: Int, outputLength: Int) {
    precondition(
      start >= 0 && length > 0 && start + length <= inputLength && outputLength > 0,
      "cannot resample \(length) pixels from \(start) of \(inputLength) to \(outputLength)")
    self.inputLength = inputLength
    let scale = Double(length) / Double(outputLength)
    let support = max(scale, 1)
    // A window of this many pixels holds every pixel with a weight.
    tapCount = min(inputLength, Int((2 * support).rounded(.up)) + 1)
    for output in 0..<outputLength {
      let center = Double(start) + (Double(output) + 0.5) * scale
      let first = max(0, min(Int((center - support).rounded(.down)), inputLength - tapCount))
      let line = (first..<first + tapCount).map { pixel in
        pixel < start || pixel >= start + length
          ? 0 : max(0, 1 - abs(Double(pixel) + 0.5 - center) / support)
      }
      let sum = line.reduce(0, +)  // positive: the pixel that holds the centre has a weight
      starts.append(first)
      weights += line.map { Float($0 / sum) }
    }
  }
}

extension ImageBatch {
  /// The images in another size: bilinear, antialiased.
  ///
  /// - Parameters:
  ///   - newHeight: the new number of rows, at least 1.
  ///   - newWidth: the new number of columns, at least 1.
  /// - Returns: the same number of images and channels.
  public func resized(height newHeight: Int, width newWidth: Int) -> ImageBatch {
    if newHeight == height && newWidth == width { return self }
    let vertical = ResampleWeights(from: height, to: newHeight)
    let horizontal = ResampleWeights(from: width, to: newWidth)
    let newSize = channels * newHeight * newWidth
    var line = [Float](repeating: 0, count: width)
    return ImageBatch(
      pixels: .init(rows: count, columns: newSize) { target in
        pixels.withUnsafePointer { source, stride in
          for plane in 0..<count * channels {
            let (image, channel) = plane.quotientAndRemainder(dividingBy: channels)
            ResampleWeights.resample(
              source + image * stride + channel * height * width,
              into: UnsafeMutableBufferPointer(
                rebasing: target[plane * newHeight * newWidth..<(plane + 1) * newHeight * newWidth]),
              vertical: vertical, horizontal: horizontal, line: &line)
          }
        }
      }, channels: channels, height: newHeight, width: newWidth)
  }
}

extension ResampleWeights {
  /// Resamples one channel of one image: columns first, into `line`, then along it.
  static func resample(
    _ plane: UnsafePointer<Float>, into target: UnsafeMutableBufferPointer<Float>,
    vertical: ResampleWeights, horizontal: ResampleWeights, line: inout [Float]
  ) {
    let (width, newWidth) = (horizontal.inputLength, horizontal.starts.count)
    let taps = horizontal.tapCount
    line.withUnsafeMutableBufferPointer { line in
      horizontal.weights.withUnsafeBufferPointer { weights in
        horizontal.starts.withUnsafeBufferPointer { starts in
          for row in vertical.starts.indices {
            for column in 0..<width { line[column] = 0 }
            for tap in 0..<vertical.tapCount {
              let weight = vertical.weights[row * vertical.tapCount + tap]
              if weight == 0 { continue }
              let source = plane + (vertical.starts[row] + tap) * width
              for column in 0..<width { line[column] += weight * source[column] }
            }
            for column in 0..<newWidth {
              var sum: Float = 0
              let start = starts[column]
              for tap in 0..<taps { sum += weights[column * taps + tap] * line[start + tap] }
              target[row * newWidth + column] = sum
            }
          }
        }
      }
    }
  }
}
