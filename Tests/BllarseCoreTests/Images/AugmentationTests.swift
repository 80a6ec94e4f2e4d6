import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Augmentation")
struct AugmentationTests {
  static func images(_ count: Int, seed: Int = 1) -> ImageBatch {
    var generator = SplitMix64(seed: seed)
    return ImageBatch(
      pixels: Matrix(
        rows: count, columns: 3 * 8 * 10,
        elements: (0..<count * 240).map { _ in Float(generator.uniform()) }), channels: 3,
      height: 8, width: 10)
  }

  @Test("what happens to an image depends on seed, epoch and row, not on its batch")
  func streams() {
    let all = Self.images(12)
    func natural(_ seed: UInt64, _ epoch: Int) -> EpochAugmentation {
      EpochAugmentation(augmentation: .naturalImages, seed: seed, epoch: epoch)
    }
    let whole = all.augmented(by: natural(3, 2), rows: 0..<12)
    for row in [0, 5, 11] {
      let one = ImageBatch(
        pixels: all.pixels.rows(row..<row + 1), channels: 3, height: 8, width: 10
      ).augmented(by: natural(3, 2), rows: [row])
      #expect(one.pixels == whole.pixels.rows(row..<row + 1))
    }
    #expect(all.augmented(by: natural(3, 3), rows: 0..<12) != whole)
    #expect(all.augmented(by: natural(4, 2), rows: 0..<12) != whole)
  }

  @Test("the whole area without a flip changes nothing")
  func identity() {
    let all = Self.images(4)
    let none = Augmentation(scale: 1...1, ratio: 1.25...1.25, flipProbability: 0)
    let same = all.augmented(
      by: EpochAugmentation(augmentation: none, seed: 1, epoch: 0), rows: 0..<4)
    #expect(relativeDifference(same.pixels.elements, all.pixels.elements) < 1e-6)
  }

  @Test("a certain flip mirrors every row of pixels")
  func flip() {
    let all = Self.images(3)
    let flipped = all.augmented(
      by: EpochAugmentation(
        augmentation: Augmentation(scale: 1...1, ratio: 1.25...1.25, flipProbability: 1), seed: 1,
        epoch: 0), rows: 0..<3)
    for row in 0..<3 {
      let (before, after) = (all.pixels.row(row), flipped.pixels.row(row))
      for line in stride(from: 0, to: 240, by: 10) {
        for x in 0..<10 {
          #expect(after[line + x].isClose(to: before[line + 9 - x], relative: 1e-6))
        }
      }
    }
  }

  @Test("a crop equals cutting out and resizing")
  func crop() {
    let all = Self.images(20)
    let augmentation = EpochAugmentation(
      augmentation: Augmentation(scale: 0.2...0.8, flipProbability: 0), seed: 9, epoch: 1)
    let changed = all.augmented(by: augmentation, rows: 100..<120)
    for image in 0..<20 {
      let draw = augmentation.draw(row: 100 + image, height: 8, width: 10)
      let source = all.pixels.row(image)
      var cut: [Float] = []
      for channel in 0..<3 {
        for y in draw.top..<draw.top + draw.height {
          let start = channel * 80 + y * 10 + draw.left
          cut += source[start..<start + draw.width]
        }
      }
      let expected = ImageBatch(
        pixels: Matrix(rows: 1, columns: cut.count, elements: cut), channels: 3,
        height: draw.height, width: draw.width
      ).resized(height: 8, width: 10)
      #expect(
        relativeDifference(changed.pixels.row(image), expected.pixels.elements) < 1e-6)
    }
  }

  @Test("crops lie inside, cover the share asked for, and half of the images are flipped")
  func draws() {
    let augmentation = EpochAugmentation(augmentation: .naturalImages, seed: 5, epoch: 0)
    var (flips, area) = (0, 0.0)
    for row in 0..<2000 {
      let draw = augmentation.draw(row: row, height: 32, width: 32)
      #expect(draw.top >= 0 && draw.top + draw.height <= 32 && draw.height >= 1)
      #expect(draw.left >= 0 && draw.left + draw.width <= 32 && draw.width >= 1)
      let share = Double(draw.height * draw.width) / 1024
      #expect(share > 0.22 && share <= 1)
      area += share
      if draw.isFlipped { flips += 1 }
    }
    // Five standard errors: sqrt(0.25/2000) = 0.0112.
    #expect((Double(flips) / 2000).isClose(to: 0.5, relative: 0, absolute: 0.056))
    #expect((0.5...0.7).contains(area / 2000))
  }

  @Test("a ratio that never fits falls back to the largest centred crop")
  func fallback() {
    func draw(_ ratio: Double) -> Augmentation.Draw {
      let augmentation = Augmentation(scale: 1...1, ratio: ratio...ratio, flipProbability: 0)
      return EpochAugmentation(augmentation: augmentation, seed: 1, epoch: 0)
        .draw(row: 0, height: 20, width: 20)
    }
    let tall = draw(0.1)
    #expect(tall == .init(top: 0, left: 9, height: 20, width: 2, isFlipped: false))
    let wide = draw(10)
    #expect(wide == .init(top: 9, left: 0, height: 2, width: 20, isFlipped: false))
  }
}
