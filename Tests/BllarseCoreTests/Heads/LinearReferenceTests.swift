import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// Expected values: Scripts/make-linear-fixture.py, full Newton steps and dense covariances in NumPy.
///
/// "tall" has a constant column and means of several deviations; "below" and "above" have a feature less
/// and a feature more than rows, where the fit goes over to the space of the rows; "wide" has three times
/// as many.
@Suite("Optima of the classical heads against NumPy")
struct LinearReferenceTests {
  let file: SafetensorsFile
  static let cases = ["tall", "below", "above", "wide"]
  private let execution = Execution(threadCount: 2)

  init() throws {
    file = try SafetensorsFile(path: Fixtures.path("linear/reference.safetensors"))
  }

  private func optimum<Loss: TrainableLoss>(
    _ loss: Loss.Type, _ name: String, penalty: Double?
  ) throws -> (rows: CentredDesign, optimum: PenalisedOptimum) {
    let rows = try CentredDesign(file.features("\(name).X_train"), execution: execution)
    return (
      rows,
      try Loss.optimum(
        rows, labels: file.labels("\(name).y_train"), classCount: 3, smoothing: 0,
        penalty: penalty, execution: execution)
    )
  }

  @Test("softmax regression under a given penalty", arguments: cases)
  func softmaxWeights(name: String) throws {
    let (rows, optimum) = try optimum(CrossEntropyLoss.self, name, penalty: 4)
    let weights = rows.featureWeights(optimum.weights)
    let count = weights.rowCount - 1
    let expected: Matrix<Double> = try file.matrix("\(name).softmax.weights")
    // The optimum is found to 1e-9 nats, the weights to the root of that.
    #expect(relativeDifference(weights.rows(0..<count).elements, expected.elements) < 1e-4)
    var head = LinearHead<CrossEntropyLoss>(featureCount: count, classCount: 3)
    head.take(weights, at: rows.means)
    let found = try head.logProbabilities(file.features("\(name).X_test"))
    let logs: Matrix<Double> = try file.matrix("\(name).softmax.log_probabilities")
    #expect(relativeDifference(Matrix<Double>(found).elements, logs.elements) < 1e-4)
  }

  @Test("the penalty that softmax regression chooses, and its evidence", arguments: cases)
  func softmaxEvidence(name: String) throws {
    let (rows, optimum) = try optimum(CrossEntropyLoss.self, name, penalty: nil)
    let expected: [Double] = try file.array("\(name).softmax.evidence")
    let penalty = rows.featurePenalty(optimum.penalty)
    // The evidence is flat there: two parts in a hundred are some 1e-4 nats.
    #expect(penalty.isClose(to: expected[0], relative: 0.03), "\(penalty), not \(expected[0])")
    let evidence = try #require(optimum.logEvidence)
    #expect(evidence.isClose(to: expected[1], relative: 0, absolute: 5e-4), "\(evidence)")
    #expect(optimum.end == nil)
  }

  @Test("the same model has the same penalty as a softmax head by evidence", arguments: cases)
  func sameThroughBothDoors(name: String) throws {
    let (_, optimum) = try optimum(CrossEntropyLoss.self, name, penalty: nil)
    var configuration = LaplaceConfiguration(classCount: 3)
    configuration.prior = .evidence
    configuration.scaling = .global
    let head = try LaplaceHead(
      fitting: file.features("\(name).X_train"), labels: file.labels("\(name).y_train"),
      configuration)
    let precision = try #require(head.report?.priorPrecision)
    #expect(optimum.penalty.isClose(to: precision, relative: 0.05), "\(optimum.penalty)")
  }

  @Test("ridge regression, its penalty and evidence", arguments: cases)
  func ridge(name: String) throws {
    let given = try optimum(SquaredErrorLoss.self, name, penalty: 4)
    let weights = given.rows.featureWeights(given.optimum.weights)
    let expected: Matrix<Double> = try file.matrix("\(name).ridge.weights")
    #expect(
      relativeDifference(weights.rows(0..<weights.rowCount - 1).elements, expected.elements)
        < 1e-10)
    let (rows, optimum) = try optimum(SquaredErrorLoss.self, name, penalty: nil)
    let values: [Double] = try file.array("\(name).ridge.evidence")
    // A maximum is found by its values to the root of their precision only.
    #expect(rows.featurePenalty(optimum.penalty).isClose(to: values[0], relative: 1e-5))
    let evidence = try #require(optimum.logEvidence)
    // Up to a constant: the code leaves the factor -1/2·(N - 1)·K·log of nothing else.
    #expect(evidence.isClose(to: values[1], relative: 1e-10), "\(evidence), not \(values[1])")
  }

  @Test("fifty rows of 20,000 features: both heads, in little more than the memory of the rows")
  func veryWide() throws {
    var generator = SplitMix64(seed: 7)
    let (count, width) = (50, 20_000)
    let labels = (0..<count).map { Int32($0 % 2) }
    let rows = Matrix<Float>(
      rows: count, columns: width,
      elements: (0..<count * width).map { index in
        let class1 = (index / width) % 2 == 1
        return Float(5 + generator.normal() + (class1 && index % width < 400 ? 1 : 0))
      })
    let split = try FeatureSplit(features: FeatureMatrix(rows), labels: labels)
    for loss in ["CrossEntropy", "MSE"] {
      var configuration = RunConfiguration()
      configuration.method.head = loss
      configuration.method.wayName = "newton"
      var trainer = try HeadRegistry.trainer(
        configuration, data: TrainingData(split: split, classCount: 2),
        execution: execution)
      try trainer.runStep(0, epoch: 1, on: split)
      let scores = try trainer.head.classifier().evaluation(
        features: split.features, labels: labels)
      #expect(scores.acc == 1)
    }
  }
}
