import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// What scipy and statsmodels make of rows of ordered classes: Scripts/make-ordinal-fixture.py.
struct OrdinalFixture {
  let file: SafetensorsFile
  let features: FeatureMatrix
  let labels: [Int32]
  let weights: [Double]
  let precision: Double

  init() throws {
    file = try SafetensorsFile(path: Fixtures.path("ordinal/reference.safetensors"))
    features = FeatureMatrix(try file.matrix("X") as Matrix<Float>)
    labels = try file.labels("y")
    weights = try file.array("row_weights")
    precision = try file.array("precision")[0]
  }

  /// Rows of ordered classes that a given model makes.
  static func random(
    rows: Int, weights: [Double], cutpoints: [Double], seed: Int
  ) -> (features: FeatureMatrix, labels: [Int32]) {
    var generator = SplitMix64(seed: seed)
    var (elements, labels) = ([Double](), [Int32]())
    for _ in 0..<rows {
      let row = weights.map { _ in generator.normal() }
      // Box and Muller: the noise is the model's, in its tails, too.
      let noise =
        (-2 * log(1 - generator.uniform())).squareRoot() * cos(2 * .pi * generator.uniform())
      let latent = zip(row, weights).reduce(noise) { $0 + $1.0 * $1.1 }
      elements += row
      labels.append(Int32(cutpoints.count { $0 < latent }))
    }
    return (
      FeatureMatrix(Matrix(rows: rows, columns: weights.count, elements: elements)), labels
    )
  }
}

@Suite("Ordered probit regression")
struct OrderedProbitTests {
  private func distance(_ a: [Double], _ b: [Double]) -> Double {
    a.count == b.count ? zip(a, b).map { ($0 - $1).magnitude }.max() ?? 0 : .infinity
  }

  // MARK: - Against others

  @Test("weights and cutpoints are scipy's, with and without row weights")
  func reference() throws {
    let fixture = try OrdinalFixture()
    for (prefix, weights) in [("", nil), ("weighted_", fixture.weights)] {
      let head = try OrderedProbitHead(
        fitting: fixture.features, labels: fixture.labels, classCount: 5, weights: weights,
        OrderedProbitConfiguration(priorPrecision: fixture.precision))
      #expect(distance(head.weights, try fixture.file.array(prefix + "weights")) < 1e-6)
      #expect(distance(head.cutpoints, try fixture.file.array(prefix + "cutpoints")) < 1e-6)
      let objective: [Double] = try fixture.file.array(prefix + "objective")
      let report = try #require(head.report)
      #expect(report.history[report.history.count - 1].isClose(to: objective[0], relative: 1e-10))
      #expect(report.converged && report.gap < 1e-12 && report.iterations < 10)
    }
  }

  @Test("without a prior it is statsmodels' OrderedModel; of two classes, a probit regression")
  func unpenalised() throws {
    let fixture = try OrdinalFixture()
    let weak = OrderedProbitConfiguration(priorPrecision: 1e-9)
    let head = try OrderedProbitHead(
      fitting: fixture.features, labels: fixture.labels, classCount: 5, weak)
    #expect(distance(head.weights, try fixture.file.array("unpenalised_weights")) < 2e-6)
    #expect(distance(head.cutpoints, try fixture.file.array("unpenalised_cutpoints")) < 2e-6)

    let two = try OrderedProbitHead(
      fitting: fixture.features, labels: fixture.labels.map { $0 >= 2 ? 1 : 0 }, classCount: 2, weak
    )
    let probit: [Double] = try fixture.file.array("probit")
    #expect(distance(two.weights, Array(probit[0..<3])) < 1e-7)
    #expect((two.cutpoints[0] + probit[3]).magnitude < 1e-7)
  }

  @Test(
    "Laplace's log evidence of a tiny problem is that of numerical integration, within a hundredth of a nat"
  )
  func evidence() throws {
    let fixture = try OrdinalFixture()
    let features = FeatureMatrix(try fixture.file.matrix("tiny_X") as Matrix<Float>)
    let labels = try fixture.file.labels("tiny_y")
    let precisions: [Double] = try fixture.file.array("tiny_precisions")
    let evidences: [Double] = try fixture.file.array("tiny_log_evidences")
    var errors: [Double] = []
    for (precision, exact) in zip(precisions, evidences) {
      let head = try OrderedProbitHead(
        fitting: features, labels: labels, classCount: 3,
        OrderedProbitConfiguration(priorPrecision: precision))
      errors.append(head.logEvidence - exact)
    }
    print("ordered probit: Laplace's log evidence less the integral, 30 rows: \(errors)")
    #expect(errors.allSatisfy { $0.magnitude < 0.01 })
  }

