import BllarseNumerics
import Glibc

/// Random changes of images that leave their class: a random resized crop and a horizontal flip.
///
/// The crop covers a share of the area uniform in `scale`, with an aspect ratio log-uniform in `ratio`,
/// and is resized back to the image's size (bilinear, antialiased). Ten tries are made to fit it; then
/// the largest centred crop within the ratio is taken.
///
/// Image `i` of epoch `e` draws from the stream (seed, augmentation, (e, i)): neither order nor batches
/// nor threads change what happens to it.
///
/// - Note: Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6; the
///   parameters' meaning is that of torchvision's `RandomResizedCrop`.
package struct Augmentation: Sendable, Equatable {
  /// The share of the area that a crop covers, above 0 and up to 1.
  package var scale: ClosedRange<Double>
  /// The ratio of a crop's width to its height, above 0.
  package var ratio: ClosedRange<Double> = 3.0 / 4...4.0 / 3
  package var flipProbability: Double

  /// For natural images: crops of a quarter of the area or more, half of the images flipped.
  package static let naturalImages = Augmentation(scale: 0.25...1, flipProbability: 0.5)

  /// One image's change: a rectangle of it, in pixels, and whether it is mirrored.
  struct Draw: Equatable {
    var top, left, height, width: Int
    var isFlipped: Bool
  }
}

/// The random changes that images go through in one epoch of a run, from 0.
package struct EpochAugmentation: Sendable {
  let augmentation: Augmentation
  let seed: UInt64
  let epoch: Int

  /// What happens to the image at a row of its split, from 0: a rectangle inside it.
  func draw(row: Int, height: Int, width: Int) -> Augmentation.Draw {
    let (scale, ratio) = (augmentation.scale, augmentation.ratio)
    // The stream's index is the row; the epoch makes another seed (Weyl's constant keeps them apart).
    var generator = Philox(
      seed: seed &+ UInt64(epoch) &* 0x9E37_79B9_7F4A_7C15, purpose: .augmentation,
      index: UInt64(row))
    let isFlipped = generator.uniform() < augmentation.flipProbability
    let area = Double(height * width)
    let (logLow, logHigh) = (log(ratio.lowerBound), log(ratio.upperBound))
    for _ in 0..<10 {
      let share =
        scale.lowerBound + (scale.upperBound - scale.lowerBound) * generator.uniform()
      let aspect = exp(logLow + (logHigh - logLow) * generator.uniform())
      let cropWidth = Int((area * share * aspect).squareRoot().rounded())
      let cropHeight = Int((area * share / aspect).squareRoot().rounded())
      guard (1...width).contains(cropWidth), (1...height).contains(cropHeight) else { continue }
      return .init(
        top: generator.integer(below: height - cropHeight + 1),
        left: generator.integer(below: width - cropWidth + 1), height: cropHeight, width: cropWidth,
        isFlipped: isFlipped)
    }
    // No crop fitted: the image itself, cut to the nearest ratio allowed.
    var (cropHeight, cropWidth) = (height, width)
    let aspect = Double(width) / Double(height)
    if aspect < ratio.lowerBound {
      cropHeight = max(1, min(height, Int((Double(width) / ratio.lowerBound).rounded())))
    } else if aspect > ratio.upperBound {
      cropWidth = max(1, min(width, Int((Double(height) * ratio.upperBound).rounded())))
    }
    return .init(
      top: (height - cropHeight) / 2, left: (width - cropWidth) / 2, height: cropHeight,
      width: cropWidth, isFlipped: isFlipped)
  }
}

extension ImageBatch {
  /// The images, whose positions in their split (below 2³²) are `rows`, after the random changes of
  /// an epoch.
  package func augmented(
    by augmentation: EpochAugmentation, rows: some Collection<Int>
  ) -> ImageBatch {
    precondition(rows.count == count, "\(rows.count) positions for \(count) images")
    let area = height * width
    var result = self
    var line = [Float](repeating: 0, count: width)
    var plane = [Float](repeating: 0, count: area)
    for (image, row) in rows.enumerated() {
      let draw = augmentation.draw(row: row, height: height, width: width)
      let vertical = ResampleWeights(
        inputLength: height, start: draw.top, length: draw.height, outputLength: height)
      let horizontal = ResampleWeights(
        inputLength: width, start: draw.left, length: draw.width, outputLength: width)
      for channel in 0..<channels {
        pixels.withUnsafePointer { source, stride in
          plane.withUnsafeMutableBufferPointer { plane in
            ResampleWeights.resample(
              source + image * stride + channel * area, into: plane, vertical: vertical,
              horizontal: horizontal, line: &line)
          }
        }
        result.pixels.withMutableRow(image) { values in
          for y in 0..<height {
            for x in 0..<width {
              let from = draw.isFlipped ? width - 1 - x : x
              values[channel * area + y * width + x] = plane[y * width + from]
            }
          }
        }
      }
    }
    return result
  }
}
