import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// Expected values: Scripts/make-soft-fixture.py, SciPy's optimum of the expected loss.
@Suite("Fits to class probabilities")
struct SoftTargetFitTests {
  let file: SafetensorsFile
  let targets: ClassDistributions
  private let execution = Execution(threadCount: 2)

  init() throws {
    file = try SafetensorsFile(path: Fixtures.path("soft/reference.safetensors"))
    targets = try ClassDistributions(try file.matrix("y_train") as Matrix<Double>)
  }

  private var split: FeatureSplit {
    get throws {
      try FeatureSplit(features: file.features("X_train"), targets: .distributions(targets))
    }
  }

  /// The head of a way, as a run fits it.
  private func head(
    _ name: String, _ way: String? = nil, _ options: [String: String] = [:], _ split: FeatureSplit
  ) throws -> any ClassificationHead {
    var configuration = RunConfiguration()
    configuration.method.head = name
    if let way { configuration.method.wayName = way }
    for (option, value) in options { configuration.method.give(option, value) }
    let rows = try configuration.method.way().fittedRows(split)
    var trainer = try HeadRegistry.trainer(
      configuration, data: TrainingData(split: rows, classCount: targets.classCount),
      execution: execution)
    try trainer.runStep(0, epoch: 1, on: rows)
    return try trainer.head.classifier()
  }

  private func difference(
    _ first: any ClassificationHead, _ second: any ClassificationHead
  ) throws -> Float {
    let features = try file.features("X_train")
    let (a, b) = (try first.logProbabilities(features), try second.logProbabilities(features))
    return zip(a.elements, b.elements).reduce(0) { max($0, ($1.0 - $1.1).magnitude) }
  }

  @Test(
    "the classical heads are SciPy's optima",
    arguments: [
      ("CrossEntropy", 0.0, "softmax"), ("CrossEntropy", 0.15, "smoothed"), ("MSE", 0, "ridge"),
    ])
  func reference(loss: String, smoothing: Double, name: String) throws {
    func logs<Loss: TrainableLoss>(_ loss: Loss.Type) throws -> Matrix<Float> {
      let features = try file.features("X_train")
      let rows = try CentredDesign(features, execution: execution)
      let optimum = try Loss.optimum(
        rows, labels: targets.labels, distributions: targets, classCount: 4, smoothing: smoothing,
        penalty: 3, execution: execution)
      var head = LinearHead<Loss>(featureCount: 5, classCount: 4)
      head.take(rows.featureWeights(optimum.weights), at: rows.means)
      return try head.logProbabilities(features)
    }
    let found =
      loss == "MSE" ? try logs(SquaredErrorLoss.self) : try logs(CrossEntropyLoss.self)
    let expected: Matrix<Double> = try file.matrix(name)
    for (a, b) in zip(found.elements, expected.elements) {
      #expect(Double(a).isClose(to: b, relative: 1e-5, absolute: 1e-5))
    }
  }

  @Test(
    "the linear term is the optimum of copies that count as often as their classes are probable")
  func copies() throws {
    let features = try file.features("X_train")
    var generator = SplitMix64(seed: 4)
    let weights = (0..<features.rowCount).map { $0 % 7 == 0 ? 0 : 2 * generator.uniform() }
    let copies = RowCopies(targets, weights: weights, groups: nil)
    func problem(
      _ features: FeatureMatrix, _ labels: [Int32], _ weights: [Double]
    ) -> LaplaceProblem<SoftmaxPass<Double>> {
      let design = DesignMatrix<Double>(features, transform: .identity, hasBias: true)
      return LaplaceProblem(
        pass: SoftmaxPass(
          design: design, labels: labels, classCount: 4, weights: weights, execution: execution),
        gram: design.gram(rowWeights: nil, execution: execution))
    }
    var linear = problem(features, targets.labels, weights)
    linear.linearTerm = linear.pass.linearTerm(targets)
    let copied = problem(features.gatheringRows(copies.rows), copies.labels, copies.weights)
    let start = Matrix<Double>.zeros(6, 4)
    let a = try linear.solve(
      linear.prior(0.3), from: start, within: 1e-13, iterationLimit: 2000)
    let b = try copied.solve(
      copied.prior(0.3), from: start, within: 1e-13, iterationLimit: 2000)
    #expect(relativeDifference(a.weights.elements, b.weights.elements) < 1e-6)
    #expect(a.objective.isClose(to: b.objective, relative: 1e-9))
    // The same curvature.
    let (h, g) = (try linear.pass.exactHessian(a.logits), try copied.pass.exactHessian(b.logits))
    let (own, theirs) = (try #require(h), try #require(g))
    #expect(relativeDifference(own.elements, theirs.elements) < 1e-6)
  }

  @Test("the gradient of a batch is that of the expected loss", arguments: [0, 0.2])
  func batches(smoothing: Double) throws {
    let design = DesignMatrix<Double>(
      try file.features("X_train"), transform: .identity, hasBias: true)
    var generator = SplitMix64(seed: 8)
    var weights = Matrix<Double>(
      rows: 6, columns: 4, elements: (0..<24).map { _ in 0.2 * generator.normal() })
    let rows = [3, 11, 19, 42, 77][...]
    for loss in [LinearBatchPass<Double>.Loss.crossEntropy(smoothing: smoothing), .squaredError] {
      let pass = LinearBatchPass(
        design: design, labels: targets.labels, distributions: targets, classCount: 4, loss: loss,
        execution: execution)
      let (gradient, value) = pass.gradientAndLoss(rows: rows, weights: weights)
      var expected = 0.0
      for row in rows {
        let x = design.matrix(rows: row..<row + 1).row(0)
        let logits = (0..<4).map { k in (0..<6).reduce(0) { $0 + x[$1] * weights[$1, k] } }
        let normaliser = naturalLogarithm(logits.reduce(0) { $0 + exponential($1) })
        for k in 0..<4 {
          let y = Double(targets.probabilities[row, k])
          expected +=
            loss == .squaredError
            ? (logits[k] - y) * (logits[k] - y) / 8
            : -((1 - smoothing) * y + smoothing / 4) * (logits[k] - normaliser)
        }
      }
      #expect(value.isClose(to: expected / 5, relative: 1e-6))
      for (j, k) in [(0, 0), (2, 3), (5, 1)] {
        let (step, kept) = (1e-5, weights[j, k])
        weights[j, k] = kept + step
        let above = pass.gradientAndLoss(rows: rows, weights: weights).loss
        weights[j, k] = kept - step
        let below = pass.gradientAndLoss(rows: rows, weights: weights).loss
        weights[j, k] = kept
        #expect(
          gradient[j, k].isClose(to: (above - below) / (2 * step), relative: 1e-5, absolute: 1e-8))
      }
    }
  }

