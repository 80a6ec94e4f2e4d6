import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Predictions for left-out rows")
struct LeftOutPredictionsTests {
  private static let execution = Execution(threadCount: 2)

  private static func configuration(
    _ classes: Int, _ prior: LaplacePrior, calibrates: Bool
  ) -> LaplaceConfiguration {
    var configuration = LaplaceConfiguration(classCount: classes)
    configuration.prior = prior
    configuration.scaling = .columns
    configuration.calibratesOnLeftOut = calibrates
    return configuration
  }

  @Test("they are those of fits without the fold, refitted one by one", arguments: [2, 4])
  func refits(classes: Int) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 100, columns: 5, classes: classes, strength: 1, seed: classes)
    let all = FeatureMatrix(features)
    let head = try LaplaceHead(
      fitting: all, labels: labels, Self.configuration(classes, .fixed(1), calibrates: false),
      execution: Self.execution)
    let leftOut = try #require(head.leftOut)
    #expect(leftOut.rows.sorted() == Array(0..<100))
    #expect(leftOut.labels == leftOut.rows.map { labels[$0] })
    let own = Matrix<Double>(try head.logProbabilities(all))

    let division = RowFolds(all, seed: 137)
    let scaled = DesignMatrix<Double>(all, transform: head.transform.features, hasBias: false)
      .matrix(rows: 0..<100)
    let design = DesignMatrix<Double>(FeatureMatrix(scaled), transform: .identity, hasBias: true)
      .matrix(rows: 0..<100)
    var (distance, inside) = (0.0, 0.0)
    for fold in 0..<division.count {
      let kept = (0..<100).filter { division.folds[$0] != fold }
      let problem = EvidenceFixture.softmax(
        scaled.gatheringRows(kept), kept.map { labels[$0] }, classCount: classes)
      // To the end, from zero.
      var solver = ConcaveSolver(
        pass: problem.pass, gram: problem.gram, prior: problem.prior(1))
      solver.tolerance = .nats(1e-12)
      let solution = try solver.solve(from: .zeros(6, classes))
      let held = (0..<100).filter { division.folds[$0] == fold }
      let rows = design.gatheringRows(held)
      let logs = TemperedLogits(
        Predictive(likelihood: .softmax).logits(
          means: rows.multiplied(by: solution.weights),
          variances: try problem.kronecker(solution.logits, precision: 1).leverages(rows)), 1
      ).logProbabilities
      for (place, row) in held.enumerated() {
        let found = try #require(leftOut.rows.firstIndex(of: row))
        for k in 0..<classes {
          let expected = exp(logs[place, k])
          distance = max(distance, abs(exp(leftOut.logProbabilities[found, k]) - expected))
          inside = max(inside, abs(exp(own[row, k]) - expected))
        }
      }
    }
    // A fit of the search ends a thousandth of a nat from its optimum: some hundredths of a standard
    // deviation of a logit. It is the leaving out that matters: with the row, predictions differ far more.
    #expect(distance < 0.015, "\(distance)")
    #expect(inside > 5 * distance, "\(inside) against \(distance)")
  }

  @Test("the temperature is the best of a grid for them, and the estimate is theirs")
  func estimate() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 300, columns: 12, classes: 3, strength: 1, seed: 8)
    func head(_ calibrates: Bool) throws -> LaplaceHead {
      try LaplaceHead(
        fitting: FeatureMatrix(features), labels: labels,
        Self.configuration(3, .fixed(0.01), calibrates: calibrates), execution: Self.execution)
    }
    let (plain, tempered) = (try head(false), try head(true))
    let raw = try #require(plain.leftOut)
    func objective(_ beta: Double) -> Double {
      TemperedLogits(raw.logProbabilities, beta).losses(raw.labels).reduce(0, +)
        + beta - 1 - log(beta)
    }
    let grid = stride(from: -3.0, through: 3.0, by: 0.002).map { exp($0) }
    let best = try #require(grid.min { objective($0) < objective($1) })
    #expect(plain.inverseTemperature == 1)
    #expect(abs(log(tempered.inverseTemperature / best)) < 0.004)
    let found = try #require(tempered.leftOut)
    for row in [0, 100, 299] {
      let sum = found.logProbabilities.row(row).reduce(0) { $0 + exp($1) }
      #expect(sum.isClose(to: 1, relative: 1e-12))
    }

    // Without a choice the estimate is the mean over the rows, and its standard error theirs.
    let losses = raw.labels.indices.map { -raw.logProbabilities[$0, Int(raw.labels[$0])] }
    let mean = losses.reduce(0, +) / 300
    let variance = losses.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 299
    let estimate = try #require(plain.report?.estimate)
    #expect(estimate.rows == 300)
    #expect(estimate.nll.isClose(to: mean, relative: 1e-9))
    #expect((estimate.nllError ?? .nan).isClose(to: (variance / 300).squareRoot(), relative: 1e-9))
    let hits = raw.labels.indices.count { row in
      let values = raw.logProbabilities.row(row)
      return values.indices.max { values[$0] < values[$1] } == Int(raw.labels[row])
    }
    #expect(estimate.acc.isClose(to: Double(hits) / 300, relative: 1e-12))
    // A temperature chosen on other rows costs a little of what it gains on its own.
    let counted = try #require(tempered.report?.estimate)
    let fitted = found.labels.indices.reduce(0) {
      $0 - found.logProbabilities[$1, Int(found.labels[$1])]
    }
    #expect(counted.nll > fitted / 300)
    #expect(counted.nll < fitted / 300 + 0.03)
    #expect((counted.nllError ?? .nan) > 0)
  }

  @Test("the default's estimate is near the loss on new rows", arguments: 0..<3)
  func newRows(seed: Int) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 2200, columns: 8, classes: 3, strength: 0.7, seed: 50 + seed)
    let (train, test) = (Array(0..<200), Array(200..<2200))
    let head = try LaplaceHead(
      fitting: FeatureMatrix(features.gatheringRows(train)), labels: train.map { labels[$0] },
      LaplaceConfiguration(classCount: 3), execution: Self.execution)
    let report = try #require(head.report)
    let estimate = try #require(report.estimate)
    #expect(estimate.rows == 200 && (estimate.nllError ?? .nan) > 0)
    let logs = try head.logProbabilities(FeatureMatrix(features.gatheringRows(test)))
    let losses = test.enumerated().map { -Double(logs[$0.offset, Int(labels[$0.element])]) }
    #expect(abs(Metrics.mean(losses) - estimate.nll) < 3.5 * (estimate.nllError ?? .nan))
    // Columns of one variance: no scaling is plainly better, and the best candidate of the first was taken.
    let best = try #require(
      report.candidates.filter { $0.scaling == .columns }.min { $0.score < $1.score })
    #expect(head.scaling == .columns)
    #expect(best.priorPrecision.isClose(to: head.priorPrecision, relative: 1e-9))
    #expect(best.inverseTemperature == head.inverseTemperature)
    #expect(Set(report.candidates.map(\.scaling)) == Set(FeatureScaling.allCases))
  }

  @Test("integer weights give the fit of repeated rows", arguments: [2, 3])
  func repeated(classes: Int) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 90, columns: 4, classes: classes, strength: 1, seed: 12)
    let counts = (0..<90).map { 1 + $0 * $0 % 4 }
    let copies = (0..<90).flatMap { [Int](repeating: $0, count: counts[$0]) }
    let configuration = Self.configuration(classes, .fixed(2), calibrates: true)
    let weighted = try LaplaceHead(
      fitting: FeatureMatrix(features), labels: labels, weights: counts.map(Double.init),
      configuration, execution: Self.execution)
    let repeated = try LaplaceHead(
      fitting: FeatureMatrix(features.gatheringRows(copies)), labels: copies.map { labels[$0] },
      configuration, execution: Self.execution)
    #expect(
      weighted.inverseTemperature.isClose(to: repeated.inverseTemperature, relative: 1e-3))
    let new = FeatureMatrix(features)
    let (a, b) = (
      try weighted.logProbabilities(new), try repeated.logProbabilities(new)
    )
    #expect(relativeDifference(a.elements.map(Double.init), b.elements.map(Double.init)) < 1e-3)
    let (one, other) = (
      try #require(weighted.report?.estimate), try #require(repeated.report?.estimate)
    )
    #expect(one.rows == 90 && other.rows == copies.count)
    #expect(one.nll.isClose(to: other.nll, relative: 1e-3))
    #expect(one.acc.isClose(to: other.acc, relative: 1e-9))
    #expect(one.brier.isClose(to: other.brier, relative: 1e-3))
    // Copies are no observations of their own.
    #expect((one.nllError ?? .nan).isClose(to: (other.nllError ?? .nan), relative: 1e-2))

    // Both problems have one optimum, to rounding.
    let few = EvidenceFixture.softmax(
      features, labels, classCount: classes, weights: counts.map(Double.init))
    let many = EvidenceFixture.softmax(
      features.gatheringRows(copies), copies.map { labels[$0] }, classCount: classes)
    func optimum(
      _ problem: LaplaceProblem<SoftmaxPass<Double>>
    ) throws -> (weights: Matrix<Double>, logEvidence: Double, variances: Matrix<Double>) {
      var solver = ConcaveSolver(
        pass: problem.pass, gram: problem.gram, prior: problem.prior(2))
      solver.tolerance = .nats(1e-22)
      let solution = try solver.solve(from: .zeros(5, classes))
      let covariance = try problem.kronecker(solution.logits, precision: 2)
      let new = Matrix<Double>(rows: 1, columns: 5, elements: [0.3, -1, 2, 0.1, 1])
      return (
        solution.weights, problem.logEvidence(solution, covariance), covariance.leverages(new)
      )
    }
    let (left, right) = (try optimum(few), try optimum(many))
    #expect(relativeDifference(left.weights.elements, right.weights.elements) < 1e-9)
    #expect(left.logEvidence.isClose(to: right.logEvidence, relative: 1e-9))
    #expect(
      relativeDifference(left.variances.elements, right.variances.elements) < 1e-9,
      "\(left.variances.elements) against \(right.variances.elements)")
  }

  @Test("rows of one group are left out together, and count once in the standard error")
  func groups() throws {
    // Forty subjects with ten near copies of one row each, whose labels are the subject's.
    let (centres, classes) = EvidenceFixture.sample(
      rows: 40, columns: 6, classes: 2, strength: 0.3, seed: 2)
    let subjects = (0..<400).map { $0 / 10 }
    var features = centres.gatheringRows(subjects)
    var generator = Philox(seed: 3, purpose: .sampling)
    for row in 0..<400 { for j in 0..<6 { features[row, j] += 0.05 * generator.normalPair().0 } }
    let labels = subjects.map { classes[$0] }
    func estimate(_ groups: [Int]?) throws -> EstimatedScores {
      let head = try LaplaceHead(
        fitting: FeatureMatrix(features), labels: labels, groups: groups,
        Self.configuration(2, .fixed(0.01), calibrates: false), execution: Self.execution)
      return try #require(head.report?.estimate)
    }
    let (rows, grouped) = (try estimate(nil), try estimate(subjects))
    // Without groups a row is told by its subject's other rows.
    #expect(grouped.nll > rows.nll + 0.05, "\(grouped.nll) against \(rows.nll)")
    #expect((grouped.nllError ?? .nan) > 2 * (rows.nllError ?? .nan))
  }

  @Test(
    "the one row of a class does not sharpen predictions away from it, nor do many of them flatten others",
    arguments: 0..<3)
  func loneRow(seed: Int) throws {
    // 1. One positive in 300: nothing says how certain predictions may be.
    var (features, labels) = EvidenceFixture.sample(
      rows: 300, columns: 4, classes: 2, strength: 0, seed: seed)
    labels = labels.indices.map { $0 == 7 ? 1 : 0 }
    func head(_ classes: Int) throws -> LaplaceHead {
      try LaplaceHead(
        fitting: FeatureMatrix(features), labels: labels,
        LaplaceConfiguration(classCount: classes), execution: Self.execution)
    }
    let alone = try head(2)
    #expect(alone.inverseTemperature == 1 && alone.report?.estimate == nil)
    #expect(alone.leftOut == nil)

    // 2. Two classes that share rows tell as much as they would without a third that has one.
    labels = labels.indices.map { Int32($0 % 2) }
    for row in 0..<300 { features[row, 0] += row % 2 == 0 ? 1 : -1 }
    labels[7] = 2
    let three = try head(3)
    let others = labels.indices.filter { $0 != 7 }
    let two = try LaplaceHead(
      fitting: FeatureMatrix(features.gatheringRows(others)), labels: others.map { labels[$0] },
      LaplaceConfiguration(classCount: 2), execution: Self.execution)
    var (fresh, _) = EvidenceFixture.sample(
      rows: 1000, columns: 4, classes: 2, strength: 0, seed: 100 + seed)
    for row in 0..<1000 { fresh[row, 0] += row % 2 == 0 ? 1 : -1 }
    func loss(_ head: LaplaceHead) throws -> Double {
      let logs = try head.logProbabilities(FeatureMatrix(fresh))
      return (0..<1000).reduce(0) { $0 - Double(logs[$1, $1 % 2]) / 1000 }
    }
    // A share of 1/300 for the third class costs 1/300, and rows more or less the rest.
    let losses = (try loss(three), try loss(two))
    #expect(abs(losses.0 - losses.1) < 0.02, "\(losses.0), \(losses.1) without it")
    #expect(three.leftOut?.rows.count == 299 && three.report?.estimate?.rows == 299)
    #expect(three.leftOut?.rows.contains(7) == false)
    #expect(three.report?.reasons.contains { $0.hasPrefix("1 row ") } == true)
  }

  @Test("a label that is no class, a weight, a group or a feature that cannot be are refused")
  func badRows() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 20, columns: 2, classes: 2, strength: 1, seed: 1)
    func fit(
      _ features: Matrix<Double>, _ labels: [Int32], weights: [Double]? = nil, groups: [Int]? = nil
    ) throws {
      _ = try LaplaceHead(
        fitting: FeatureMatrix(features), labels: labels, weights: weights, groups: groups,
        LaplaceConfiguration(classCount: 2), execution: Self.execution)
    }
    for wrong in [-1, 2, .max] as [Int32] {
      var some = labels
      some[3] = wrong
      #expect(throws: NumericsError.self) { try fit(features, some) }
    }
    var infinite = features
    infinite[4, 1] = .infinity
    #expect(throws: NumericsError.self) { try fit(infinite, labels) }
    #expect(throws: NumericsError.self) { try fit(features, Array(labels.dropLast())) }
    #expect(throws: NumericsError.self) { try fit(.zeros(0, 2), []) }
    for weight in [-1, .nan, .infinity] {
      var weights = [Double](repeating: 1, count: 20)
      weights[6] = weight
      #expect(throws: NumericsError.self) { try fit(features, labels, weights: weights) }
    }
    #expect(throws: NumericsError.self) { try fit(features, labels, weights: [1]) }
    #expect(throws: NumericsError.self) { try fit(features, labels, groups: [1, 2]) }
  }
}
