import BllarseNumerics

/// A matrix A that the curvature of one class's probit objective, or of several, is not below, around given
/// weights: for all `d` with `‖d‖_A ≤ ρ`, `-H(mu + d) ≥ A = Λ₀ + Xᵀ·diag(w)·X`.
///
/// A weight `w` serves a row of signed logit m (the largest of the classes') where `w ≤ h(m + ρ/√w)`,
/// `h = -(log Φ)''`, which falls: because `w·x·xᵀ ≤ A`, the logit changes by at most `ρ/√w` in the ball. The
/// largest such weight is found by going along `y = m + ρ/√w`: with `w = h(y)` the logit is
/// `m(y) = y - ρ/√h(y)`, which rises up to some y and then falls; beyond its maximum no weight serves but 0.
///
/// What serves a row serves every row of smaller logit. So the weights may be cut at that of one row, c, which
/// saves the Gram matrix of all rows of smaller logit: `A = Λ₀ + c·XᵀX - Σ (c - w)·x·xᵀ`, the sum over the
/// rows below c.
struct CurvatureFloor {
  /// Of A.
  let cholesky: Cholesky<Double>
  /// ρ.
  let radius: Double

  /// Finds weights and radius, or nil where the fit is too far from the maximum, or A cannot be factored.
  ///
  /// - Parameters:
  ///   - pass: design and labels.
  ///   - classes: the classes.
  ///   - logits: X·mu, N x K.
  ///   - prior: the diagonal of `Λ₀`.
  ///   - gram: XᵀX.
  ///   - decrement: the largest `gᵀ(Λ₀ + XᵀX)⁻¹g` of a class: it says how far the maximum can be.
  ///   - rowLimit: how many rows may have a weight below c.
  init?<Scalar: BLASScalar>(
    _ pass: ProbitPass<Scalar>, classes: Range<Int>, logits: Matrix<Scalar>, prior: [Double],
    gram: Matrix<Double>, decrement: Double, rowLimit: Int
  ) {
    let margins = Self.margins(pass, logits, classes)
    // Everything is below where a Gram matrix of all rows is affordable.
    let cutMargin = margins.count > rowLimit ? margins.sorted(by: >)[rowLimit] : -Double.infinity
    guard let radius = Self.radius(margins, decrement: decrement, cutMargin: cutMargin) else {
      return nil
    }
    let weights = Self.weights(margins, radius: radius)
    var matrix: Matrix<Double>
    if margins.count > rowLimit {
      let cut = Self.weights([cutMargin], radius: radius)[0]
      let rows = weights.indices.filter { weights[$0] < cut }
      let design = DesignMatrix<Scalar>(
        pass.design.features.gatheringRows(rows), transform: pass.design.transform,
        hasBias: pass.design.hasBias)
      matrix = gram
      matrix.scale(by: cut)
      matrix.add(
        design.gram(weights: rows.map { cut - weights[$0] }, parallelism: pass.parallelism),
        times: -1)
      // The difference has the rounding errors of the whole.
      matrix.addToDiagonal(
        prior.indices.map { -16 * Double(Scalar.ulpOfOne) * cut * gram[$0, $0] })
    } else {
      matrix = pass.design.gram(weights: weights, parallelism: pass.parallelism)
    }
    matrix.addToDiagonal(prior)
    guard let cholesky = try? Cholesky(matrix) else { return nil }
    self.cholesky = cholesky
    self.radius = radius
  }

  /// The largest signed logit of each row, moved up by more than its rounding error.
  private static func margins<Scalar: BLASScalar>(
    _ pass: ProbitPass<Scalar>, _ logits: Matrix<Scalar>, _ classes: Range<Int>
  ) -> [Double] {
    pass.labels.indices.map { row in
      let largest = classes.reduce(-Double.infinity) { largest, k in
        let logit = Double(logits[row, k])
        return max(largest, Int(pass.labels[row]) == k ? logit : -logit)
      }
      return largest + 1024 * Double(Scalar.ulpOfOne) * (1 + abs(largest))
    }
  }

  /// A radius that is likely to hold the maximum: twice its distance if the curvature is what it is at
  /// the weights.
  ///
  /// It is found together with the curvature in the ball; some rows are enough to find it.
  private static func radius(
    _ margins: [Double], decrement: Double, cutMargin: Double
  ) -> Double? {
    guard decrement > 0, !margins.isEmpty else { return nil }
    let sample = stride(from: 0, to: margins.count, by: 1 + margins.count / 1000)
      .map { max(margins[$0], cutMargin) }
    var radius = 0.0
    for _ in 0..<8 {
      let mean = weights(sample, radius: radius).reduce(0, +) / Double(sample.count)
      guard mean > 0 else { return nil }
      let next = (4 * decrement / mean).squareRoot()
      if next <= 1.05 * radius { return radius }
      radius = next
    }
    return nil
  }

  /// y, h(y) and 1/√h(y), as far out as the curvature counts for anything.
  private static let grid: [(y: Double, curvature: Double, inverseRoot: Double)] =
    stride(from: -12, to: 7.5, by: 0.02).map { y in
      let curvature = SpecialFunctions.probitCurvature(y)
      return (y, curvature, 1 / curvature.squareRoot())
    }

  /// The largest weight of each row for a radius, from a table: the logit is rounded up to the next of the
  /// table, which can only make the weight smaller.
  static func weights(_ margins: [Double], radius: Double) -> [Double] {
    var table: [Double] = []
    for point in grid {
      let margin = point.y - radius * point.inverseRoot
      guard margin > table.last ?? -.infinity else { break }
      table.append(margin)
    }
    return margins.map { margin in
      var (low, high) = (0, table.count)
      while low < high {
        let middle = (low + high) / 2
        if table[middle] < margin { low = middle + 1 } else { high = middle }
      }
      return low < table.count ? grid[low].curvature : 0
    }
  }
}
