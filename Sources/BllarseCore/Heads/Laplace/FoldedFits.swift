import BllarseNumerics
import Synchronization

/// Fits to all rows but a fold, for each fold that is left out in turn, and what they predict for it.
///
/// The fits of one prior start from those of the one before, and are preconditioned by one Gram matrix, that of
/// all rows.
final class FoldedFits<Pass: LaplacePass> {
  typealias Scalar = Pass.Scalar

  /// One fold.
  private struct Fold: Sendable {
    let problem: LaplaceProblem<Pass>
    /// Of all rows, those that are fitted to.
    let share: Double
    let held: DesignMatrix<Scalar>
    /// The places of its rows among those that are left out.
    let places: Range<Int>
    var weights: Matrix<Double>
  }

  private var folds: [Fold]
  private let predictive: Predictive
  /// The covariance that is integrated over; `nil` for predictions at the optimum.
  private let posterior: PosteriorKind?
  /// What stands for the curvature between features where the rows' own takes too long: of all rows, at a
  /// share of their number.
  private let sharedInputs: KroneckerCovariance<Scalar>.Inputs?
  private let classCount: Int
  private let parallelism: Parallelism
  /// Solver iterations so far.
  private(set) var iterationCount = 0
  private(set) var fitCount = 0

  /// The weights of the fit without the first fold.
  var firstWeights: Matrix<Double>? { folds.first?.weights }

