import BllarseKernels
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// A function of one number and what the reference table calls it.
private struct ScalarFunction: Sendable, CustomTestStringConvertible {
  let name: String
  let double: @Sendable (Double) -> Double
  let float: @Sendable (Float) -> Float
  var testDescription: String { name }

  static let all = [
    ScalarFunction(
      name: "normalCDF", double: SpecialFunctions.normalCDF, float: SpecialFunctions.normalCDF),
    ScalarFunction(
      name: "logNormalCDF", double: SpecialFunctions.logNormalCDF,
      float: SpecialFunctions.logNormalCDF),
    ScalarFunction(
      name: "inverseMillsRatio", double: SpecialFunctions.inverseMillsRatio,
      float: SpecialFunctions.inverseMillsRatio),
    ScalarFunction(
      name: "probitCurvature", double: SpecialFunctions.probitCurvature,
      float: SpecialFunctions.probitCurvature),
    ScalarFunction(name: "gelu", double: SpecialFunctions.gelu, float: SpecialFunctions.gelu),
    ScalarFunction(
      name: "approximateNormalCDF", double: SpecialFunctions.approximateNormalCDF,
      float: SpecialFunctions.approximateNormalCDF),
    ScalarFunction(
      name: "logApproximateNormalCDF", double: SpecialFunctions.logApproximateNormalCDF,
      float: SpecialFunctions.logApproximateNormalCDF),
    ScalarFunction(
      name: "softplus", double: SpecialFunctions.softplus, float: SpecialFunctions.softplus),
    ScalarFunction(
      name: "sigmoid", double: SpecialFunctions.sigmoid, float: SpecialFunctions.sigmoid),
  ]
}

@Suite("Special functions of one number")
struct SpecialFunctionsTests {
  @Test("agree with 20-digit values on [-40, 40]", arguments: ScalarFunction.all)
  private func scalarsAgree(function: ScalarFunction) throws {
    let table = SpecialReference.functions
    let expected = try #require(table.columns[function.name])
    let double = Deviation(
      of: table.arguments.map(function.double), from: expected, at: table.arguments)
    #expect(double.relative < 1e-14, "at \(double.argument)")
    // The curvature multiplies a subnormal density by up to 40.
    let spacings = function.name == "probitCurvature" ? 40.0 : 1.5
    #expect(double.spacings <= spacings)
    let float = Deviation(
      of: table.arguments.map { function.float(Float($0)) }, from: expected, at: table.arguments)
    #expect(float.relative < 6.1e-8, "at \(float.argument)")
    #expect(float.spacings <= 0.51)
  }

  @Test("give limits at infinity and NaN at NaN", arguments: ScalarFunction.all)
  private func limits(function: ScalarFunction) throws {
    let limits: [String: (Double, Double)] = [
      "normalCDF": (0, 1), "logNormalCDF": (-.infinity, 0), "inverseMillsRatio": (.infinity, 0),
      "probitCurvature": (1, 0), "gelu": (0, .infinity), "approximateNormalCDF": (0, 1),
      "logApproximateNormalCDF": (-.infinity, 0), "softplus": (0, .infinity), "sigmoid": (0, 1),
    ]
    let (left, right) = try #require(limits[function.name])
    #expect(function.double(-.infinity) == left)
    #expect(function.double(.infinity) == right)
    #expect(function.double(.nan).isNaN)
    #expect(function.float(.nan).isNaN)
  }

  @Test("log-sum-exp agrees with 20-digit values, for one row and for rows of a matrix")
  func logSumExp() {
    for (value, row) in SpecialReference.logSumExp {
      let scale = max(value.magnitude, 1e-300)
      #expect((SpecialFunctions.logSumExp(row) - value).magnitude < 1e-14 * scale)
      let single = SpecialFunctions.logSumExp(row.map { Float($0) })
      #expect((Double(single) - value).magnitude < 6.1e-8 * scale)
      let rows = SpecialFunctions.logSumExpRows(row + row, columns: row.count)
      #expect(rows.count == 2 && rows[0] == rows[1])
      #expect((rows[0] - value).magnitude < 1e-13 * scale)
      let floatRows = SpecialFunctions.logSumExpRows(row.map { Float($0) }, columns: row.count)
      #expect((Double(floatRows[0]) - value).magnitude < 2e-6 * scale)
    }
    #expect(SpecialFunctions.logSumExp([Double]()) == -.infinity)
    #expect(SpecialFunctions.logSumExp([-Double.infinity, -.infinity]) == -.infinity)
    #expect(SpecialFunctions.logSumExp([1, Double.infinity]) == .infinity)
    #expect(SpecialFunctions.logSumExp([Double.nan, 1]).isNaN)
    #expect(SpecialFunctions.logSumExp([1, Double.nan, .infinity]).isNaN)
  }

  @Test(
    "functions of arrays agree with those of one number", arguments: ElementwiseFunction.allCases)
  func arraysAgree(function: ElementwiseFunction) {
    let arguments = SpecialReference.functions.arguments.filter {
      switch function {
      case .log: $0 > 0
      case .log1p: $0 > -1
      default: true
      }
    }
    let scalar: (Double) -> Double =
      switch function {
      case .normalCDF: SpecialFunctions.normalCDF
      case .logNormalCDF: SpecialFunctions.logNormalCDF
      case .inverseMillsRatio: SpecialFunctions.inverseMillsRatio
      case .probitCurvature: SpecialFunctions.probitCurvature
      case .gelu: SpecialFunctions.gelu
      case .approximateNormalCDF: SpecialFunctions.approximateNormalCDF
      case .softplus: SpecialFunctions.softplus
      case .sigmoid: SpecialFunctions.sigmoid
      case .exp: Foundation.exp
      case .log: Foundation.log
      case .log1p: Foundation.log1p
      }
    let expected = arguments.map(scalar)
    let double = Deviation(
      of: SpecialFunctions.apply(function, to: arguments), from: expected, at: arguments)
    #expect(double.relative < 1e-14, "at \(double.argument)")
    let float = Deviation(
      of: SpecialFunctions.apply(function, to: arguments.map { Float($0) }), from: expected,
      at: arguments)
    #expect(float.relative < 1e-6, "at \(float.argument)")
  }

  @Test("results for another number of arguments stop the program")
  func countMismatch() async {
    await #expect(processExitsWith: .failure) {
      var results = [Float](repeating: 0, count: 2)
      var target = results.mutableSpan
      SpecialFunctions.apply(.exp, to: [Float(1), 2, 3].span, into: &target)
    }
  }
}
