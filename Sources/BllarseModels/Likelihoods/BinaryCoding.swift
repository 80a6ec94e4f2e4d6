import BllarseNumerics

/// How a class becomes yes-no questions, each answered by a logistic regression of its own.
public protocol BinaryCoding: Sendable {
  /// The name of the head with this coding: "IBPolyaGamma".
  static var kind: String { get }
  /// The number of questions about `classCount` classes.
  static func columnCount(classCount: Int) -> Int
  /// Whether a row of this class is asked a question; the answer is yes when `label == column`.
  static func asks(label: Int, column: Int) -> Bool
}

/// One question a class, "is it this one?".
public enum OneAgainstRest: BinaryCoding {
  /// "IBPolyaGamma".
  public static var kind: String { "IBPolyaGamma" }
  /// K.
  public static func columnCount(classCount: Int) -> Int { classCount }
  /// Every row is asked every question.
  public static func asks(label: Int, column: Int) -> Bool { true }
}

/// Questions in the order of the classes, "is it this one?", given that it is none before.
///
/// The order of the classes matters; frequent ones first fits best.
///
/// - Note: Source: Linderman, Johnson and Adams (2015).
public enum StickBreaking: BinaryCoding {
  /// "MultinomialPolyaGamma".
  public static var kind: String { "MultinomialPolyaGamma" }
  /// K - 1: who is none of the others is the last.
  public static func columnCount(classCount: Int) -> Int { classCount - 1 }
  /// A row is asked until the answer is yes.
  public static func asks(label: Int, column: Int) -> Bool { label >= column }
}
