import BllarseKernels

// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
extension Float: KernelScalar {
  public static func _convertRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ target: UnsafeMutablePointer<Float>,
    _ stride: Int
  ) {
    switch unsafe source {
    case .half(let bits, let sourceStride):
      for row in 0..<rows {
        unsafe bllarse_float_from_half(
          columns, (bits + 2 * row * sourceStride).assumingMemoryBound(to: UInt16.self),
          target + row * stride)
      }
    case .single(let values, let sourceStride):
      for row in 0..<rows {
        unsafe (target + row * stride).update(from: values + row * sourceStride, count: columns)
      }
    case .double(let values, let sourceStride):
      for row in 0..<rows {
        for column in 0..<columns {
          unsafe target[row * stride + column] = unsafe Float(values[row * sourceStride + column])
        }
      }
    }
  }

  public static func _layerNormRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ epsilon: Double,
    _ target: UnsafeMutablePointer<Float>, _ stride: Int
  ) {
    switch unsafe source {
    case .half(let bits, let sourceStride):
      unsafe bllarse_layer_norm_rows_f16_f32(
        rows, columns, bits.assumingMemoryBound(to: UInt16.self), sourceStride, epsilon, nil, nil,
        target, stride, 0)
    case .single(let values, let sourceStride):
      unsafe bllarse_layer_norm_rows_f32(
        rows, columns, values, sourceStride, epsilon, nil, nil, target, stride, 0)
    case .double:
      unsafe _convertRows(rows, columns, source, target, stride)
      unsafe bllarse_layer_norm_rows_f32(
        rows, columns, target, stride, epsilon, nil, nil, target, stride, 0)
    }
  }

  public static func _probitResidual(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Float>, _ logitsStride: Int,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Float>?, _ residualStride: Int,
    _ latentMean: UnsafeMutablePointer<Float>?, _ latentMeanStride: Int,
    _ curvature: UnsafeMutablePointer<Float>?, _ curvatureStride: Int,
    _ classSums: UnsafeMutablePointer<Double>?
  ) {
    _ = unsafe bllarse_probit_residual_f32(
      rows, classes, logits, logitsStride, labels, residual, residualStride, latentMean,
      latentMeanStride, curvature, curvatureStride, classSums, 0)
  }

  public static func _probitAdvance(
    _ rows: Int, _ classes: Int, _ logits: UnsafeMutablePointer<Float>, _ logitsStride: Int,
    _ direction: UnsafePointer<Float>, _ directionStride: Int, _ step: UnsafePointer<Float>,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Float>?, _ residualStride: Int,
    _ classSums: UnsafeMutablePointer<Double>?
  ) {
    _ = unsafe bllarse_probit_advance_f32(
      rows, classes, logits, logitsStride, direction, directionStride, step, labels, residual,
      residualStride, classSums, 0)
  }

  public static func _probitLine(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Float>, _ logitsStride: Int,
    _ direction: UnsafePointer<Float>, _ directionStride: Int, _ step: UnsafePointer<Float>,
    _ labels: UnsafePointer<Int32>, _ value: UnsafeMutablePointer<Double>?,
    _ slope: UnsafeMutablePointer<Double>, _ second: UnsafeMutablePointer<Double>
  ) {
    unsafe bllarse_probit_line_f32(
      rows, classes, logits, logitsStride, direction, directionStride, step, labels, value, slope,
      second)
  }

  public static func _accumulate(
    _ count: Int, _ factor: Double, _ values: UnsafePointer<Float>,
    _ sums: UnsafeMutablePointer<Double>
  ) {
    unsafe bllarse_accumulate_f32(count, factor, values, sums)
  }

  public static func _logNormalCDFs(
    approximate: Bool, _ count: Int, _ values: UnsafePointer<Float>,
    _ lower: UnsafeMutablePointer<Float>, _ upper: UnsafeMutablePointer<Float>
  ) {
    if approximate {
      unsafe bllarse_log_approximate_normal_cdf_both_f32(count, values, lower, upper)
    } else {
      unsafe bllarse_log_normal_cdf_both_f32(count, values, lower, upper)
    }
  }

  public static func _logSoftmaxRows(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Float>, _ stride: Int,
    _ target: UnsafeMutablePointer<Float>, _ targetStride: Int
  ) {
    unsafe bllarse_log_softmax_rows_f32(rows, columns, values, stride, target, targetStride)
  }

  public static func _exp(
    _ count: Int, _ values: UnsafePointer<Float>, _ target: UnsafeMutablePointer<Float>
  ) {
    unsafe bllarse_exp_f32(count, values, target)
  }

  public static func _packWeights(
    _ classes: Int, _ columns: Int, _ weights: UnsafePointer<Float>, _ stride: Int,
    _ packed: UnsafeMutablePointer<Float>
  ) {
    unsafe bllarse_products_pack_f32(classes, columns, weights, stride, packed)
  }

  public static func _forward(
    _ rows: Int, _ classes: Int, _ columns: Int, _ values: UnsafePointer<Float>, _ stride: Int,
    _ packed: UnsafePointer<Float>, _ logits: UnsafeMutablePointer<Float>, _ logitsStride: Int
  ) {
    unsafe bllarse_products_forward_f32(
      rows, classes, columns, values, stride, packed, logits, logitsStride)
  }

  public static func _backward(
    _ rows: Int, _ classes: Int, _ columns: Int, _ values: UnsafePointer<Float>, _ stride: Int,
    _ residuals: UnsafePointer<Float>, _ residualsStride: Int,
    _ products: UnsafeMutablePointer<Double>, _ productsStride: Int, _ next: UnsafeRawPointer?,
    _ nextBytes: Int
  ) {
    unsafe bllarse_products_backward_f32(
      rows, classes, columns, values, stride, residuals, residualsStride, products, productsStride,
      next, nextBytes)
  }

  public static func _smallGram(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Float>, _ stride: Int,
    _ target: UnsafeMutablePointer<Float>, _ targetStride: Int
  ) {
    if rows <= 128 {
      unsafe bllarse_products_gram_f32(rows, columns, values, stride, target, targetStride)
    } else {
      unsafe Float._syrk(false, rows, columns, 1, values, stride, 0, target, targetStride)
    }
  }
}

// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
extension Double: KernelScalar {
  public static func _convertRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ target: UnsafeMutablePointer<Double>,
    _ stride: Int
  ) {
    switch unsafe source {
    case .half(let bits, let sourceStride):
      // By way of single precision, for which there is a vector kernel; the way is exact.
      let line = Scratch<Float>(count: columns)
      for row in 0..<rows {
        unsafe bllarse_float_from_half(
          columns, (bits + 2 * row * sourceStride).assumingMemoryBound(to: UInt16.self),
          line.pointer)
        for column in 0..<columns {
          unsafe target[row * stride + column] = unsafe Double(line.pointer[column])
        }
      }
    case .single(let values, let sourceStride):
      for row in 0..<rows {
        for column in 0..<columns {
          unsafe target[row * stride + column] = unsafe Double(values[row * sourceStride + column])
        }
      }
    case .double(let values, let sourceStride):
      for row in 0..<rows {
        unsafe (target + row * stride).update(from: values + row * sourceStride, count: columns)
      }
    }
  }

  public static func _layerNormRows(
    _ rows: Int, _ columns: Int, _ source: StoredRows, _ epsilon: Double,
    _ target: UnsafeMutablePointer<Double>, _ stride: Int
  ) {
    switch unsafe source {
    case .single(let values, let sourceStride):
      unsafe bllarse_layer_norm_rows_f32_f64(
        rows, columns, values, sourceStride, epsilon, nil, nil, target, stride, 0)
    case .double(let values, let sourceStride):
      unsafe bllarse_layer_norm_rows_f64(
        rows, columns, values, sourceStride, epsilon, nil, nil, target, stride, 0)
    case .half:
      unsafe _convertRows(rows, columns, source, target, stride)
      unsafe bllarse_layer_norm_rows_f64(
        rows, columns, target, stride, epsilon, nil, nil, target, stride, 0)
    }
  }

  public static func _probitResidual(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Double>, _ logitsStride: Int,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Double>?,
    _ residualStride: Int,
    _ latentMean: UnsafeMutablePointer<Double>?, _ latentMeanStride: Int,
    _ curvature: UnsafeMutablePointer<Double>?, _ curvatureStride: Int,
    _ classSums: UnsafeMutablePointer<Double>?
  ) {
    _ = unsafe bllarse_probit_residual_f64(
      rows, classes, logits, logitsStride, labels, residual, residualStride, latentMean,
      latentMeanStride, curvature, curvatureStride, classSums, 0)
  }

  public static func _probitAdvance(
    _ rows: Int, _ classes: Int, _ logits: UnsafeMutablePointer<Double>, _ logitsStride: Int,
    _ direction: UnsafePointer<Double>, _ directionStride: Int, _ step: UnsafePointer<Double>,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Double>?,
    _ residualStride: Int,
    _ classSums: UnsafeMutablePointer<Double>?
  ) {
    _ = unsafe bllarse_probit_advance_f64(
      rows, classes, logits, logitsStride, direction, directionStride, step, labels, residual,
      residualStride, classSums, 0)
  }

  public static func _probitLine(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Double>, _ logitsStride: Int,
    _ direction: UnsafePointer<Double>, _ directionStride: Int, _ step: UnsafePointer<Double>,
    _ labels: UnsafePointer<Int32>, _ value: UnsafeMutablePointer<Double>?,
    _ slope: UnsafeMutablePointer<Double>, _ second: UnsafeMutablePointer<Double>
  ) {
    unsafe bllarse_probit_line_f64(
      rows, classes, logits, logitsStride, direction, directionStride, step, labels, value, slope,
      second)
  }

  public static func _accumulate(
    _ count: Int, _ factor: Double, _ values: UnsafePointer<Double>,
    _ sums: UnsafeMutablePointer<Double>
  ) {
    unsafe bllarse_accumulate_f64(count, factor, values, sums)
  }

  public static func _logNormalCDFs(
    approximate: Bool, _ count: Int, _ values: UnsafePointer<Double>,
    _ lower: UnsafeMutablePointer<Double>, _ upper: UnsafeMutablePointer<Double>
  ) {
    if approximate {
      unsafe bllarse_log_approximate_normal_cdf_both_f64(count, values, lower, upper)
    } else {
      unsafe bllarse_log_normal_cdf_both_f64(count, values, lower, upper)
    }
  }

  public static func _logSoftmaxRows(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Double>, _ stride: Int,
    _ target: UnsafeMutablePointer<Double>, _ targetStride: Int
  ) {
    unsafe bllarse_log_softmax_rows_f64(rows, columns, values, stride, target, targetStride)
  }

  public static func _exp(
    _ count: Int, _ values: UnsafePointer<Double>, _ target: UnsafeMutablePointer<Double>
  ) {
    unsafe bllarse_exp_f64(count, values, target)
  }

  public static func _packWeights(
    _ classes: Int, _ columns: Int, _ weights: UnsafePointer<Double>, _ stride: Int,
    _ packed: UnsafeMutablePointer<Double>
  ) {
    unsafe bllarse_products_pack_f64(classes, columns, weights, stride, packed)
  }

  public static func _forward(
    _ rows: Int, _ classes: Int, _ columns: Int, _ values: UnsafePointer<Double>, _ stride: Int,
    _ packed: UnsafePointer<Double>, _ logits: UnsafeMutablePointer<Double>, _ logitsStride: Int
  ) {
    unsafe bllarse_products_forward_f64(
      rows, classes, columns, values, stride, packed, logits, logitsStride)
  }

  public static func _backward(
    _ rows: Int, _ classes: Int, _ columns: Int, _ values: UnsafePointer<Double>, _ stride: Int,
    _ residuals: UnsafePointer<Double>, _ residualsStride: Int,
    _ products: UnsafeMutablePointer<Double>, _ productsStride: Int, _ next: UnsafeRawPointer?,
    _ nextBytes: Int
  ) {
    unsafe bllarse_products_backward_f64(
      rows, classes, columns, values, stride, residuals, residualsStride, products, productsStride,
      next, nextBytes)
  }

  public static func _smallGram(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Double>, _ stride: Int,
    _ target: UnsafeMutablePointer<Double>, _ targetStride: Int
  ) {
    if rows <= 128 {
      unsafe bllarse_products_gram_f64(rows, columns, values, stride, target, targetStride)
    } else {
      unsafe Double._syrk(false, rows, columns, 1, values, stride, 0, target, targetStride)
    }
  }
}