  /// Rows that are there four times with the shares of their votes are these rows with a vote each.
  @Test(
    "shares of votes are votes",
    arguments: [
      ("softmax", nil), ("IBProbit", nil), ("CrossEntropy", "newton"), ("MSE", "newton"),
      ("IBPolyaGamma", nil), ("MultinomialPolyaGamma", nil), ("VBLL", nil), ("VBLL", "generative"),
    ] as [(String, String?)])
  func votes(name: String, way: String?) throws {
    try #require(HeadRegistry.method(named: name) != nil, "\(HeadRegistry.methodNames)")
    var generator = SplitMix64(seed: 21)
    let once = try file.features("X_train")
    let rows = (0..<80).flatMap { [Int](repeating: $0, count: 4) }
    let votes: [Int32] = (0..<80).flatMap { row in
      (0..<4).map { _ in
        generator.uniform() < 0.6 ? targets.labels[row] : Int32(4 * generator.uniform())
      }
    }
    var shares = Matrix<Double>.zeros(320, 4)
    for (row, source) in rows.enumerated() {
      for vote in votes[4 * source..<4 * source + 4] { shares[row, Int(vote)] += 0.25 }
    }
    let features = once.gatheringRows(rows)
    // What is chosen by the evidence, or by a hair, is given: the targets of MSE vary less than votes do.
    let options = [
      "IBProbit": ["scaling": "columns", "prior": "30"], "CrossEntropy": ["l2": "2"],
      "MSE": ["l2": "2"],
      "VBLL": ["tolerance": "1e-10"],
    ]
    let hard = try head(
      name, way, options[name] ?? [:], try FeatureSplit(features: features, labels: votes))
    let soft = try head(
      name, way, options[name] ?? [:],
      try FeatureSplit(
        features: features, targets: .distributions(try ClassDistributions(shares))))
    let difference = try difference(hard, soft)
    #expect(difference < 2e-3, "\(difference)")
    guard name == "softmax" || name == "IBProbit" else { return }
    let (a, b) = (try #require(hard as? LaplaceHead), try #require(soft as? LaplaceHead))
    // The same rows are left out, so that the choices, too, are the same.
    #expect(a.priorPrecision.isClose(to: b.priorPrecision, relative: 1e-9))
    #expect(a.scaling == b.scaling)
    #expect(a.inverseTemperature.isClose(to: b.inverseTemperature, relative: 1e-3))
    let (mine, theirs) = (try #require(a.report?.estimate), try #require(b.report?.estimate))
    #expect(mine.nll.isClose(to: theirs.nll, relative: 1e-4))
    #expect(theirs.rows == 320)
    let error = try #require(mine.nllError)
    #expect(try #require(theirs.nllError).isClose(to: error, relative: 1e-3))
  }

  private func head(
    _ name: String, _ way: String?, split: FeatureSplit
  ) throws -> any ClassificationHead { try head(name, way, [:], split) }

  @Test(
    "one-hot rows have the bits of labels",
    arguments: ["softmax", "IBProbit", "CrossEntropy", "MSE", "IBPolyaGamma"])
  func oneHot(name: String) throws {
    let features = try file.features("X_train")
    var rows = Matrix<Float>.zeros(80, 4)
    for (row, label) in targets.labels.enumerated() { rows[row, Int(label)] = 1 }
    let way = ["CrossEntropy", "MSE"].contains(name) ? "newton" : nil
    let hard = try head(
      name, way, split: try FeatureSplit(features: features, labels: targets.labels))
    let soft = try head(
      name, way,
      split: try FeatureSplit(
        features: features, targets: .distributions(try ClassDistributions(rows))))
    #expect(try difference(hard, soft) == 0)
    let estimate = (hard as? LaplaceHead)?.report?.estimate
    #expect(estimate == (soft as? LaplaceHead)?.report?.estimate)
  }

  @Test(
    "rows that are all but certain are left out as labels are", arguments: ["softmax", "IBProbit"])
  func almostOneHot(name: String) throws {
    let features = try file.features("X_train")
    // The copies of other classes count for next to nothing; no class has so few rows that one fold holds all.
    var rows = Matrix<Double>(rows: 80, columns: 4, repeating: 1e-9)
    let labels = (0..<80).map { Int32($0 % 4) }
    for (row, label) in labels.enumerated() { rows[row, Int(label)] = 1 - 3e-9 }
    let nearly = try ClassDistributions(rows)
    #expect(!nearly.areCertain)
    // A search ends sooner where there are more rows.
    let options = name == "IBProbit" ? ["prior": "30"] : [:]
    let hard = try head(
      name, nil, options, try FeatureSplit(features: features, labels: labels))
    let soft = try head(
      name, nil, options, try FeatureSplit(features: features, targets: .distributions(nearly)))
    let (a, b) = (
      try #require((hard as? LaplaceHead)?.report?.estimate),
      try #require((soft as? LaplaceHead)?.report?.estimate)
    )
    #expect(a.nll.isClose(to: b.nll, relative: 1e-5), "\(a.nll), \(b.nll)")
    #expect(a.rows == b.rows && a.acc == b.acc)
    #expect(a.brier.isClose(to: b.brier, relative: 1e-5))
  }

  @Test("balanced classes weigh the expected classes alike", arguments: ["softmax", "IBProbit"])
  func classWeights(name: String) throws {
    let split = try split
    var totals = targets.classTotals(weights: nil)
    let share = totals.reduce(0, +) / 4
    totals = totals.map { share / $0 }
    let copies = RowCopies(targets, weights: nil, groups: nil)
    let weighted = try FeatureSplit(
      features: split.features.gatheringRows(copies.rows), labels: copies.labels,
      weights: zip(copies.weights, copies.labels).map { $0 * totals[Int($1)] },
      groups: copies.groups)
    let options = ["prior": "2.5", "scaling": "columns"]
    var balanced = options
    balanced["class-weight"] = "balanced"
    let difference = try difference(
      try head(name, nil, balanced, split), try head(name, nil, options, weighted))
    #expect(difference < 2e-3)
  }

  @Test("scores against class probabilities are NumPy's")
  func scores() throws {
    let logs: Matrix<Double> = try file.matrix("softmax")
    let predictions = try Predictions(
      logProbabilities: logs, labels: targets.labels, distributions: targets)
    let found = SplitScores(predictions)
    let expected: [Double] = try file.array("scores")
    for (name, value) in zip(["acc", "nll", "ece", "brier"], expected) {
      #expect(found[name].isClose(to: value, relative: 1e-6, absolute: 1e-9), "\(name)")
    }
    #expect(throws: NumericsError.self) {
      try Predictions(
        logProbabilities: logs.columns(0..<3), labels: targets.labels, distributions: targets)
    }
  }

  @Test("class weights leave rows that are left out the classes that they have")
  func leftOutLabels() throws {
    var generator = SplitMix64(seed: 3)
    let count = 60
    let x = (0..<2 * count).map { _ in Float(generator.normal()) }
    let rows = (0..<count).flatMap { row -> [Double] in
      row % 3 == 0 ? [0.6, 0.4] : x[2 * row] > -1 ? [0.97, 0.03] : [0.2, 0.8]
    }
    let votes = try ClassDistributions(Matrix<Double>(rows: count, columns: 2, elements: rows))
    let features = FeatureMatrix(Matrix<Float>(rows: count, columns: 2, elements: x))
    let split = try FeatureSplit(features: features, targets: .distributions(votes))
    // Weighed, the rows of six to four would be the other class's.
    let totals = votes.classTotals(weights: nil)
    #expect(0.4 / totals[1] > 0.6 / totals[0])
    for name in ["softmax", "IBProbit"] {
      var configuration = RunConfiguration()
      configuration.method.head = name
      configuration.method.give("class-weight", "balanced")
      let fitted = try configuration.method.way().fittedRows(split)
      var trainer = try HeadRegistry.trainer(
        configuration, data: TrainingData(split: fitted, classCount: 2), execution: execution)
      try trainer.runStep(0, epoch: 1, on: fitted)
      let head = try trainer.head.classifier()
      let leftOut = try #require((head.uncalibrated as? any LeftOutPredictingHead)?.leftOut)
      #expect(leftOut.labels == leftOut.rows.map { votes.labels[$0] }, "\(name)")
    }
  }
}
