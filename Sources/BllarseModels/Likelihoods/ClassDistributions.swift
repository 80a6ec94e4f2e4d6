public import BllarseNumerics

/// Probabilities of the classes of rows, as targets: what a teacher predicted of them, or how annotators voted.
///
/// With Y (N x K) these probabilities, E the one-hot rows of their most probable classes and f the logits of a
/// softmax, the expected log-likelihood is that of hard labels and a part that is linear in the logits,
///
///     Σᵢ wᵢ Σ_k Y_ik log p_ik = Σᵢ wᵢ log p_i,argmax + Σᵢ wᵢ Σ_k (Y_ik - E_ik) f_ik,
///
/// as the rows of Y and E have the same sum and so the same share of the normaliser. What has no such form is fitted
/// to copies of the rows, ``RowCopies``.
public struct ClassDistributions: Sendable, Equatable {
  /// Y, N x K: not negative, and the sum of each row is 1.
  public let probabilities: Matrix<Float>
  /// The most probable class of each row; of equals the first.
  public let labels: [Int32]
  /// Whether every row is of one class with certainty, so that the labels say all that is known.
  public let areCertain: Bool

  /// N.
  public var rowCount: Int { probabilities.rowCount }
  /// K.
  public var classCount: Int { probabilities.columnCount }

  /// Takes rows that were checked.
  ///
  /// - Parameter probabilities: N x K, finite, not negative, the sum of each row 1, K at least 2.
  package init(checked probabilities: Matrix<Float>) {
    self.probabilities = probabilities
    var areCertain = true
    labels = (0..<probabilities.rowCount).map { row in
      probabilities.withRow(row) { values in
        var best = 0
        for k in values.indices {
          if values[k] > values[best] { best = k }
          if values[k] != 0 && values[k] != 1 { areCertain = false }
        }
        return Int32(best)
      }
    }
    self.areCertain = areCertain
  }

  /// Some of the rows, in the order of their indices.
  package func gatheringRows(_ rows: [Int]) -> ClassDistributions {
    ClassDistributions(checked: probabilities.gatheringRows(rows))
  }

  /// The columns of some classes, among which all rows have their whole probability.
  func classes(_ classes: [Int]) -> ClassDistributions {
    // A row of two columns at least, as a softmax has them.
    var result = Matrix<Float>.zeros(rowCount, max(classes.count, 2))
    for row in 0..<rowCount {
      for (place, k) in classes.enumerated() { result[row, place] = probabilities[row, k] }
    }
    return ClassDistributions(checked: result)
  }

  /// The expected weight of each class, K numbers.
  package func classTotals(weights: [Double]?) -> [Double] {
    var totals = [Double](repeating: 0, count: classCount)
    for row in 0..<rowCount {
      let weight = weights?[row] ?? 1
      probabilities.withRow(row) { values in
        for k in values.indices { totals[k] += weight * Double(values[k]) }
      }
    }
    return totals
  }

  /// Counts every class as often as a factor of its own says.
  ///
  ///     w Σ_k c_k Y_k log p_k = (w Σ_j c_j Y_j) Σ_k Y'_k log p_k,   Y'_k = c_k Y_k / Σ_j c_j Y_j
  ///
  /// - Parameters:
  ///   - factors: c, K positive numbers.
  ///   - weights: w of each row, 1 when `nil`.
  /// - Returns: Y', and the weights in the brackets.
  package func weighingClasses(
    by factors: [Double], weights: [Double]?
  ) -> (targets: ClassDistributions, weights: [Double]) {
    var result = probabilities.compact()
    let totals = (0..<rowCount).map { row in
      result.withMutableRow(row) { values in
        var total = 0.0
        for k in values.indices { total += factors[k] * Double(values[k]) }
        for k in values.indices { values[k] = Float(factors[k] * Double(values[k]) / total) }
        return total
      }
    }
    return (
      ClassDistributions(checked: result),
      totals.indices.map { (weights?[$0] ?? 1) * totals[$0] }
    )
  }

