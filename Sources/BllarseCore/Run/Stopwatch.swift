/// Seconds since it was made.
struct Stopwatch {
  private let start = ContinuousClock.now

  var elapsed: Double { Self.seconds(ContinuousClock.now - start) }

  /// The seconds that `body` takes.
  static func measure<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) -> Double
  {
    let watch = Stopwatch()
    try body()
    return watch.elapsed
  }

  private static func seconds(_ duration: Duration) -> Double {
    let (seconds, attoseconds) = duration.components
    return Double(seconds) + Double(attoseconds) * 1e-18
  }
}
