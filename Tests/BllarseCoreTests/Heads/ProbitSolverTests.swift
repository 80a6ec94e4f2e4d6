@testable import BllarseCore
@testable import BllarseModels
import BllarseNumerics
import BllarseTestSupport
import Testing

/// A random problem for the solver, of a shape that is known to be hard in some way.
struct ProbitProblem: Sendable, CustomTestStringConvertible {
  let name: String
  let features: Matrix<Double>
  let labels: [Int32]
  let classCount: Int
  var testDescription: String { name }

  static func random(
    _ name: String, rows: Int, columns: Int, classes: Int, seed: Int, scale: Double = 1,
    noise: Double = 1
  ) -> ProbitProblem {
    var generator = SplitMix64(seed: seed)
    let weights = (0..<columns * classes).map { _ in generator.normal() }
    var elements: [Double] = []
    var labels: [Int32] = []
    for _ in 0..<rows {
      let row = (0..<columns).map { _ in generator.normal() }
      let scores = (0..<classes).map { k in
        (0..<columns).reduce(noise * generator.normal()) {
          $0 + row[$1] * weights[$1 * classes + k]
        }
      }
      labels.append(Int32(scores.indices.max { scores[$0] < scores[$1] } ?? 0))
      elements += row.map { $0 * scale }
    }
    return ProbitProblem(
      name: name, features: Matrix(rows: rows, columns: columns, elements: elements),
      labels: labels, classCount: classes)
  }

  static let all: [ProbitProblem] = {
    var problems = [
      random("plain", rows: 200, columns: 8, classes: 4, seed: 1),
      random("two classes", rows: 100, columns: 5, classes: 2, seed: 2),
      random("more features than rows", rows: 20, columns: 50, classes: 3, seed: 3),
      random("separable", rows: 120, columns: 6, classes: 3, seed: 4, noise: 0),
      random(
        "features a thousand times larger", rows: 150, columns: 6, classes: 3, seed: 5, scale: 1e3),
      random(
        "features a thousand times smaller", rows: 150, columns: 6, classes: 3, seed: 6, scale: 1e-3
      ),
      random("many classes", rows: 300, columns: 10, classes: 30, seed: 7),
      random("one row", rows: 1, columns: 4, classes: 2, seed: 8),
    ]
    let plain = random("", rows: 90, columns: 4, classes: 3, seed: 9)
    problems.append(
      ProbitProblem(
        name: "duplicate columns",
        features: Matrix(
          rows: 90, columns: 8,
          elements: (0..<90).flatMap { plain.features.row($0) + plain.features.row($0) }),
        labels: plain.labels, classCount: 3))
    problems.append(
      ProbitProblem(
        name: "a class with one row", features: plain.features,
        labels: [3] + plain.labels.dropFirst(), classCount: 4))
    problems.append(
      ProbitProblem(
        name: "a constant column",
        features: Matrix(
          rows: 90, columns: 5, elements: (0..<90).flatMap { plain.features.row($0) + [7] }),
        labels: plain.labels, classCount: 3))
    return problems
  }()
}

/// Newton's method on the penalised probit likelihood of one class, written out in plain loops: shares
/// no code with the solver.
func newtonOptimum(
  _ problem: ProbitProblem, bias: Bool, prior: Double
) throws -> (mean: Matrix<Double>, objective: Double) {
  let n = problem.features.rowCount
  let rows = (0..<n).map { problem.features.row($0) + (bias ? [1] : []) }
  let d = rows[0].count
  var mean = Matrix<Double>.zeros(d, problem.classCount)
  var total = 0.0
  func terms(_ a: Double) -> (log: Double, r: Double, h: Double) {
    let logCDF = referenceLogNormalCDF(a)
    let r = exponential(-0.5 * a * a - 0.918_938_533_204_672_8 - logCDF)
    return (logCDF, r, r * (r + a))
  }
  for k in 0..<problem.classCount {
    var w = [Double](repeating: 0, count: d)
    func objective(_ w: [Double]) -> Double {
      var value = -0.5 * prior * w.reduce(0) { $0 + $1 * $1 }
      for i in 0..<n {
        let sign = problem.labels[i] == k ? 1.0 : -1.0
        value += terms(sign * zip(rows[i], w).reduce(0) { $0 + $1.0 * $1.1 }).log
      }
      return value
    }
    var value = objective(w)
    for _ in 0..<200 {
      var gradient = w.map { -prior * $0 }
      var hessian = Matrix<Double>.diagonal(prior, size: d)
      for i in 0..<n {
        let sign = problem.labels[i] == k ? 1.0 : -1.0
        let (_, r, h) = terms(sign * zip(rows[i], w).reduce(0) { $0 + $1.0 * $1.1 })
        for a in 0..<d {
          gradient[a] += sign * r * rows[i][a]
          for b in 0..<d { hessian[a, b] += h * rows[i][a] * rows[i][b] }
        }
      }
      let step = try Cholesky(hessian).solve(gradient)
      var t = 1.0
      var next = zip(w, step).map { $0 + t * $1 }
      // Within rounding of the optimum the full step is right, though the objective cannot show it.
      while objective(next) < value - 1e-12 * abs(value) && t > 1e-10 {
        t /= 2
        next = zip(w, step).map { $0 + t * $1 }
      }
      w = next
      value = objective(next)
      if zip(gradient, step).reduce(0, { $0 + $1.0 * $1.1 }) <= 1e-22 * abs(value) { break }
    }
    total += value
    for a in 0..<d { mean[a, k] = w[a] }
  }
  return (mean, total)
}

