import BllarseKernels

/// A special function that exists for whole arrays, vectorised for the processor it runs on.
///
/// Relative errors are at most 2e-6 in `Float` and 1e-13 in `Double` on [-40, 40] (measured: 5e-7 and
/// 3e-15), with gradual underflow below the normal range; NaN gives NaN, infinities give limits.
public enum ElementwiseFunction: String, CaseIterable, Sendable {
  /// `Φ(x)`.
  case normalCDF
  /// `log Φ(x)`.
  case logNormalCDF
  /// The inverse Mills ratio `φ(x)/Φ(x)`.
  case inverseMillsRatio
  /// The probit curvature `r(x) (r(x) + x)`, r the inverse Mills ratio.
  case probitCurvature
  /// `x Φ(x)`.
  case gelu
  /// The logistic approximation of `Φ(x)`.
  case approximateNormalCDF
  /// `log(1 + exp x)`.
  case softplus
  /// `1 / (1 + exp(-x))`.
  case sigmoid
  /// `exp x`.
  case exp
  /// `log x`.
  case log
  /// `log(1 + x)`.
  case log1p
}

extension SpecialFunctions {
  /// Applies a special function to every element of an array.
  ///
  /// - Parameters:
  ///   - function: the function.
  ///   - values: the arguments.
  ///   - results: receives the values, one for each argument, in the same order.
  /// - Complexity: O(count); about a nanosecond an element in `Float`, two or three in `Double`.
  public static func apply(
    _ function: ElementwiseFunction, to values: Span<Float>, into results: inout MutableSpan<Float>
  ) {
    let count = values.count
    precondition(results.count == count, "\(results.count) results for \(count) arguments")
    unsafe values.withUnsafeBufferPointer { source in
      unsafe results.withUnsafeMutableBufferPointer { target in
        guard let x = source.baseAddress, let y = target.baseAddress else { return }
        switch function {
        case .normalCDF: unsafe bllarse_normal_cdf_f32(count, x, y)
        case .logNormalCDF: unsafe bllarse_log_normal_cdf_f32(count, x, y)
        case .inverseMillsRatio: unsafe bllarse_inverse_mills_ratio_f32(count, x, y)
        case .probitCurvature: unsafe bllarse_probit_curvature_f32(count, x, y)
        case .gelu: unsafe bllarse_gelu_f32(count, x, y)
        case .approximateNormalCDF: unsafe bllarse_approximate_normal_cdf_f32(count, x, y)
        case .softplus: unsafe bllarse_softplus_f32(count, x, y)
        case .sigmoid: unsafe bllarse_sigmoid_f32(count, x, y)
        case .exp: unsafe bllarse_exp_f32(count, x, y)
        case .log: unsafe bllarse_log_f32(count, x, y)
        case .log1p: unsafe bllarse_log1p_f32(count, x, y)
        }
      }
    }
  }

  /// The values of a special function at every element of an array.
  ///
  /// - Parameters:
  ///   - function: the function.
  ///   - values: the arguments.
  /// - Returns: one value for each argument.
  public static func apply(_ function: ElementwiseFunction, to values: [Float]) -> [Float] {
    var results = [Float](repeating: 0, count: values.count)
    var target = results.mutableSpan
    apply(function, to: values.span, into: &target)
    return results
  }

  /// `log Σₖ exp xₖ` of every row of a row-major matrix.
  ///
  /// - Parameters:
  ///   - values: rows · columns numbers.
  ///   - columns: the length of a row, at least 1.
  /// - Returns: one number a row.
  public static func logSumExpRows(_ values: [Float], columns: Int) -> [Float] {
    precondition(
      columns > 0 && values.count % columns == 0,
      "\(values.count) values are no rows of \(columns)")
    let rows = values.count / columns
    return unsafe [Float](unsafeUninitializedCapacity: rows) { target, count in
      unsafe values.withUnsafeBufferPointer { source in
        if let x = source.baseAddress, let y = target.baseAddress {
          unsafe bllarse_log_sum_exp_rows_f32(rows, columns, x, columns, y)
        }
      }
      count = rows
    }
  }

  /// Applies a special function to every element of an array.
  ///
  /// - Parameters:
  ///   - function: the function.
  ///   - values: the arguments.
  ///   - results: receives the values, one for each argument, in the same order.
  /// - Complexity: O(count); about a nanosecond an element in `Float`, two or three in `Double`.
  public static func apply(
    _ function: ElementwiseFunction, to values: Span<Double>,
    into results: inout MutableSpan<Double>
  ) {
    let count = values.count
    precondition(results.count == count, "\(results.count) results for \(count) arguments")
    unsafe values.withUnsafeBufferPointer { source in
      unsafe results.withUnsafeMutableBufferPointer { target in
        guard let x = source.baseAddress, let y = target.baseAddress else { return }
        switch function {
        case .normalCDF: unsafe bllarse_normal_cdf_f64(count, x, y)
        case .logNormalCDF: unsafe bllarse_log_normal_cdf_f64(count, x, y)
        case .inverseMillsRatio: unsafe bllarse_inverse_mills_ratio_f64(count, x, y)
        case .probitCurvature: unsafe bllarse_probit_curvature_f64(count, x, y)
        case .gelu: unsafe bllarse_gelu_f64(count, x, y)
        case .approximateNormalCDF: unsafe bllarse_approximate_normal_cdf_f64(count, x, y)
        case .softplus: unsafe bllarse_softplus_f64(count, x, y)
        case .sigmoid: unsafe bllarse_sigmoid_f64(count, x, y)
        case .exp: unsafe bllarse_exp_f64(count, x, y)
        case .log: unsafe bllarse_log_f64(count, x, y)
        case .log1p: unsafe bllarse_log1p_f64(count, x, y)
        }
      }
    }
  }

  /// The values of a special function at every element of an array.
  ///
  /// - Parameters:
  ///   - function: the function.
  ///   - values: the arguments.
  /// - Returns: one value for each argument.
  public static func apply(_ function: ElementwiseFunction, to values: [Double]) -> [Double] {
    var results = [Double](repeating: 0, count: values.count)
    var target = results.mutableSpan
    apply(function, to: values.span, into: &target)
    return results
  }

  /// `log Σₖ exp xₖ` of every row of a row-major matrix.
  ///
  /// - Parameters:
  ///   - values: rows · columns numbers.
  ///   - columns: the length of a row, at least 1.
  /// - Returns: one number a row.
  public static func logSumExpRows(_ values: [Double], columns: Int) -> [Double] {
    precondition(
      columns > 0 && values.count % columns == 0,
      "\(values.count) values are no rows of \(columns)")
    let rows = values.count / columns
    return unsafe [Double](unsafeUninitializedCapacity: rows) { target, count in
      unsafe values.withUnsafeBufferPointer { source in
        if let x = source.baseAddress, let y = target.baseAddress {
          unsafe bllarse_log_sum_exp_rows_f64(rows, columns, x, columns, y)
        }
      }
      count = rows
    }
  }
}
