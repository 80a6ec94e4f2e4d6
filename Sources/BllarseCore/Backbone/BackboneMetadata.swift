/// The text metadata of a backbone file, as numbers.
struct BackboneMetadata {
  let file: SafetensorsFile

  /// Refuses a file that announces something else than this package computes.
  func require(_ key: String, _ value: String) throws(DataError) {
    guard let found = file.metadata[key], found != value else { return }
    throw DataError(
      .wrongType, file: file.path, key: "metadata \(key)", found: "the value is \(found.quoted())",
      expected: value.quoted(), advice: "only this kind of backbone is supported")
  }

  /// A positive integer.
  func integer(_ key: String) throws(DataError) -> Int? {
    guard let text = file.metadata[key] else { return nil }
    guard let value = Int(text), (1...1_000_000).contains(value) else {
      throw wrong(key, text, "a positive integer")
    }
    return value
  }

  /// A non-negative number.
  func number(_ key: String) throws(DataError) -> Double? {
    guard let text = file.metadata[key] else { return nil }
    guard let value = Double(text), value.isFinite, value >= 0 else {
      throw wrong(key, text, "a number from 0 on")
    }
    return value
  }

  /// Channels and size of the images, which make up the width of the embedding.
  func imageShape(
    pixels: Int, tensor: String
  ) throws(DataError) -> (channels: Int, size: Int) {
    let size = try integer("img_size")
    let candidates = try integer("in_chans").map { [$0] } ?? [3, 1]
    for channels in candidates {
      let side = size ?? Int(Double(pixels / channels).squareRoot())
      if channels * side * side == pixels { return (channels, side) }
    }
    let shape = size.map { "\(candidates[0]) x \($0) x \($0)" } ?? "square images"
    throw DataError(
      .wrongShape, file: file.path, key: tensor, found: "the input has \(pixels) pixels",
      expected: "the pixels of \(shape) (in_chans, img_size)",
      advice: "correct the metadata or export the backbone again")
  }

  /// Mean and standard deviation of each channel.
  func normalization(channels: Int) throws(DataError) -> ChannelNormalization? {
    guard let mean = try numbers("mean", channels), let deviation = try numbers("std", channels)
    else {
      return nil
    }
    guard mean.count == deviation.count else {
      throw wrong("std", file.metadata["std"] ?? "", "as many numbers as mean has")
    }
    guard deviation.allSatisfy({ $0 > 0 }) else {
      throw wrong("std", file.metadata["std"] ?? "", "positive numbers")
    }
    return ChannelNormalization(mean: mean, standardDeviation: deviation)
  }

  private func numbers(_ key: String, _ channels: Int) throws(DataError) -> [Float]? {
    guard let text = file.metadata[key] else { return nil }
    let separators: Set<Character> = [",", " ", "[", "]", "(", ")"]
    var values: [Float] = []
    for part in text.split(whereSeparator: { separators.contains($0) }) {
      guard let value = Float(part), value.isFinite else {
        throw wrong(key, text, "numbers separated by commas")
      }
      values.append(value)
    }
    guard values.count == 1 || values.count == channels else {
      throw wrong(key, text, "one number, or one for each of \(channels) channels")
    }
    return values
  }

  private func wrong(_ key: String, _ text: String, _ expected: String) -> DataError {
    DataError(
      .wrongType, file: file.path, key: "metadata \(key)", found: "the value is \(text.quoted())",
      expected: expected, advice: "correct the metadata")
  }
}