  /// `-Σ_k Y_k log p_k` of each row, in nats.
  ///
  /// - Parameter logProbabilities: N x K.
  /// - Returns: N numbers.
  func losses(_ logProbabilities: Matrix<Double>) -> [Double] {
    (0..<rowCount).map { row in
      probabilities.withRow(row) { shares in
        logProbabilities.withRow(row) { logs in
          var sum = 0.0
          for k in shares.indices where shares[k] > 0 { sum -= Double(shares[k]) * logs[k] }
          return sum
        }
      }
    }
  }

  /// `w(Y - E)`, N x K: each row sums to 0, but for the rounding of one of its numbers.
  func excesses<Scalar: BLASScalar>(weights: [Double]?) -> Matrix<Scalar> {
    var result = Matrix<Scalar>.zeros(rowCount, classCount)
    for row in 0..<rowCount {
      let (weight, label) = (weights?[row] ?? 1, Int(labels[row]))
      probabilities.withRow(row) { shares in
        result.withMutableRow(row) { values in
          var others = 0.0
          for k in shares.indices where k != label {
            values[k] = Scalar(weight * Double(shares[k]))
            others += Double(values[k])
          }
          values[label] = Scalar(-others)
        }
      }
    }
    return result
  }
}

extension LikelihoodPass {
  /// `Xᵀ(w(Y - E))`, D x C: what class probabilities add to the gradient of a softmax likelihood of their most probable
  /// classes, whatever the weights.
  ///
  /// - Parameter targets: Y of the rows of this pass, whose labels are theirs.
  /// - Returns: D x C.
  package func linearTerm(_ targets: ClassDistributions) -> Matrix<Double> {
    let excesses: Matrix<Scalar> = targets.excesses(weights: weights)
    let classes = classCount
    return excesses.withSharedRows { excesses in
      rows.blocks.sums(count: classes) { block in
        unsafe block.withRows { features in
          for (place, row) in block.range.enumerated() {
            unsafe block.outputs[place].update(from: excesses[row], count: classes)
          }
          unsafe block.addProducts(features)
        }
      }.products
    }
  }
}

/// Every row once for each class that it may have, with the class's probability as its weight.
///
/// For a likelihood of hard labels that is the expected log-likelihood of the probabilities,
///
///     Σᵢ wᵢ Σ_k Y_ik log p(k | xᵢ),
///
/// whatever the likelihood is. Copies of a row are one group, within the row's own group where it has one.
package struct RowCopies: Sendable {
  /// The row that each is a copy of, ascending.
  package let rows: [Int]
  /// The class of each copy.
  package let labels: [Int32]
  /// `wᵢ·Y_ik` of each copy.
  package let weights: [Double]
  /// The group of each copy.
  package let groups: [Int]

  /// Lists the copies of rows.
  ///
  /// - Parameters:
  ///   - targets: N x K.
  ///   - weights: of the rows, 1 when `nil`.
  ///   - groups: of the rows; each its own when `nil`.
  package init(_ targets: ClassDistributions, weights: [Double]?, groups: [Int]?) {
    var rows: [Int] = []
    var labels: [Int32] = []
    var shares: [Double] = []
    for row in 0..<targets.rowCount {
      targets.probabilities.withRow(row) { values in
        for k in values.indices where values[k] > 0 {
          rows.append(row)
          labels.append(Int32(k))
          shares.append((weights?[row] ?? 1) * Double(values[k]))
        }
      }
    }
    (self.rows, self.labels, self.weights) = (rows, labels, shares)
    self.groups = groups.map { groups in rows.map { groups[$0] } } ?? rows
  }

  /// How many copies there are, without making them.
  package static func count(_ targets: ClassDistributions) -> Int {
    (0..<targets.rowCount).reduce(0) { sum, row in
      sum
        + targets.probabilities.withRow(row) { values in
          values.indices.reduce(0) { values[$1] > 0 ? $0 + 1 : $0 }
        }
    }
  }
}
