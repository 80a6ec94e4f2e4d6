import BllarseKernels
import BllarseTestSupport
import Foundation

/// The tables of `Fixtures/special`, which `Scripts/special/reference.py` wrote.
struct SpecialReference: Sendable {
  let arguments: [Double]
  let columns: [String: [Double]]

  static let functions = SpecialReference()

  /// Rows of numbers with the logarithm of the sum of their exponentials.
  static let logSumExp: [(value: Double, row: [Double])] = lines("log-sum-exp.csv").map { line in
    let numbers = line.split(separator: ",").map { Double($0) ?? .nan }
    return (numbers[0], Array(numbers.dropFirst()))
  }

  private init() {
    let lines = Self.lines("functions.csv")
    let names = (lines.first ?? "").split(separator: ",").dropFirst().map(String.init)
    let rows = lines.dropFirst().map { $0.split(separator: ",").map { Double($0) ?? .nan } }
    arguments = rows.map { $0[0] }
    columns = Dictionary(
      uniqueKeysWithValues: names.enumerated().map { index, name in
        (name, rows.map { $0[index + 1] })
      })
  }

  private static func lines(_ name: String) -> [String] {
    let text =
      (try? String(contentsOfFile: Fixtures.path("special/" + name), encoding: .utf8)) ?? ""
    return text.split(separator: "\n").map(String.init)
  }
}

/// One compilation of the kernels.
enum KernelLevel: UInt32, CaseIterable, Sendable {
  case baseline, v3, v4

  /// The kernels, if this processor runs them.
  var table: BllarseKernelTable? {
    bllarse_kernel_table(BllarseKernelLevel(rawValue: rawValue))?.pointee
  }

  /// Levels that this processor has.
  static let available = allCases.filter { $0.table != nil }
}

/// The largest relative error, the argument it is at, and the largest error below the normal range in
/// units of the subnormal spacing.
struct Deviation {
  var relative = 0.0
  var argument = Double.nan
  var spacings = 0.0

  init<Scalar: BinaryFloatingPoint>(
    of actual: [Scalar], from expected: [Double], at arguments: [Double]
  ) {
    precondition(actual.count == expected.count && actual.count == arguments.count)
    for ((a, e), x) in zip(zip(actual, expected), arguments) {
      let value = Double(a)
      if e.magnitude < Double(Scalar.leastNormalMagnitude) {
        let distance = (value - e).magnitude / Double(Scalar.leastNonzeroMagnitude)
        if !(distance <= spacings) { spacings = distance }
      } else if e.magnitude > Double(Scalar.greatestFiniteMagnitude) {
        if value != (e < 0 ? -.infinity : .infinity) { (relative, argument) = (.infinity, x) }
      } else {
        let error = ((value - e) / e).magnitude
        if !(error <= relative) { (relative, argument) = (error, x) }
      }
    }
  }
}
