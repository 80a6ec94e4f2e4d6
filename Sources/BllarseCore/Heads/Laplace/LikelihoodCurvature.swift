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
  /// `Xᵀ·diag(h)·X / J` for every column, h_i = tr B_i and J the directions in which logits have a meaning: exact for
  /// two classes.
  case common(Matrix<Double>)
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
    let h = pass.rowCurvatures(logits)
    let mean = h.reduce(0, +) / Double(max(h.count, 1))
    var matrix = gram
    let isDear = Double(columns) > Self.weightedColumns * Double(classes) && directions > 1
    if mean > 0, effort == .some, !isDear {
      matrix = pass.design.gram(rowWeights: h.map { $0 / mean }, parallelism: pass.parallelism)
    }
    matrix.scale(by: mean / directions)
    self = .common(matrix)
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

  /// That of a share of the rows.
  func scaled(by share: Double) -> LikelihoodCurvature {
    switch self {
    case .common(var matrix):
      matrix.scale(by: share)
      return .common(matrix)
    case .whole(var matrix):
      matrix.scale(by: share)
      return .whole(matrix)
    }
  }
}

/// The inverse of a curvature and a prior, as factors.
///
/// Columns with priors of their own have factors of their own; where a factorisation is dear, they share one with the
/// geometric means of the priors: some more iterations cost less than a factorisation for each column.
struct Preconditioner: Sendable {
  private enum Form {
    case common([Cholesky<Double>])
    case whole(Cholesky<Double>)
  }
  private let form: Form
  /// The order from which on columns share a factor.
  private static let sharedOrder = 512

  /// Factors a curvature.
  ///
  /// - Parameters:
  ///   - curvature: of the log-likelihood.
  ///   - prior: Λ₀ as a matrix of diagonals, D x C, positive.
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made the sum indefinite.
  init(_ curvature: LikelihoodCurvature, prior: Matrix<Double>) throws(NumericsError) {
    let columns = (0..<prior.columnCount).map { prior.column($0) }
    switch curvature {
    case .whole(let hessian):
      form = .whole(try Self.factor(hessian, columns.flatMap { $0 }))
    case .common(let matrix):
      let isShared = columns.allSatisfy { $0 == columns[0] }
      let order = matrix.rowCount
      let mean = (0..<order).map { j in
        exp(columns.reduce(0) { $0 + log($1[j]) } / Double(columns.count))
      }
      let diagonals =
        isShared ? Array(columns.prefix(1)) : order < Self.sharedOrder ? columns : [mean]
      var factors: [Cholesky<Double>] = []
      for diagonal in diagonals { factors.append(try Self.factor(matrix, diagonal)) }
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
      if factors.count == 1 { return factors[0].solve(right) }
      var result = Matrix<Double>.zeros(right.rowCount, right.columnCount)
      for (k, factor) in factors.enumerated() {
        result.replaceBlock(row: 0, column: k, with: factor.solve(right.columns(k..<k + 1)))
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
