import BllarseKernels
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

private typealias FloatMap =
  @convention(c) (Int, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?) -> Void
private typealias DoubleMap =
  @convention(c) (Int, UnsafePointer<Double>?, UnsafeMutablePointer<Double>?) -> Void

extension BllarseKernelTable {
  /// The elementwise kernels under their names in the reference table.
  fileprivate var maps: [(name: String, float: FloatMap, double: DoubleMap)] {
    [
      ("normalCDF", normal_cdf_f32, normal_cdf_f64),
      ("logNormalCDF", log_normal_cdf_f32, log_normal_cdf_f64),
      ("inverseMillsRatio", inverse_mills_ratio_f32, inverse_mills_ratio_f64),
      ("probitCurvature", probit_curvature_f32, probit_curvature_f64),
      ("gelu", gelu_f32, gelu_f64),
      ("approximateNormalCDF", approximate_normal_cdf_f32, approximate_normal_cdf_f64),
      ("softplus", softplus_f32, softplus_f64),
      ("sigmoid", sigmoid_f32, sigmoid_f64),
      ("exp", exp_f32, exp_f64),
    ]
  }

  fileprivate var logarithms: [(name: String, float: FloatMap, double: DoubleMap)] {
    [("log", log_f32, log_f64), ("log1p", log1p_f32, log1p_f64)]
  }
}

private func values(_ map: FloatMap, _ x: [Float]) -> [Float] {
  var y = [Float](repeating: 0, count: x.count)
  map(x.count, x, &y)
  return y
}

private func values(_ map: DoubleMap, _ x: [Double]) -> [Double] {
  var y = [Double](repeating: 0, count: x.count)
  map(x.count, x, &y)
  return y
}

@Suite("Vector kernels: special functions")
struct SpecialKernelsTests {
  @Test("agree with 20-digit values on [-40, 40]", arguments: KernelLevel.available)
  func agree(level: KernelLevel) throws {
    let table = try #require(level.table)
    let reference = SpecialReference.functions
    let singles = reference.arguments.map { Float($0) }
    for (name, float, double) in table.maps {
      let expected = try #require(reference.columns[name])
      let wide = Deviation(
        of: values(double, reference.arguments), from: expected, at: reference.arguments)
      let narrow = Deviation(of: values(float, singles), from: expected, at: reference.arguments)
      // Demanded are 1e-13 and 2e-6.
      #expect(wide.relative < 5e-15, "\(name) at \(wide.argument)")
      #expect(narrow.relative < 8e-7, "\(name) at \(narrow.argument)")
      // The curvature multiplies a subnormal density by up to 40.
      let spacings = name == "probitCurvature" ? 40.0 : 1.0
      #expect(wide.spacings <= spacings, "\(name)")
      #expect(narrow.spacings <= spacings, "\(name)")
    }
  }

  @Test(
    "logarithms of Φ and its approximation agree on both sides", arguments: KernelLevel.available)
  func bothSides(level: KernelLevel) throws {
    let table = try #require(level.table)
    let x = SpecialReference.functions.arguments
    let singles = x.map { Float($0) }
    func check(
      _ name: String,
      _ float:
        @convention(c) (
          Int, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?
        ) -> Void,
      _ double:
        @convention(c) (
          Int, UnsafePointer<Double>?, UnsafeMutablePointer<Double>?, UnsafeMutablePointer<Double>?
        ) -> Void,
      _ scalar: (Double) -> Double
    ) {
      var (lower, upper) = (x, x)
      double(x.count, lower, &lower, &upper)
      var (lowerSingle, upperSingle) = (singles, singles)
      float(x.count, lowerSingle, &lowerSingle, &upperSingle)
      let (below, above) = (x.map(scalar), x.map { scalar(-$0) })
      for deviation in [
        Deviation(of: lower, from: below, at: x), Deviation(of: upper, from: above, at: x),
      ] {
        #expect(deviation.relative < 1e-14, "\(name) at \(deviation.argument)")
        #expect(deviation.spacings <= 1.5)
      }
      for deviation in [
        Deviation(of: lowerSingle, from: below, at: x),
        Deviation(of: upperSingle, from: above, at: x),
      ] {
        #expect(deviation.relative < 8e-7, "\(name) at \(deviation.argument)")
        #expect(deviation.spacings <= 1)
      }
    }
    check(
      "logNormalCDF", table.log_normal_cdf_both_f32, table.log_normal_cdf_both_f64,
      SpecialFunctions.logNormalCDF)
    check(
      "logApproximateNormalCDF", table.log_approximate_normal_cdf_both_f32,
      table.log_approximate_normal_cdf_both_f64, SpecialFunctions.logApproximateNormalCDF)
  }

