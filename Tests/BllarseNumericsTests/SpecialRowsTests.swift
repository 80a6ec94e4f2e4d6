import BllarseKernels
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("Vector kernels: rows, half precision, sums")
struct SpecialRowsTests {
  private static let shapes = [
    (0, 4), (3, 1), (1, 2), (700, 2), (37, 3), (211, 10), (5, 16), (4, 31), (4, 32), (3, 33),
    (11, 100), (3, 1000), (2, 1024), (2, 1025), (1, 3000),
  ]

  private static func random(_ count: Int, seed: Int, scale: Double = 3) -> [Float] {
    var generator = SplitMix64(seed: seed)
    return (0..<count).map { _ in Float(scale * generator.normal()) }
  }

  @Test("softmax residuals, likelihood and line agree with sums", arguments: KernelLevel.available)
  func softmaxLikelihood(level: KernelLevel) throws {
    let table = try #require(level.table)
    for (rows, columns) in Self.shapes where columns > 1 {
      let stride = columns + 3
      let x = Self.random(rows * stride, seed: rows + columns)
      let d = Self.random(rows * stride, seed: 7 * rows + columns, scale: 1)
      let labels = (0..<rows).map { Int32(($0 * 7 + 1) % columns) }
      let step = 0.3
      let moved = zip(x, d).map { Double($0) + step * Double($1) }
      var (likelihood, slope, second) = (0.0, 0.0, 0.0)
      var residual = [Double](repeating: 0, count: rows * stride)
      for row in 0..<rows {
        let range = (row * stride)..<(row * stride + columns)
        let logSum = SpecialFunctions.logSumExp(moved[range])
        let label = Int(labels[row])
        likelihood += moved[row * stride + label] - logSum
        var (m1, m2) = (0.0, 0.0)
        for k in 0..<columns {
          let p = exp(moved[row * stride + k] - logSum)
          residual[row * stride + k] = (k == label ? 1 : 0) - p
          m1 += p * Double(d[row * stride + k])
          m2 += p * Double(d[row * stride + k]) * Double(d[row * stride + k])
        }
        slope += Double(d[row * stride + label]) - m1
        second -= m2 - m1 * m1
      }
      var (s, c) = (0.0, 0.0)
      let direction = d.map(Double.init)
      table.softmax_line_f64(
        rows, columns, x.map(Double.init), stride, direction, stride, step, labels, &s, &c)
      #expect(s.isClose(to: slope, relative: 1e-10, absolute: 1e-11))
      #expect(c.isClose(to: second, relative: 1e-10, absolute: 1e-11))
      (s, c) = (0, 0)
      table.softmax_line_f32(rows, columns, x, stride, d, stride, Float(step), labels, &s, &c)
      #expect(s.isClose(to: slope, relative: 1e-5, absolute: 1e-5 * Double(rows)))
      #expect(c.isClose(to: second, relative: 1e-5, absolute: 1e-5 * Double(rows)))

      var (logits, out) = (x.map(Double.init), [Double](repeating: 9, count: rows * stride))
      let sum = table.softmax_advance_f64(
        rows, columns, &logits, stride, direction, stride, step, labels, &out, stride)
      #expect(sum.isClose(to: likelihood, relative: 1e-12))
      var (logits32, out32) = (x, [Float](repeating: 9, count: rows * stride))
      let sum32 = table.softmax_advance_f32(
        rows, columns, &logits32, stride, d, stride, Float(step), labels, &out32, stride)
      #expect(sum32.isClose(to: likelihood, relative: 1e-5))
      for row in 0..<rows {
        for k in 0..<columns {
          let entry = row * stride + k
          #expect(logits[entry].isClose(to: moved[entry], relative: 1e-14, absolute: 1e-15))
          #expect(out[entry].isClose(to: residual[entry], relative: 1e-10, absolute: 1e-13))
          #expect(
            Double(out32[entry]).isClose(to: residual[entry], relative: 2e-5, absolute: 1e-6))
        }
      }
    }
  }

  @Test("the residual of a label that leads its row keeps full accuracy")
  func confidentResidual() {
    var residual = [Float](repeating: 0, count: 2)
    let sum = bllarse_softmax_residual_f32(1, 2, [20, -20], 2, [0], &residual, 2)
    #expect(Double(residual[0]).isClose(to: exp(-40), relative: 1e-5))
    #expect(Double(residual[1]).isClose(to: -exp(-40), relative: 1e-5))
    #expect(sum.isClose(to: -exp(-40), relative: 1e-5))
  }

  @Test("softmax, its logarithm and log-sum-exp agree row by row", arguments: KernelLevel.available)
  func softmax(level: KernelLevel) throws {
    let table = try #require(level.table)
    for (rows, columns) in Self.shapes {
      for padding in [0, 3] {
        let stride = columns + padding
        let x = Self.random(rows * stride, seed: rows + columns)
        let wide = x.map(Double.init)
        var (sums, sums64) = (
          [Float](repeating: 0, count: rows), [Double](repeating: 0, count: rows)
        )
        table.log_sum_exp_rows_f32(rows, columns, x, stride, &sums)
        table.log_sum_exp_rows_f64(rows, columns, wide, stride, &sums64)
        // In place.
        var (p, p64, l, l64) = (x, wide, x, wide)
        table.softmax_rows_f32(rows, columns, p, stride, &p, stride)
        table.softmax_rows_f64(rows, columns, p64, stride, &p64, stride)
        table.log_softmax_rows_f32(rows, columns, l, stride, &l, stride)
        table.log_softmax_rows_f64(rows, columns, l64, stride, &l64, stride)
        for row in 0..<rows {
          let values = wide[(row * stride)..<(row * stride + columns)]
          let logSum = SpecialFunctions.logSumExp(values)
          let size = max(abs(logSum), values.map(abs).max()!)
          #expect(sums64[row].isClose(to: logSum, relative: 1e-13, absolute: 1e-15 * size))
          #expect(Double(sums[row]).isClose(to: logSum, relative: 2e-6, absolute: 1e-7 * size))
          for k in 0..<stride {
            let entry = row * stride + k
            guard k < columns else {
              #expect(p[entry] == x[entry] && p64[entry] == wide[entry])
              #expect(l[entry] == x[entry] && l64[entry] == wide[entry])
              continue
            }
            let log = wide[entry] - logSum
            let probability = exp(log)
            #expect(p64[entry].isClose(to: probability, relative: 1e-13))
            #expect(Double(p[entry]).isClose(to: probability, relative: 2e-6, absolute: 1e-44))
            #expect(l64[entry].isClose(to: log, relative: 1e-13, absolute: 1e-15 * size))
            #expect(Double(l[entry]).isClose(to: log, relative: 2e-6, absolute: 1e-7 * size))
          }
        }
      }
    }
  }

  @Test("rows with infinities and NaN give limits", arguments: KernelLevel.available)
  func specialRows(level: KernelLevel) throws {
    let table = try #require(level.table)
    for columns in [3, 50] {
      let low = [Float](repeating: -.infinity, count: columns)
      func logSum(_ edit: (inout [Float]) -> Void) -> Float {
        var row = low
        edit(&row)
        var value: Float = 0
        table.log_sum_exp_rows_f32(1, columns, row, columns, &value)
        return value
      }
      #expect(logSum { _ in } == -.infinity)
      #expect(logSum { $0[1] = 2 } == 2)
      #expect(logSum { ($0[0], $0[1]) = (1, .infinity) } == .infinity)
      for place in 0..<columns {
        #expect(logSum { $0[place] = .nan }.isNaN)
        #expect(logSum { ($0[place], $0[(place + 1) % columns]) = (.nan, .infinity) }.isNaN)
        #expect(logSum { ($0[place], $0[(place + 1) % columns]) = (.nan, 5) }.isNaN)
      }
      var p = low
      p[2] = 7
      table.softmax_rows_f32(1, columns, p, columns, &p, columns)
      #expect(p[2] == 1 && p.reduce(0, +) == 1)
    }
    // One entry far above the rest: the logarithm of its probability keeps its digits.
    var row: [Float] = [0, -40, -41]
    table.log_softmax_rows_f32(1, 3, row, 3, &row, 3)
    #expect(row[0].isClose(to: -5.811_236_4e-18, relative: 2e-6))
  }

  @Test("layer norm agrees with its definition from all types", arguments: KernelLevel.available)
  func layerNorm(level: KernelLevel) throws {
    let table = try #require(level.table)
    for columns in [1, 2, 15, 64, 513] {
      let (rows, padding) = (5, 3)
      let (stride, outStride) = (columns + padding, columns + 4)
      let x = Self.random(rows * stride, seed: columns).map { $0 + 100 }
      let halves = x.map { Float16($0).bitPattern }
      let (gain, bias) = (
        Self.random(columns, seed: 1), Self.random(columns, seed: 2)
      )
      func expected(_ x: [Double], gain: [Float]?, bias: [Float]?) -> [Double] {
        var y = [Double](repeating: -5, count: rows * outStride)
        for row in 0..<rows {
          let values = x[(row * stride)..<(row * stride + columns)]
          let mean = values.reduce(0, +) / Double(columns)
          let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(columns)
          for (k, value) in values.enumerated() {
            y[row * outStride + k] =
              (value - mean) / (variance + 1e-5).squareRoot() * Double(gain?[k] ?? 1)
              + Double(bias?[k] ?? 0)
          }
          y[row * outStride + columns] = 1
        }
        return y
      }
      var y = [Float](repeating: -5, count: rows * outStride)
      var y64 = y.map(Double.init)
      let wide = x.map(Double.init)
      table.layer_norm_rows_f64(
        rows, columns, wide, stride, 1e-5, nil, nil, &y64, outStride, 1)
      let plain = expected(wide, gain: nil, bias: nil)
      #expect(relativeDifference(y64, plain) < 1e-14)
      y64 = [Double](repeating: -5, count: rows * outStride)
      table.layer_norm_rows_f32_f64(
        rows, columns, x, stride, 1e-5, gain.map(Double.init), nil, &y64, outStride, 1)
      #expect(relativeDifference(y64, expected(wide, gain: gain, bias: nil)) < 1e-14)
      table.layer_norm_rows_f32(rows, columns, x, stride, 1e-5, gain, bias, &y, outStride, 1)
      let affine = expected(wide, gain: gain, bias: bias)
      #expect(relativeDifference(y.map(Double.init), affine) < 1e-7)
      y = [Float](repeating: -5, count: rows * outStride)
      table.layer_norm_rows_f16_f32(
        rows, columns, halves, stride, 1e-5, nil, nil, &y, outStride, 1)
      let fromHalf = expected(x.map { Double(Float16($0)) }, gain: nil, bias: nil)
      #expect(relativeDifference(y.map(Double.init), fromHalf) < 1e-7)
    }
  }

  @Test(
    "layer norm of floats keeps its digits far from zero, for huge and tiny rows, and beside an outlier",
    arguments: KernelLevel.available)
  func layerNormOfHardRows(level: KernelLevel) throws {
    let table = try #require(level.table)
    let columns = 1000
    let plain = Self.random(columns, seed: 3)
    let hard: [(name: String, row: [Float], epsilon: Double)] = [
      ("far from zero", plain.map { $0 + 3e4 }, 1e-5),
      ("huge", plain.map { $0 * 1e25 }, 1e-5),
      ("tiny", plain.map { $0 * 1e-25 }, 0),
      ("outlier", [3e6] + plain.dropFirst(), 1e-5),
      ("constant", plain.map { _ in 0.1 }, 1e-5),
    ]
    for (name, row, epsilon) in hard {
      let wide = row.map(Double.init)
      let mean = wide.reduce(0, +) / Double(columns)
      let variance = wide.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(columns)
      let expected = wide.map { ($0 - mean) / (variance + epsilon).squareRoot() }
      var y = [Float](repeating: -5, count: columns)
      table.layer_norm_rows_f32(1, columns, row, columns, epsilon, nil, nil, &y, columns, 0)
      let worst = zip(y, expected).map { abs(Double($0) - $1) }.max() ?? .infinity
      let largest = expected.map(abs).max() ?? 0
      #expect(worst <= 1e-7 * largest, "\(name), \(level)")
    }
  }

  @Test(
    "every half becomes its float, and its float the half again", arguments: KernelLevel.available)
  func halves(level: KernelLevel) throws {
    let table = try #require(level.table)
    let bits = Array(UInt16.min...UInt16.max)
    for count in [bits.count, bits.count - 5] {
      var floats = [Float](repeating: 0, count: count)
      table.float_from_half(count, bits, &floats)
      var back = [UInt16](repeating: 0, count: count)
      table.half_from_float(count, floats, &back)
      for (index, float) in floats.enumerated() {
        let half = Float16(bitPattern: bits[index])
        if half.isNaN {
          #expect(float.isNaN && Float16(bitPattern: back[index]).isNaN)
        } else {
          #expect(float.bitPattern == Float(half).bitPattern && back[index] == bits[index])
        }
      }
    }
  }

  @Test("floats become the nearest half, ties to even", arguments: KernelLevel.available)
  func rounding(level: KernelLevel) throws {
    let table = try #require(level.table)
    var generator = SplitMix64(seed: 5)
    var x = (0..<20000).map { _ in
      Float(bitPattern: UInt32(truncatingIfNeeded: generator.next()) % 0x2000_0000 + 0x3000_0000)
    }
    // Ties, and the edges of the subnormal and the infinite range.
    x += (UInt16(0)..<0x7c00).map { bits in
      (Float(Float16(bitPattern: bits)) + Float(Float16(bitPattern: bits + 1))) / 2
    }
    x += [
      65519.996, 65520, 65504, 1e10, .infinity, 5.9604645e-8, 2.9802322e-8, 2.9802326e-8,
      .leastNonzeroMagnitude,
    ]
    x += x.map { -$0 }
    for count in [x.count, 7, 3] {
      var halves = [UInt16](repeating: 0, count: count)
      table.half_from_float(count, x, &halves)
      #expect(zip(x, halves).allSatisfy { Float16($0).bitPattern == $1 })
    }
  }

  @Test("sums are those of double precision", arguments: KernelLevel.available)
  func sums(level: KernelLevel) throws {
    let table = try #require(level.table)
    for count in 0...67 {
      let (x, y) = (Self.random(count, seed: count), Self.random(count, seed: count + 100))
      let (wideX, wideY) = (x.map(Double.init), y.map(Double.init))
      let size = wideX.reduce(0) { $0 + abs($1) } * 20 + 1e-300
      let sum = wideX.reduce(0, +)
      let dot = zip(wideX, wideY).reduce(0) { $0 + $1.0 * $1.1 }
      let distance = zip(wideX, wideY).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      #expect(table.sum_f32(count, x).isClose(to: sum, relative: 0, absolute: 1e-15 * size))
      #expect(table.sum_f64(count, wideX).isClose(to: sum, relative: 0, absolute: 1e-15 * size))
      #expect(table.dot_f32(count, x, y).isClose(to: dot, relative: 0, absolute: 1e-15 * size))
      #expect(
        table.dot_f64(count, wideX, wideY).isClose(to: dot, relative: 0, absolute: 1e-15 * size))
      #expect(table.squared_distance_f32(count, x, y).isClose(to: distance, relative: 1e-14))
      #expect(
        table.squared_distance_f64(count, wideX, wideY).isClose(to: distance, relative: 1e-14))
      var (accumulated, accumulated64) = (wideY, wideY)
      table.accumulate_f32(count, 0.25, x, &accumulated)
      table.accumulate_f64(count, 0.25, wideX, &accumulated64)
      #expect(accumulated == zip(wideX, wideY).map { $1 + 0.25 * $0 })
      #expect(accumulated64 == accumulated)
    }
    let (rows, columns, stride) = (9, 13, 16)
    let (x, y) = (Self.random(rows * stride, seed: 1), Self.random(rows * stride, seed: 2))
    var (columnSums, dots) = (
      [Double](repeating: 2, count: columns), [Double](repeating: 3, count: columns)
    )
    table.column_sums_f32(rows, columns, x, stride, &columnSums)
    table.column_dots_f32(rows, columns, x, stride, y, stride, &dots)
    let alpha = Self.random(columns, seed: 3)
    var moved = y
    table.column_axpy_f32(rows, columns, alpha, x, stride, &moved, stride)
    for k in 0..<columns {
      let entries = (0..<rows).map { $0 * stride + k }
      let sum = entries.reduce(2) { $0 + Double(x[$1]) }
      let dot = entries.reduce(3) { $0 + Double(x[$1]) * Double(y[$1]) }
      #expect(columnSums[k].isClose(to: sum, relative: 0, absolute: 1e-13))
      #expect(dots[k].isClose(to: dot, relative: 0, absolute: 1e-13))
      for entry in entries {
        let expected = Double(y[entry]) + Double(alpha[k]) * Double(x[entry])
        #expect(Double(moved[entry]).isClose(to: expected, relative: 0, absolute: 4e-6))
      }
    }
    #expect((0..<rows).allSatisfy { moved[$0 * stride + columns] == y[$0 * stride + columns] })
  }
}