/// Σ log Φ(S·X·mu) - ½ prior·|mu|², in plain loops, with a bias as the last row of the mean.
func penalisedLikelihood(_ problem: ProbitProblem, _ mean: Matrix<Double>, prior: Double) -> Double
{
  var value = -0.5 * prior * mean.elements.reduce(0) { $0 + $1 * $1 }
  for i in 0..<problem.features.rowCount {
    let row = problem.features.row(i) + [1]
    for k in 0..<problem.classCount {
      let logit = row.indices.reduce(0.0) { $0 + row[$1] * mean[$1, k] }
      value += referenceLogNormalCDF(problem.labels[i] == k ? logit : -logit)
    }
  }
  return value
}

@Suite("Probit solver")
struct ProbitSolverTests {
  private func head<Scalar: BLASScalar>(
    _ problem: ProbitProblem, prior: Double, of type: Scalar.Type
  ) -> IBProbitHead<Scalar> {
    IBProbitHead(
      .init(
        featureCount: problem.features.columnCount, classCount: problem.classCount,
        transform: .identity, priorPrecision: prior))
  }

  @Test("coordinate ascent never lowers the evidence bound", arguments: ProbitProblem.all)
  func coordinateAscentIsMonotone(problem: ProbitProblem) throws {
    var head = head(problem, prior: 1, of: Double.self)
    let info = try head.update(
      features: FeatureMatrix(problem.features), labels: problem.labels, iterations: 40,
      start: .seeded(3), reportsBounds: true)
    #expect(info.evidenceLowerBounds.count == 41)
    for (before, after) in zip(info.evidenceLowerBounds, info.evidenceLowerBounds.dropFirst()) {
      #expect(after >= before - 1e-9 * abs(before))
    }
  }

  @Test("the converged fit never lowers the bound on its way", arguments: ProbitProblem.all)
  func solverIsMonotone(problem: ProbitProblem) throws {
    var double = head(problem, prior: 1, of: Double.self)
    let info = try double.fit(
      features: FeatureMatrix(problem.features), labels: problem.labels, tolerance: 1e-12)
    for (before, after) in zip(info.evidenceLowerBounds, info.evidenceLowerBounds.dropFirst()) {
      #expect(after >= before - 1e-12 * abs(before))
    }
    var single = head(problem, prior: 1, of: Float.self)
    let rough = try single.fit(
      features: FeatureMatrix(problem.features), labels: problem.labels, tolerance: 1e-6)
    for (before, after) in zip(rough.evidenceLowerBounds, rough.evidenceLowerBounds.dropFirst()) {
      #expect(after >= before - 1e-5 * abs(before))
    }
  }

  @Test(
    "the converged fit is the optimum of an independent Newton solver", arguments: ProbitProblem.all
  )
  func solverFindsOptimum(problem: ProbitProblem) throws {
    let prior = 0.5
    let expected = try newtonOptimum(problem, bias: true, prior: prior)
    var head = head(problem, prior: prior, of: Double.self)
    let info = try head.fit(
      features: FeatureMatrix(problem.features), labels: problem.labels, tolerance: 1e-21)
    #expect(info.converged)
    #expect(info.objective.isClose(to: expected.objective, relative: 1e-10))
    #expect(relativeDifference(try head.mean().elements, expected.mean.elements) < 1e-8)
  }

