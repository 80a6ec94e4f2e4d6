package import BllarseNumerics

/// A likelihood whose curvature between the columns of its logits is known.
package protocol LaplacePass: LikelihoodPass {
  /// Which likelihood it is.
  static var likelihood: LaplaceLikelihood { get }
  /// The likelihood of rows of classes in `0..<classCount`, each counted as often as its weight says.
  static func make(
    _ design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, weights: [Double]?,
    execution: Execution
  ) -> Self
  /// The number of directions in which logits have a meaning: one less than columns where only their
  /// differences have.
  static func directionCount(_ columnCount: Int) -> Int
  /// `B = mean_i B_i`, C x C, with B_i the curvature of a row between the columns.
  ///
  /// - Parameters:
  ///   - logits: N x C.
  ///   - rowLimit: how many rows are enough for the mean, evenly spread ones; `nil` for all.
  /// - Returns: C x C, positive semidefinite.
  func outputCurvature(_ logits: Matrix<Scalar>, rowLimit: Int?) -> Matrix<Double>
  /// `tr B_i` of every row.
  func rowCurvatures(_ logits: Matrix<Scalar>) -> [Double]
  /// The means over the rows of the diagonals of B_i, C numbers.
  func columnCurvatures(_ logits: Matrix<Scalar>) -> [Double]
  /// `Σ_i B_i ⊗ x_i x_iᵀ`, order D·C; `nil` where it is not worth its cost.
  func hessian(_ logits: Matrix<Scalar>) -> Matrix<Double>?
  /// The same in double precision, whatever it costs; `nil` where it is block-diagonal over the columns.
  ///
  /// - Throws: `NumericsError.cancelled`.
  func exactHessian(_ logits: Matrix<Scalar>) throws(NumericsError) -> Matrix<Double>?
}

extension SoftmaxPass: LaplacePass {
  package static var likelihood: LaplaceLikelihood { .softmax }
  package static func directionCount(_ columnCount: Int) -> Int { columnCount - 1 }

  package static func make(
    _ design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, weights: [Double]?,
    execution: Execution
  ) -> Self {
    SoftmaxPass(
      design: design, labels: labels, classCount: classCount, weights: weights,
      execution: execution)
  }

  /// `B_i = wᵢ(diag(pᵢ) - pᵢpᵢᵀ)`.
  package func outputCurvature(_ logits: Matrix<Scalar>, rowLimit: Int?) -> Matrix<Double> {
    if let rowLimit, rowLimit < logits.rowCount {
      let some = Self.spreadRows(rowLimit, of: logits.rowCount)
      return outputCurvature(
        logits.gatheringRows(some), weights: weights.map { weights in some.map { weights[$0] } })
    }
    return outputCurvature(logits, weights: weights)
  }

  /// Rows at multiples of the golden ratio: evenly spread, and out of step with rows whose classes take turns.
  private static func spreadRows(_ count: Int, of rowCount: Int) -> [Int] {
    let ratio = (5.0.squareRoot() - 1) / 2
    return (0..<count).map { index in
      let place = Double(index) * ratio
      return min(Int((place - place.rounded(.down)) * Double(rowCount)), rowCount - 1)
    }
  }

  private func outputCurvature(_ logits: Matrix<Scalar>, weights: [Double]?) -> Matrix<Double> {
    let classes = classCount
    let blockSize = 2048
    var curvature = Matrix<Double>.zeros(classes, classes)
    var diagonal = [Double](repeating: 0, count: classes)
    for start in stride(from: 0, to: logits.rowCount, by: blockSize) {
      let range = start..<min(start + blockSize, logits.rowCount)
      var probabilities = logits.rows(range).softmaxRows()
      if let weights {
        let roots = weights[range].map { Scalar($0.squareRoot()) }
        probabilities = probabilities.scalingRows(by: roots)
        for (row, root) in roots.enumerated() {
          for k in 0..<classes { diagonal[k] += Double(root * probabilities[row, k]) }
        }
      } else {
        for (k, sum) in probabilities.columnSums().enumerated() { diagonal[k] += sum }
      }
      curvature.add(Matrix<Double>(execution.withBLAS { probabilities.gram() }), times: -1)
    }
    curvature.addToDiagonal(diagonal)
    curvature.scale(by: 1 / Double(max(logits.rowCount, 1)))
    return curvature
  }

  package func columnCurvatures(_ logits: Matrix<Scalar>) -> [Double] {
    columnMeans(logits) { block, rows in
      var values = block.softmaxRows()
      values.formVariances()
      if let weights { values = values.scalingRows(by: weights[rows].map { Scalar($0) }) }
      return values.columnSums()
    }
  }

  /// `wᵢ(1 - Σ_k p_ik²)`.
  package func rowCurvatures(_ logits: Matrix<Scalar>) -> [Double] {
    let values = perRow(logits) { block in
      // Σ p(1 - p), where nothing cancels in a confident row.
      var values = block.softmaxRows()
      values.formVariances()
      return values.rowSums()
    }
    guard let weights else { return values }
    return zip(values, weights).map { $0 * $1 }
  }
}

extension ProbitPass: LaplacePass {
  package static var likelihood: LaplaceLikelihood { .probit }
  package static func directionCount(_ columnCount: Int) -> Int { columnCount }

  /// Two classes are one column, whose sign is that of class 1.
  package static func make(
    _ design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, weights: [Double]?,
    execution: Execution
  ) -> Self {
    let isBinary = classCount == 2
    return ProbitPass(
      design: design, labels: isBinary ? labels.map { $0 == 1 ? 0 : -1 } : labels,
      classCount: isBinary ? 1 : classCount, weights: weights, execution: execution)
  }