  // MARK: - The objective

  @Test("gradient and Hessian are those of finite differences, also of rows without a class")
  func derivatives() throws {
    let fixture = try OrdinalFixture()
    let transform = FeatureScaling.columns.transform(of: fixture.features, execution: .available)
    let design = DesignMatrix<Double>(fixture.features, transform: transform, hasBias: false)
    // Class 5 has no rows.
    let problem = OrderedProbitProblem(
      design, labels: fixture.labels, classCount: 6, rowWeights: fixture.weights,
      execution: Execution(threadCount: 2))
    let point = OrderedProbitProblem.Point(
      cutpoints: [-1.3, -0.6, 0.1, 0.15, 2.4], weights: [0.7, -0.2, 0.4])
    let evaluation = problem.evaluate(point)
    let gradient = problem.gradient(evaluation, point, 0.7)
    let hessian = problem.negativeHessian(evaluation, 0.7)
    let step = 1e-5
    for j in 0..<8 {
      let unit = (0..<8).map { $0 == j ? 1.0 : 0 }
      let ends = try [step, -step].map { try #require(point.moved(unit, times: $0)) }
      let values = ends.map { problem.objective(problem.evaluate($0), $0, 0.7) }
      let slope = (values[0] - values[1]) / (2 * step)
      #expect((slope - gradient[j]).magnitude < 1e-5 * (1 + gradient[j].magnitude), "\(j)")
      let gradients = ends.map { problem.gradient(problem.evaluate($0), $0, 0.7) }
      for i in j..<8 {
        let curvature = (gradients[1][i] - gradients[0][i]) / (2 * step)
        #expect(
          (curvature - hessian[i, j]).magnitude < 1e-6 * (1 + hessian[i, j].magnitude), "\(i) \(j)")
      }
    }
  }

  @Test(
    "Newton's steps never lower the objective, from anywhere, and the number of threads changes no bit of the fit"
  )
  func monotone() throws {
    let fixture = try OrdinalFixture()
    let design = DesignMatrix<Double>(
      fixture.features, transform: .identity, hasBias: false)
    var ends: [OrderedProbitProblem.Optimum] = []
    for (scale, gap) in [(0.0, 1.0), (10, 1e-3), (-30, 1e-6), (3, 20)] {
      let problem = OrderedProbitProblem(
        design, labels: fixture.labels, classCount: 5, rowWeights: nil,
        execution: Execution(threadCount: 1))
      let optimum = try problem.maximize(
        from: .init(
          cutpoints: (0..<4).map { gap * Double($0) }, weights: [scale, 0.1 * scale, -scale]),
        precision: 0.5, tolerance: 1e-14)
      #expect(zip(optimum.history, optimum.history.dropFirst()).allSatisfy { $0 < $1 })
      #expect(optimum.converged && optimum.gap < 1e-11, "\(optimum.history)")
      ends.append(optimum)
    }
    for end in ends {
      #expect(distance(end.point.weights, ends[0].point.weights) < 1e-7)
      #expect(distance(end.point.cutpoints, ends[0].point.cutpoints) < 1e-7)
    }
  }

  @Test(
    "the evidence chooses the best of the precisions that it tries, and grid points beside are worse"
  )
  func chosenPrecision() throws {
    let fixture = try OrdinalFixture()
    let head = try OrderedProbitHead(
      fitting: fixture.features, labels: fixture.labels, classCount: 5)
    let report = try #require(head.report)
    #expect(report.evidences.count > 3)
    #expect(report.evidences.allSatisfy { $0.logEvidence <= head.logEvidence + 1e-6 })
    for factor in [0.7, 1.4] {
      let other = try OrderedProbitHead(
        fitting: fixture.features, labels: fixture.labels, classCount: 5,
        OrderedProbitConfiguration(priorPrecision: factor * head.priorPrecision))
      #expect(other.logEvidence < head.logEvidence)
    }
  }

  // MARK: - Recovery

