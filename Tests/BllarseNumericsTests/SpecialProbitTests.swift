import BllarseKernels
import BllarseNumerics
import BllarseTestSupport
import Testing

/// A random problem with padded rows, and its pointwise terms from the functions of one number.
private struct ProbitProblem {
  let rows: Int, classes: Int, stride: Int
  var logits: [Float], direction: [Float], step: [Float], labels: [Int32]

  init(rows: Int, classes: Int, padding: Int, seed: Int, labelled: Bool = true) {
    var generator = SplitMix64(seed: seed)
    (self.rows, self.classes, stride) = (rows, classes, classes + padding)
    logits = (0..<(rows * stride)).map { _ in Float(4 * generator.normal()) }
    direction = (0..<(rows * stride)).map { _ in Float(generator.normal()) }
    step = (0..<classes).map { _ in Float(generator.uniform()) }
    // Now and then a label that is no class.
    let outside: [Int32] = [-1, Int32(classes), .max, .min]
    labels = (0..<rows).map { row in
      labelled && row % 5 != 4
        ? Int32.random(in: 0..<Int32(classes), using: &generator) : outside[row % 4]
    }
  }

  func sign(_ row: Int, _ k: Int) -> Double { labels[row] == Int32(k) ? 1 : -1 }

  /// Sums over the rows, for each class, of f(row, class, entry).
  func sums(_ f: (Int, Int, Int) -> Double) -> [Double] {
    (0..<classes).map { k in (0..<rows).reduce(0) { $0 + f($1, k, $1 * stride + k) } }
  }
}

private let shapes = [
  (0, 3), (1, 1), (5, 1), (67, 1), (2049, 1), (33, 2), (700, 2), (41, 3), (40, 7), (333, 10),
  (9, 31), (9, 32), (12, 33), (25, 100), (3, 512), (3, 513), (2, 1030),
]

@Suite("Vector kernels: probit terms")
struct SpecialProbitTests {
  @Test(
    "residuals, latent means, curvatures and sums agree with the functions of one number",
    arguments: KernelLevel.available, [0, 3])
  func residuals(level: KernelLevel, padding: Int) throws {
    let table = try #require(level.table)
    for (rows, classes) in shapes {
      let problem = ProbitProblem(
        rows: rows, classes: classes, padding: padding, seed: rows + classes)
      let stride = problem.stride
      let untouched = [Float](repeating: -77, count: rows * stride)
      var (residual, latent, curvature) = (untouched, untouched, untouched)
      var sums = [Double](repeating: 1, count: classes)
      let total = table.probit_residual_f32(
        rows, classes, problem.logits, stride, problem.labels, &residual, stride, &latent, stride,
        &curvature, stride, &sums, 0)

      let doubles = problem.logits.map(Double.init)
      let wideUntouched = untouched.map(Double.init)
      var (residual64, latent64, curvature64) = (wideUntouched, wideUntouched, wideUntouched)
      var sums64 = [Double](repeating: 1, count: classes)
      let total64 = table.probit_residual_f64(
        rows, classes, doubles, stride, problem.labels, &residual64, stride, &latent64, stride,
        &curvature64, stride, &sums64, 0)

      for entry in 0..<(rows * stride) {
        let (row, k) = entry.quotientAndRemainder(dividingBy: stride)
        guard k < classes else {
          #expect(residual[entry] == -77 && latent[entry] == -77 && curvature[entry] == -77)
          #expect(residual64[entry] == -77 && latent64[entry] == -77 && curvature64[entry] == -77)
          continue
        }
        let sign = problem.sign(row, k)
        let a = sign * doubles[entry]
        let r = sign * SpecialFunctions.inverseMillsRatio(a)
        let h = SpecialFunctions.probitCurvature(a)
        let z = doubles[entry] + r
        #expect(residual64[entry].isClose(to: r, relative: 1e-14))
        #expect(curvature64[entry].isClose(to: h, relative: 1e-14))
        #expect(latent64[entry].isClose(to: z, relative: 1e-14, absolute: 1e-14 * abs(a)))
        #expect(Double(residual[entry]).isClose(to: r, relative: 1e-6, absolute: 1e-44))
        #expect(Double(curvature[entry]).isClose(to: h, relative: 1e-6, absolute: 1e-43))
        #expect(Double(latent[entry]).isClose(to: z, relative: 1e-6, absolute: 1e-6 * abs(a)))
      }
      let expected = problem.sums { row, k, entry in
        SpecialFunctions.logNormalCDF(problem.sign(row, k) * doubles[entry])
      }
      for k in 0..<classes {
        #expect((sums64[k] - 1).isClose(to: expected[k], relative: 1e-12, absolute: 1e-14))
        #expect((sums[k] - 1).isClose(to: expected[k], relative: 1e-6, absolute: 1e-14))
      }
      #expect(total64.isClose(to: expected.reduce(0, +), relative: 1e-12))
      #expect(total.isClose(to: expected.reduce(0, +), relative: 1e-6))

      // Without sums, and in place: the same residuals; the total alone: the same total.
      var inPlace = problem.logits
      let none = table.probit_residual_f32(
        rows, classes, inPlace, stride, problem.labels, &inPlace, stride, nil, 0, nil, 0, nil, 0)
      #expect(none == 0)
      let alone = table.probit_residual_f32(
        rows, classes, problem.logits, stride, problem.labels, nil, 0, nil, 0, nil, 0, nil, 1)
      #expect(alone == total)
      for row in 0..<rows {
        for k in 0..<stride {
          let entry = row * stride + k
          #expect(inPlace[entry] == (k < classes ? residual[entry] : problem.logits[entry]))
        }
      }
    }
  }