  @Test("logarithms agree with the C library from subnormals up", arguments: KernelLevel.available)
  func logarithms(level: KernelLevel) throws {
    let table = try #require(level.table)
    var generator = SplitMix64(seed: 3)
    let positive = (0..<2000).map { _ in
      Double(Float(exp(-100 + 188 * generator.uniform())))
    }.filter { $0 > 0 }
    let aboveMinusOne =
      positive + (0..<500).map { _ in Double(Float(-generator.uniform())) }
      + (0..<500).map { _ in Double(Float(-exp(-30 * generator.uniform()))) }
    for (name, float, double) in table.logarithms {
      let x = (name == "log" ? positive : aboveMinusOne).filter { $0 != -1 }
      let expected = x.map(name == "log" ? { log($0) } : { log1p($0) })
      let wide = Deviation(of: values(double, x), from: expected, at: x)
      #expect(wide.relative < 1e-15, "\(name) at \(wide.argument)")
      let narrow = Deviation(of: values(float, x.map { Float($0) }), from: expected, at: x)
      #expect(narrow.relative < 3e-7, "\(name) at \(narrow.argument)")
      #expect(narrow.spacings <= 1)
    }
    #expect(
      values(table.log_f64, [Double.leastNonzeroMagnitude])[0].isClose(
        to: log(Double.leastNonzeroMagnitude), ulps: 4))
  }

  @Test("give limits at infinity, NaN at NaN, at any length", arguments: KernelLevel.available)
  func limits(level: KernelLevel) throws {
    let table = try #require(level.table)
    let limits: [String: (Double, Double)] = [
      "normalCDF": (0, 1), "logNormalCDF": (-.infinity, 0), "inverseMillsRatio": (.infinity, 0),
      "probitCurvature": (1, 0), "gelu": (0, .infinity), "approximateNormalCDF": (0, 1),
      "softplus": (0, .infinity), "sigmoid": (0, 1), "exp": (0, .infinity),
      "log": (.nan, .infinity), "log1p": (.nan, .infinity),
    ]
    for (name, float, double) in table.maps + table.logarithms {
      let (left, right) = try #require(limits[name])
      for count in [1, 40] {
        // Within a unit in the last place: the curvature's 1 is a product.
        let narrow = [-Float.infinity, .infinity, .nan].map {
          values(float, [Float](repeating: $0, count: count)).last!
        }
        let wide = [-Double.infinity, .infinity, .nan].map {
          values(double, [Double](repeating: $0, count: count)).last!
        }
        #expect(
          narrow[0].isClose(to: Float(left), ulps: 1) || (left.isNaN && narrow[0].isNaN), "\(name)")
        #expect(narrow[1] == Float(right) && narrow[2].isNaN, "\(name)")
        #expect(wide[0].isClose(to: left, ulps: 1) || (left.isNaN && wide[0].isNaN), "\(name)")
        #expect(wide[1] == right && wide[2].isNaN, "\(name)")
      }
    }
    #expect(values(table.log_f32, [0, -0.0, -1]).map(\.isNaN) == [false, false, true])
    #expect(values(table.log_f32, [0, -0.0])[0] == -.infinity)
    #expect(values(table.log1p_f64, [-1])[0] == -.infinity)
    #expect(values(table.exp_f32, [1000, -1000]) == [.infinity, 0])
  }

  @Test("touch n elements, whatever n and the alignment", arguments: KernelLevel.available)
  func lengths(level: KernelLevel) throws {
    let table = try #require(level.table)
    var generator = SplitMix64(seed: 11)
    let singles = (0..<80).map { _ in Float(3 * generator.normal()) }
    let doubles = singles.map(Double.init)
    for (name, float, double) in table.maps {
      let (narrow, wide) = (values(float, singles), values(double, doubles))
      for count in 0...67 {
        for offset in [0, 1, 5] {
          var a = singles
          var b = doubles
          // In place, as a test of that too.
          a.withUnsafeMutableBufferPointer {
            float(count, $0.baseAddress! + offset, $0.baseAddress! + offset)
          }
          b.withUnsafeMutableBufferPointer {
            double(count, $0.baseAddress! + offset, $0.baseAddress! + offset)
          }
          let range = offset..<(offset + count)
          let expectedA = singles.indices.map { range.contains($0) ? narrow[$0] : singles[$0] }
          let expectedB = doubles.indices.map { range.contains($0) ? wide[$0] : doubles[$0] }
          // Bit for bit: a result does not depend on an element's place.
          #expect(a == expectedA && b == expectedB, "\(name), \(count) from \(offset)")
        }
      }
    }
  }
}
