#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A learning rate for each step, counted from 0.
public enum LearningRateSchedule: Sendable, Equatable {
  /// The same for all steps.
  case constant(Double)
  /// From `start` in a line to `peak` over `warmupSteps`, then along half a cosine to `end` at
  /// `totalSteps`, and `end` from there on.
  case warmupCosine(
    start: Double, peak: Double, end: Double, warmupSteps: Int, totalSteps: Int)

  /// The schedule of IVON in the Python original: peak/20, peak, peak/10, a tenth of the steps to warm
  /// up.
  public static func ivon(peak: Double, totalSteps: Int) -> LearningRateSchedule {
    .warmupCosine(
      start: peak / 20, peak: peak, end: peak / 10, warmupSteps: totalSteps / 10,
      totalSteps: totalSteps)
  }

  /// The learning rate of a step.
  public func rate(step: Int) -> Double {
    switch self {
    case .constant(let rate):
      return rate
    case .warmupCosine(let start, let peak, let end, let warmup, let total):
      if step < warmup { return start + (peak - start) * Double(step) / Double(warmup) }
      let length = max(total - warmup, 1)
      let part = Double(min(step - warmup, length)) / Double(length)
      return end + (peak - end) * 0.5 * (1 + cos(Double.pi * part))
    }
  }
}
