import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Images")
struct ImageTests {
  @Test("resizing agrees with Pillow's antialiased bilinear filter", arguments: 0..<8)
  func resize(index: Int) throws {
    let file = try SafetensorsFile(path: Fixtures.path("images/resize.safetensors"))
    let input: Matrix<Float> = try file.matrix("input_\(index)")
    let expected: Matrix<Float> = try file.matrix("output_\(index)")
    let image = ImageBatch(
      pixels: Matrix(
        rows: 1, columns: input.rowCount * input.columnCount, elements: input.elements),
      channels: 1, height: input.rowCount, width: input.columnCount)
    let resized = image.resized(height: expected.rowCount, width: expected.columnCount)
    #expect(relativeDifference(resized.pixels.elements, expected.elements) < 1e-6)
  }

  @Test("a constant image stays constant, in every size", arguments: 1...12)
  func constant(size: Int) {
    let image = ImageBatch(
      pixels: Matrix(rows: 1, columns: 42, repeating: 0.75), channels: 1, height: 6, width: 7)
    let resized = image.resized(height: size, width: 13 - size).pixels.elements
    #expect(resized.allSatisfy { $0.isClose(to: 0.75, ulps: 4) })
  }

  @Test("channels and images do not mix")
  func channels() {
    var generator = SplitMix64(seed: 5)
    let planes = (0..<6).map { _ in (0..<20).map { _ in Float(generator.uniform()) } }
    let all = ImageBatch(
      pixels: Matrix(rows: 2, columns: 60, elements: planes.flatMap { $0 }), channels: 3,
      height: 4, width: 5
    ).resized(height: 3, width: 8).pixels.elements
    let each = planes.flatMap { plane in
      ImageBatch(
        pixels: Matrix(rows: 1, columns: 20, elements: plane), channels: 1, height: 4, width: 5
      ).resized(height: 3, width: 8).pixels.elements
    }
    #expect(all == each)
  }

  @Test("the size that is there is returned untouched")
  func identity() {
    let image = ImageBatch(
      pixels: Matrix(rows: 1, columns: 6, elements: [1, 2, 3, 4, 5, 6]), channels: 1, height: 2,
      width: 3)
    #expect(image.resized(height: 2, width: 3) == image)
  }

  @Test("each channel is normalised by its own statistics, or all by one")
  func normalize() {
    var image = ImageBatch(
      pixels: Matrix(rows: 1, columns: 4, elements: [1, 2, 3, 4]), channels: 2, height: 1, width: 2)
    image.normalize(ChannelNormalization(mean: [1, 2], standardDeviation: [0.5, 2]))
    #expect(image.pixels.elements == [0, 2, 0.5, 1])
    image.normalize(ChannelNormalization(mean: [1], standardDeviation: [0.5]))
    #expect(image.pixels.elements == [-2, 2, -1, 0])
  }

  @Test("stored pixels become intensities in [0, 1]")
  func batch() {
    let set = ImageSet(
      pixels: Matrix(rows: 2, columns: 2, elements: [0, 16, 8, 4]), channels: 1, height: 1,
      width: 2, maximum: 16)
    #expect(set.batch.pixels.elements == [0, 1, 0.5, 0.25])
    #expect(set.images(1..<2).batch.pixels.elements == [0.5, 0.25])
  }
}
