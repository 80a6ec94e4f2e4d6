/// Newton's method for the zero of a falling derivative, kept inside a bracket: the exact step along a
/// direction on a strictly concave objective.
struct LineSearch {
  /// More evaluations than a concave objective needs; the bracket halves in the worst case.
  static let evaluationLimit = 40

  /// Where the objective is to be evaluated next.
  private(set) var step: Double
  /// Whether `acceptedStep` is the maximum, to the accuracy wanted.
  private(set) var isDone: Bool
  /// A step at which the objective is not below its value at 0.
  private(set) var acceptedStep = 0.0

  private let slopeAtZero: Double
  private let slopeFraction: Double
  private var low = (step: 0.0, slope: 0.0)  // the slope here is not negative
  private var high = Double.infinity  // the slope here is negative

  /// Begins a search along a direction in which the objective rises at first.
  ///
  /// - Parameters:
  ///   - slopeAtZero: the derivative at step 0; a search that is not positive there is over at once.
  ///   - firstStep: where to look first, positive.
  ///   - slopeFraction: what part of the slope at 0 counts as none.
  init(slopeAtZero: Double, firstStep: Double, slopeFraction: Double) {
    self.slopeFraction = slopeFraction
    self.slopeAtZero = slopeAtZero
    step = firstStep > 0 && firstStep.isFinite ? firstStep : 1
    isDone = !(slopeAtZero > 0)
    low.slope = slopeAtZero
    if isDone { step = 0 }
  }

  /// Takes the derivatives at `step` and moves on.
  mutating func observe(slope: Double, curvature: Double) {
    guard !isDone else { return }
    guard slope.isFinite, curvature.isFinite else {
      // Too far out to be represented: come back.
      high = step
      step = 0.5 * (low.step + high)
      return
    }
    // By concavity the objective rose by at least low.step·low.slope up to `low`, and fell since by at
    // most (step - low.step)·|slope|.
    let neverFell = slope >= 0 || low.step * low.slope + (step - low.step) * slope >= 0
    if abs(slope) <= slopeFraction * slopeAtZero && neverFell {
      acceptedStep = step
      isDone = true
      return
    }
    if slope >= 0 {
      low = (step, slope)
      acceptedStep = step
    } else {
      high = step
    }
    var next = curvature < 0 ? step - slope / curvature : 2 * step
    if !(next > low.step && next < high) {
      next = high.isFinite ? 0.5 * (low.step + high) : 2 * step
    }
    if curvature < 0 && slope < 0 && abs(slope) <= slopeFraction * slopeAtZero {
      // Just beyond the maximum, and Newton's steps may come down to it from this side for ever: go
      // back a little further, to where the objective is known to have risen.
      let back = step - max(2 * slope / curvature, 1e-5 * step)
      if back > low.step { next = back }
    }
    // A bracket as narrow as rounding ends the search at its safe end.
    if next == step || (high.isFinite && high - low.step <= 1e-12 * high) {
      isDone = true
      step = acceptedStep
      return
    }
    step = next
  }
}
