import BllarseNumerics

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