  @Test("the certificate brackets the true gap at every tolerance", arguments: ProbitProblem.all)
  func certificate(problem: ProbitProblem) throws {
    let optimum = try newtonOptimum(problem, bias: true, prior: 1).objective
    for tolerance in [1e-1, 1e-2, 1e-4, 1e-6] {
      var head = head(problem, prior: 1, of: Double.self)
      let info = try head.fit(
        features: FeatureMatrix(problem.features), labels: problem.labels, tolerance: tolerance)
      let gap = optimum - info.objective
      let slack = 1e-11 * abs(optimum)
      #expect(info.certificate.lower <= gap + slack)
      #expect(gap <= info.certificate.upper + slack)
    }
  }

  @Test("the upper bound is near the gap, and in single precision a bound too")
  func tightCertificate() throws {
    // More rows than a floor of the curvature looks at, unless it is to be certified.
    let problem = ProbitProblem.random("", rows: 2400, columns: 4, classes: 3, seed: 21)
    let features = FeatureMatrix(problem.features)
    let optimum = try newtonOptimum(problem, bias: true, prior: 1).objective
    for isCertified in [false, true] {
      var double = head(problem, prior: 1, of: Double.self)
      let info = try double.fit(
        features: features, labels: problem.labels, tolerance: 1e-5, isCertified: isCertified)
      let gap = optimum - info.objective
      #expect(info.certificate.lower <= gap && gap <= info.certificate.upper)
      #expect(info.certificate.upper < (isCertified ? 2 : 20) * gap)
      var single = head(problem, prior: 1, of: Float.self)
      let rough = try single.fit(
        features: features, labels: problem.labels, tolerance: 1e-5, isCertified: isCertified)
      let slack = 1e-6 * abs(optimum)
      #expect(optimum - rough.objective <= rough.certificate.upper + slack)
      #expect(rough.certificate.lower <= optimum - rough.objective + slack)
    }
  }

  @Test("a row's weight is no more than its curvature anywhere in the ball, and hardly less")
  func curvatureFloor() {
    for radius in [0, 1e-3, 0.1, 0.5, 2] {
      let margins = stride(from: -20, to: 9, by: 0.0173).map { $0 }
      let weights = CurvatureFloor.weights(margins, radius: radius)
      for (margin, weight) in zip(margins, weights) where weight > 0 {
        let farthest = margin + radius / weight.squareRoot()
        #expect(weight <= SpecialFunctions.probitCurvature(farthest) * (1 + 1e-12))
      }
      // With no ball to care for it is the curvature itself, to the width of the table.
      if radius == 0 {
        for (margin, weight) in zip(margins, weights) where margin > -12 && margin < 7 {
          #expect(weight >= SpecialFunctions.probitCurvature(margin + 0.021))
        }
      }
      #expect(weights.first ?? 0 > 0 || radius > 1)
    }
  }

  @Test(
    "a fit that stops is as close to the maximum as its tolerance says, and proves it",
    arguments: ProbitProblem.all)
  func stopsWithinTolerance(problem: ProbitProblem) throws {
    let optimum = try newtonOptimum(problem, bias: true, prior: 1).objective
    for tolerance in [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8] {
      var head = head(problem, prior: 1, of: Double.self)
      let info = try head.fit(
        features: FeatureMatrix(problem.features), labels: problem.labels, tolerance: tolerance)
      let bound = try #require(info.evidenceLowerBounds.last)
      #expect(info.certificate.upper <= tolerance * abs(bound))
      #expect(optimum - info.objective <= tolerance * abs(bound) + 1e-11 * abs(optimum))
    }
  }

