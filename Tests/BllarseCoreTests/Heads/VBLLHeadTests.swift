import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseModels

/// Overlapping classes in a few features.
struct VBLLProblem: Sendable, CustomTestStringConvertible {
  let features: Matrix<Double>
  let labels: [Int32]
  let classCount: Int
  var weights: [Double]?
  var configuration = VBLLConfiguration()
  let testDescription: String

  init(
    _ seed: Int, rows: Int, columns: Int, classes: Int, spread: Double = 1.2, scale: Double = 1,
    used: Int? = nil
  ) {
    var generator = SplitMix64(seed: seed)
    let centres = (0..<classes).map { _ in (0..<columns).map { _ in spread * generator.normal() } }
    labels = (0..<rows).map { Int32($0 % (used ?? classes)) }
    // Rounded, so that both precisions see the same rows.
    features = Matrix(
      rows: rows, columns: columns,
      elements: labels.flatMap { label in
        centres[Int(label)].map { Double(Float(scale * ($0 + generator.normal()))) }
      })
    classCount = classes
    configuration.tolerance = 1e-12
    testDescription = "\(rows) x \(columns), \(classes) classes, scale \(scale)"
  }

  static let all: [VBLLProblem] = {
    var weighted = VBLLProblem(5, rows: 60, columns: 4, classes: 3)
    weighted.weights = (0..<60).map { Double($0 % 4) * 0.7 }
    var noisy = VBLLProblem(6, rows: 50, columns: 3, classes: 4)
    (noisy.configuration.priorScale, noisy.configuration.wishartScale) = (20, 30)
    return [
      VBLLProblem(1, rows: 80, columns: 4, classes: 3),
      VBLLProblem(2, rows: 40, columns: 6, classes: 2),
      VBLLProblem(3, rows: 70, columns: 3, classes: 5, spread: 3, scale: 100),
      VBLLProblem(4, rows: 12, columns: 20, classes: 3),
      VBLLProblem(7, rows: 40, columns: 5, classes: 4, used: 2), weighted, noisy,
    ]
  }()

  func with(_ parameterization: VBLLParameterization, rank: Int = 2) -> VBLLProblem {
    var problem = self
    problem.configuration.parameterization = parameterization
    problem.configuration.rank = rank
    return problem
  }

  func fit<Scalar: BLASScalar>(
    _ scalar: Scalar.Type
  ) throws -> (head: VBLLHead<Scalar>, info: VBLLInfo) {
    try VBLLHead<Scalar>.fit(
      FeatureMatrix(features), labels: labels, classCount: classCount, weights: weights,
      configuration, execution: Execution(threadCount: 2))
  }
}

/// A discriminative posterior, and its bound written out.
struct DirectVBLL {
  /// K vectors.
  var means: [[Double]]
  /// K matrices: A with S = A·Aᵀ.
  var roots: [Matrix<Double>]
  var noise: [Double]

  init(means: [[Double]], covariances: [Matrix<Double>], noise: [Double]) throws {
    self.means = means
    roots = try covariances.map { covariance throws(NumericsError) in
      let factor = try Cholesky(covariance).factor
      var root = Matrix<Double>.zeros(factor.rowCount, factor.rowCount)
      for i in 0..<factor.rowCount { for j in 0...i { root[i, j] = factor[i, j] } }
      return root
    }
    self.noise = noise
  }

  init<Scalar>(_ head: VBLLHead<Scalar>) throws {
    try self.init(
      means: (0..<head.mean.columnCount).map { head.mean.column($0) },
      covariances: try head.covariance.matrices(), noise: head.noiseVariances)
  }

  func bound(_ problem: VBLLProblem) -> Double {
    let (size, classes) = (problem.features.columnCount, problem.classCount)
    let configuration = problem.configuration
    let tau = configuration.priorScale * 2 / Double(size)
    let covariances = roots.map { $0.multiplied(by: $0, transposingOther: true) }
    var total = 0.0
    for row in 0..<problem.features.rowCount {
      let x = problem.features.row(row)
      var tilted: [Double] = []
      var mean = 0.0
      for k in 0..<classes {
        let m = zip(means[k], x).reduce(0) { $0 + $1.0 * $1.1 }
        var v = noise[k]
        for i in 0..<size { for j in 0..<size { v += x[i] * covariances[k][i, j] * x[j] } }
        tilted.append(m + v / 2)
        if k == Int(problem.labels[row]) { mean = m }
      }
      let top = tilted.max() ?? 0
      let normaliser = top + log(tilted.reduce(0) { $0 + exp($1 - top) })
      total += (problem.weights?[row] ?? 1) * (mean - normaliser)
    }
    let shape = (configuration.degreesOfFreedom + Double(classes) + 1) / 2
    for k in 0..<classes {
      let trace = covariances[k].diagonal.reduce(0, +)
      let determinant = roots[k].logAbsoluteDeterminant
      total -=
        0.5
        * ((trace + means[k].reduce(0) { $0 + $1 * $1 }) / tau - Double(size)
          + Double(size) * log(tau) - 2 * determinant)
      total -= shape * log(noise[k]) + 0.5 * configuration.wishartScale / noise[k]
    }
    return total
  }
}