  @Test("a step is taken and judged in one pass", arguments: KernelLevel.available, [0, 5])
  func advance(level: KernelLevel, padding: Int) throws {
    let table = try #require(level.table)
    for (rows, classes) in shapes {
      let problem = ProbitProblem(
        rows: rows, classes: classes, padding: padding, seed: 31 * rows + classes)
      let stride = problem.stride
      let step = problem.step.map(Double.init)
      var logits = problem.logits.map(Double.init)
      let (before, direction) = (logits, problem.direction.map(Double.init))
      var residual = logits
      var sums = [Double](repeating: 0, count: classes)
      _ = table.probit_advance_f64(
        rows, classes, &logits, stride, direction, stride, step, problem.labels, &residual, stride,
        &sums, 0)
      var logits32 = problem.logits
      var residual32 = logits32
      var sums32 = [Double](repeating: 0, count: classes)
      _ = table.probit_advance_f32(
        rows, classes, &logits32, stride, problem.direction, stride, problem.step, problem.labels,
        &residual32, stride, &sums32, 0)
      for row in 0..<rows {
        for k in 0..<stride {
          let entry = row * stride + k
          guard k < classes else {
            #expect(logits[entry] == before[entry] && logits32[entry] == problem.logits[entry])
            continue
          }
          let moved = before[entry] + step[k] * direction[entry]
          let size = abs(before[entry]) + abs(direction[entry])
          #expect(logits[entry].isClose(to: moved, relative: 0, absolute: 1e-15 * size))
          #expect(Double(logits32[entry]).isClose(to: moved, relative: 0, absolute: 2e-7 * size))
          let sign = problem.sign(row, k)
          let r = sign * SpecialFunctions.inverseMillsRatio(sign * logits[entry])
          #expect(residual[entry].isClose(to: r, relative: 1e-14))
          let single = sign * SpecialFunctions.inverseMillsRatio(sign * Double(logits32[entry]))
          #expect(Double(residual32[entry]).isClose(to: single, relative: 1e-6, absolute: 1e-44))
        }
      }
      let expected = problem.sums { row, k, entry in
        SpecialFunctions.logNormalCDF(problem.sign(row, k) * logits[entry])
      }
      for k in 0..<classes {
        #expect(sums[k].isClose(to: expected[k], relative: 1e-12, absolute: 1e-14))
        #expect(sums32[k].isClose(to: expected[k], relative: 1e-5, absolute: 1e-13))
      }
    }
  }

