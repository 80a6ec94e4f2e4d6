import BllarseKernels
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// A function of one number and what the reference table calls it.
private struct ScalarFunction: Sendable, CustomTestStringConvertible {
  let name: String
  let value: @Sendable (Double) -> Double
  var testDescription: String { name }

  static let all = [
    ScalarFunction(name: "normalCDF", value: SpecialFunctions.normalCDF),
    ScalarFunction(name: "logNormalCDF", value: SpecialFunctions.logNormalCDF),
    ScalarFunction(name: "inverseMillsRatio", value: SpecialFunctions.inverseMillsRatio),
    ScalarFunction(name: "probitCurvature", value: SpecialFunctions.probitCurvature),
    ScalarFunction(name: "gelu", value: SpecialFunctions.gelu),
    ScalarFunction(name: "approximateNormalCDF", value: SpecialFunctions.approximateNormalCDF),
    ScalarFunction(
      name: "logApproximateNormalCDF", value: SpecialFunctions.logApproximateNormalCDF),
    ScalarFunction(name: "softplus", value: SpecialFunctions.softplus),
    ScalarFunction(name: "sigmoid", value: SpecialFunctions.sigmoid),
  ]
}

/// A function of arrays, for this processor, in both precisions.
private struct ArrayFunction: Sendable, CustomTestStringConvertible {
  let name: String
  let float: @Sendable (Int, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?) -> Void
  let double: @Sendable (Int, UnsafePointer<Double>?, UnsafeMutablePointer<Double>?) -> Void
  let value: @Sendable (Double) -> Double
  var testDescription: String { name }

  init(
    _ name: String,
    _ float: @escaping @Sendable (Int, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?) -> Void,
    _ double:
      @escaping @Sendable (Int, UnsafePointer<Double>?, UnsafeMutablePointer<Double>?) -> Void,
    _ value: @escaping @Sendable (Double) -> Double
  ) {
    (self.name, self.float, self.double, self.value) = (name, float, double, value)
  }

  static let all = [
    ArrayFunction(
      "normalCDF", bllarse_normal_cdf_f32, bllarse_normal_cdf_f64,
      SpecialFunctions.normalCDF),
    ArrayFunction(
      "logNormalCDF", bllarse_log_normal_cdf_f32, bllarse_log_normal_cdf_f64,
      SpecialFunctions.logNormalCDF),
    ArrayFunction(
      "inverseMillsRatio", bllarse_inverse_mills_ratio_f32, bllarse_inverse_mills_ratio_f64,
      SpecialFunctions.inverseMillsRatio),
    ArrayFunction(
      "probitCurvature", bllarse_probit_curvature_f32, bllarse_probit_curvature_f64,
      SpecialFunctions.probitCurvature),
    ArrayFunction(
      "gelu", bllarse_gelu_f32, bllarse_gelu_f64,
      SpecialFunctions.gelu),
    ArrayFunction(
      "approximateNormalCDF", bllarse_approximate_normal_cdf_f32,
      bllarse_approximate_normal_cdf_f64,
      SpecialFunctions.approximateNormalCDF),
    ArrayFunction(
      "softplus", bllarse_softplus_f32, bllarse_softplus_f64,
      SpecialFunctions.softplus),
    ArrayFunction(
      "sigmoid", bllarse_sigmoid_f32, bllarse_sigmoid_f64,
      SpecialFunctions.sigmoid),
    ArrayFunction(
      "exp", bllarse_exp_f32, bllarse_exp_f64,
      Foundation.exp),
    ArrayFunction(
      "log", bllarse_log_f32, bllarse_log_f64,
      Foundation.log),
    ArrayFunction(
      "log1p", bllarse_log1p_f32, bllarse_log1p_f64,
      Foundation.log1p),
  ]
}

@Suite("Special functions of one number")
struct SpecialFunctionsTests {
  @Test("agree with 20-digit values on [-40, 40]", arguments: ScalarFunction.all)
  private func scalarsAgree(function: ScalarFunction) throws {
    let table = SpecialReference.functions
    let expected = try #require(table.columns[function.name])
    let double = Deviation(
      of: table.arguments.map(function.value), from: expected, at: table.arguments)
    #expect(double.relative < 1e-14, "at \(double.argument)")
    // The curvature multiplies a subnormal density by up to 40.
    let spacings = function.name == "probitCurvature" ? 40.0 : 1.5
    #expect(double.spacings <= spacings)
  }

  @Test("give limits at infinity and NaN at NaN", arguments: ScalarFunction.all)
  private func limits(function: ScalarFunction) throws {
    let limits: [String: (Double, Double)] = [
      "normalCDF": (0, 1), "logNormalCDF": (-.infinity, 0), "inverseMillsRatio": (.infinity, 0),
      "probitCurvature": (1, 0), "gelu": (0, .infinity), "approximateNormalCDF": (0, 1),
      "logApproximateNormalCDF": (-.infinity, 0), "softplus": (0, .infinity), "sigmoid": (0, 1),
    ]
    let (left, right) = try #require(limits[function.name])
    #expect(function.value(-.infinity) == left)
    #expect(function.value(.infinity) == right)
    #expect(function.value(.nan).isNaN)
  }

  @Test("log-sum-exp agrees with 20-digit values, for one row and for rows of a matrix")
  func logSumExp() {
    for (value, row) in SpecialReference.logSumExp {
      let scale = max(value.magnitude, 1e-300)
      #expect((SpecialFunctions.logSumExp(row) - value).magnitude < 1e-14 * scale)
      var rows = [0.0, 0.0]
      bllarse_log_sum_exp_rows_f64(2, row.count, row + row, row.count, &rows)
      #expect(rows[0] == rows[1])
      #expect((rows[0] - value).magnitude < 1e-13 * scale)
      var single: Float = 0
      bllarse_log_sum_exp_rows_f32(1, row.count, row.map { Float($0) }, row.count, &single)
      #expect((Double(single) - value).magnitude < 2e-6 * scale)
    }
    #expect(SpecialFunctions.logSumExp([Double]()) == -.infinity)
    #expect(SpecialFunctions.logSumExp([-Double.infinity, -.infinity]) == -.infinity)
    #expect(SpecialFunctions.logSumExp([1, Double.infinity]) == .infinity)
    #expect(SpecialFunctions.logSumExp([Double.nan, 1]).isNaN)
    #expect(SpecialFunctions.logSumExp([1, Double.nan, .infinity]).isNaN)
  }

  @Test("functions of arrays agree with those of one number", arguments: ArrayFunction.all)
  private func arraysAgree(function: ArrayFunction) {
    let arguments = SpecialReference.functions.arguments.filter {
      function.name == "log" ? $0 > 0 : function.name != "log1p" || $0 > -1
    }
    let expected = arguments.map(function.value)
    var values = arguments
    function.double(values.count, values, &values)
    let double = Deviation(of: values, from: expected, at: arguments)
    #expect(double.relative < 1e-14, "at \(double.argument)")
    var singles = arguments.map { Float($0) }
    function.float(singles.count, singles, &singles)
    let float = Deviation(of: singles, from: expected, at: arguments)
    #expect(float.relative < 1e-6, "at \(float.argument)")
  }
}
