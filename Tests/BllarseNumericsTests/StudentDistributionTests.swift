import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// A line of `Fixtures/special/student.csv`, which `Scripts/special/student.py` wrote.
private struct StudentReference {
  let nu, t, logDensity, logUpperTail, crps: Double

  static let all: [StudentReference] = {
    let text =
      (try? String(contentsOfFile: Fixtures.path("special/student.csv"), encoding: .utf8)) ?? ""
    return text.split(separator: "\n").dropFirst().map { line in
      let n = line.split(separator: ",").map { $0 == "+inf" ? .infinity : Double($0) ?? .nan }
      return StudentReference(nu: n[0], t: n[1], logDensity: n[2], logUpperTail: n[3], crps: n[4])
    }
  }()
}

@Suite("Student's t distribution")
struct StudentDistributionTests {
  @Test("densities, tails and scores agree with values at 60 digits")
  func reference() {
    #expect(StudentReference.all.count > 350)
    for line in StudentReference.all {
      let distribution = StudentDistribution(degreesOfFreedom: line.nu)
      let comment: Comment = "nu \(line.nu), t \(line.t)"
      // A logarithm L of a value has the error of its terms, a few units in its last place.
      let unit = 4e-16 * max(4, line.logDensity.magnitude, line.logUpperTail.magnitude)
      #expect((distribution.logDensity(line.t) - line.logDensity).magnitude < 4 * unit, comment)
      #expect((distribution.logUpperTail(line.t) - line.logUpperTail).magnitude < 4 * unit, comment)
      if line.logUpperTail > -700 {
        let tail = exp(line.logUpperTail)
        let bound = 1e-14 + 4 * unit
        #expect((distribution.upperTail(line.t) / tail - 1).magnitude < bound, comment)
        #expect((distribution.cdf(-line.t) / tail - 1).magnitude < bound, comment)
        #expect((distribution.cdf(line.t) - (1 - tail)).magnitude < 4e-16 + bound * tail, comment)
      }
      let score = distribution.crps(line.t)
      // Interpolated next to 1, where the formula cancels; just outside it has lost two digits.
      let bound = (line.nu - 1).magnitude < 0.1 ? 1e-11 : 4e-14 + unit
      #expect(score == line.crps || (score / line.crps - 1).magnitude < bound, comment)
      #expect(score == distribution.crps(-line.t))
    }
  }

  @Test(
    "quantiles invert the distribution function",
    arguments: [0.5, 0.7, 1, 2, 3.3, 20, 1e3, 1e7, 1e12, .infinity])
  func quantiles(nu: Double) {
    let distribution = StudentDistribution(degreesOfFreedom: nu)
    for p in [1e-300, 1e-100, 1e-20, 1e-5, 0.01, 0.05, 0.2, 0.25, 0.3, 0.45, 0.499999, 0.5] {
      let t = distribution.quantile(p)
      guard t > -1e140 else { continue }
      // The derivative of log P by log t is what an error of t is multiplied by.
      let tail = distribution.cdf(t)
      let slope = max(1, distribution.density(t) * t.magnitude / tail)
      #expect((tail / p - 1).magnitude < 2e-14 * slope * max(1, log(1 / p) / 30), "\(nu) \(p)")
      if p > 1e-5 { #expect((distribution.quantile(1 - p) + t).magnitude < 1e-10 * (1 - t)) }
    }
    // Next to the middle the distance from it keeps its digits.
    let middle = distribution.quantile(0.5 + 0x1p-50)
    #expect((middle * distribution.density(0) / 0x1p-50 - 1).magnitude < 1e-14)
    #expect(distribution.quantile(0) == -.infinity)
    #expect(distribution.quantile(1) == .infinity)
    #expect(distribution.quantile(1.5).isNaN)
    #expect(distribution.quantile(.nan).isNaN)
  }

  @Test("quantiles are those of tables")
  func knownQuantiles() {
    // Closed forms: tan(π (p - 1/2)) for 1 degree, (2p - 1) √(2 / (4p (1 - p))) for 2.
    let p = 0.975
    let cauchy = StudentDistribution(degreesOfFreedom: 1).quantile(p)
    #expect((cauchy / tan(.pi * (p - 0.5)) - 1).magnitude < 1e-13)
    let two = StudentDistribution(degreesOfFreedom: 2).quantile(p)
    #expect((two / ((2 * p - 1) * (2 / (4 * p * (1 - p))).squareRoot()) - 1).magnitude < 1e-13)
    // scipy.stats.norm.ppf(0.975) and norm.ppf(1e-200), version 1.17.
    let normal = StudentDistribution(degreesOfFreedom: .infinity)
    #expect((normal.quantile(p) / 1.959963984540054 - 1).magnitude < 1e-14)
    #expect((normal.quantile(1e-200) / -30.20559417957964 - 1).magnitude < 1e-13)
  }

  @Test("goes over into the normal distribution")
  func normalLimit() {
    let normal = StudentDistribution(degreesOfFreedom: .infinity)
    for t in [-8, -1, 0, 0.3, 1, 1.7, 1.8, 4, 20.0] {
      // The difference is of the order of (1 + t⁴) / 4ν.
      for nu in [1e12, 9.9e21, 1e22, 1e300] {
        let student = StudentDistribution(degreesOfFreedom: nu)
        let bound = 1e-13 + (1 + 2 * t * t * t * t) / nu
        #expect((student.cdf(t) / normal.cdf(t) - 1).magnitude < bound)
        #expect((student.density(t) / normal.density(t) - 1).magnitude < bound)
        #expect((student.crps(t) / normal.crps(t) - 1).magnitude < bound)
      }
    }
    #expect(normal.variance == 1)
    #expect(normal.cdf(-.infinity) == 0)
    #expect(normal.cdf(.infinity) == 1)
    #expect(normal.cdf(.nan).isNaN)
    // scipy.special.log_ndtr(-1000).
    #expect((normal.logUpperTail(1000) / -500007.8266948122 - 1).magnitude < 1e-15)
  }

  @Test("draws of Gamma and t distributions have their moments")
  func draws() {
    var generator = Philox(seed: 3, purpose: .sampling)
    let count = 40_000
    for shape in [0.25, 1, 7] {
      let draws = (0..<count).map { _ in generator.gamma(shape: shape) }
      let mean = draws.reduce(0, +) / Double(count)
      #expect((mean - shape).magnitude < 4.5 * (shape / Double(count)).squareRoot())
    }
    for nu in [0.5, 3, 50, .infinity] {
      let distribution = StudentDistribution(degreesOfFreedom: nu)
      // Uniform after the distribution function, by Kolmogorov's bound at 1e-5.
      let values = (0..<count).map { _ in
        distribution.cdf(generator.student(degreesOfFreedom: nu))
      }.sorted()
      var distance = 0.0
      for (index, value) in values.enumerated() {
        let (below, above) = (Double(index) / Double(count), Double(index + 1) / Double(count))
        distance = max(distance, value - below, above - value)
      }
      #expect(distance < 2.47 / Double(count).squareRoot(), "\(nu)")
    }
  }
}
