import BllarseKernels

// The softmax kernels in both precisions.

// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
extension Float {
  public static func _softmaxRows(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Float>, _ stride: Int,
    _ target: UnsafeMutablePointer<Float>, _ targetStride: Int
  ) {
    unsafe bllarse_softmax_rows_f32(rows, columns, values, stride, target, targetStride)
  }

  public static func _softmaxResidual(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Float>, _ logitsStride: Int,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Float>, _ residualStride: Int
  ) -> Double {
    unsafe bllarse_softmax_residual_f32(
      rows, classes, logits, logitsStride, labels, residual, residualStride)
  }

  public static func _softmaxAdvance(
    _ rows: Int, _ classes: Int, _ logits: UnsafeMutablePointer<Float>, _ logitsStride: Int,
    _ direction: UnsafePointer<Float>, _ directionStride: Int, _ step: Float,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Float>, _ residualStride: Int
  ) -> Double {
    unsafe bllarse_softmax_advance_f32(
      rows, classes, logits, logitsStride, direction, directionStride, step, labels, residual,
      residualStride)
  }

  public static func _softmaxLine(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Float>, _ logitsStride: Int,
    _ direction: UnsafePointer<Float>, _ directionStride: Int, _ step: Float,
    _ labels: UnsafePointer<Int32>, _ slope: UnsafeMutablePointer<Double>,
    _ second: UnsafeMutablePointer<Double>
  ) {
    unsafe bllarse_softmax_line_f32(
      rows, classes, logits, logitsStride, direction, directionStride, step, labels, slope, second)
  }
}

// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
extension Double {
  public static func _softmaxRows(
    _ rows: Int, _ columns: Int, _ values: UnsafePointer<Double>, _ stride: Int,
    _ target: UnsafeMutablePointer<Double>, _ targetStride: Int
  ) {
    unsafe bllarse_softmax_rows_f64(rows, columns, values, stride, target, targetStride)
  }

  public static func _softmaxResidual(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Double>, _ logitsStride: Int,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Double>, _ residualStride: Int
  ) -> Double {
    unsafe bllarse_softmax_residual_f64(
      rows, classes, logits, logitsStride, labels, residual, residualStride)
  }

  public static func _softmaxAdvance(
    _ rows: Int, _ classes: Int, _ logits: UnsafeMutablePointer<Double>, _ logitsStride: Int,
    _ direction: UnsafePointer<Double>, _ directionStride: Int, _ step: Double,
    _ labels: UnsafePointer<Int32>, _ residual: UnsafeMutablePointer<Double>, _ residualStride: Int
  ) -> Double {
    unsafe bllarse_softmax_advance_f64(
      rows, classes, logits, logitsStride, direction, directionStride, step, labels, residual,
      residualStride)
  }

  public static func _softmaxLine(
    _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Double>, _ logitsStride: Int,
    _ direction: UnsafePointer<Double>, _ directionStride: Int, _ step: Double,
    _ labels: UnsafePointer<Int32>, _ slope: UnsafeMutablePointer<Double>,
    _ second: UnsafeMutablePointer<Double>
  ) {
    unsafe bllarse_softmax_line_f64(
      rows, classes, logits, logitsStride, direction, directionStride, step, labels, slope, second)
  }
}
