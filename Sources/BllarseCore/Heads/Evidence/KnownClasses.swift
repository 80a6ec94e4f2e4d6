import BllarseNumerics

/// The rows that can be predicted when they are left out, and what their labels can then be.
///
/// A row that is alone in its class cannot be predicted without it, and is no use for a calibration. But
/// leaving such rows out chooses rows by their labels: a model of one positive row in a thousand rightly
/// expects about one positive among the others, and looks less certain than it should be on negative rows
/// alone. So the likelihood of the rows that are kept is conditional on what they were chosen by,
///
///     p(y | x, y is no lone class) = p(y | x) / Σ p(k | x) over the other classes k,
///
/// which is the softmax of the other classes' logits, at any temperature. Where no two classes are left
/// the rows say nothing, and predictions stay as they are.
struct KnownClasses {
  /// The rows that are kept; `nil` for all.
  private let rows: [Int]?
  /// The classes that are kept; `nil` for all.
  private let classes: [Int]?
  /// The labels of the rows that are kept, among the classes that are.
  let labels: [Int32]
  /// Whether the labels could have been others.
  let tellApart: Bool

  /// Finds them.
  ///
  /// - Parameters:
  ///   - labels: of the rows that are left out in turn.
  ///   - counts: how often each class occurs among all rows.
  init(_ labels: [Int32], counts: [Int]) {
    guard labels.contains(where: { counts[Int($0)] == 1 }) else {
      (rows, classes, self.labels) = (nil, nil, labels)
      tellApart = true
      return
    }
    let kept = labels.indices.filter { counts[Int(labels[$0])] > 1 }
    let known = counts.indices.filter { counts[$0] != 1 }
    var places = [Int32](repeating: 0, count: counts.count)
    for (place, k) in known.enumerated() { places[k] = Int32(place) }
    rows = kept
    classes = known
    self.labels = kept.map { places[Int(labels[$0])] }
    tellApart = known.count > 1
  }

  /// The logits of the rows and classes that are kept.
  func restricted(_ logits: Matrix<Double>) -> Matrix<Double> {
    guard let rows, let classes else { return logits }
    return Matrix(
      rows: rows.count, columns: classes.count,
      elements: rows.flatMap { row in classes.map { logits[row, $0] } })
  }

  /// The frequencies of the classes that are kept, out of them.
  func restricted(_ frequencies: [Double]) -> [Double] {
    guard let classes else { return frequencies }
    let kept = classes.map { frequencies[$0] }
    let total = kept.reduce(0, +)
    return kept.map { $0 / total }
  }
}
