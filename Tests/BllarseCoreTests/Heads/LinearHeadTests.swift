@testable import BllarseCore
@testable import BllarseModels
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Classical heads")
struct LinearHeadTests {
  private static let problem = ProbitProblem.random("", rows: 150, columns: 6, classes: 4, seed: 31)

  private func pass<Scalar: BLASScalar>(
    _ loss: LinearBatchPass<Scalar>.Loss, threads: Int = 2, _ type: Scalar.Type
  ) -> LinearBatchPass<Scalar> {
    LinearBatchPass(
      design: DesignMatrix(
        FeatureMatrix(Self.problem.features), transform: .identity, hasBias: true),
      labels: Self.problem.labels, classCount: 4, loss: loss,
      execution: Execution(threadCount: threads))
  }

  private func weights() -> Matrix<Double> {
    var generator = SplitMix64(seed: 3)
    return Matrix(rows: 7, columns: 4, elements: (0..<28).map { _ in 0.3 * generator.normal() })
  }

  /// The mean loss of a batch in plain loops.
  private func loss(
    _ kind: LinearBatchPass<Double>.Loss, _ rows: ArraySlice<Int>, _ weights: Matrix<Double>
  ) -> Double {
    var total = 0.0
    for row in rows {
      let x = Self.problem.features.row(row) + [1]
      let logits = (0..<4).map { k in (0..<7).reduce(0) { $0 + x[$1] * weights[$1, k] } }
      let label = Int(Self.problem.labels[row])
      switch kind {
      case .crossEntropy(let smoothing):
        let normaliser = naturalLogarithm(logits.reduce(0) { $0 + exponential($1) })
        for k in 0..<4 {
          let target = (1 - smoothing) * (k == label ? 1 : 0) + smoothing / 4
          total -= target * (logits[k] - normaliser)
        }
      case .squaredError:
        for k in 0..<4 {
          let difference = logits[k] - (k == label ? 1 : 0)
          total += 0.5 * difference * difference / 4
        }
      }
    }
    return total / Double(rows.count)
  }

  @Test(
    "gradients equal central differences of the loss",
    arguments: [
      LinearBatchPass<Double>.Loss.crossEntropy(smoothing: 0), .crossEntropy(smoothing: 0.2),
      .squaredError,
    ])
  func gradients(kind: LinearBatchPass<Double>.Loss) {
    let rows = Array((0..<150).reversed())[20..<117]
    let weights = weights()
    let gradient = pass(kind, Double.self).gradient(rows: rows, weights: weights)
    var expected = weights
    for row in 0..<7 {
      for column in 0..<4 {
        var (up, down) = (weights, weights)
        up[row, column] += 1e-5
        down[row, column] -= 1e-5
        expected[row, column] = (loss(kind, rows, up) - loss(kind, rows, down)) / 2e-5
      }
    }
    #expect(relativeDifference(gradient.elements, expected.elements) < 1e-8)
  }

  @Test("single precision is close to double, and threads change rounding only")
  func precision() {
    let rows = Array(0..<150)[...]
    let double = pass(.crossEntropy(smoothing: 0), Double.self)
      .gradient(rows: rows, weights: weights())
    let single = pass(.crossEntropy(smoothing: 0), threads: 1, Float.self)
      .gradient(rows: rows, weights: Matrix<Float>(weights()))
    #expect(relativeDifference(Matrix<Double>(single).elements, double.elements) < 1e-5)
  }

