import BllarseCore
import BllarseTestSupport
import Foundation

/// A small backbone with random weights.
struct BackboneFixture {
  var channels = 3
  var imageSize = 8
  var width = 16
  var blocks = 1
  /// The classes of the classifier; none when nil.
  var classes: Int?
  /// Whether the file says in its metadata what it holds.
  var hasMetadata = true
  var seed = 12

  func write(to path: String) throws {
    let pixels = channels * imageSize * imageSize
    var writer = SafetensorsWriter(
      metadata: hasMetadata
        ? [
          "num_blocks": String(blocks), "embed_dim": String(width), "in_chans": String(channels),
          "img_size": String(imageSize), "hidden_dim_ratio": "4", "activation": "gelu",
        ] : [:])
    var generator = SplitMix64(seed: seed)
    func add(_ name: String, _ shape: [Int], scale: Double, offset: Double = 0) {
      let values = (0..<shape.reduce(1, *)).map { _ in
        Float(offset + scale * generator.normal())
      }
      writer.add(name, values, shape: shape)
    }
    add("linear_embed.weight", [width, pixels], scale: 1.4 / Double(pixels).squareRoot())
    add("linear_embed.bias", [width], scale: 0.1)
    for block in 0..<blocks {
      add("layers.\(block).norm.weight", [width], scale: 0, offset: 1)
      add("layers.\(block).norm.bias", [width], scale: 0)
      add("layers.\(block).linear1.weight", [4 * width, width], scale: 0.2)
      add("layers.\(block).linear1.bias", [4 * width], scale: 0.1)
      add("layers.\(block).linear2.weight", [width, 4 * width], scale: 0.1)
      add("layers.\(block).linear2.bias", [width], scale: 0.1)
    }
    if let classes {
      add("fc.weight", [classes, width], scale: 0.5)
      add("fc.bias", [classes], scale: 0.1)
    }
    try FileManager.default.createDirectory(
      at: URL(fileURLWithPath: path).deletingLastPathComponent(), withIntermediateDirectories: true)
    try writer.write(to: path)
  }
}

/// Files as CIFAR's binary version has them.
enum CIFARFixture {
  /// Records whose colour, and its slope along a row, depend on the class.
  static func records(_ count: Int, classes: Int, labelBytes: Int, seed: Int) -> [UInt8] {
    var generator = SplitMix64(seed: seed)
    var bytes: [UInt8] = []
    for index in 0..<count {
      let label = index % classes
      bytes += labelBytes == 1 ? [UInt8(label)] : [UInt8(label / 5), UInt8(label)]
      for channel in 0..<3 {
        let level = 60 + 40 * Double((label + channel * 2) % 4) + 12 * generator.normal()
        let slope = (Double((label * (channel + 2)) % 5) - 2) * 2
        for pixel in 0..<1024 {
          let value = level + slope * Double(pixel % 32 - 16) + 10 * generator.normal()
          bytes.append(UInt8(min(max(value, 0), 255)))
        }
      }
    }
    return bytes
  }

  static func writeCIFAR10(
    to directory: TemporaryDirectory, rowsOfBatch: Int = 40, testRows: Int = 60
  ) throws {
    let folder = "cifar-10-batches-bin"
    try FileManager.default.createDirectory(
      atPath: directory.file(folder), withIntermediateDirectories: true)
    for batch in 1...5 {
      try directory.write(
        "\(folder)/data_batch_\(batch).bin",
        records(rowsOfBatch, classes: 10, labelBytes: 1, seed: batch))
    }
    try directory.write(
      "\(folder)/test_batch.bin", records(testRows, classes: 10, labelBytes: 1, seed: 9))
    try directory.write(
      "\(folder)/batches.meta.txt", Array((0..<10).map { "kind \($0)\n" }.joined().utf8))
  }
}
