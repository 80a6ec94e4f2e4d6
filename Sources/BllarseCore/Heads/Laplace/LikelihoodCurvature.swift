import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// How a log-likelihood bends at some logits, by what a solver's steps are scaled: the Hessian itself where
/// that is cheap, and otherwise one matrix for all columns of the weights.
///
/// A form costs more or less, and decides how soon an optimum is reached, never where it is. It may be of other rows
/// than those that are fitted to, as those of another fold are.
enum LikelihoodCurvature: Sendable {
  /// `c_k·A` for column k, with `A = Xᵀ·diag(h/h̄)·X`, h_i = tr B_i, and c_k the mean of the k-th diagonal elements of B_i
  /// times C/J, J the directions in which logits have a meaning: exact for two classes.
  case common(Matrix<Double>, [Double])
  /// `Σ_i B_i ⊗ x_i x_iᵀ`, all weights of one column of W after those of another: the Hessian.
  case whole(Matrix<Double>)

  /// What may be spent on a curvature.
  enum Effort {
    /// Less than an iteration of a solver: the Hessian of a small problem, else the Gram matrix that is known.
    case little
    /// As much as some iterations, where a problem turned out to need many.
    case some
  }

  /// The curvature at logits, in the form that pays.
  ///
  /// - Parameters:
  ///   - pass: the likelihood of N rows.
  ///   - gram: XᵀX, D x D, or one proportional to it.
  ///   - logits: N x C.
  ///   - effort: what it may cost.
  init<Pass: LaplacePass>(
    _ pass: Pass, gram: Matrix<Double>, _ logits: Matrix<Pass.Scalar>, _ effort: Effort
  ) {
    let (columns, classes) = (gram.rowCount, pass.classCount)
    let directions = Double(max(Pass.directionCount(classes), 1))
    if directions > 1, Self.isAffordable(pass.design.rowCount, columns * classes, effort),
      let hessian = pass.hessian(logits)
    {
      self = .whole(hessian)
      return
    }
    let columnScale = Double(classes) / directions
    let scales = pass.columnCurvatures(logits).map { $0 * columnScale }
    var matrix = gram
    // Beside the passes of an iteration over many columns a Gram matrix costs nothing.
    let share = Double(columns) / Double(classes)
    let isCheap = share <= Self.freeColumns
    if isCheap || effort == .some && (share <= Self.weightedColumns || directions == 1) {
      let h = pass.rowCurvatures(logits)
      let mean = h.reduce(0, +) / Double(max(h.count, 1))
      if mean > 0 {
        matrix = pass.design.gram(rowWeights: h.map { $0 / mean }, parallelism: pass.parallelism)
      }
    }
    self = .common(matrix, scales)
  }

  /// Whether a Hessian takes about a millisecond, or some ten.
  private static func isAffordable(_ rows: Int, _ order: Int, _ effort: Effort) -> Bool {
    let work = Double(rows) * Double(order) * Double(order)
    switch effort {
    case .little: return order <= 192 && work <= 1e8
    case .some: return order <= 768 && work <= 2e9
    }
  }

  /// Columns of the features for each of the logits up to which a Gram matrix with weights costs less than
  /// the iterations that it saves.
  private static var weightedColumns: Double { 32 }
  /// The same where it costs less than an iteration.
  private static var freeColumns: Double { 4 }
}

/// The inverse of a curvature and a prior, as factors.
///
/// Columns of the weights share a factor where their priors are the same and their curvatures within a factor of two.
/// Where a factorisation is dear, columns with priors of their own share one with the geometric means of the priors:
/// some more iterations cost less than a factorisation for each column.
struct Preconditioner: Sendable {
  private enum Form {
    /// Factors, and the columns of each.
    case common([(factor: Cholesky<Double>, columns: [Int])])
    case whole(Cholesky<Double>)
  }
  private let form: Form
  /// The order from which on columns with different priors share a factor.
  private static let sharedOrder = 512

  /// Factors a curvature.
  ///
  /// - Parameters:
  ///   - curvature: of the log-likelihood.
  ///   - prior: Λ₀ as a matrix of diagonals, D x C, positive.
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made the sum indefinite.
  init(_ curvature: LikelihoodCurvature, prior: Matrix<Double>) throws(NumericsError) {
    let priors = (0..<prior.columnCount).map { prior.column($0) }
    switch curvature {
    case .whole(let hessian):
      form = .whole(try Self.factor(hessian, priors.flatMap { $0 }))
    case .common(let matrix, let scales):
      let isShared = priors.allSatisfy { $0 == priors[0] }
      let mean = priors[0].indices.map { j in
        exp(priors.reduce(0) { $0 + log($1[j]) } / Double(priors.count))
      }
      let ownPriors = !isShared && matrix.rowCount < Self.sharedOrder
      var groups: [(prior: [Double], columns: [Int])] = []
      var known: [Int: Int] = [:]
      for k in priors.indices {
        let octave = scales[k] > 0 ? Int(log2(scales[k]).rounded()) : Int.min
        if !ownPriors, let group = known[octave] {
          groups[group].columns.append(k)
        } else {
          known[octave] = groups.count
          groups.append((isShared || ownPriors ? priors[k] : mean, [k]))
        }
      }
      var factors: [(Cholesky<Double>, [Int])] = []
      for (prior, columns) in groups {
        var precision = matrix
        precision.scale(by: columns.reduce(0) { $0 + scales[$1] } / Double(columns.count))
        factors.append((try Self.factor(precision, prior), columns))
      }
      form = .common(factors)
    }
  }

