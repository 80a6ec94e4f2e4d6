import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore

@Suite("Leave-one-out predictions")
struct LeaveOneOutTests {
  @Test("the cavities of the probit fixture")
  func probitFixture() throws {
    let fit = try EvidenceFixture.probit(
      EvidenceFixture.features, EvidenceFixture.twoClasses, prior: .fixed(0.5)
    ).fit(from: 0)
    let means = [
      0.411044824, 0.685891101, 0.296919885, 0.226237576, 0.055448117, 0.043110144, 0.459279602,
      0.958112494, -0.551316589, 0.345362635, 1.065547446, -1.262443998,
    ]
    let variances = [
      0.363434245, 0.785732718, 0.206064848, 0.541573554, 0.640109348, 0.452717319, 0.470512982,
      0.380076107, 0.75294041, 0.226055062, 0.566288654, 0.824138194,
    ]
    // The optimum is 1e-5 nats away, which is a few thousandths of a standard deviation.
    #expect(relativeDifference(fit.leaveOneOut.means.elements, means) < 5e-3)
    #expect(relativeDifference(fit.leaveOneOut.variances.elements, variances) < 5e-3)
  }

  @Test("the cavities of the softmax fixture, with the factor K/(K-1)")
  func softmaxFixture() throws {
    let fit = try EvidenceFixture.softmax(
      EvidenceFixture.features, EvidenceFixture.threeClasses, classCount: 3, prior: .fixed(0.5)
    ).fit(from: 0)
    let means = [
      -0.0988153, 1.097803, -0.9108208, 0.4911882, 1.5697475, -2.0512853, 0.0396282, 0.6299406,
      -0.5625992, -0.7225395, 0.3643582, 0.3474868, 0.2405499, -0.8727648, 0.7450837, 1.1687085,
      -0.5680954, -0.6076198, -0.7425572, 0.3400904, 0.4978551, -0.6545219, 1.6964899, -1.0915353,
      1.8840611, 0.198754, -2.0203511, -0.138004, 0.5905575, -0.3452201, -0.6277946, 0.2150043,
      0.4237529, 0.380448, -0.9331045, 0.6767099,
    ]
    #expect(relativeDifference(fit.leaveOneOut.means.elements, means) < 1e-2)
    #expect(fit.leaveOneOut.variances[0, 0].isClose(to: 0.8021693, relative: 1e-2))
    #expect(fit.leaveOneOut.variances[11, 2].isClose(to: 1.4014003, relative: 1e-2))
    let logs = LapsedTemperature.identity.apply(
      to: fit.leaveOneOut.means, frequencies: [1.0 / 3, 1.0 / 3, 1.0 / 3])
    let nll =
      EvidenceFixture.threeClasses.enumerated().reduce(0.0) {
        $0 - logs[$1.offset, Int($1.element)]
      }
      / 12
    // Brute-force refits give 1.16576.
    #expect(nll.isClose(to: 1.1705441018560994, relative: 5e-3))
  }

  @Test("closed form against refits without each row: rank correlation and mean difference")
  func refits() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 60, columns: 3, classes: 2, strength: 1, seed: 11)
    let fit = try EvidenceFixture.probit(features, labels, prior: .fixed(1)).fit(from: 0)
    var brute: [Double] = []
    for left in 0..<60 {
      let kept = (0..<60).filter { $0 != left }
      let other = try EvidenceFixture.probit(
        features.gatheringRows(kept), kept.map { labels[$0] }, prior: .fixed(1)
      ).fit(from: 0)
      brute.append(
        (0..<3).reduce(other.weights[3, 0]) { $0 + features[left, $1] * other.weights[$1, 0] })
    }
    let closed = fit.leaveOneOut.means.column(0)
    #expect(rankCorrelation(closed, brute) > 0.99)
    let difference = zip(closed, brute).reduce(0) { $0 + $1.0 - $1.1 } / 60
    #expect(abs(difference) < 0.02, "\(difference)")
    // It is the leaving out that matters: predictions with the row differ far more.
    let own = (0..<60).map { row in
      (0..<3).reduce(fit.weights[3, 0]) { $0 + features[row, $1] * fit.weights[$1, 0] }
    }
    func distance(_ a: [Double], _ b: [Double]) -> Double {
      zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    }
    #expect(distance(closed, brute) < 0.1 * distance(own, brute))
  }

  private func rankCorrelation(_ a: [Double], _ b: [Double]) -> Double {
    func ranks(_ values: [Double]) -> [Double] {
      var ranks = [Double](repeating: 0, count: values.count)
      for (rank, index) in values.indices.sorted(by: { values[$0] < values[$1] }).enumerated() {
        ranks[index] = Double(rank) - 0.5 * Double(values.count - 1)
      }
      return ranks
    }
    let (x, y) = (ranks(a), ranks(b))
    return zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } / x.reduce(0) { $0 + $1 * $1 }
  }
}
