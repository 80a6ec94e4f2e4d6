public import BllarseNumerics

/// Which form of the normal distribution function turns a probit head's logits into probabilities.
///
/// The update itself always uses the exact function.
public enum NormalCDFForm: String, Sendable, Equatable, CaseIterable {
  /// `Φ(x)`.
  case exact
  /// `sigmoid(2·sqrt(2/π)·(x + 0.044715·x³))`, which the reference takes for `Φ` by default.
  case approximate
}

/// Which loss, and with it which logits, a head of independent binary models computes; numbered as in the
/// Python original.
public enum BinaryLoss: Int, Sendable, Equatable, CaseIterable {
  /// The sum over classes of the binary cross-entropies of `sigmoid(β·logit)`; logits are `X·mu`.
  case binaryCrossEntropies = 0
  /// Category from binary marginals (CBM): logits `log p`.
  case marginals = 1
  /// Category from binary conditionals (CBC): logits `log p - log(1 - p)`.
  case conditionals = 2
  /// The cross-entropy of the equal mixture of CBM and CBC; the logits are those of CBC.
  case mixture = 3
}

/// Class probabilities from K independent answers, "it is this class" with probability p each.
///
/// - Note: Source: Wojnowicz et al. (2022) for the normalisations CBM and CBC.
package struct BinaryMixture<Scalar: BLASScalar> {
  /// The logits of CBM, `log p`, N x K.
  package let marginals: Matrix<Scalar>
  /// The logits of CBC, the log-odds, N x K.
  package let conditionals: Matrix<Scalar>

  /// Answers `p = Φ(a)`.
  ///
  /// - Parameters:
  ///   - arguments: a, N x K.
  ///   - form: of Φ.
  package init(probit arguments: Matrix<Scalar>, _ form: NormalCDFForm) {
    let (lower, upper) = arguments.logNormalCDFs(approximate: form == .approximate)
    marginals = lower
    var odds = lower
    odds.add(upper, times: -1)
    conditionals = odds
  }

  /// Answers `p = σ(f)`.
  ///
  /// - Parameter logits: f, N x K.
  package init(logistic logits: Matrix<Scalar>) where Scalar == Double {
    marginals = logits.map { -SpecialFunctions.softplus(-$0) }
    conditionals = logits
  }

  /// The log-probabilities of CBM and of CBC, each row normalised, at an inverse temperature.
  package func logProbabilities(
    _ inverseTemperature: Double
  ) -> (marginal: Matrix<Scalar>, conditional: Matrix<Scalar>) {
    (marginals.logSoftmax(inverseTemperature), conditionals.logSoftmax(inverseTemperature))
  }

  /// The logarithms of the probabilities of the equal mixture of CBM and CBC, N x K.
  @specialized(where Scalar == Float)
  package func mixture(_ inverseTemperature: Double = 1) -> Matrix<Scalar> {
    let (marginal, conditional) = logProbabilities(inverseTemperature)
    // log((exp(m) + exp(c)) / 2)
    return marginal.combined(with: conditional) { m, c in
      Scalar(
        Double(c) + SpecialFunctions.softplus(Double(m) - Double(c)) - SpecialFunctions.softplus(0))
    }
  }

  /// Losses of labelled rows.
  ///
  /// - Parameters:
  ///   - loss: which of the four.
  ///   - arguments: `X·mu`, N x K.
  ///   - labels: a class in `0..<K` for each row.
  ///   - inverseTemperature: by which logits are multiplied in losses.
  /// - Returns: one loss a row, in nats, and the logits that go with it, N x K.
  package func losses(
    _ loss: BinaryLoss, arguments: Matrix<Scalar>, labels: [Int32], inverseTemperature: Double = 1
  ) -> (losses: [Double], logits: Matrix<Scalar>) {
    let (marginal, conditional) = logProbabilities(inverseTemperature)
    switch loss {
    case .binaryCrossEntropies:
      let losses = labels.indices.map { row in
        arguments.withRow(row) { values in
          var sum = 0.0
          for k in values.indices {
            sum += SpecialFunctions.softplus(inverseTemperature * Double(values[k]))
          }
          return sum - inverseTemperature * Double(values[Int(labels[row])])
        }
      }
      return (losses, arguments)
    case .marginals: return (marginal.losses(labels), marginals)
    case .conditionals: return (conditional.losses(labels), conditionals)
    case .mixture: return (Self.mixtureLosses(marginal, conditional, labels), conditionals)
    }
  }

  /// `-log((CBM + CBC) / 2)` of every row's label, from log-probabilities of both, in nats.
  package static func mixtureLosses(
    _ marginal: Matrix<Scalar>, _ conditional: Matrix<Scalar>, _ labels: [Int32]
  ) -> [Double] {
    zip(marginal.losses(labels), conditional.losses(labels)).map { m, c in
      m - SpecialFunctions.softplus(m - c) + SpecialFunctions.softplus(0)
    }
  }
}

extension Matrix where Element: BLASScalar {
  /// The logarithms of the softmax of every row times a factor.
  fileprivate func logSoftmax(_ factor: Double) -> Matrix {
    var result = self
    if factor != 1 { result.scale(by: Element(factor)) }
    result.formLogSoftmaxRows()
    return result
  }

  /// Minus the log-probability of each row's label.
  fileprivate func losses(_ labels: [Int32]) -> [Double] {
    labels.indices.map { -Double(self[$0, Int(labels[$0])]) }
  }
}