  /// Diagonal: the mean curvatures of the columns.
  package func outputCurvature(_ logits: Matrix<Scalar>, rowLimit: Int?) -> Matrix<Double> {
    let h = residualsAndCurvatures(logits).curvatures
    let count = Double(max(h.rowCount, 1))
    return .diagonal(h.columnSums().map { $0 / count })
  }

  package func rowCurvatures(_ logits: Matrix<Scalar>) -> [Double] {
    let h = residualsAndCurvatures(logits).curvatures
    return (0..<h.rowCount).map { row in
      h.withRow(row) { values in
        var sum = 0.0
        for k in values.indices { sum += Double(values[k]) }
        return sum
      }
    }
  }
}

extension LaplacePass {
  /// `B = mean_i B_i` over all rows.
  func outputCurvature(_ logits: Matrix<Scalar>) -> Matrix<Double> {
    outputCurvature(logits, rowLimit: nil)
  }
}

extension LikelihoodPass {
  /// Means of columns over all rows, from the sums of blocks.
  fileprivate func columnMeans(
    _ logits: Matrix<Scalar>, _ sums: @Sendable (Matrix<Scalar>, Range<Int>) -> [Double]
  ) -> [Double] {
    let parts = execution.map(logits.rowCount, blockSize: 512) { sums(logits.rows($0), $0) }
    let columns = logits.columnCount
    return Matrix(rows: parts.count / max(columns, 1), columns: columns, elements: parts)
      .columnSums().map { $0 / Double(max(logits.rowCount, 1)) }
  }

  /// Numbers of rows, block by block on all threads.
  fileprivate func perRow(
    _ logits: Matrix<Scalar>, _ body: @Sendable (Matrix<Scalar>) -> [Double]
  ) -> [Double] {
    execution.map(logits.rowCount, blockSize: 512) { body(logits.rows($0)) }
  }
}

extension Matrix where Element: BLASScalar {
  /// Every row times a number of its own.
  func scalingRows(by factors: [Element]) -> Matrix {
    var result = compact()
    for row in 0..<rowCount {
      result.withMutableRow(row) { values in
        for column in values.indices { values[column] *= factors[row] }
      }
    }
    return result
  }
}

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
        matrix = pass.design.gram(rowWeights: h.map { $0 / mean }, execution: pass.execution)
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
  /// None: the columns have no curvature between them.
  package func exactHessian(_ logits: Matrix<Scalar>) throws(NumericsError) -> Matrix<Double>? {
    nil
  }
}

extension SoftmaxPass {
  /// `Σ_i wᵢ(diag(pᵢ) - pᵢpᵢᵀ) ⊗ x_i x_iᵀ`.
  ///
  /// With Z the rows `√wᵢ·pᵢ ⊗ xᵢ`, what is beside the diagonal is -ZᵀZ; a block on the diagonal is the sum of those
  /// beside it in its row with the other sign, as probabilities sum to 1: equal steps of all columns then bend nothing,
  /// to the last digit.
  package func hessian(_ logits: Matrix<Scalar>) -> Matrix<Double>? {
    let order = design.columnCount * classCount
    var total = Matrix<Double>.zeros(order, order)
    let blockSize = 1024
    for start in stride(from: 0, to: logits.rowCount, by: blockSize) {
      let products = rootProducts(
        logits, start..<min(start + blockSize, logits.rowCount), as: Scalar.self)
      total.add(Matrix<Double>(execution.withBLAS { products.gram() }), times: -1)
    }
    total.formDiagonalBlocks(count: classCount)
    return total
  }

  /// The same from products in double precision.
  package func exactHessian(_ logits: Matrix<Scalar>) throws(NumericsError) -> Matrix<Double>? {
    let order = design.columnCount * classCount
    var total = Matrix<Double>.zeros(order, order)
    let blockSize = max(64, min(1024, (32 << 20) / (8 * order)))
    for start in stride(from: 0, to: logits.rowCount, by: blockSize) {
      try execution.checkCancellation()
      let products = rootProducts(
        logits, start..<min(start + blockSize, logits.rowCount), as: Double.self)
      execution.withBLAS { total.addLowerGram(of: products, keeping: 1) }
    }
    total.mirrorLowerTriangle()
    total.scale(by: -1)
    total.formDiagonalBlocks(count: classCount)
    return total
  }

  /// The rows `√wᵢ·pᵢ ⊗ xᵢ` of a range, D·C columns.
  private func rootProducts<Element: BLASScalar>(
    _ logits: Matrix<Scalar>, _ range: Range<Int>, as _: Element.Type
  ) -> Matrix<Element> {
    let (columns, classes) = (design.columnCount, classCount)
    let rows = Matrix<Element>(design.matrix(rows: range))
    let probabilities = Matrix<Element>(logits.rows(range)).softmaxRows()
    var products = Matrix<Element>.zeros(range.count, columns * classes)
    for row in 0..<range.count {
      let root = weights.map { Element($0[range.lowerBound + row].squareRoot()) } ?? 1
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
    return products
  }
}

extension Matrix<Double> {
  /// Makes every block on the diagonal the sum of those beside it in its row, with the other sign.
  fileprivate mutating func formDiagonalBlocks(count: Int) {
    let columns = rowCount / max(count, 1)
    for row in 0..<rowCount {
      let k = row / columns
      withMutableRow(row) { values in
        for j in 0..<columns {
          var sum = 0.0
          for other in 0..<count where other != k { sum -= values[other * columns + j] }
          values[k * columns + j] = sum
        }
      }
    }
  }
}