extension VBLLCovariance {
  /// S_k as matrices.
  func matrices() throws -> [Matrix<Double>] {
    switch self {
    case .dense(let factors): factors.map { Matrix<Double>($0.inverse()) }
    case .diagonal(let variances):
      (0..<variances.columnCount).map { .diagonal(variances.column($0)) }
    case .lowRank(let variances, let factors):
      factors.enumerated().map { k, factor in
        var matrix = factor.multiplied(by: factor, transposingOther: true)
        matrix.addToDiagonal(variances.column(k))
        return matrix
      }
    }
  }
}

extension Matrix<Double> {
  /// log|det|, by Gaussian elimination.
  fileprivate var logAbsoluteDeterminant: Double {
    var a = (0..<rowCount).map { row($0) }
    var total = 0.0
    for i in a.indices {
      let pivot = (i..<a.count).max { a[$0][i].magnitude < a[$1][i].magnitude } ?? i
      a.swapAt(i, pivot)
      total += log(a[i][i].magnitude)
      for j in i + 1..<max(i + 1, a.count) {
        let factor = a[j][i] / a[i][i]
        for k in i..<a.count { a[j][k] -= factor * a[i][k] }
      }
    }
    return total
  }
}

@Suite("VBLL: the discriminative head")
struct VBLLHeadTests {
  static let cases = VBLLProblem.all.flatMap { problem in
    VBLLParameterization.allCases.map { problem.with($0) }
  }

