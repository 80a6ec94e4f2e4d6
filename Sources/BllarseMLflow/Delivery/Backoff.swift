/// How long to wait before trying again: exponential, capped, with jitter so that many runs do not
/// come back to a server all at once.
package struct Backoff: Sendable {
  /// The longest wait without jitter, as in MLflow's client.
  package static let maxSeconds = 120.0

  let factor: Double
  let jitter: Double

  package init(_ settings: HTTPSettings) {
    factor = settings.backoffFactor
    jitter = settings.backoffJitter
  }

  /// The wait after so many failures in a row, counted from 1, or the one the server asked for, as long as
  /// that is not longer than ``RetryAfter/maxSeconds``;
  /// `random` is uniform in 0..<1.
  package func seconds(
    failures: Int, retryAfter: Double? = nil, random: Double = .random(in: 0..<1)
  ) -> Double {
    if let retryAfter { return min(retryAfter, RetryAfter.maxSeconds) + jitter * random }
    let exponential = factor * Double(1 << min(max(failures - 1, 0), 20))
    return min(Self.maxSeconds, exponential) + jitter * random
  }
}
