/// What a solver asks of a likelihood over the rows of a design: sums over one reading of the features.
///
/// The likelihood is a concave function of the logits M = X·W, W (D x C). Where it is a sum over the
/// columns of M (``isSeparable``), slopes, curvatures and steps come one a column; otherwise there is
/// one of each for all columns together.
package protocol LikelihoodPass: Sendable {
  associatedtype Scalar: BLASScalar

  /// The design, N x D.
  var design: DesignMatrix<Scalar> { get }
  /// What multiplies each row's log-likelihood, N numbers that are not negative; `nil` for 1.
  var weights: [Double]? { get }
  /// C, the number of columns of the weights.
  var classCount: Int { get }
  /// How threads are used, and what solvers ask whether to go on.
  var parallelism: Parallelism { get set }
  /// Whether the log-likelihood is a sum over columns.
  static var isSeparable: Bool { get }

  /// Computes all logits anew, with the gradient XᵀR and the log-likelihood there.
  func restart(
    at weights: Matrix<Double>, logits: inout Matrix<Scalar>
  ) -> ProbitPass<Scalar>.Sums
  /// Moves the logits along a direction, with gradient and log-likelihood there.
  func advance(
    logits: inout Matrix<Scalar>, direction: Matrix<Scalar>, steps: [Double]
  ) -> ProbitPass<Scalar>.Sums
  /// Computes the logits of a search direction, and the line at first steps in the same pass.
  func direction(
    of vector: Matrix<Double>, into direction: inout Matrix<Scalar>, logits: Matrix<Scalar>,
    steps: [Double]
  ) -> ProbitPass<Scalar>.Line
  /// The line at given steps, from the logits alone.
  func line(
    logits: Matrix<Scalar>, direction: Matrix<Scalar>, steps: [Double]
  ) -> ProbitPass<Scalar>.Line
  /// Residuals R (the gradient with respect to the logits) and curvatures h of every row and column,
  /// N x C: h is the negative second derivative with respect to one logit, without any factor but the
  /// row's weight.
  func residualsAndCurvatures(
    _ logits: Matrix<Scalar>
  ) -> (residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>)
}

extension LikelihoodPass {
  /// The number of steps of a line search: one a column, or one.
  package var stepCount: Int { Self.isSeparable ? classCount : 1 }
}

extension ProbitPass: LikelihoodPass {
  package static var isSeparable: Bool { true }

  package func residualsAndCurvatures(
    _ logits: Matrix<Scalar>
  ) -> (residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>) {
    let (rows, classes) = (logits.rowCount, classCount)
    var residuals = Matrix<Scalar>.zeros(rows, classes)
    var curvatures = Matrix<Scalar>.zeros(rows, classes)
    guard rows > 0 else { return (residuals, curvatures) }
    unsafe residuals.withUnsafeMutablePointer { residual, residualStride in
      unsafe curvatures.withUnsafeMutablePointer { curvature, curvatureStride in
        unsafe logits.withUnsafePointer { logits, stride in
          unsafe labels.withUnsafeBufferPointer { labels in
            guard let label = labels.baseAddress else { return }
            _ = unsafe Scalar.kernels.probitResidual(
              rows, classes, logits, stride, label, residual, residualStride, nil, 0, curvature,
              curvatureStride, nil, 0)
          }
        }
      }
    }
    weigh(&residuals)
    weigh(&curvatures)
    return (residuals, curvatures)
  }
}

extension SoftmaxPass: LikelihoodPass {
  package static var isSeparable: Bool { false }

  package func residualsAndCurvatures(
    _ logits: Matrix<Scalar>
  ) -> (residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>) {
    let (rows, classes) = (logits.rowCount, classCount)
    var residuals = Matrix<Scalar>.zeros(rows, classes)
    guard rows > 0 else { return (residuals, residuals) }
    unsafe residuals.withUnsafeMutablePointer { residual, residualStride in
      unsafe logits.withUnsafePointer { logits, stride in
        unsafe labels.withUnsafeBufferPointer { labels in
          guard let label = labels.baseAddress else { return }
          _ = unsafe Scalar.kernels.softmaxResidual(
            rows, classes, logits, stride, label, residual, residualStride)
        }
      }
    }
    // p(1 - p) = |R|(1 - |R|) in every column: |R| is p, or 1 - p at the label.
    var curvatures = residuals.map { $0.magnitude * (1 - $0.magnitude) }
    frame.weigh(&residuals)
    frame.weigh(&curvatures)
    return (residuals, curvatures)
  }
}
