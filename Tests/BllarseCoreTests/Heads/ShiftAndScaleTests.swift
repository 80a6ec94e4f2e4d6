import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// The features' offset and unit are the user's business: predictions must not depend on them.
@Suite("Heads under shift and scale of the features")
struct ShiftAndScaleTests {
  /// Elements are multiples of 2⁻¹⁰ below 8, so that offsets of 1000 are exact in single precision, and
  /// differences are the heads' alone.
  struct Problem: Sendable {
    let train: Matrix<Double>, test: Matrix<Double>
    let labels: [Int32]

    init(rows: Int, columns: Int) {
      var generator = SplitMix64(seed: 11)
      func matrix(_ rows: Int) -> Matrix<Double> {
        Matrix(
          rows: rows, columns: columns,
          elements: (0..<rows * columns).map { _ in
            (generator.normal() * 1024).rounded() / 1024
          })
      }
      let weights = (0..<columns * 3).map { _ in generator.normal() * 1.5 }
      train = matrix(rows)
      test = matrix(40)
      labels = (0..<rows).map { [train] row in
        let scores = (0..<3).map { k in
          (0..<columns).reduce(1.5 * generator.normal()) {
            $0 + train[row, $1] * weights[3 * $1 + k]
          }
        }
        return Int32(scores.indices.max { scores[$0] < scores[$1] } ?? 0)
      }
    }
  }
  static let tall = Problem(rows: 240, columns: 9)
  static let wide = Problem(rows: 24, columns: 40)

  enum Method: String, CaseIterable, Sendable {
    case recipe, rowScaling, crossEntropy, crossEntropyFixed, meanSquaredError, polyaGamma,
      stickBreaking
    case polyaGammaBatches

    /// The largest difference of log-probabilities that is allowed.
    var bound: Double {
      switch self {
      // The evidence's maximum is found to 1e-2 nats, on whatever side rounding leads to; and layer
      // normalisation adds 1e-5 of the mean variance to that of a row.
      case .recipe, .rowScaling: 2e-3
      case .crossEntropy: 2e-3
      // The bound settles to 1e-6 of its magnitude, about 2e-4 nats.
      case .polyaGamma, .stickBreaking: 2e-3
      // Solved to the end; what remains is the rounding of single precision.
      case .crossEntropyFixed, .meanSquaredError, .polyaGammaBatches: 2e-4
      }
    }

    func configuration(scale: Double) -> RunConfiguration {
      var configuration = RunConfiguration()
      configuration.method[FitOptions.updateIterations] = 8
      configuration.method[FitOptions.batchSize] = 60
      switch self {
      case .recipe: break
      case .rowScaling: configuration.method[FitOptions.scaling] = .rows
      case .crossEntropy: configuration.method.head = "CrossEntropy"
      case .crossEntropyFixed:
        configuration.method.head = "CrossEntropy"
        configuration.method[FitOptions.penalty] = 3 * scale * scale
      case .meanSquaredError: configuration.method.head = "MSE"
      case .polyaGamma: configuration.method.head = "IBPolyaGamma"
      case .stickBreaking: configuration.method.head = "MultinomialPolyaGamma"
      case .polyaGammaBatches:
        configuration.method.head = "IBPolyaGamma"
        configuration.method.wayName = "merge"
      }
      return configuration
    }
  }

  /// x → scale·x + offset, offset by column or for all, and columns without information.
  enum Change: String, CaseIterable, Sendable {
    case constantColumn, mean1000, means, small, large, tiny, offset1e7

    var scale: Double {
      switch self {
      case .small: 1e-5
      case .large: 1e5
      case .tiny: 1e-20
      default: 1
      }
    }

    func apply(_ matrix: Matrix<Double>) -> FeatureMatrix {
      let columns = matrix.columnCount + (self == .constantColumn ? 1 : 0)
      var result = Matrix<Double>.zeros(matrix.rowCount, columns)
      for row in 0..<matrix.rowCount {
        for column in 0..<columns {
          guard column < matrix.columnCount else {
            result[row, column] = 63.73
            continue
          }
          let offset: Double =
            switch self {
            case .mean1000: 1000
            case .means: 250 * Double(column)
            case .offset1e7: 1e7
            default: 0
            }
          result[row, column] = scale * matrix[row, column] + offset
        }
      }
      return self == .offset1e7 ? FeatureMatrix(result) : FeatureMatrix(Matrix<Float>(result))
    }
  }

