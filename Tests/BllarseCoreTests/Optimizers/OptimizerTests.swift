import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Optimisers")
struct OptimizerTests {
  /// The gradient of ½·Σ a_i·(θ_i - 1)², a badly scaled bowl.
  private func gradient(_ parameters: Matrix<Double>) -> Matrix<Double> {
    var result = parameters
    for index in 0..<parameters.rowCount {
      result[index, 0] = Double(index + 1) * (parameters[index, 0] - 1)
    }
    return result
  }

  private func distance(_ parameters: Matrix<Double>) -> Double {
    parameters.elements.map { abs($0 - 1) }.max() ?? 0
  }

  @Test("Adam and Lion reach the bottom of a bowl")
  func reachOptimum() {
    func run(_ method: some Optimizer<Double>) -> Double {
      var parameters = Matrix<Double>.zeros(4, 1)
      var state = method.start(parameters)
      let schedule = LearningRateSchedule.warmupCosine(
        start: 1e-3, peak: 3e-2, end: 1e-6, warmupSteps: 20, totalSteps: 2000)
      for step in 0..<2000 {
        method.step(
          &parameters, &state, learningRate: schedule.rate(step: step), gradient: gradient)
      }
      return distance(parameters)
    }
    #expect(run(Adam<Double>()) < 1e-4)
    #expect(run(Lion<Double>()) < 1e-3)
  }

  @Test("IVON finds mean and curvature of a Gaussian posterior")
  func ivonFindsPosterior() {
    // Loss per row ½·a·(θ - 1)²: the posterior of n rows has precision n·(a + λ).
    let ivon = IVON<Double>(
      effectiveSampleSize: 500, beta2: 0.995, weightDecay: 1e-3, seed: 5)
    var parameters = Matrix<Double>.zeros(4, 1)
    var state = ivon.start(parameters)
    let schedule = LearningRateSchedule.ivon(peak: 0.1, totalSteps: 6000)
    for step in 0..<6000 {
      ivon.step(&parameters, &state, learningRate: schedule.rate(step: step), gradient: gradient)
    }
    #expect(distance(parameters) < 0.02)
    for index in 0..<4 {
      // The estimate of a running mean of noisy products: a tenth is what its noise allows.
      #expect(state.moments[1][index, 0].isClose(to: Double(index + 1), relative: 0.15))
    }
  }

  @Test("one IVON step by hand")
  func ivonStep() {
    let ivon = IVON<Double>(
      effectiveSampleSize: 10, initialCurvature: 2, beta1: 0.9, beta2: 0.99, weightDecay: 0.5,
      clipRadius: 1e3)
    var parameters = Matrix<Double>(rows: 1, columns: 1, elements: [0.3])
    var state = ivon.start(parameters)
    ivon.step(
      &parameters, &state, gradient: Matrix(rows: 1, columns: 1, elements: [0.8]),
      products: Matrix(rows: 1, columns: 1, elements: [0.04]), learningRate: 0.1)
    let estimate = 10 * 2.5 * 0.04
    let curvature =
      0.99 * 2 + 0.01 * estimate + 0.5 * 0.01 * 0.01 * (2 - estimate) * (2 - estimate) / 2.5
    #expect(state.moments[1][0, 0].isClose(to: curvature, ulps: 8))
    #expect(state.moments[0][0, 0].isClose(to: 0.1 * 0.8, ulps: 8))
    let step = 0.1 * (0.8 + 0.5 * 0.3) / (curvature + 0.5)
    #expect(parameters[0, 0].isClose(to: 0.3 - step, relative: 1e-14))
    #expect(state.step == 1)
  }

  @Test("the clip radius bounds a step")
  func clipRadius() {
    let ivon = IVON<Double>(effectiveSampleSize: 10, weightDecay: 0, clipRadius: 0.5)
    var parameters = Matrix<Double>(rows: 1, columns: 1, elements: [1])
    var state = ivon.start(parameters)
    ivon.step(
      &parameters, &state, gradient: Matrix(rows: 1, columns: 1, elements: [1e6]),
      products: .zeros(1, 1), learningRate: 0.1)
    #expect(parameters[0, 0].isClose(to: 1 - 0.1 * 0.5, relative: 1e-14))
  }

  @Test("a step changes nothing but what it is given")
  func stepsArePure() {
    let adam = Adam<Double>(weightDecay: 0.1)
    let start = Matrix<Double>(rows: 2, columns: 2, elements: [1, 2, 3, 4])
    let state = adam.start(start)
    let g = Matrix<Double>(rows: 2, columns: 2, elements: [0.1, -0.2, 0.3, 0])
    func once() -> (Matrix<Double>, OptimizerState<Double>) {
      var (parameters, copy) = (start, state)
      adam.step(&parameters, &copy, learningRate: 0.01) { _ in g }
      return (parameters, copy)
    }
    let (first, second) = (once(), once())
    #expect(first.0 == second.0 && first.1 == second.1)
    #expect(state == adam.start(start) && start.elements == [1, 2, 3, 4])
  }

  @Test("DecaySparingBiases: the last row decays by nothing, the others as without it")
  func sparesBiases() {
    let start = Matrix<Float>(rows: 2, columns: 1, elements: [2, 3])
    let adamw = Adam<Float>(weightDecay: 0.5)
    func once(_ optimizer: some Optimizer<Float>) -> [Float] {
      var parameters = start
      var state = optimizer.start(parameters)
      optimizer.step(&parameters, &state, learningRate: 0.1) { _ in .zeros(2, 1) }
      return parameters.elements
    }
    let (decayed, spared) = (once(adamw), once(DecaySparingBiases(adamw, weightDecay: 0.5)))
    #expect(decayed == [1.9, 2.85] && spared[0] == decayed[0] && abs(spared[1] - 3) < 1e-6)
  }
}