  @Test(
    "site refinement never lowers its bound and ends at the optimum", arguments: ProbitProblem.all)
  func sites(problem: ProbitProblem) throws {
    let head = head(problem, prior: 1, of: Double.self)
    let features = FeatureMatrix(problem.features)
    var refinement = try IBProbitSiteRefinement<Double>(
      head.configuration, features: features, labels: problem.labels)
    var bound = -Double.infinity
    var generator = Philox(seed: 5, purpose: .permutation)
    let order = generator.permutation(count: problem.labels.count)
    for _ in 0..<30 {
      try refinement.runEpoch(order: order, batchSize: 16, iterations: 3)
      let next = refinement.evidenceLowerBound()
      #expect(next >= bound - 1e-9 * abs(next))
      bound = next
    }
    var optimum = head
    let info = try optimum.fit(features: features, labels: problem.labels, tolerance: 1e-14)
    let best = try #require(info.evidenceLowerBounds.last)
    #expect(bound <= best + 1e-9 * abs(best))
    // The batches alone, merged, stay further away.
    var merged = head
    try merged.update(
      features: features, labels: problem.labels, order: order, batchSize: 16, iterations: 90)
    let refined = IBProbitHead<Double>(head.configuration, posterior: refinement.posterior)
    let reached = penalisedLikelihood(problem, try refined.mean(), prior: 1)
    #expect(reached <= info.objective + 1e-9 * abs(info.objective))
    #expect(
      reached >= penalisedLikelihood(problem, try merged.mean(), prior: 1) - 1e-9 * abs(reached))
  }

  @Test("an epoch of small batches equals updates batch by batch", arguments: 0..<4)
  func epochEqualsBatches(seed: Int) throws {
    let problem = ProbitProblem.random("epoch", rows: 90, columns: 30, classes: 4, seed: seed)
    let features = FeatureMatrix(problem.features)
    var generator = Philox(seed: UInt64(seed), purpose: .permutation)
    let order = generator.permutation(count: 90)
    var epoch = head(problem, prior: 2, of: Double.self)
    var single = epoch
    for _ in 0..<2 {
      try epoch.update(
        features: features, labels: problem.labels, order: order, batchSize: 13, iterations: 5,
        forgettingRate: 0.05
      ) { .seeded(9, index: UInt64($0)) }
      for (batch, first) in stride(from: 0, to: 90, by: 13).enumerated() {
        let rows = order[first..<min(first + 13, 90)]
        // Asking for bounds takes the road through the D x D precision: an independent computation.
        try single.update(
          features: features.gatheringRows(rows), labels: rows.map { problem.labels[$0] },
          iterations: 5, forgettingRate: 0.05, start: .seeded(9, index: UInt64(batch)),
          reportsBounds: true)
      }
    }
    #expect(
      relativeDifference(epoch.posterior.precision.elements, single.posterior.precision.elements)
        < 1e-12)
    #expect(relativeDifference(try epoch.mean().elements, try single.mean().elements) < 1e-9)
  }

  @Test("classes solved in groups, for want of memory, end where all at once do")
  func groups() throws {
    let problem = ProbitProblem.random("groups", rows: 300, columns: 10, classes: 7, seed: 12)
    let features = FeatureMatrix(problem.features)
    var whole = head(problem, prior: 1, of: Double.self)
    let expected = try whole.fit(features: features, labels: problem.labels, tolerance: 1e-13)
    var grouped = head(problem, prior: 1, of: Double.self)
    // Room for the logits of two classes.
    grouped.logitLimit = 300 * 2 * 2 * 8
    let info = try grouped.fit(
      features: features, labels: problem.labels, tolerance: 1e-13)
    #expect(info.iterations > expected.iterations)
    #expect(info.objective.isClose(to: expected.objective, relative: 1e-12))
    #expect(relativeDifference(try grouped.mean().elements, try whole.mean().elements) < 1e-6)
    let (first, last) = (info.evidenceLowerBounds.first, info.evidenceLowerBounds.last)
    #expect(first == expected.evidenceLowerBounds.first)
    #expect(
      try #require(last).isClose(to: #require(expected.evidenceLowerBounds.last), relative: 1e-12))
    for (before, after) in zip(info.evidenceLowerBounds, info.evidenceLowerBounds.dropFirst()) {
      #expect(after >= before - 1e-12 * abs(before))
    }
  }

  @Test("one thread and two agree to rounding, and one count twice to the bit")
  func threads() throws {
    let problem = ProbitProblem.random("threads", rows: 3000, columns: 20, classes: 5, seed: 11)
    func fit(_ threads: Int) throws -> [Double] {
      var head = head(problem, prior: 1, of: Float.self)
      try head.fit(
        features: FeatureMatrix(problem.features), labels: problem.labels, tolerance: 1e-9,
        execution: Execution(threadCount: threads))
      return try head.mean().elements
    }
    let one = try fit(1)
    let two = try fit(2)
    #expect(relativeDifference(two, one) < 1e-4)
    #expect(try fit(2) == two)
  }
}
