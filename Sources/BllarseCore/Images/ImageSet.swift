package import BllarseNumerics

/// Images of one size as they are stored: one byte a pixel and channel.
package struct ImageSet: Sendable {
  /// N x (channels · height · width), each image channel by channel, each channel row by row.
  package let pixels: Matrix<UInt8>
  package let channels, height, width: Int
  /// The stored value of full intensity, 255 for most images.
  package let maximum: Int

  package var count: Int { pixels.rowCount }

  package init(
    pixels: Matrix<UInt8>, channels: Int, height: Int, width: Int, maximum: Int = 255
  ) {
    precondition(
      pixels.columnCount == channels * height * width && maximum > 0,
      "\(pixels.columnCount) pixels a row, \(channels) x \(height) x \(width) expected")
    (self.pixels, self.maximum) = (pixels, maximum)
    (self.channels, self.height, self.width) = (channels, height, width)
  }

  package func images(_ range: Range<Int>) -> ImageSet { with(pixels.rows(range)) }

  func with(_ pixels: Matrix<UInt8>) -> ImageSet {
    ImageSet(pixels: pixels, channels: channels, height: height, width: width, maximum: maximum)
  }

  /// The images as intensities: stored values divided by `maximum`.
  package var batch: ImageBatch {
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

/// Images of one size as numbers, (N, C, H, W) in row-major order.
package struct ImageBatch: Sendable, Equatable {
  /// N x (channels · height · width); intensities in [0, 1] until they are normalised.
  package var pixels: Matrix<Float>
  package let channels, height, width: Int

  package var count: Int { pixels.rowCount }

  package init(pixels: Matrix<Float>, channels: Int, height: Int, width: Int) {
    precondition(
      pixels.columnCount == channels * height * width,
      "\(pixels.columnCount) pixels a row, \(channels) x \(height) x \(width) expected")
    self.pixels = pixels
    (self.channels, self.height, self.width) = (channels, height, width)
  }

  /// Subtracts the mean of each channel and divides by its standard deviation, in place.
  package mutating func normalize(_ normalization: ChannelNormalization) {
    let statistics = normalization.mean.count
    precondition(
      [1, channels].contains(statistics), "\(statistics) means for \(channels) channels")
    let (area, channels) = (height * width, channels)
    for row in 0..<count {
      pixels.withMutableRow(row) { values in
        for channel in 0..<channels {
          let index = statistics == 1 ? 0 : channel
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

/// The mean and the standard deviation of each channel, or one of each for all, which a backbone was trained
/// with.
package struct ChannelNormalization: Sendable, Equatable {
  package let mean: [Float]
  /// Positive.
  package let standardDeviation: [Float]

  package init(mean: [Float], standardDeviation: [Float]) {
    precondition(
      mean.count == standardDeviation.count && !mean.isEmpty
        && standardDeviation.allSatisfy { $0 > 0 },
      "means \(mean) and standard deviations \(standardDeviation)")
    (self.mean, self.standardDeviation) = (mean, standardDeviation)
  }

  /// CIFAR-10 and CIFAR-100.
  package static let cifar = ChannelNormalization(
    mean: [0.49139968, 0.48215827, 0.44653124],
    standardDeviation: [0.24703233, 0.24348505, 0.26158768])
}

// MARK: - Other sizes

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

  /// Describes the resampling of a line, or of a part of it, as a crop needs it; pixels outside have
  /// no weight.
  init(inputLength: Int, start: Int = 0, length: Int? = nil, outputLength: Int) {
    let length = length ?? inputLength
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
  /// The images in another size, bilinear and antialiased, of at least one row and column.
  package func resized(height newHeight: Int, width newWidth: Int) -> ImageBatch {
    if newHeight == height && newWidth == width { return self }
    let vertical = ResampleWeights(inputLength: height, outputLength: newHeight)
    let horizontal = ResampleWeights(inputLength: width, outputLength: newWidth)
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
