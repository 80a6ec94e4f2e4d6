import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Link approximations")
struct LinkApproximationTests {
  /// A positive semidefinite matrix of some rank, in rows.
  private static func covariance(_ size: Int, rank: Int, seed: UInt64) -> [Double] {
    var generator = Philox(seed: seed, purpose: .sampling)
    let root = Matrix<Double>(
      rows: size, columns: rank, elements: generator.normals(count: size * rank))
    return root.multiplied(by: root.transposed()).elements
  }

  private static func probabilities(
    _ approximation: LinkApproximation, _ means: [Double], _ covariance: LogitCovariance,
    samples: Int = 1000
  ) -> [Double] {
    Link(approximation, sampleCount: samples, seed: 1).logProbabilities(
      means: Matrix(rows: 1, columns: means.count, elements: means), covariance, hashes: [5]
    ).row(0).map { exp($0) }
  }

  @Test("roots of covariances of any rank", arguments: [1, 2, 3, 5])
  func roots(rank: Int) {
    let elements = Self.covariance(5, rank: rank, seed: UInt64(rank))
    let found = LogitCovariance.full(Matrix(rows: 1, columns: 25, elements: elements))
    #expect(relativeDifference(found.matrices(1), elements) < 1e-12)
    // Adding to the variances adds to the diagonal alone.
    var larger = found
    larger.add([0.5])
    let differences = zip(larger.matrices(1), elements).map { $0 - $1 }
    for (place, difference) in differences.enumerated() {
      #expect(abs(difference - (place % 6 == 0 ? 0.5 : 0)) < 1e-11)
    }
  }

  @Test("draws have the covariance of the logits, off the diagonal too")
  func draws() {
    // The second logit is the first, and the third their opposite: a softmax of 3 that is one of a difference.
    let v = 4.0
    let matrix = Matrix<Double>(
      rows: 1, columns: 9, elements: [v, v, -v, v, v, -v, -v, -v, v])
    let found = Self.probabilities(
      .monteCarlo, [0.2, 0.2, -0.3], .full(matrix), samples: 200_000)
    // E[1 / (2 + e^{-(d + 2·√v·z)})] on a grid.
    let h = 0.01
    let expected = stride(from: -8.0, through: 8, by: h).reduce(0.0) {
      $0 + h * exp(-0.5 * $1 * $1) / (2 * Double.pi).squareRoot()
        / (2 + exp(-0.5 - 2 * v.squareRoot() * $1))
    }
    #expect(abs(found[0] - expected) < 4 * 0.5 / 200_000.0.squareRoot())
    #expect(found[0].isClose(to: found[1], relative: 1e-6))
    // Without the covariance it is another number.
    let diagonal = Self.probabilities(
      .monteCarlo, [0.2, 0.2, -0.3],
      .diagonal(Matrix(rows: 1, columns: 3, elements: [v, v, v])), samples: 200_000)
    #expect(abs(diagonal[0] - expected) > 0.02)
  }

  @Test("forms of one covariance give the same predictions")
  func forms() throws {
    let size = 4
    let elements = Self.covariance(size, rank: 4, seed: 9)
    let eigen = try SymmetricEigen(Matrix(rows: size, columns: size, elements: elements))
    let factored = LogitCovariance.factored(
      Matrix(rows: 1, columns: size, elements: eigen.values),
      vectors: eigen.rowVectors.transposed())
    let full = LogitCovariance.full(Matrix(rows: 1, columns: size * size, elements: elements))
    let means = [1.0, -0.5, 0.3, 2]
    for link in LinkApproximation.allCases where link != .monteCarlo {
      let (first, second) = (
        Self.probabilities(link, means, full), Self.probabilities(link, means, factored)
      )
      #expect(relativeDifference(first, second) < 1e-10, "\(link)")
      #expect(first.reduce(0, +).isClose(to: 1, relative: 1e-12))
    }
  }