  @Test("the bound never falls, and is that of the posterior", arguments: cases)
  func monotone(problem: VBLLProblem) throws {
    let (head, info) = try problem.fit(Double.self)
    #expect(info.converged)
    #expect(info.bounds.count >= 2)
    for (before, after) in zip(info.bounds, info.bounds.dropFirst()) { #expect(after >= before) }
    let direct = try DirectVBLL(head).bound(problem)
    #expect(
      direct.isClose(to: info.bounds.last ?? 0, relative: 1e-9, absolute: 1e-8),
      "\(direct) and \(info.bounds)")

    let single = try problem.fit(Float.self)
    for (before, after) in zip(single.info.bounds, single.info.bounds.dropFirst()) {
      #expect(after >= before)
    }
    #expect(
      (single.info.bounds.last ?? 0).isClose(to: direct, relative: 1e-4, absolute: 1e-3),
      "\(single.info.bounds) and \(direct)")
  }

  @Test("at the optimum the bound is flat and bends down in every direction", arguments: cases)
  func optimum(problem: VBLLProblem) throws {
    let (head, _) = try problem.fit(Double.self)
    let centre = try DirectVBLL(head)
    var generator = SplitMix64(seed: 9)
    for direction in 0..<12 {
      // Means in units of the posterior's deviations; covariances within their form; logarithms of the noise.
      var moved: [Double: Double] = [:]
      let seed = generator.next()
      let step = 1e-3
      for t in [-step, 0, step] {
        var random = SplitMix64(seed: seed)
        var point = centre
        for k in point.means.indices {
          let size = point.means[k].count
          let z = (0..<size).map { _ in random.normal() }
          if direction % 3 == 0 {
            for i in 0..<size {
              for j in 0..<size { point.means[k][i] += t * point.roots[k][i, j] * z[j] }
            }
          } else if direction % 3 == 1 {
            point.noise[k] *= exp(t * z[0])
          }
        }
        if direction % 3 == 2 {
          point.roots = try head.covariance.perturbed(t, &random)
        }
        moved[t] = point.bound(problem)
      }
      let (low, middle, high) = (moved[-step] ?? 0, moved[0] ?? 0, moved[step] ?? 0)
      let slope = (high - low) / (2 * step)
      let bend = (high - 2 * middle + low) / (step * step)
      // The distance to the maximum along the line, in nats.
      #expect(slope * slope / max(bend.magnitude, 1) < 2e-5, "slope \(slope), bend \(bend)")
      if problem.configuration.parameterization != .lowRank { #expect(bend < 1e-3) }
    }
  }

  @Test(
    "vbll's parameters have the same bound here, and none better than the fit's",
    arguments: VBLLParameterization.allCases)
  func peers(parameterization: VBLLParameterization) throws {
    let file = try SafetensorsFile(path: Fixtures.path("vbll/vbll.safetensors"))
    let features: Matrix<Float> = try file.matrix("features")
    var problem = VBLLProblem(1, rows: 2, columns: 2, classes: 3)
    problem = try VBLLProblem(
      features: Matrix<Double>(features), labels: file.labels("labels"),
      classCount: 3, configuration: problem.configuration)
    problem.configuration.parameterization = parameterization
    problem.configuration.rank = 2
    problem.configuration.priorScale = 2
    problem.configuration.wishartScale = 0.5
    let name = parameterization.rawValue
    let size = features.columnCount
    let means: Matrix<Double> = try file.matrix("\(name).mean")
    let covariances: Matrix<Double> = try file.matrix("\(name).covariance")
    let theirs = try DirectVBLL(
      means: (0..<3).map { means.row($0) },
      covariances: (0..<3).map { covariances.rows(size * $0..<size * ($0 + 1)).compact() },
      noise: try file.array("\(name).noise", as: Double.self))
    // Its divergences are without their constants.
    let constant = 0.5 * 3 * Double(size)
    let bound = try file.array("\(name).bound", as: Double.self)[0] + constant
    #expect(theirs.bound(problem).isClose(to: bound, relative: 1e-9))
    let own = try problem.fit(Double.self).info.bounds.last ?? 0
    // A low-rank optimum is one of several.
    #expect(own >= bound - (parameterization == .lowRank ? 0.05 : 1e-9), "\(own) and \(bound)")
    #expect(own < bound + (parameterization == .lowRank ? 0.5 : 1e-3))
  }

  @Test("rows of weight 0 do not count, and weights of 2 count as two rows")
  func rowWeights() throws {
    let problem = VBLLProblem(8, rows: 30, columns: 3, classes: 3)
    var weighted = problem
    weighted.weights = (0..<30).map { Double($0 % 3 == 0 ? 2 : $0 % 5 == 0 ? 0 : 1) }
    let order = (0..<30).flatMap { [Int](repeating: $0, count: Int(weighted.weights?[$0] ?? 0)) }
    let repeated = try VBLLProblem(
      features: problem.features.gatheringRows(order), labels: order.map { problem.labels[$0] },
      classCount: 3, configuration: problem.configuration)
    for parameterization in VBLLParameterization.allCases {
      let a = try weighted.with(parameterization).fit(Double.self)
      let b = try repeated.with(parameterization).fit(Double.self)
      #expect((a.info.bounds.last ?? 0).isClose(to: b.info.bounds.last ?? 1, relative: 1e-8))
      #expect(relativeDifference(a.head.mean.elements, b.head.mean.elements) < 1e-4)
    }
  }

  @Test(
    "uncertainty is split for the very predictions, and there is less to learn under a narrow prior"
  )
  func uncertainty() throws {
    var problem = VBLLProblem(8, rows: 30, columns: 3, classes: 3).with(.diagonal)
    let features = FeatureMatrix(problem.features)
    var information: [Double] = []
    for scale in [1e-4, 1] {
      problem.configuration.priorScale = scale
      let head = try problem.fit(Float.self).head
      let parts = try head.uncertaintyParts(
        features, map: .none, splitsEntropy: true, execution: Execution(threadCount: 2))
      let own = try head.logProbabilities(features, execution: Execution(threadCount: 1))
      #expect(parts.logProbabilities.elements == own.elements)
      let values = try #require(parts.mutualInformation)
      #expect(values.allSatisfy { $0 >= 0 && $0 < log(3) })
      information.append(values.reduce(0, +) / 30)
    }
    #expect(information[0] < 1e-3 && information[0] < information[1])
  }

  /// A positive definite matrix.
  private func precision(_ seed: Int, size: Int) -> Matrix<Double> {
    var generator = SplitMix64(seed: seed)
    var matrix = Matrix(
      rows: 2 * size, columns: size,
      elements: (0..<2 * size * size).map { _ in generator.normal() }
    ).gram()
    matrix.addToDiagonal([Double](repeating: 0.1, count: size))
    return matrix
  }

  @Test("precisions are mixed as they should, of factors with anything above their diagonals")
  func mixing() throws {
    let (a, b) = (precision(1, size: 5), precision(2, size: 5))
    let mixed = try VBLLAscent<Float>.mix(
      [Cholesky(a)], [Cholesky(b)], 0.25, Execution(threadCount: 1))[0]
    let expected = a.combined(with: b) { 0.75 * $0 + 0.25 * $1 }
    #expect(
      relativeDifference(mixed.inverse().elements, try Cholesky(expected).inverse().elements)
        < 1e-10)
  }

  @Test("a low-rank covariance has its inverse, its determinant and its trace")
  func lowRank() throws {
    var generator = SplitMix64(seed: 4)
    let covariance = LowRankCovariance(
      variances: [0.2, 1, 3, 0.7],
      factor: Matrix(rows: 4, columns: 2, elements: (0..<8).map { _ in generator.normal() }))
    var dense = covariance.factor.multiplied(by: covariance.factor, transposingOther: true)
    dense.addToDiagonal(covariance.variances)
    let direct = try Cholesky(dense)
    #expect(relativeDifference(covariance.precision.elements, direct.inverse().elements) < 1e-12)
    #expect(covariance.logDeterminant.isClose(to: direct.logDeterminant, relative: 1e-12))
    #expect(covariance.trace.isClose(to: dense.diagonal.reduce(0, +), relative: 1e-12))
  }

  @Test(
    "the nearest low-rank covariance is nearer than the diagonal, and the inverse where it may be")
  func nearest() throws {
    let target = precision(3, size: 6)
    let least = 3 + 0.5 * (try Cholesky(target)).logDeterminant
    let diagonal = LowRankCovariance(
      variances: target.diagonal.map { 1 / $0 }, factor: .zeros(6, 0))
    func distance(_ covariance: LowRankCovariance) -> Double {
      var matrix = covariance.factor.multiplied(by: covariance.factor, transposingOther: true)
      matrix.addToDiagonal(covariance.variances)
      return 0.5 * target.dot(matrix) - 0.5 * covariance.logDeterminant - least
    }
    let near = try diagonal.nearest(to: target, rank: 2, iterationLimit: 500)
    let whole = try diagonal.nearest(to: target, rank: 6, iterationLimit: 2000)
    #expect(distance(near) > 1e-3 && distance(near) < distance(diagonal) - 0.1)
    #expect(distance(whole).magnitude < 1e-5, "\(distance(whole))")
  }

  @Test("parameters and rows that cannot be are refused")
  func faults() throws {
    let problem = VBLLProblem(8, rows: 30, columns: 3, classes: 3)
    for change: (inout VBLLConfiguration) -> Void in [
      { $0.priorScale = 0 }, { $0.wishartScale = -1 }, { $0.rank = 0 }, { $0.tolerance = .nan },
    ] {
      var wrong = problem
      change(&wrong.configuration)
      #expect(throws: NumericsError.self) { try wrong.fit(Double.self) }
    }
    var rows = problem.features
    rows[4, 1] = .nan
    #expect(throws: NumericsError.notFinite(row: 4, column: 1)) {
      try VBLLHead<Float>.fit(
        FeatureMatrix(rows), labels: problem.labels, classCount: 3, problem.configuration)
    }
    let cancelled = Execution(threadCount: 1).cancelled(by: Cancellation { true })
    #expect(throws: NumericsError.cancelled) {
      try VBLLHead<Float>.fit(
        FeatureMatrix(problem.features), labels: problem.labels, classCount: 3,
        problem.configuration, execution: cancelled)
    }
  }
}

