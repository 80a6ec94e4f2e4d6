import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseModels

@Suite("VBLL: the generative head")
struct GenerativeVBLLHeadTests {
  /// The bound written out, on features as they are.
  private func bound(
    _ problem: VBLLProblem, _ means: Matrix<Double>, _ variances: Matrix<Double>, _ noise: [Double]
  ) -> Double {
    let configuration = problem.configuration
    let (size, tau) = (noise.count, configuration.priorScale)
    func logDensity(_ x: [Double], _ k: Int, _ extra: Double) -> Double {
      (0..<size).reduce(0) { sum, d in
        let v = noise[d] + extra * variances[k, d]
        return sum - 0.5 * (log(2 * .pi * v) + (x[d] - means[k, d]) * (x[d] - means[k, d]) / v)
      }
    }
    var total = 0.0
    for row in 0..<problem.features.rowCount {
      let x = problem.features.row(row)
      let y = Int(problem.labels[row])
      var value = logDensity(x, y, 0)
      for d in 0..<size { value -= 0.5 * variances[y, d] / noise[d] }
      let logs = (0..<problem.classCount).map { logDensity(x, $0, 1) }
      let top = logs.max() ?? 0
      value -= top + log(logs.reduce(0) { $0 + exp($1 - top) })
      total += (problem.weights?[row] ?? 1) * value
    }
    for k in 0..<problem.classCount {
      for d in 0..<size {
        let (m, s) = (means[k, d], variances[k, d])
        total -= 0.5 * ((m * m + s) / tau - 1 + log(tau) - log(s))
      }
    }
    let shape = (configuration.degreesOfFreedom + Double(size) + 1) / 2
    for d in 0..<size {
      total -= shape * log(noise[d]) + 0.5 * configuration.wishartScale / noise[d]
    }
    return total
  }

  private func fit(
    _ problem: VBLLProblem
  ) throws -> (head: GenerativeVBLLHead, means: Matrix<Double>, info: VBLLInfo) {
    let (head, info) = try GenerativeVBLLHead.fit(
      FeatureMatrix(problem.features), labels: problem.labels, classCount: problem.classCount,
      weights: problem.weights, problem.configuration, execution: Execution(threadCount: 2))
    // In the coordinates of the features.
    guard case .columns(_, let shift) = head.transform else {
      throw NumericsError.noRows("columns")
    }
    var means = head.means
    means.addToRows(shift, times: -1)
    return (head, means, info)
  }

  static let problems = VBLLProblem.all.filter { $0.features.columnCount < 20 }

  @Test("the bound never falls, and is that of the posterior", arguments: problems)
  func monotone(problem: VBLLProblem) throws {
    let (head, means, info) = try fit(problem)
    #expect(info.converged)
    for (before, after) in zip(info.bounds, info.bounds.dropFirst()) { #expect(after >= before) }
    let direct = bound(problem, means, head.variances, head.noiseVariances)
    #expect(
      direct.isClose(to: info.bounds.last ?? 0, relative: 1e-9, absolute: 1e-8),
      "\(direct) and \(info.bounds.last ?? 0)")
  }

  @Test("where it ends the bound is flat", arguments: problems)
  func optimum(problem: VBLLProblem) throws {
    let (head, means, _) = try fit(problem)
    let step = 1e-3
    func value(_ t: Double, _ seed: UInt64, _ kind: Int) -> Double {
      var random = SplitMix64(seed: seed)
      var (m, s, noise) = (means, head.variances, head.noiseVariances)
      for k in 0..<m.rowCount {
        for d in 0..<m.columnCount {
          if kind == 0 { m[k, d] += t * s[k, d].squareRoot() * random.normal() }
          if kind == 1 { s[k, d] *= exp(t * random.normal()) }
        }
      }
      if kind == 2 { noise = noise.map { $0 * exp(t * random.normal()) } }
      return bound(problem, m, s, noise)
    }
    for direction in 0..<9 {
      let seed = UInt64(direction + 3)
      let kind = direction % 3
      let (low, middle, high) = (
        value(-step, seed, kind), value(0, seed, kind), value(step, seed, kind)
      )
      let slope = (high - low) / (2 * step)
      let bend = (high - 2 * middle + low) / (step * step)
      #expect(slope * slope / max(bend.magnitude, 1) < 1e-4, "slope \(slope), bend \(bend)")
      #expect(bend < 1e-3)
    }
  }

  @Test("vbll's parameters have the same bound and predictions, and none better than the fit's")
  func peers() throws {
    let file = try SafetensorsFile(path: Fixtures.path("vbll/vbll.safetensors"))
    let features: Matrix<Float> = try file.matrix("features")
    var configuration = VBLLConfiguration()
    configuration.priorScale = 2
    configuration.wishartScale = 0.5
    configuration.tolerance = 1e-12
    let problem = try VBLLProblem(
      features: Matrix<Double>(features), labels: file.labels("labels"),
      classCount: 3, configuration: configuration)
    let means: Matrix<Double> = try file.matrix("generative.mean")
    let variances: Matrix<Double> = try file.matrix("generative.variances")
    let noise = try file.array("generative.noise", as: Double.self)
    let theirs =
      try file.array("generative.bound", as: Double.self)[0] + 0.5 * Double(means.elements.count)
    #expect(bound(problem, means, variances, noise).isClose(to: theirs, relative: 1e-9))
    let own = try fit(problem).info.bounds.last ?? 0
    #expect(own >= theirs - 1e-6, "\(own) and \(theirs)")
    let head = GenerativeVBLLHead(
      transform: .identity, means: means, variances: variances, noiseVariances: noise)
    let expected: Matrix<Double> = try file.matrix("generative.log_probabilities")
    let predicted = try head.predictive(FeatureMatrix(features), execution: .available)
    #expect(relativeDifference(predicted.elements, expected.elements) < 1e-9)
  }
}
