import Foundation

/// Clocks, in seconds.
enum Time {
  /// Since some moment.
  static var wall: Double { read(CLOCK_MONOTONIC) }
  /// Of a processor, spent by this thread.
  static var thread: Double { read(CLOCK_THREAD_CPUTIME_ID) }
  /// Of a processor, spent by all threads of this process.
  static var process: Double { read(CLOCK_PROCESS_CPUTIME_ID) }

  private static func read(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}

extension [Double] {
  /// The value below which a share of them lies.
  func quantile(_ share: Double) -> Double {
    sorted()[Swift.min(count - 1, Int(share * Double(count)))]
  }

  /// The median and a 95 % interval for it, from resampled medians.
  var medianWithInterval: (median: Double, low: Double, high: Double) {
    func middle(_ values: [Double]) -> Double {
      let sorted = values.sorted()
      return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
    }
    let medians = (0..<2000).map { _ in middle(map { _ in randomElement() ?? 0 }) }
    return (middle(self), medians.quantile(0.025), medians.quantile(0.975))
  }
}