  private func fit(
    _ method: Method, _ train: FeatureMatrix, _ labels: [Int32], scale: Double = 1
  ) throws -> any HeadTrainer {
    let split = try FeatureSplit(features: train, labels: labels)
    var trainer = try HeadRegistry.trainer(
      method.configuration(scale: scale), data: TrainingData(split: split, classCount: 3),
      execution: Execution(threadCount: 2))
    for step in 0..<trainer.stepCount(rowCount: labels.count) {
      try trainer.runStep(step, epoch: 1, on: split)
    }
    return trainer
  }

  @Test(
    "predictions are those for features without offset, of unit spread", arguments: Method.allCases)
  func invariance(method: Method) throws {
    for (problem, isWide) in [(Self.tall, false), (Self.wide, true)] {
      let plain = try fit(
        method, FeatureMatrix(Matrix<Float>(problem.train)), problem.labels)
      let expected = try plain.head.classifier().logProbabilities(
        FeatureMatrix(Matrix<Float>(problem.test)))
      // Rows that are normalised are others where the offsets of columns differ.
      for change in Change.allCases
      where method != .rowScaling || ![.constantColumn, .means].contains(change) {
        let changed = try fit(
          method, change.apply(problem.train), problem.labels, scale: change.scale)
        let found = try changed.head.classifier().logProbabilities(change.apply(problem.test))
        let difference = found.combined(with: expected) { abs($0 - $1) }.elements.max() ?? .nan
        // One of the recipe's scalings normalises rows: another row, where the columns' offsets differ. It has
        // little weight here.
        let altersRows = method == .recipe && (change == .means || change == .constantColumn)
        #expect(
          Double(difference) < (altersRows ? 10 : 1) * method.bound,
          "\(change.rawValue)\(isWide ? ", wide" : ""): \(difference)")
      }
    }
  }

  @Test("columns that repeat others do not end a fit, in any unit", arguments: Method.allCases)
  func duplicates(method: Method) throws {
    func doubled(_ matrix: Matrix<Double>, _ scale: Double) -> FeatureMatrix {
      var elements: [Float] = []
      for row in 0..<matrix.rowCount {
        let values = matrix.row(row).map { Float(scale * $0) }
        elements += values + values.prefix(4)
      }
      return FeatureMatrix(
        Matrix<Float>(
          rows: matrix.rowCount, columns: matrix.columnCount + 4, elements: elements))
    }
    let problem = Self.tall
    let plain = try fit(method, doubled(problem.train, 1), problem.labels).head.classifier()
      .logProbabilities(doubled(problem.test, 1))
    for scale in [1e-5, 1e5] {
      let found = try fit(method, doubled(problem.train, scale), problem.labels, scale: scale).head
        .classifier().logProbabilities(doubled(problem.test, scale))
      let difference = found.combined(with: plain) { abs($0 - $1) }.elements.max() ?? .nan
      #expect(Double(difference) < method.bound, "\(scale): \(difference)")
    }
  }

  @Test("a weak penalty on columns that repeat others is solved")
  func weakPenalty() throws {
    let problem = Self.tall
    var configuration = Method.crossEntropy.configuration(scale: 1)
    configuration.method[FitOptions.penalty] = 1e-4
    let twice = Matrix<Float>(
      rows: 240, columns: 18,
      elements: (0..<240).flatMap { row in
        let values = problem.train.row(row).map(Float.init)
        return values + values
      })
    let split = try FeatureSplit(features: FeatureMatrix(twice), labels: problem.labels)
    var trainer = try HeadRegistry.trainer(
      configuration, data: TrainingData(split: split, classCount: 3),
      execution: Execution(threadCount: 2))
    try trainer.runStep(0, epoch: 1, on: split)
    let head = try #require(trainer.head as? LinearHead<CrossEntropyLoss>)
    // What is the same twice shares its weight.
    for j in 0..<9 {
      for k in 0..<3 {
        #expect(head.weights[j, k].isClose(to: head.weights[j + 9, k], relative: 1e-3))
      }
    }
  }

  @Test("a constant column gets no weight, whatever a new row holds there")
  func constantColumn() throws {
    let train = Change.constantColumn.apply(Self.tall.train)
    for method in [Method.crossEntropy, .meanSquaredError] {
      let trainer = try fit(method, train, Self.tall.labels)
      let weights: Matrix<Float> =
        if let head = trainer.head as? LinearHead<CrossEntropyLoss> { head.weights } else {
          try #require(trainer.head as? LinearHead<SquaredErrorLoss>).weights
        }
      #expect(weights.row(9) == [0, 0, 0])
    }
  }

  @Test("a head with means predicts the same from its file, and from its weights alone")
  func checkpoint() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("head.safetensors")
    let test = Change.offset1e7.apply(Self.tall.test)
    for (change, features) in [
      (Change.offset1e7, test), (.mean1000, Change.mean1000.apply(Self.tall.test)),
    ] {
      let trainer = try fit(.crossEntropy, change.apply(Self.tall.train), Self.tall.labels)
      let head = try #require(trainer.head as? LinearHead<CrossEntropyLoss>)
      try HeadCheckpoint(
        head: head, outputNames: ["a", "b", "c"], dataset: "x", backbone: "", arguments: "{}"
      ).write(to: path)
      let read = try #require(
        HeadCheckpoint(path: path).head as? LinearHead<CrossEntropyLoss>)
      #expect(read.weights == head.weights)
      #expect(read.center == head.center)
      #expect(try read.logProbabilities(features) == head.logProbabilities(features))
      // As a file of the format's first readers: weights for features as they are.
      guard change == .mean1000 else { continue }
      var plain = LinearHead<CrossEntropyLoss>(featureCount: 9, classCount: 3)
      plain.weights = head.weights
      let difference =
        try plain.logProbabilities(features).combined(
          with: head.logProbabilities(features)
        ) { abs($0 - $1) }.elements.max() ?? .nan
      // Biases of about 1000 have an error of 3e-5 times the weights, and sums of products that too.
      #expect(difference < 1e-2)
    }
  }

  @Test("a penalty at an end of what is searched is noted")
  func searchEnds() throws {
    // Labels that the features have nothing to do with: each occurs with every value.
    let features = Matrix<Float>(
      rows: 60, columns: 1, elements: (0..<60).map { Float(($0 / 2) % 5) })
    let labels = (0..<60).map { Int32($0 % 2) }
    let split = try FeatureSplit(features: FeatureMatrix(features), labels: labels)
    for loss in ["CrossEntropy", "MSE"] {
      var configuration = RunConfiguration()
      configuration.method.head = loss
      var trainer = try HeadRegistry.trainer(
        configuration, data: TrainingData(split: split, classCount: 2),
        execution: Execution(threadCount: 1))
      try trainer.runStep(0, epoch: 1, on: split)
      let note = try #require(trainer.info.note)
      #expect(note.contains("the strongest of those that are searched"), "\(note)")
    }
  }

  @Test("steps on features that they cannot cope with are noted, others are not")
  func steps() throws {
    func note(_ change: Change?) throws -> String? {
      var configuration = RunConfiguration()
      configuration.method.head = "CrossEntropy"
      configuration.method.wayName = "adamw"
      let train =
        change.map { $0.apply(Self.tall.train) } ?? FeatureMatrix(Matrix<Float>(Self.tall.train))
      let split = try FeatureSplit(features: train, labels: Self.tall.labels)
      return try HeadRegistry.trainer(
        configuration, data: TrainingData(split: split, classCount: 3),
        execution: Execution(threadCount: 1)
      ).info.note
    }
    #expect(try note(nil) == nil)
    #expect(try note(.mean1000)?.contains("times their spread from zero") == true)
    #expect(try note(.large)?.contains("a spread of") == true)
  }
}