  @Test("what made the rows is found again, within its standard errors")
  func recovery() throws {
    let (weights, cutpoints) = ([0.8, -0.5, 0.0, 0.3], [-1.5, -0.2, 0.4, 1.9])
    let (features, labels) = OrdinalFixture.random(
      rows: 20_000, weights: weights, cutpoints: cutpoints, seed: 3)
    let head = try OrderedProbitHead(fitting: features, labels: labels, classCount: 5)
    guard case .columns(let scale, let shift) = head.transform.features else { return }
    // Of features as they are; the shift goes to the cutpoints.
    let own = zip(head.weights, scale).map { $0 * $1 }
    let offset = zip(head.weights, shift).reduce(0) { $0 + $1.0 * $1.1 }
    for (found, expected) in zip(own, weights) { #expect((found - expected).magnitude < 4 * 0.01) }
    let covariance = head.cutpointCovariance
    for k in cutpoints.indices {
      let error = covariance[k, k].squareRoot()
      #expect(error > 0.005 && error < 0.03)
      #expect((head.cutpoints[k] - offset - cutpoints[k]).magnitude < 4 * error)
    }
  }

  // MARK: - More features than rows

  @Test("more features than rows: the fit in the space of the rows is that in all directions")
  func wide() throws {
    var generator = SplitMix64(seed: 4)
    let x = Matrix<Float>(
      rows: 25, columns: 60, elements: (0..<1500).map { _ in Float(generator.normal()) })
    let labels = (0..<25).map { row in
      Int32(min(max(Int((x[row, 0] + 2 * x[row, 1]) + 1.5), 0), 3))
    }
    let configuration = OrderedProbitConfiguration(priorPrecision: 3)
    let head = try OrderedProbitHead(
      fitting: FeatureMatrix(x), labels: labels, classCount: 4, configuration)
    let direct = OrderedProbitProblem(
      DesignMatrix<Double>(
        FeatureMatrix(x), transform: head.transform.features, hasBias: false),
      labels: labels, classCount: 4, rowWeights: nil, execution: .available)
    let optimum = try direct.maximize(from: direct.start, precision: 3, tolerance: 1e-14)
    #expect(distance(head.weights, optimum.point.weights) < 1e-6)
    #expect(distance(head.cutpoints, optimum.point.cutpoints) < 1e-6)
    #expect(head.logEvidence.isClose(to: optimum.logEvidence, relative: 1e-7))
    let whole = OrderedProbitHead(
      transform: InputTransform(
        featureCount: 60, scaling: .columns, features: head.transform.features, basis: nil),
      weights: optimum.point.weights, cutpoints: optimum.point.cutpoints, priorPrecision: 3,
      logEvidence: optimum.logEvidence, factor: optimum.factor)
    let new = FeatureMatrix(
      Matrix<Float>(
        rows: 9, columns: 60, elements: (0..<540).map { _ in Float(generator.normal()) }))
    let (a, b) = (try head.latent(new), try whole.latent(new))
    #expect(distance(a.means, b.means) < 1e-5)
    #expect(distance(a.variances, b.variances) < 1e-4)
    #expect(try head.logPredictive(new.rows(0..<0)).rowCount == 0)
  }

  @Test("features that do not vary say nothing: the classes have their shares, in both spaces")
  func constant() throws {
    for columns in [2, 9] {
      let x = Matrix<Float>(rows: 6, columns: columns, repeating: 3)
      let head = try OrderedProbitHead(
        fitting: FeatureMatrix(x), labels: [0, 1, 1, 2, 2, 2], classCount: 3)
      let p = try head.logPredictive(FeatureMatrix(x)).exponentials().row(0)
      #expect(distance(p, [1.0 / 6, 2.0 / 6, 3.0 / 6]) < 1e-6)
    }
  }

  // MARK: - Extremes

  @Test(
    "separated classes, one row a class, and classes without rows have finite cutpoints that ascend"
  )
  func extremes() throws {
    let features = FeatureMatrix(
      Matrix<Float>(rows: 6, columns: 1, elements: [-5, -3, -1, 1, 3, 5]))
    let cases: [(labels: [Int32], classCount: Int, empty: [Int])] = [
      ([0, 1, 2, 3, 4, 5], 6, []), ([0, 0, 0, 1, 1, 1], 2, []), ([0, 0, 1, 1, 2, 2], 5, [3, 4]),
      ([0, 0, 1, 1, 4, 4], 5, [2, 3]), ([2, 2, 2, 2, 2, 2], 4, [0, 1, 3]),
      ([0, 0, 0, 0, 0, 0], 2, [1]), ([5, 4, 3, 2, 1, 0], 6, []),
    ]
    for (labels, classCount, empty) in cases {
      for precision in [nil, 1e-4, 1, 1e6] as [Double?] {
        let head = try OrderedProbitHead(
          fitting: features, labels: labels, classCount: classCount,
          OrderedProbitConfiguration(priorPrecision: precision))
        let report = try #require(head.report)
        #expect(report.emptyClasses == empty && report.converged, "\(labels) \(report)")
        #expect(zip(head.cutpoints, head.cutpoints.dropFirst()).allSatisfy { $0 < $1 })
        #expect(head.cutpoints.allSatisfy { $0.magnitude < 1e4 }, "\(head.cutpoints)")
        let far = FeatureMatrix(Matrix<Float>(rows: 3, columns: 1, elements: [-1e6, 0, 1e6]))
        let logs = try head.logPredictive(far)
        #expect(logs.firstNonFinite == nil, "\(labels) \(logs.elements)")
        for row in 0..<3 {
          let sum = logs.exponentials().row(row).reduce(0, +)
          #expect((sum - 1).magnitude < 1e-12)
        }
      }
    }
  }

  @Test("what cannot be is refused with its place")
  func refusals() throws {
    let features = FeatureMatrix(Matrix<Float>(rows: 2, columns: 1, elements: [0, 1]))
    #expect(throws: NumericsError.labelOutOfRange(row: 1, label: 3, classCount: 3)) {
      try OrderedProbitHead(fitting: features, labels: [0, 3], classCount: 3)
    }
    #expect(
      throws: NumericsError.invalidParameter(
        "the prior precision", value: 0, expected: "a positive number")
    ) {
      try OrderedProbitHead(
        fitting: features, labels: [0, 1], classCount: 2,
        OrderedProbitConfiguration(priorPrecision: 0))
    }
    let cancelled = Execution.available.cancelled(by: Cancellation { true })
    #expect(throws: NumericsError.cancelled) {
      try OrderedProbitHead(
        fitting: features, labels: [0, 1], classCount: 2, execution: cancelled)
    }
  }

  // MARK: - Predictions

  @Test(
    "predictions are the mean over draws of the weights, and near that over draws of weights and cutpoints"
  )
  func monteCarlo() throws {
    let fixture = try OrdinalFixture()
    let rows = fixture.features.rows(0..<60)
    let head = try OrderedProbitHead(
      fitting: rows, labels: Array(fixture.labels[0..<60]), classCount: 5,
      OrderedProbitConfiguration(priorPrecision: 1))
    let new = FeatureMatrix(try fixture.file.matrix("X_new") as Matrix<Float>)
    let predicted = try head.logPredictive(new)
    let design = DesignMatrix<Double>(new, transform: head.transform.features, hasBias: false)
      .matrix(rows: 0..<20)
    let size = head.factor.size
    var generator = Philox(seed: 3, purpose: .sampling, index: 0)
    let count = 20_000
    // θ = L⁻ᵀz: columns are draws.
    var draws = Matrix<Double>(
      rows: size, columns: count, elements: (0..<size * count).map { _ in generator.normalPair().0 }
    )
    head.factor.solveTriangular(inPlace: &draws, transposed: true)
    var (weightsOnly, joint) = (Matrix<Double>.zeros(20, 5), Matrix<Double>.zeros(20, 5))
    let latent = design.multiplied(by: draws.rows(4..<size))  // deviations, (20, draws)
    let means = try head.latent(new).means
    var ordered = 0.0
    for draw in 0..<count {
      let moved = head.cutpoints.indices.map { head.cutpoints[$0] + draws[$0, draw] }
      let isOrdered = zip(moved, moved.dropFirst()).allSatisfy { $0 < $1 }
      if isOrdered { ordered += 1 }
      for row in 0..<20 {
        let f = means[row] + latent[row, draw]
        for k in 0..<5 {
          weightsOnly[row, k] +=
            exp(OrderedProbitProblem.interval(k, head.cutpoints, f).logProbability)
            / Double(count)
          if isOrdered {
            joint[row, k] += exp(OrderedProbitProblem.interval(k, moved, f).logProbability)
          }
        }
      }
    }
    var divergence = 0.0
    for row in 0..<20 {
      for k in 0..<5 {
        let (p, q) = (exp(predicted[row, k]), joint[row, k] / ordered)
        // Five standard errors of a mean of numbers in [0, 1].
        let error = 5 * (p * (1 - p) / Double(count)).squareRoot()
        #expect((p - weightsOnly[row, k]).magnitude < error + 1e-6)
        divergence += q > 0 ? q * (log(q) - predicted[row, k]) / 20 : 0
      }
    }
    print("ordered probit, 60 rows: \(divergence) nats a row by cutpoints at their mode")
    #expect(divergence < 2e-3 && ordered / Double(count) > 0.99)
  }
}
