/// Estimates how far a preconditioned ascent is from its maximum, from what its last steps gained.
///
/// Two estimates, of which the larger counts: the preconditioned decrement `½·gᵀVg`, times what the last
/// gains were of the decrements before them (V differs from the inverse Hessian by a factor that changes
/// slowly), and the sum of the geometric series that the last gains began. Unlike ``GapCertificate`` this
/// is no bound; on the problems of the tests the distance is within twice the estimate.
struct GapEstimate {
  /// The distance to the maximum, in nats.
  private(set) var gap = Double.infinity

  /// The last gains and the decrements after them, latest last.
  private var steps: [(gain: Double, decrement: Double)] = []

  /// Learns of a step.
  ///
  /// - Parameters:
  ///   - gain: by how much the objective rose, nats.
  ///   - decrement: `½·gᵀVg` after the step.
  mutating func observe(gain: Double, decrement: Double) {
    steps.append((max(gain, 0), decrement))
    steps.removeFirst(max(0, steps.count - 4))
    guard steps.count >= 3 else { return }
    let pairs = Array(zip(steps, steps.dropFirst()))
    let factor = pairs.reduce(2) { max($0, $1.1.gain / max($1.0.decrement, 1e-300)) }
    // The slowest of the last contractions.
    let contraction = pairs.reduce(0) {
      max($0, min($1.1.gain / max($1.0.gain, 1e-300), 0.95))
    }
    gap = max(factor * decrement, max(gain, 0) * contraction / (1 - contraction))
  }
}