  @Test("logits that sum to zero are the conditional distribution")
  func summingToZero() {
    let elements = Self.covariance(3, rank: 3, seed: 2)
    let moments = LogitCovariance.full(Matrix(rows: 1, columns: 9, elements: elements))
      .summingToZero(Matrix(rows: 1, columns: 3, elements: [1, 2, -0.5]))
    #expect(abs(moments.means.elements.reduce(0, +)) < 1e-12)
    // Conditioning on a sum that is all but certain.
    let side = (0..<3).map { k in (0..<3).reduce(0.0) { $0 + elements[3 * k + $1] } }
    let total = side.reduce(0, +)
    for k in 0..<3 {
      #expect(
        moments.variances[0, k].isClose(
          to: elements[4 * k] - side[k] * side[k] / total, relative: 1e-12))
    }
    // One that is certain already stays.
    let centred: [Double] = [2, -1, -1, -1, 2, -1, -1, -1, 2]
    let same = LogitCovariance.full(Matrix(rows: 1, columns: 9, elements: centred))
      .summingToZero(Matrix(rows: 1, columns: 3, elements: [1, 2, -3]))
    #expect(same.variances.elements == [2, 2, 2] && same.means.elements == [1, 2, -3])
  }

  @Test("large logits and no variance give numbers", arguments: LinkApproximation.allCases)
  func extremes(link: LinkApproximation) {
    for (means, variance) in [
      ([2000.0, -2000, 0], 1.0), ([0, 0, 0], 0), ([5, 1, -3], 1e12), ([-800, 900, 3], 0),
    ] {
      let found = Self.probabilities(
        link, means, .diagonal(Matrix(rows: 1, columns: 3, repeating: variance)))
      #expect(found.allSatisfy { $0 >= 0 && $0 <= 1 + 1e-12 }, "\(means) \(variance): \(found)")
      #expect(found.reduce(0, +).isClose(to: 1, relative: 1e-9))
    }
  }

  @Test("mc is the limit of its draws, and probit is near it where logits are independent")
  func limit() {
    let covariance = LogitCovariance.diagonal(
      Matrix(rows: 1, columns: 3, elements: [0.8, 0.3, 0.5]))
    let means = [1.0, 0, -0.5]
    let exact = Self.probabilities(.monteCarlo, means, covariance, samples: 400_000)
    let few = Self.probabilities(.monteCarlo, means, covariance, samples: 1000)
    let probit = Self.probabilities(.probit, means, covariance)
    for k in 0..<3 {
      #expect(abs(few[k] - exact[k]) < 4 * 0.5 / 1000.0.squareRoot())
      #expect(abs(probit[k] - exact[k]) < 0.04)
    }
  }

  @Test(
    "heads of every link: a row's prediction depends on no other row, and on the seed by mc alone",
    arguments: LinkApproximation.allCases)
  func rows(link: LinkApproximation) throws {
    let fixture = try LaplaceFixture("four")
    for structure in CovarianceStructure.allCases {
      let head = try fixture.head(structure, Link(link, sampleCount: 50, seed: 7))
      let whole = try head.logProbabilities(fixture.new)
      let order = [5, 0, 5, 11]
      let some = try head.logProbabilities(fixture.new.gatheringRows(order))
      for (place, row) in order.enumerated() {
        #expect(relativeDifference(some.row(place), whole.row(row)) < 1e-5)
      }
      let other = try fixture.head(structure, Link(link, sampleCount: 50, seed: 8))
        .logProbabilities(fixture.new)
      #expect((other == whole) == (link != .monteCarlo), "\(structure)")
    }
  }

  @Test(
    "fits by every link: the temperature is that of the link's predictions for left-out rows",
    arguments: LinkApproximation.allCases)
  func temperature(link: LinkApproximation) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 120, columns: 6, classes: 3, strength: 1, seed: 31)
    for structure in [CovarianceStructure.kronecker, .full, .diagonal] {
      var configuration = LaplaceConfiguration(classCount: 3)
      configuration.posterior = structure
      configuration.link = Link(link, sampleCount: 200)
      let head = try LaplaceHead(
        fitting: FeatureMatrix(features), labels: labels, configuration,
        execution: Execution(threadCount: 2))
      let leftOut = try #require(head.leftOut)
      /// J at β times a factor; the log-probabilities are those at β.
      func objective(_ factor: Double) -> Double {
        let beta = factor * head.inverseTemperature
        return TemperedLogits(leftOut.logProbabilities, factor).losses(leftOut.labels)
          .reduce(0, +) + beta - 1 - log(beta)
      }
      for factor in [0.9, 0.97, 1.03, 1.1] {
        #expect(objective(1) <= objective(factor) + 1e-6, "\(structure) \(factor)")
      }
      #expect(head.report?.link == link && head.report?.posterior == structure)
      let estimate = try #require(head.report?.estimate)
      let own = try head.evaluation(features: FeatureMatrix(features), labels: labels)
      #expect(abs(estimate.nll - own.nll) < 0.3)
    }
  }
}
