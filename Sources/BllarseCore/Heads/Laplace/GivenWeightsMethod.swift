import BllarseNumerics

extension HeadMethod {
  /// A softmax layer that was trained elsewhere, with a posterior by Laplace's method.
  static let laplace = {
    var method = HeadMethod("laplace", ways: [.givenWeights], kinds: [LaplaceHead.self])
    method.meaningOptions = ["weights"]
    // There is nothing to compare without weights.
    method.variants = []
    // The weights are those of all classes.
    method.fitsEachLabel = false
    return method
  }()
}

extension FittingWay {
  /// Laplace's method at given weights.
  fileprivate static let givenWeights: FittingWay = {
    var way = FittingWay(
      "",
      [
        FitOptions.weights, FitOptions.priorOfGivenWeights, FitOptions.posterior, FitOptions.link,
        FitOptions.linkSamples, FitOptions.sampleWeight, FitOptions.classWeight,
      ],
      .isOnePass, memory: { $0.givenWeights($1[FitOptions.posterior] ?? .kronecker) },
      trainer: { (plan, data, execution) throws(DataError) in
        let weights = try LayerWeights(
          plan.method, featureCount: data.featureCount, classCount: data.classCount)
        return OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
          let head = try LaplaceHead(request, weights)
          var info = head.fitInfo
          if let distance = head.report?.distance, !distance.isNear {
            info.note =
              "the weights are further from the optimum under this prior than the posterior is wide "
              + "(\(distance.deviations.rounded(digits: 3)) standard deviations a parameter)"
          }
          return (head, info)
        }
      })
    way.check = { (header, method) throws(DataError) in
      _ = try LayerWeights(
        method, featureCount: header.featureCount, classCount: header.outputs.count)
      guard method[FitOptions.posterior] == .full else { return }
      try header.checkFullCovariance { (_) throws(NumericsError) in
        try FullCovariance.checkMemory(
          inputs: header.featureCount + 1, columns: header.outputs.count)
      }
    }
    return way
  }()
}

extension Double {
  /// With so many significant digits.
  fileprivate func rounded(digits: Int) -> Double {
    guard self != 0, isFinite else { return self }
    var scale = 1.0
    while magnitude * scale < 1, scale < 1e12 { scale *= 10 }
    for _ in 1..<digits { scale *= 10 }
    return (self * scale).rounded() / scale
  }
}

extension MemoryShape {
  /// What Laplace's method at given weights works in: a block of rows in double precision, logits and residuals, matrices
  /// of the structure.
  fileprivate func givenWeights(_ posterior: CovarianceStructure) -> Double {
    let matrices: Double =
      switch posterior {
      case .full: FullCovariance.memory(inputs: columns, columns: classes)
      case .block: (2 + classes) * square
      case .diagonal: 4 * 8 * columns * classes
      case .kronecker, .shared, .meanField: 5 * square
      }
    return block + 6 * logits + matrices
  }
}

extension LaplaceHead {
  /// The head that a run asks for.
  ///
  /// - Throws: as the initialiser for given weights.
  fileprivate init(_ request: FitRequest, _ weights: LayerWeights) throws(NumericsError) {
    var configuration = GivenWeightsConfiguration()
    configuration.posterior = request.method[FitOptions.posterior] ?? .kronecker
    configuration.link = request.link
    if case .fixed(let precision) = request.method[FitOptions.priorOfGivenWeights] {
      configuration.priorPrecision = precision
    }
    try self.init(
      weights: weights.weights, biases: weights.biases, features: request.features,
      labels: request.labels, rowWeights: request.rowWeights, configuration,
      execution: request.execution)
  }
}

/// The weights and biases of a softmax layer, from a file of arrays as frameworks write them.
///
/// The layer is an array whose name is `weight`, or ends in `.weight`, with the biases under the same name with `bias`. It
/// has K rows and D columns, as PyTorch has it, or D rows and K columns, which the number of features tells apart. In a file
/// of a whole network it is the one array that has the shape.
struct LayerWeights: Sendable {
  /// D x K.
  let weights: Matrix<Double>
  /// K numbers.
  let biases: [Double]

  /// Reads what `--weights` names.
  ///
  /// - Throws: `DataError` that says what the file has: there is no such layer, or there are several; its shape is
  ///   not that of features and classes; a value is not finite.
  init(_ method: Method, featureCount: Int, classCount: Int) throws(DataError) {
    let path = method[FitOptions.weights] ?? ""
    try DataError.require(
      !path.isEmpty, .missingFile, found: "no weights are given", expected: "--weights, a file")
    try self.init(path: path, featureCount: featureCount, classCount: classCount)
  }