extension VBLLProblem {
  init(
    features: Matrix<Double>, labels: [Int32], classCount: Int, configuration: VBLLConfiguration
  ) throws {
    self.features = features
    (self.labels, self.classCount) = (labels, classCount)
    self.configuration = configuration
    testDescription = "\(features.rowCount) x \(features.columnCount)"
  }
}

extension VBLLCovariance {
  /// Roots of covariances of this form near these.
  fileprivate func perturbed(_ t: Double, _ random: inout SplitMix64) throws -> [Matrix<Double>] {
    func root(_ matrix: Matrix<Double>) throws -> Matrix<Double> {
      try DirectVBLL(means: [], covariances: [matrix], noise: []).roots[0]
    }
    switch self {
    case .dense:
      return try matrices().map { matrix in
        let lower = try root(matrix)
        var change = Matrix<Double>.diagonal(size: matrix.rowCount)
        for i in 0..<matrix.rowCount { for j in 0...i { change[i, j] += t * random.normal() } }
        return lower.multiplied(by: change)
      }
    case .diagonal(let variances):
      return (0..<variances.columnCount).map { k in
        .diagonal(variances.column(k).map { $0.squareRoot() * exp(t * random.normal()) })
      }
    case .lowRank(let variances, let factors):
      return try factors.enumerated().map { k, factor in
        let own = variances.column(k)
        let moved = Matrix(
          rows: factor.rowCount, columns: factor.columnCount,
          elements: factor.elements.map { $0 * exp(t * random.normal()) })
        var matrix = moved.multiplied(by: moved, transposingOther: true)
        matrix.addToDiagonal(own.map { $0 * exp(t * random.normal()) })
        return try root(matrix)
      }
    }
  }
}
