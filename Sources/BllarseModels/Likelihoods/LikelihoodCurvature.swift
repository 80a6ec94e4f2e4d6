package import BllarseNumerics

/// How a log-likelihood bends at some logits, by what a solver's steps are scaled: the Hessian itself where
/// that is cheap, and otherwise one matrix for all columns of the weights.
///
/// A form costs more or less, and decides how soon an optimum is reached, never where it is. It may be of other rows
/// than those that are fitted to, as those of another fold are.
package enum LikelihoodCurvature: Sendable {
  /// `c_k·A` for column k, with `A = Xᵀ·diag(h/h̄)·X`, h_i = tr B_i, and c_k the mean of the k-th diagonal elements of B_i
  /// times C/J, J the directions in which logits have a meaning: exact for two classes.
  case common(Matrix<Double>, [Double])
  /// `Σ_i B_i ⊗ x_i x_iᵀ`, all weights of one column of W after those of another: the Hessian.
  case whole(Matrix<Double>)

  /// What may be spent on a curvature.
  package enum Effort {
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
  package static func isAffordable(_ rows: Int, _ order: Int, _ effort: Effort) -> Bool {
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

extension LaplacePass {
  /// `Σ_i B_i ⊗ x_i x_iᵀ`, order D·C, for a likelihood of which the rows' curvatures are known as factors.
  package func hessian(_ logits: Matrix<Scalar>) -> Matrix<Double>? { nil }
}

extension SoftmaxPass {
  /// `Σ_i wᵢ(diag(pᵢ) - pᵢpᵢᵀ) ⊗ x_i x_iᵀ`.
  ///
  /// With Z the rows `√wᵢ·pᵢ ⊗ xᵢ`, what is beside the diagonal is -ZᵀZ; a block on the diagonal is the sum of those
  /// beside it in its row with the other sign, as probabilities sum to 1: equal steps of all columns then bend nothing,
  /// to the last digit.
  package func hessian(_ logits: Matrix<Scalar>) -> Matrix<Double>? {
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