  /// Reads a layer.
  ///
  /// - Parameters:
  ///   - path: a safetensors or npz file.
  ///   - featureCount: D.
  ///   - classCount: K.
  /// - Throws: `DataError`, as above.
  init(path: String, featureCount: Int, classCount: Int) throws(DataError) {
    let arrays = try FeatureFormat.open(path)
    let expected =
      "an array weight, (\(classCount), \(featureCount)), and bias, (\(classCount)): classes and features"
    // 1. Which arrays may be the layer.
    var layers: [Layer] = []
    for name in arrays.names where Self.isName(name, "weight") {
      let bias = String(name.dropLast("weight".count)) + "bias"
      let shape = try arrays.header(name).shape
      if shape.count == 2 {
        layers.append(
          Layer(name: name, bias: arrays.names.contains(bias) ? bias : nil, shape: shape))
      }
    }
    let content = try Self.content(of: arrays)
    guard !layers.isEmpty else {
      throw DataError(
        .missingKey, file: path, key: "weight", found: "the file has \(content)",
        expected: expected, advice: "save the layer under these names")
    }
    let right = [classCount, featureCount]
    let fitting = layers.filter { $0.shape == right || $0.shape == right.reversed() }
    guard let layer = fitting.first else {
      let isOneLogit =
        classCount == 2 && layers.contains { $0.shape == [1, featureCount] }
      throw DataError(
        .wrongShape, file: path, key: layers.count == 1 ? layers[0].name : "weight",
        found: "the file has \(content)", expected: expected,
        advice: isOneLogit
          ? "a logit w of two classes is two rows, -w/2 and w/2"
          : "take the layer of these features and classes")
    }
    guard fitting.count == 1 else {
      throw DataError(
        .wrongShape, file: path, key: fitting.map(\.name).joined(separator: " and "),
        found: "several layers have \(featureCount) features and \(classCount) classes",
        expected: "one", advice: "save the last one alone, as weight and bias")
    }
    guard classCount != featureCount else {
      throw DataError(
        .wrongShape, file: path, key: layer.name,
        found: "the shape is (\(classCount), \(classCount)), of as many classes as features",
        expected: "a shape that tells rows from columns",
        advice: "add a column of zeros to the weights and to the features")
    }
    guard let bias = layer.bias else {
      throw DataError(
        .missingKey, file: path, key: layer.name.dropLast("weight".count) + "bias",
        found: "the file has \(content)", expected: "the biases of \(layer.name), (\(classCount))",
        advice: "save zeros where the layer has none")
    }

    // 2. Its numbers.
    let matrix: Matrix<Double> = try arrays.tensor(layer.name).matrix()
    let vector = try arrays.tensor(bias)
    let biases: [Double] = try vector.array()
    try DataError.require(
      biases.count == classCount, .wrongShape, file: path, key: bias,
      found: "the shape is \(vector.shape)", expected: "(\(classCount)), one for each class")
    for (name, values) in [
      (layer.name, matrix), (bias, Matrix(rows: 1, columns: classCount, elements: biases)),
    ] {
      guard let (row, column) = values.firstNonFinite else { continue }
      throw DataError(
        .notFinite, file: path, key: name, row: name == bias ? column : row,
        column: name == bias ? nil : column, found: "the value is \(values[row, column])",
        expected: "a finite number", advice: "the training diverged: take weights from before")
    }
    weights = layer.shape == right ? matrix.transposed() : matrix.compact()
    self.biases = biases
  }

  private struct Layer {
    let name: String
    let bias: String?
    let shape: [Int]
  }

  private static func isName(_ name: String, _ word: String) -> Bool {
    name == word || name.hasSuffix("." + word)
  }

  /// The arrays of a file with their shapes, in words.
  private static func content(of arrays: FeatureArrays) throws(DataError) -> String {
    guard !arrays.names.isEmpty else { return "no arrays" }
    var words: [String] = []
    for name in arrays.names.prefix(12) {
      let shape = try arrays.header(name).shape
      words.append("\(name) (\(shape.map(String.init).joined(separator: ", ")))")
    }
    return words.joined(separator: ", ")
      + (arrays.names.count > 12 ? ", … (\(arrays.names.count) in all)" : "")
  }
}