  @Test(
    "the likelihood along a line comes with its two derivatives", arguments: KernelLevel.available,
    [0, 1])
  func line(level: KernelLevel, padding: Int) throws {
    let table = try #require(level.table)
    for (rows, classes) in shapes {
      let problem = ProbitProblem(
        rows: rows, classes: classes, padding: padding, seed: 7 * rows + classes)
      let stride = problem.stride
      let step = problem.step.map(Double.init)
      let (logits, direction) = (
        problem.logits.map(Double.init), problem.direction.map(Double.init)
      )
      let zero = [Double](repeating: 0, count: classes)
      var (value, slope, second) = (zero, zero, zero)
      table.probit_line_f64(
        rows, classes, logits, stride, direction, stride, step, problem.labels, &value, &slope,
        &second)
      var (value32, slope32, second32) = (zero, zero, zero)
      table.probit_line_f32(
        rows, classes, problem.logits, stride, problem.direction, stride, problem.step,
        problem.labels, &value32, &slope32, &second32)
      func along(_ f: (Double, Double) -> Double) -> [Double] {
        problem.sums { row, k, entry in
          let sign = problem.sign(row, k)
          return f(
            sign * (logits[entry] + step[k] * direction[entry]), sign * direction[entry])
        }
      }
      let expectedValue = along { a, _ in SpecialFunctions.logNormalCDF(a) }
      let expectedSlope = along { a, d in d * SpecialFunctions.inverseMillsRatio(a) }
      let slopeSize = along { a, d in abs(d) * SpecialFunctions.inverseMillsRatio(a) }
      let expectedSecond = along { a, d in -d * d * SpecialFunctions.probitCurvature(a) }
      for k in 0..<classes {
        #expect(value[k].isClose(to: expectedValue[k], relative: 1e-12, absolute: 1e-14))
        #expect(value32[k].isClose(to: expectedValue[k], relative: 1e-5, absolute: 1e-13))
        let bound = 1e-13 * slopeSize[k] + 1e-14
        #expect(slope[k].isClose(to: expectedSlope[k], relative: 0, absolute: bound))
        #expect(slope32[k].isClose(to: expectedSlope[k], relative: 0, absolute: 1e8 * bound))
        #expect(second[k].isClose(to: expectedSecond[k], relative: 1e-12, absolute: 1e-14))
        #expect(second32[k].isClose(to: expectedSecond[k], relative: 1e-5, absolute: 1e-13))
      }

      // Derivatives alone are the same; sums are added to what is there.
      var (slopeAlone, secondAlone) = (slope32, second32)
      table.probit_line_f32(
        rows, classes, problem.logits, stride, problem.direction, stride, problem.step,
        problem.labels, nil, &slopeAlone, &secondAlone)
      #expect(slopeAlone == slope32.map { 2 * $0 } && secondAlone == second32.map { 2 * $0 })
    }
  }

  @Test("NaN and infinite logits reach their own results only", arguments: KernelLevel.available)
  func specialLogits(level: KernelLevel) throws {
    let table = try #require(level.table)
    let logits: [Float] = [.nan, 1, -.infinity, .infinity, -2, 3]
    var residual = [Float](repeating: 0, count: 6)
    var curvature = residual
    var sums = [Double](repeating: 0, count: 2)
    let total = table.probit_residual_f32(
      3, 2, logits, 2, [0, 0, 1], &residual, 2, nil, 0, &curvature, 2, &sums, 0)
    #expect(residual[0].isNaN && curvature[0].isNaN && sums[0].isNaN && total.isNaN)
    #expect(residual[2] == .infinity && curvature[2] == 1)
    #expect(residual[3] == -.infinity && curvature[3] == 1)
    #expect(sums[1] == -.infinity)
    for entry in [1, 4, 5] { #expect(residual[entry].isFinite && curvature[entry] > 0) }
  }
}
