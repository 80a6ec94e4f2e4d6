import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Golden: optimisers")
struct GoldenOptimizerTests {
  @Test("golden files are there")
  func filesExist() { #expect(!Golden.files(prefix: "optimizers").isEmpty) }

  @Test("trajectories in double precision", arguments: Golden.files(prefix: "optimizers"))
  func double(name: String) throws { try check(name, Double.self) }

  @Test("trajectories in single precision", arguments: Golden.files(prefix: "optimizers"))
  func single(name: String) throws { try check(name, Float.self) }

  private func check<Scalar: SafetensorsFloat & BLASScalar>(
    _ name: String, _ type: Scalar.Type
  ) throws {
    let file = try Golden.open(name)
    try follow(file, "adam", Adam<Scalar>(), 1e-2)
    try follow(file, "adamw", Adam<Scalar>(weightDecay: 1e-2), 1e-2)
    try follow(file, "lion", Lion<Scalar>(weightDecay: 1e-2), 1e-3)
  }

  private func follow<Scalar: SafetensorsFloat & BLASScalar>(
    _ file: SafetensorsFile, _ name: String, _ method: some Optimizer<Scalar>,
    _ learningRate: Double
  ) throws {
    var parameters = try file.matrix("params_init", as: Scalar.self)
    var state = method.start(parameters)
    let gradients = try file.matrices("gradients", as: Scalar.self)
    let expected = try file.matrices("\(name).trajectory", as: Double.self)
    #expect(String(expected.count) == (try file.metadata("steps")))
    for (gradient, after) in zip(gradients, expected) {
      method.step(&parameters, &state, learningRate: learningRate) { _ in gradient }
      #expect(
        relativeDifference(Matrix<Double>(parameters).elements, after.elements)
          < GoldenTolerance(Scalar.self).parameters)
    }
    #expect(state.step == expected.count)
  }

  @Test("the warm-up cosine schedule", arguments: Golden.files(prefix: "optimizers"))
  func schedule(name: String) throws {
    let file = try Golden.open(name)
    let expected = try file.array("warmup_cosine_schedule_steps0to120", as: Double.self)
    let schedule = LearningRateSchedule.ivon(peak: 1e-2, totalSteps: 100)
    let rates = expected.indices.map { schedule.rate(step: $0) }
    #expect(relativeDifference(rates, expected) < 1e-8)
  }
}
