import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Polya-Gamma heads")
struct PolyaGammaHeadTests {
  private func head<Scalar: BLASScalar, Coding: BinaryCoding>(
    _ problem: ProbitProblem, prior: Double = 1
  ) -> PolyaGammaHead<Scalar, Coding> {
    PolyaGammaHead(
      .init(
        featureCount: problem.features.columnCount, classCount: problem.classCount,
        transform: .identity, priorPrecision: prior))
  }

  private func checkMonotone<Coding: BinaryCoding>(
    _ problem: ProbitProblem, _ coding: Coding.Type
  ) throws {
    var double: PolyaGammaHead<Double, Coding> = head(problem)
    let bounds = try double.update(
      features: FeatureMatrix(problem.features), labels: problem.labels, iterations: 30,
      reportsBounds: true
    ).evidenceLowerBounds
    #expect(bounds.count == 31)
    #expect(bounds[30] > bounds[0])
    for (before, after) in zip(bounds, bounds.dropFirst()) {
      #expect(after >= before - 1e-9 * abs(before))
    }
    // The second batch starts where the first ended: its bound rises too.
    let second = try double.update(
      features: FeatureMatrix(problem.features), labels: problem.labels, iterations: 10,
      reportsBounds: true
    ).evidenceLowerBounds
    for (before, after) in zip(second, second.dropFirst()) {
      #expect(after >= before - 1e-9 * abs(before))
    }
  }

  @Test("the bound of one against the rest never falls", arguments: ProbitProblem.all)
  func oneAgainstRestIsMonotone(problem: ProbitProblem) throws {
    try checkMonotone(problem, OneAgainstRest.self)
  }

  @Test("the bound of stick-breaking never falls", arguments: ProbitProblem.all)
  func stickBreakingIsMonotone(problem: ProbitProblem) throws {
    try checkMonotone(problem, StickBreaking.self)
  }

  @Test("the bound is a lower bound of the evidence, and close to it in one dimension")
  func boundIsBelowEvidence() throws {
    // One weight, no bias: the evidence by quadrature on a fine grid.
    let x = [0.7, -1.2, 2.0, 0.3, -0.4]
    let labels: [Int32] = [0, 1, 0, 1, 1]
    var head = IBPolyaGammaHead<Double>(
      .init(featureCount: 1, classCount: 2, usesBias: false, transform: .identity))
    let bound = try head.fit(
      features: FeatureMatrix(Matrix<Double>(rows: 5, columns: 1, elements: x)), labels: labels,
      tolerance: 1e-13
    ).evidenceLowerBounds.last!
    // The two questions are one: y against its complement.
    var evidence = 0.0
    let step = 1e-3
    for index in -8000...8000 {
      let w = Double(index) * step
      var density = exponential(-0.5 * w * w) / (2 * Double.pi).squareRoot()
      for (value, label) in zip(x, labels) {
        density /= 1 + exponential(label == 0 ? -w * value : w * value)
      }
      evidence += density * step
    }
    let logEvidence = 2 * naturalLogarithm(evidence)
    #expect(bound < logEvidence)
    #expect(bound > logEvidence - 0.2)
  }

  @Test(
    "the natural mean does not depend on how rows are split into batches", arguments: [1, 2, 5])
  func batchSplitInvariance(batches: Int) throws {
    let problem = ProbitProblem.random("", rows: 100, columns: 7, classes: 4, seed: 21)
    try check(OneAgainstRest.self)
    try check(StickBreaking.self)

    func check<Coding: BinaryCoding>(_ coding: Coding.Type) throws {
      var whole: PolyaGammaHead<Double, Coding> = head(problem)
      try whole.update(
        features: FeatureMatrix(problem.features), labels: problem.labels, iterations: 3)
      var split: PolyaGammaHead<Double, Coding> = head(problem)
      for batch in 0..<batches {
        let rows = 100 * batch / batches..<100 * (batch + 1) / batches
        try split.update(
          features: FeatureMatrix(problem.features.rows(rows)),
          labels: Array(problem.labels[rows]), iterations: 2 + batch)
      }
      #expect(relativeDifference(split.naturalMean.elements, whole.naturalMean.elements) < 1e-13)
    }
  }

