import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseModels

@Suite("The mean of the softmax over Gaussian logits")
struct GaussianSoftmaxTests {
  private func moments(_ seed: Int, rows: Int, classes: Int, deviation: Double) -> LatentMoments {
    var generator = SplitMix64(seed: seed)
    return LatentMoments(
      means: Matrix(
        rows: rows, columns: classes,
        elements: (0..<rows * classes).map { _ in 3 * generator.normal() }),
      variances: Matrix(
        rows: rows, columns: classes,
        elements: (0..<rows * classes).map { _ in
          let s = deviation * generator.uniform()
          return s * s
        }))
  }

  @Test(
    "it is within the stated error of rules of three times as many points",
    arguments: [(0.0, 1e-6), (1.0, 1e-5), (2.0, 2e-4), (5.0, 2e-4), (8.0, 1e-3)])
  func refined(deviation: Double, error: Double) throws {
    for classes in [2, 4] {
      let moments = moments(classes, rows: 3, classes: classes, deviation: deviation)
      let own = try GaussianSoftmax().logProbabilities(moments)
      let fine = try GaussianSoftmax(refinement: 3).logProbabilities(moments)
      for (a, b) in zip(own.elements, fine.elements) {
        #expect((exp(a) - exp(b)).magnitude < error, "\(exp(a)) and \(exp(b))")
      }
      for row in 0..<3 {
        #expect(own.row(row).reduce(0) { $0 + exp($1) }.isClose(to: 1, relative: 1e-9))
      }
    }
  }

  @Test("it agrees with draws", arguments: [0.5, 2, 6])
  func draws(deviation: Double) throws {
    let moments = moments(4, rows: 6, classes: 4, deviation: deviation)
    let own = try GaussianSoftmax().logProbabilities(moments)
    let count = 4000
    var (sums, squares) = (Matrix<Double>.zeros(6, 4), Matrix<Double>.zeros(6, 4))
    for draw in moments.samples(count, seed: 3) {
      let p = draw.softmaxRows()
      sums.add(p)
      squares.add(p.map { $0 * $0 })
    }
    for index in own.elements.indices {
      let mean = sums.elements[index] / Double(count)
      let variance = squares.elements[index] / Double(count) - mean * mean
      let error = (max(variance, 0) / Double(count)).squareRoot()
      #expect((exp(own.elements[index]) - mean).magnitude < 5 * error + 1e-3)
    }
  }

  @Test("certain logits have the softmax itself, however far apart they are")
  func certain() throws {
    let means = Matrix<Double>(rows: 2, columns: 3, elements: [1, 2, 3, 0, -50, -2000])
    let logs = try GaussianSoftmax().logProbabilities(
      LatentMoments(means: means, variances: .zeros(2, 3)))
    var expected = means
    expected.formLogSoftmaxRows()
    for (a, b) in zip(logs.elements, expected.elements) {
      #expect(a.isClose(to: b, relative: 1e-6, absolute: 1e-7), "\(a) and \(b)")
    }
  }

  @Test("neither neighbours nor the order of the classes matter")
  func order() throws {
    let moments = moments(5, rows: 3, classes: 4, deviation: 3)
    let softmax = try GaussianSoftmax()
    let whole = softmax.logProbabilities(moments)
    let alone = softmax.logProbabilities(
      LatentMoments(means: moments.means.rows(1..<2), variances: moments.variances.rows(1..<2)))
    #expect(alone.row(0) == whole.row(1))
    let order = [2, 0, 3, 1]
    func turned(_ matrix: Matrix<Double>) -> Matrix<Double> {
      matrix.transposed().gatheringRows(order).transposed()
    }
    let other = softmax.logProbabilities(
      LatentMoments(means: turned(moments.means), variances: turned(moments.variances)))
    for (a, b) in zip(other.elements, turned(whole).elements) {
      #expect(a.isClose(to: b, relative: 1e-9, absolute: 1e-12))
    }
  }

  @Test("a wide logit far below the others takes nothing from them")
  func wideAndFar() throws {
    for (mean, deviation) in [(-600.0, 35.0), (-1000, 50), (-1e5, 200)] {
      let logs = try GaussianSoftmax().logProbabilities(
        LatentMoments(
          means: Matrix(rows: 1, columns: 3, elements: [1, 0, mean]),
          variances: Matrix(rows: 1, columns: 3, elements: [1e-6, 1e-6, deviation * deviation])))
      let two = 1 / (1 + exp(-1.0))
      #expect(exp(logs[0, 0]).isClose(to: two, relative: 1e-4))
      #expect(exp(logs[0, 1]).isClose(to: 1 - two, relative: 1e-4))
      // It takes (m/s)²/2 nats to come up to the others.
      #expect(logs[0, 2].isFinite && logs[0, 2] < -100)
    }
  }

  @Test(
    "however wide logits are, the largest of them is found in bounded time and memory",
    arguments: [100.0, 1e4, 1e8, 1e18])
  func veryWide(deviation: Double) throws {
    let means = [0.0, 0.5 * deviation, -deviation]
    let logs = try GaussianSoftmax().logProbabilities(
      LatentMoments(
        means: Matrix(rows: 1, columns: 3, elements: means),
        variances: Matrix(rows: 1, columns: 3, repeating: deviation * deviation)))
    // By draws of the largest of three Gaussians.
    var generator = SplitMix64(seed: 1)
    var counts = [0.0, 0, 0]
    let draws = 40_000
    for _ in 0..<draws {
      let z = means.map { $0 / deviation + generator.normal() }
      counts[z.indices.reduce(0) { z[$1] > z[$0] ? $1 : $0 }] += 1
    }
    for k in 0..<3 {
      // Steps of 64 nodes that meet: some hundredths.
      #expect(abs(exp(logs[0, k]) - counts[k] / Double(draws)) < 0.03, "\(k): \(logs.elements)")
    }
  }
}