  /// Prepares the folds.
  ///
  /// - Parameters:
  ///   - whole: the problem with all rows.
  ///   - leftOut: the rows of each fold.
  ///   - posterior: what predictions integrate over.
  ///   - classCount: K.
  ///   - makePass: the likelihood of some rows.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  init(
    _ whole: LaplaceProblem<Pass>, leftOut: [[Int]], posterior: PosteriorKind?, classCount: Int,
    makePass: (DesignMatrix<Scalar>, [Int], Parallelism) -> Pass
  ) throws(NumericsError) {
    let design = whole.pass.design
    let parallelism = whole.parallelism
    let rowCount = design.rowCount
    predictive = Predictive(likelihood: Pass.likelihood)
    self.posterior = posterior
    self.classCount = classCount
    self.parallelism = parallelism
    // Folds are divided among the threads where one alone has too little to do for all of them.
    let work = rowCount * design.columnCount * whole.pass.classCount
    let isShared = leftOut.count > 1 && work < Self.sharedWork
    let inner = isShared ? parallelism.with(threadCount: 1) : parallelism
    let columns = Double(design.columnCount)
    let directions = Pass.directionCount(whole.pass.classCount)
    let isDear = Double(rowCount) * columns * columns > Self.gramWork
    sharesGram = isDear
    sharedInputs =
      isDear && posterior == .kronecker && directions > 16
      ? try parallelism.withBLAS { () throws(NumericsError) in
        try KroneckerCovariance.Inputs(gram: whole.gram)
      } : nil
    var start = 0
    folds = leftOut.map { rows in
      var isHeld = [Bool](repeating: false, count: rowCount)
      for row in rows { isHeld[row] = true }
      let kept = (0..<rowCount).filter { !isHeld[$0] }
      let share = Double(kept.count) / Double(max(rowCount, 1))
      var gram = whole.gram
      gram.scale(by: share)
      defer { start += rows.count }
      return Fold(
        problem: LaplaceProblem(
          pass: makePass(design.gathering(kept, parallelism: parallelism), kept, inner),
          gram: gram),
        share: share,
        held: design.gathering(rows, parallelism: parallelism), places: start..<start + rows.count,
        weights: .zeros(design.columnCount, whole.pass.classCount))
    }
  }

  /// Multiplications of a pass below which folds are fitted side by side: some milliseconds.
  private static var sharedWork: Int { 10_000_000 }
  /// Multiplications of a Gram matrix, some ten milliseconds' worth.
  ///
  /// Beyond, variances are computed with that of all rows, whose curvatures then count alike: where rows are that many,
  /// variances are small.
  private static var gramWork: Double { 1e9 }
  private let sharesGram: Bool

  /// Predicts the left-out rows under a prior.
  ///
  /// - Parameters:
  ///   - prior: Λ₀ for the problem with all rows, D x C.
  ///   - isExact: whether the fits go to the final tolerance, and variances are computed with the curvatures of the
  ///     rows, whatever that takes.
  /// - Returns: log-probabilities up to a constant in each row, n x K, fold after fold.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite, or when told to stop.
  func logits(
    _ prior: Matrix<Double>, isExact: Bool = false
  ) throws(NumericsError) -> Matrix<Double> {
    let outcomes = Mutex([Result<FoldOutcome, NumericsError>?](repeating: nil, count: folds.count))
    let folds = folds
    let settings = Settings(
      prior: prior, predictive: predictive, posterior: posterior,
      isExact: isExact, sharesGram: sharesGram && !isExact, inputs: isExact ? nil : sharedInputs)
    let predict: @Sendable (Int) -> Void = { index in
      let outcome: Result<FoldOutcome, NumericsError>
      do throws(NumericsError) {
        outcome = .success(try Self.predict(folds[index], settings))
      } catch {
        outcome = .failure(error)
      }
      outcomes.withLock { $0[index] = outcome }
    }
    if folds.first?.problem.parallelism.threadCount == parallelism.threadCount {
      for index in folds.indices { predict(index) }
    } else {
      parallelism.forEachBlock(of: folds.count, blockSize: 1) { _, range in
        for index in range { predict(index) }
      }
    }
    try parallelism.checkCancellation()
    var result = Matrix<Double>.zeros(folds.last?.places.upperBound ?? 0, classCount)
    for (index, outcome) in outcomes.withLock({ $0 }).enumerated() {
      guard let found = try outcome?.get() else { continue }
      self.folds[index].weights = found.weights
      iterationCount += found.iterations
      fitCount += 1
      result.replaceBlock(row: folds[index].places.lowerBound, column: 0, with: found.logits)
    }
    return result
  }

  private struct FoldOutcome: Sendable {
    let weights: Matrix<Double>
    let logits: Matrix<Double>
    let iterations: Int
  }

  private struct Settings: Sendable {
    let prior: Matrix<Double>
    let predictive: Predictive
    let posterior: PosteriorKind?
    let isExact: Bool
    let sharesGram: Bool
    let inputs: KroneckerCovariance<Scalar>.Inputs?
  }

  private static func predict(
    _ fold: Fold, _ settings: Settings
  ) throws(NumericsError) -> FoldOutcome {
    let problem = fold.problem
    let solution = try problem.solve(
      settings.prior, from: fold.weights, isFinal: settings.isExact)
    let weights = Matrix<Scalar>(solution.weights)
    let rows = fold.held.matrix(rows: 0..<fold.held.rowCount)
    var variances = Matrix<Double>?.none
    switch settings.posterior {
    case nil: break
    case .kronecker:
      let gram = settings.sharesGram ? problem.gram : problem.inputGram(solution.logits)
      variances = Matrix<Double>(
        try KroneckerCovariance.leverages(
          of: rows, gram: gram, known: settings.inputs?.scaled(by: fold.share),
          outputCurvature: problem.pass.outputCurvature(solution.logits),
          directionCount: Pass.directionCount(problem.pass.classCount),
          priorPrecision: problem.geometricMean(settings.prior),
          biasPrecision: RecipeConstants.biasPrecision))
    case .some(let kind):
      variances = Matrix<Double>(
        try problem.covariance(kind, solution.logits, settings.prior).leverages(rows))
    }
    return FoldOutcome(
      weights: solution.weights,
      logits: settings.predictive.logits(
        means: Matrix<Double>(rows.multiplied(by: weights)), variances: variances),
      iterations: solution.iterations)
  }
}

extension KroneckerCovariance.Inputs {
  /// Those of a share of the rows.
  func scaled(by share: Double) -> Self {
    Self(
      center: center, vectors: vectors, values: values.map { $0 * share },
      rowTotal: rowTotal * share)
  }
}

extension DesignMatrix {
  /// The design of some rows, in memory.
  ///
  /// - Parameters:
  ///   - rows: any of `0..<rowCount`, in any order.
  ///   - parallelism: the threads to work with.
  /// - Returns: a design that holds the transformed rows, whose own transform changes nothing.
  func gathering(_ rows: [Int], parallelism: Parallelism) -> DesignMatrix {
    var design = DesignMatrix(
      features.gatheringRows(rows), transform: transform, hasBias: hasBias)
    design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    return design
  }
}