  @Test("a second update of the multinomial head starts from the first one's posterior")
  func streamKeepsTheMean() throws {
    let problem = ProbitProblem.random("", rows: 410, columns: 6, classes: 4, seed: 22)
    let first = 0..<400
    let second = 400..<410
    var head: MultinomialPolyaGammaHead<Double> = head(problem)
    try head.update(
      features: FeatureMatrix(problem.features.rows(first)), labels: Array(problem.labels[first]),
      iterations: 30)
    let before = try head.mean()
    try head.update(
      features: FeatureMatrix(problem.features.rows(second)),
      labels: Array(problem.labels[second]), iterations: 30)
    let after = try head.mean()
    // Ten rows after four hundred move the mean a little. Dropping it would shrink it to a fraction.
    #expect(relativeDifference(after.elements, before.elements) < 0.2)
    #expect(after.squaredNorm > 0.7 * before.squaredNorm)
  }

  @Test("the converged fit is a stationary point: E[w] solves the weighted normal equations")
  func fixedPoint() throws {
    let problem = ProbitProblem.random("", rows: 200, columns: 5, classes: 3, seed: 23)
    var head: IBPolyaGammaHead<Double> = head(problem)
    try head.fit(
      features: FeatureMatrix(problem.features), labels: problem.labels, tolerance: 1e-15)
    let mean = try head.mean()
    // Plain loops: one more iteration from the head's posterior must not move it.
    for column in 0..<3 {
      let covariance = try Cholesky(head.precisions[column]).inverse()
      var precision = Matrix<Double>.diagonal(1, size: 6)
      for row in 0..<200 {
        let x = problem.features.row(row) + [1]
        var (f, q) = (0.0, 0.0)
        for i in 0..<6 {
          f += x[i] * mean[i, column]
          for j in 0..<6 { q += x[i] * covariance[i, j] * x[j] }
        }
        let c = (f * f + q).squareRoot()
        let e = exponential(-c)
        let weight = (1 - e) / (1 + e) / (2 * c)
        for i in 0..<6 { for j in 0..<6 { precision[i, j] += weight * x[i] * x[j] } }
      }
      #expect(
        relativeDifference(precision.elements, head.precisions[column].elements) < 1e-6)
    }
  }

  @Test("predictive probabilities sum to one")
  func probabilities() throws {
    let problem = ProbitProblem.random("", rows: 60, columns: 5, classes: 4, seed: 24)
    func sums<Coding: ClassCoding>(_ coding: Coding.Type) throws -> [Double] {
      var head: PolyaGammaHead<Float, Coding> = head(problem)
      try head.update(
        features: FeatureMatrix(problem.features), labels: problem.labels, iterations: 5)
      let log = try head.logProbabilities(FeatureMatrix(problem.features))
      return (0..<60).map { row in log.row(row).reduce(0) { $0 + exponential(Double($1)) } }
    }
    for sum in try sums(OneAgainstRest.self) + sums(StickBreaking.self) {
      #expect(sum.isClose(to: 1, relative: 1e-5))
    }
  }

  @Test("one thread and two agree to rounding, and one count twice to the bit")
  func threads() throws {
    let problem = ProbitProblem.random("", rows: 700, columns: 20, classes: 5, seed: 25)
    func fit(_ threads: Int) throws -> [Double] {
      var head: IBPolyaGammaHead<Float> = head(problem)
      try head.update(
        features: FeatureMatrix(problem.features), labels: problem.labels, iterations: 8,
        execution: Execution(threadCount: threads))
      return try head.mean().elements
    }
    let two = try fit(2)
    #expect(relativeDifference(two, try fit(1)) < 1e-4)
    #expect(try fit(2) == two)
  }
}