  /// Factors a precision, if need be with more on its diagonal.
  ///
  /// A Gram matrix of rows in single precision has rounding errors of some 1e-7 of its largest element:
  /// where columns repeat one another and the prior is weaker than that, it need not be positive definite.
  private static func factor(
    _ curvature: Matrix<Double>, _ prior: [Double]
  ) throws(NumericsError) -> Cholesky<Double> {
    var precision = curvature
    precision.addToDiagonal(prior)
    let largest = precision.diagonal.reduce(0) { max($0, $1) }
    for addition in [0, 1e-7, 1e-6, 1e-5] {
      var precision = precision
      if addition > 0 {
        precision.addToDiagonal(
          [Double](repeating: addition * largest, count: precision.rowCount))
      }
      do throws(NumericsError) {
        return try Cholesky(precision)
      } catch {
        guard largest.isFinite, addition < 1e-5 else { throw error }
      }
    }
    return try Cholesky(precision)
  }

  /// V·G for a gradient G, D x C.
  func solve(_ right: Matrix<Double>) -> Matrix<Double> {
    switch form {
    case .common(let factors):
      if factors.count == 1 { return factors[0].factor.solve(right) }
      var result = Matrix<Double>.zeros(right.rowCount, right.columnCount)
      let rows = right.transposed()
      for (factor, columns) in factors {
        let solution = factor.solve(rows.gatheringRows(columns).transposed())
        for (place, k) in columns.enumerated() {
          result.replaceBlock(row: 0, column: k, with: solution.columns(place..<place + 1))
        }
      }
      return result
    case .whole(let factor):
      let solution = factor.solve((0..<right.columnCount).flatMap { right.column($0) })
      return Matrix(rows: right.columnCount, columns: right.rowCount, elements: solution)
        .transposed()
    }
  }
}

extension LaplacePass {
  /// `Σ_i B_i ⊗ x_i x_iᵀ`, order D·C, for a likelihood of which the rows' curvatures are known as factors.
  func hessian(_ logits: Matrix<Scalar>) -> Matrix<Double>? { nil }
}

extension SoftmaxPass {
  /// `Σ_i wᵢ(diag(pᵢ) - pᵢpᵢᵀ) ⊗ x_i x_iᵀ`.
  ///
  /// With Z the rows `√wᵢ·pᵢ ⊗ xᵢ`, what is beside the diagonal is -ZᵀZ; a block on the diagonal is the sum of those
  /// beside it in its row with the other sign, as probabilities sum to 1: equal steps of all columns then bend nothing,
  /// to the last digit.
  func hessian(_ logits: Matrix<Scalar>) -> Matrix<Double>? {
    let (columns, classes) = (design.columnCount, classCount)
    let order = columns * classes
    var total = Matrix<Double>.zeros(order, order)
    let blockSize = 1024
    for start in stride(from: 0, to: logits.rowCount, by: blockSize) {
      let range = start..<min(start + blockSize, logits.rowCount)
      let rows = design.matrix(rows: range)
      let probabilities = logits.rows(range).softmaxRows()
      var products = Matrix<Scalar>.zeros(range.count, order)
      for row in 0..<range.count {
        let root = weights.map { Scalar($0[start + row].squareRoot()) } ?? 1
        products.withMutableRow(row) { target in
          rows.withRow(row) { x in
            probabilities.withRow(row) { p in
              for k in 0..<classes {
                let factor = root * p[k]
                for j in 0..<columns { target[k * columns + j] = factor * x[j] }
              }
            }
          }
        }
      }
      total.add(Matrix<Double>(parallelism.withBLAS { products.gram() }), times: -1)
    }
    for row in 0..<order {
      let k = row / columns
      total.withMutableRow(row) { values in
        for j in 0..<columns {
          var sum = 0.0
          for other in 0..<classes where other != k { sum -= values[other * columns + j] }
          values[k * columns + j] = sum
        }
      }
    }
    return total
  }
}