  @Test("dropout depends on seed and step alone, and keeps the mean")
  func dropout() {
    let pass = pass(.squaredError, Double.self)
    let rows = Array(0..<150)[...]
    func gradient(_ step: Int, _ seed: UInt64 = 1) -> Matrix<Double> {
      pass.gradient(
        rows: rows, weights: weights(), dropout: .init(rate: 0.25, seed: seed, step: step))
    }
    let first = gradient(7)
    _ = gradient(8)
    #expect(gradient(7) == first)
    #expect(gradient(8) != first)
    #expect(gradient(7, 2) != first)
    // At zero weights the gradient is linear in the features, so its mean over masks is that without.
    let zero = Matrix<Double>.zeros(7, 4)
    var mean = Matrix<Double>.zeros(7, 4)
    for step in 0..<2000 {
      mean.add(
        pass.gradient(rows: rows, weights: zero, dropout: .init(rate: 0.25, seed: 1, step: step)),
        times: 1.0 / 2000)
    }
    let without = pass.gradient(rows: rows, weights: zero)
    #expect(relativeDifference(mean.elements, without.elements) < 0.02)
    // The bias is never dropped.
    for k in 0..<4 { #expect(mean[6, k].isClose(to: without[6, k], relative: 1e-9)) }
  }

  private func configuration(_ optimizer: String) -> RunConfiguration {
    var configuration = RunConfiguration()
    configuration.method.wayName = optimizer
    configuration.epochs = 60
    configuration.method[FitOptions.batchSize] = 16
    configuration.method[FitOptions.learningRate] = optimizer == "lion" ? 3e-3 : 3e-2
    configuration.method[FitOptions.ivonPeakRate] = 0.2
    configuration.method[FitOptions.weightDecay] = 0
    return configuration
  }

  private func fit<Loss: TrainableLoss>(
    _ loss: Loss.Type, _ configuration: RunConfiguration
  ) throws -> LinearHead<Loss> {
    let split = try FeatureSplit(
      features: FeatureMatrix(Self.problem.features), labels: Self.problem.labels)
    var trainer = try HeadRegistry.trainer(
      configuration, data: TrainingData(split: split, classCount: 4),
      execution: Execution(threadCount: 1))
    for epoch in 1...configuration.effectiveEpochs {
      for step in 0..<trainer.stepCount(rowCount: 150) {
        try trainer.runStep(step, epoch: epoch, on: split)
      }
    }
    return try #require(trainer.head as? LinearHead<Loss>)
  }

  @Test(
    "every optimiser comes close to the optimum that newton finds",
    arguments: ["adam", "adamw", "lion", "ivon"])
  func optimisersApproachOptimum(optimizer: String) throws {
    let rows = Array(0..<150)[...]
    var newton = configuration("newton")
    newton.method.head = "CrossEntropy"
    newton.method[FitOptions.penalty] = 1e-3
    let optimum = try fit(CrossEntropyLoss.self, newton)
    var steps = configuration(optimizer)
    steps.method.head = "CrossEntropy"
    let reached = try fit(CrossEntropyLoss.self, steps)
    let kind = LinearBatchPass<Double>.Loss.crossEntropy(smoothing: 0)
    let best = loss(kind, rows, Matrix<Double>(optimum.weights))
    let value = loss(kind, rows, Matrix<Double>(reached.weights))
    #expect(value >= best - 1e-6)
    #expect(value < best + 0.12)
  }

  @Test("ridge regression by newton has no gradient left")
  func ridge() throws {
    var configuration = configuration("newton")
    configuration.method.head = "MSE"
    configuration.method[FitOptions.penalty] = 2
    let head = try fit(SquaredErrorLoss.self, configuration)
    let weights = Matrix<Double>(head.weights)
    var gradient = pass(.squaredError, Double.self)
      .gradient(rows: Array(0..<150)[...], weights: weights)
    gradient.scale(by: 150 * 4)  // the loss of `newton` is a sum
    for row in 0..<6 {
      for k in 0..<4 { gradient[row, k] += 2 * weights[row, k] }
    }
    #expect(gradient.largestMagnitude < 1e-4)
  }

  @Test("softmax regression by newton has no gradient left, with smoothed labels, too")
  func softmax() throws {
    for smoothing in [0, 0.1] {
      var configuration = configuration("newton")
      configuration.method.head = "CrossEntropy"
      configuration.method[FitOptions.penalty] = 0.5
      configuration.method[FitOptions.labelSmoothing] = smoothing
      let weights = Matrix<Double>(try fit(CrossEntropyLoss.self, configuration).weights)
      var gradient = pass(.crossEntropy(smoothing: smoothing), Double.self)
        .gradient(rows: Array(0..<150)[...], weights: weights)
      gradient.scale(by: 150)
      for row in 0..<6 {
        for k in 0..<4 { gradient[row, k] += 0.5 * weights[row, k] }
      }
      #expect(gradient.largestMagnitude < 0.02)
    }
  }

  @Test("the evidence prefers a strong penalty for noise and a weak one for signal")
  func evidence() throws {
    var configuration = configuration("newton")
    configuration.method.head = "CrossEntropy"
    func norm(_ labels: [Int32]) throws -> Double {
      let split = try FeatureSplit(features: FeatureMatrix(Self.problem.features), labels: labels)
      var trainer = try HeadRegistry.trainer(
        configuration, data: TrainingData(split: split, classCount: 4),
        execution: Execution(threadCount: 1))
      try trainer.runStep(0, epoch: 1, on: split)
      return try #require(trainer.head as? LinearHead<CrossEntropyLoss>).weights.rows(0..<6)
        .squaredNorm
    }
    var generator = SplitMix64(seed: 77)
    let noise = Self.problem.labels.shuffled(using: &generator)
    #expect(try norm(noise) < 0.05 * norm(Self.problem.labels))
  }
}
