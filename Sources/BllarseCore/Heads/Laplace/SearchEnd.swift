/// An end of the range that a search for a penalty has reached.
enum SearchEnd: Sendable, Equatable {
  case weakest, strongest

  /// The end that a penalty is at, if it is at one.
  init?(_ penalty: Double, of range: ClosedRange<Double>) {
    if penalty <= range.lowerBound * 1.001 {
      self = .weakest
    } else if penalty >= range.upperBound * 0.999 {
      self = .strongest
    } else {
      return nil
    }
  }

  /// What it means, for a note.
  var explanation: String {
    switch self {
    case .weakest:
      "the weakest of those that are searched: the evidence holds the weights back as little as it can; "
        + "give another with --l2"
    case .strongest:
      "the strongest of those that are searched: the evidence finds nothing in the features that tells "
        + "the classes apart; give another with --l2"
    }
  }
}
