import BllarseNumerics

extension ResidualMLP {
  /// A backbone that nothing was taught: weights and biases uniform within ±1/√inputs, as PyTorch and
  /// equinox start theirs, normalisations that change nothing.
  ///
  /// - Parameters:
  ///   - configuration: the sizes.
  ///   - seed: the same seed gives the same weights, on every machine.
  ///   - name: what stands for the file in messages and checkpoints.
  public init(random configuration: Configuration, seed: UInt64, name: String) {
    var layers: UInt64 = 0
    func linear(from inputs: Int, to outputs: Int) -> Linear {
      layers += 1
      var generator = Philox(seed: seed, purpose: .weights, index: layers)
      let bound = 1 / Double(inputs).squareRoot()
      func values(_ count: Int) -> [Float] {
        (0..<count).map { _ in Float((2 * generator.uniform() - 1) * bound) }
      }
      return Linear(
        weight: Matrix(rows: outputs, columns: inputs, elements: values(outputs * inputs)),
        bias: values(outputs))
    }
    self.configuration = configuration
    path = name
    let (width, hidden) = (configuration.embeddingSize, configuration.hiddenSize)
    let side = configuration.imageSize
    embedding = linear(from: configuration.channels * side * side, to: width)
    blocks = (0..<configuration.blockCount).map { _ in
      Block(
        gain: [Float](repeating: 1, count: width), shift: [Float](repeating: 0, count: width),
        linear1: linear(from: width, to: hidden), linear2: linear(from: hidden, to: width))
    }
    classifier = nil
  }

  /// Eight hexadecimal digits that tell backbones apart: a CRC-32 of the sizes and all weights but the
  /// classifier's.
  public var digest: String {
    var sum = CRC32()
    func add(_ bytes: UnsafeRawBufferPointer) { sum.update(bytes) }
    func add(_ vector: [Float]) { vector.withUnsafeBytes { add($0) } }
    func add(_ linear: Linear) {
      for row in 0..<linear.weight.rowCount {
        linear.weight.withUnsafePointer { pointer, stride in
          add(
            UnsafeRawBufferPointer(
              UnsafeBufferPointer(start: pointer + row * stride, count: linear.weight.columnCount)))
        }
      }
      add(linear.bias)
    }
    let sizes = configuration
    add([
      Float(sizes.channels), Float(sizes.imageSize), Float(sizes.layerNormEpsilon),
    ])
    if let statistics = sizes.normalization {
      add(statistics.mean)
      add(statistics.standardDeviation)
    }
    add(embedding)
    for block in blocks {
      add(block.gain)
      add(block.shift)
      add(block.linear1)
      add(block.linear2)
    }
    return sum.text
  }

  /// The weights of the backbone's own classifier as a linear head has them: (embed + 1) x classes, the
  /// biases in the last row; `nil` when there is none.
  var classifierWeights: Matrix<Float>? {
    guard let classifier else { return nil }
    let (classes, width) = (classifier.weight.rowCount, classifier.weight.columnCount)
    var weights = Matrix<Float>(rows: width + 1, columns: classes, repeating: 0)
    for k in 0..<classes {
      for d in 0..<width { weights[d, k] = classifier.weight[k, d] }
      weights[width, k] = classifier.bias[k]
    }
    return weights
  }
}
