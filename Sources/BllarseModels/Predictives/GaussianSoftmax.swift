package import BllarseNumerics
import Glibc

/// The mean of the softmax over independent Gaussian logits, to the accuracy of a quadrature.
///
/// A label drawn from softmax(z) is the place of the largest of `z_k + g_k`, with independent Gumbel variables g. With
/// independent logits these sums are independent, too, so that the mean is an integral over one variable, the largest:
///
///     P(k) = ∫ F_k'(u) Π_{j≠k} F_j(u) du,    F_j(u) = E exp(-exp(z_j - u)),  z_j ~ N(m_j, v_j)
///
/// F_j is a sum over the nodes of Gauss and Hermite's rule, the integral one over equally spaced u near nodes, whose error
/// falls exponentially. A logit that lies far below all others has a single node at the logarithm of its mean exponential,
/// as far as that is below the others, which is all that matters of it. Nothing is drawn: a row's probabilities depend on its own logits alone, and not on
/// the order of the classes.
///
/// Next to integrals of three times as many points the probabilities are within 1e-5 for standard deviations up to 1, within
/// 2e-4 up to 5, and within 1e-3 up to 8 (`GaussianSoftmaxTests`).
package struct GaussianSoftmax: Sendable {
  /// The rules, by the largest standard deviation that each is for.
  private let rules: [(limit: Double, rule: HermiteRule)]
  /// The distance of two points of the integral.
  private let spacing: Double

  /// Nodes and weights for the mean under a standard normal distribution.
  struct HermiteRule: Sendable {
    let nodes: [Double]
    let weights: [Double]

    /// Computes a rule.
    ///
    /// - Note: Source: Golub and Welsch, "Calculation of Gauss quadrature rules" (1969).
    init(count: Int) throws(NumericsError) {
      var jacobi = Matrix<Double>.zeros(count, count)
      for index in 1..<count {
        let value = Double(index).squareRoot()
        jacobi[index, index - 1] = value
        jacobi[index - 1, index] = value
      }
      let eigen = try SymmetricEigen(jacobi)
      nodes = eigen.values
      weights = (0..<count).map { eigen.rowVectors[$0, 0] * eigen.rowVectors[$0, 0] }
    }
  }

  /// Prepares the rules.
  ///
  /// - Parameter refinement: how many times as many nodes and points as usual.
  /// - Throws: `NumericsError` when the eigendecomposition of a rule fails.
  package init(refinement: Int = 1) throws(NumericsError) {
    spacing = 0.7 / Double(refinement)
    var rules: [(Double, HermiteRule)] = []
    for (limit, count) in [(1.0, 8), (2, 12), (3, 20), (5, 40), (.infinity, 64)] {
      rules.append((limit, try HermiteRule(count: count * refinement)))
    }
    self.rules = rules
  }

  /// The logarithms of the probabilities of rows.
  ///
  /// - Parameter moments: of their logits, n x K.
  /// - Returns: n x K; the exponentials of a row sum to 1.
  package func logProbabilities(_ moments: LatentMoments) -> Matrix<Double> {
    var result = Matrix<Double>.zeros(moments.means.rowCount, moments.means.columnCount)
    for row in 0..<result.rowCount {
      let logs = logProbabilities(
        means: moments.means.row(row), variances: moments.variances.row(row))
      result.withMutableRow(row) { values in for k in values.indices { values[k] = logs[k] } }
    }
    return result
  }

  /// How far below every other a logit has to lie to have one node: the square of e^-8 is nothing.
  private static var farBelow: Double { 8 }
  /// How many standard deviations of a logit lie within the integral.
  private static var range: Double { 5 }
  /// How far it reaches below and above them, for the Gumbel variables: to exp(-e^3), and to e^-16.
  private static var lowerTail: Double { 3 }
  private static var upperTail: Double { 16 }

  /// The largest standard deviation beside which a difference of 1 can be seen in double precision.
  private static var largestDeviation: Double { 1e12 }

  private func logProbabilities(means: [Double], variances: [Double]) -> [Double] {
    var means = means
    var deviations = variances.map { max($0, 0).squareRoot() }
    var widest = deviations.max() ?? 0
    if widest > Self.largestDeviation {
      // Beside such numbers that of the largest is all that there is to be known.
      let factor = Self.largestDeviation / widest
      (means, deviations) = (means.map { factor * $0 }, deviations.map { factor * $0 })
      widest = Self.largestDeviation
    }
    let rule = (rules.first { widest <= $0.limit } ?? rules[rules.count - 1]).rule
    let reach = rule.nodes[rule.nodes.count - 1]
    // The largest sum is hardly ever below the first, and hardly ever above the last of these.
    var (low, floor, high) = (-Double.infinity, -Double.infinity, -Double.infinity)
    for (m, s) in zip(means, deviations) {
      low = max(low, m - Self.range * s)
      floor = max(floor, m - 3 * s)
      high = max(high, m + Self.range * s)
    }
    guard low.isFinite, high.isFinite else { return means.map { _ in .nan } }
    let origin = low - Self.lowerTail
    let length = high - origin + log(Double(means.count)) + Self.upperTail

    // 1. The nodes of every logit, those of one after another, about the origin.
    var (nodes, weights, starts) = ([Double](), [Double](), [0])
    var isFar = [Bool](repeating: false, count: means.count)
    for (k, (m, s)) in zip(means, deviations).enumerated() {
      isFar[k] = m + reach * s < floor - Self.farBelow
      if s == 0 || isFar[k] {
        // The mean of exp(z), or of what it is as far as the others: where that lies above them, z seldom comes near.
        let distance = floor - m
        let isWide = s * s > distance && isFar[k]
        nodes.append(
          (isWide ? floor - 0.5 * (distance / s) * (distance / s) : m + 0.5 * s * s) - origin)
        weights.append(1)
      } else {
        nodes += rule.nodes.map { m + s * $0 - origin }
        weights += rule.weights
      }
      starts.append(nodes.count)
    }

    let points = points(near: nodes, length: length)
    let classes = means.count
    var total = [Double](repeating: 0, count: classes)
    var ratios = total
    var base = 0.0  // of a logit far below, but for the exponential of its node
    for start in stride(from: 0, to: points.count, by: Self.blockSize) {
      let block = points[start..<min(start + Self.blockSize, points.count)]
      // 2. exp(z - u) of every node at every point, and exp of its negative.
      let rates = rates(of: nodes, at: block)
      let survivals = rates.map { -$0 }.exponentials()

      // 3. F and F' of every logit, and the sum over the points.
      for (place, point) in block.enumerated() {
        var product = 1.0
        rates.withRow(place) { rates in
          survivals.withRow(place) { survivals in
            for k in 0..<classes {
              var (value, slope) = (0.0, 0.0)
              for index in starts[k]..<starts[k + 1] {
                let term = weights[index] * survivals[index]
                value += term
                slope += term * rates[index]
              }
              product *= value
              ratios[k] = slope / value
            }
          }
        }
        guard product > 0 else { continue }
        for k in 0..<classes { total[k] += product * ratios[k] }
        base += product * exp(-point)
      }
    }
    let logSum = log(total.reduce(0, +))
    // In logarithms where the exponential of a node may be too small to be represented.
    return (0..<classes).map { k in
      (isFar[k] ? nodes[starts[k]] + log(base) : log(total[k])) - logSum
    }
  }

  /// Points that are worked on together.
  private static var blockSize: Int { 512 }

  /// The multiples of the spacing from 0 to `length` at which the integrand may be more than nothing: those near a node,
  /// where nodes are far apart.
  private func points(near nodes: [Double], length: Double) -> [Double] {
    let count = (length / spacing).rounded(.up)
    let each = ((Self.lowerTail + Self.upperTail) / spacing).rounded(.up) + 2
    guard count > each * Double(nodes.count) else {
      return (0..<Int(count)).map { spacing * Double($0) }
    }
    var points: [Double] = []
    var next = 0.0
    for node in nodes.sorted() {
      let first = max(next, ((node - Self.lowerTail) / spacing).rounded(.down))
      let end = min(count, ((node + Self.upperTail) / spacing).rounded(.up))
      guard first < end else { continue }
      for index in 0..<Int(end - first) { points.append(spacing * (first + Double(index))) }
      next = end
    }
    return points
  }

  /// exp(z - u), points x nodes.
  private func rates(of nodes: [Double], at points: ArraySlice<Double>) -> Matrix<Double> {
    var elements: [Double] = []
    elements.reserveCapacity(points.count * nodes.count)
    if nodes.allSatisfy({ $0 < Self.largestExponent }) {
      let exponentials = nodes.map { exp($0) }
      for point in points {
        let factor = exp(-point)
        for value in exponentials { elements.append(value * factor) }
      }
      return Matrix(rows: points.count, columns: nodes.count, elements: elements)
    }
    for point in points {
      for node in nodes { elements.append(min(node - point, Self.largestExponent)) }
    }
    return Matrix(rows: points.count, columns: nodes.count, elements: elements).exponentials()
  }

  /// Far enough from infinity for a product with another number.
  private static var largestExponent: Double { 600 }
}
