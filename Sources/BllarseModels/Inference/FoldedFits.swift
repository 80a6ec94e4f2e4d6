import BllarseNumerics
import Synchronization

/// Fits to all rows but a fold, for each fold that is left out in turn, and what they predict for it.
///
/// Each fit starts from that of the prior before, without the same fold, and is scaled by its own curvature. What other
/// folds found must not come in, neither as a start nor as a curvature: it has seen the labels of the rows that are left
/// out here (the curvature too: it is that of probabilities close to the labels), and under a weak prior these rows'
/// directions are so flat that a fit ends before it has forgotten them.
final class FoldedFits<Pass: LaplacePass> {
  typealias Scalar = Pass.Scalar

  /// One fold.
  private struct Fold: Sendable {
    /// All rows, of which those of the fold count for nothing.
    let problem: LaplaceProblem<Pass>
    let held: Matrix<Scalar>
    /// The same along the eigenvectors of the curvature of all rows, where the folds share it.
    let projected: KroneckerCovariance<Scalar>.ProjectedRows?
    /// The places of its rows among those that are left out.
    let places: Range<Int>
    var weights: Matrix<Double>
    /// At its last optimum, where its fits need more than a rough one.
    var curvature: LikelihoodCurvature?
  }

  private var folds: [Fold]
  private let predictive: Predictive
  /// The covariance that is integrated over; `nil` for predictions at the optimum.
  private let posterior: PosteriorKind?
  private let classCount: Int
  private let parallelism: Parallelism
  /// Solver iterations so far.
  private(set) var iterationCount = 0
  private(set) var fitCount = 0

  /// The weights of each fold at some precisions, by their exponents.
  private var kept: [Double: [Matrix<Double>]] = [:]

  /// Remembers the fits as they are, those of an exponent of the precision.
  func keepWeights(of exponent: Double) { kept[exponent] = folds.map(\.weights) }

  /// Forgets fits that are further than a distance from an exponent.
  func forgetWeights(furtherThan distance: Double, from exponent: Double) {
    kept = kept.filter { abs($0.key - exponent) <= distance }
  }

  /// Goes back to fits that were remembered, or to a point between two of them.
  ///
  /// - Parameters:
  ///   - exponent: of the one.
  ///   - other: of the other; weights change smoothly with the exponent, and half way between two fits is
  ///     closer to the fit between them than either is.
  func restoreWeights(of exponent: Double, halfWayTo other: Double? = nil) {
    guard let here = kept[exponent] else { return }
    for (index, weights) in here.enumerated() { folds[index].weights = weights }
    guard let other, let there = kept[other] else { return }
    for (index, weights) in there.enumerated() {
      folds[index].weights = here[index].combined(with: weights) { 0.5 * ($0 + $1) }
    }
  }

  /// The weights of the fit without the first fold.
  var firstWeights: Matrix<Double>? { folds.first?.weights }

  /// Prepares the folds.
  ///
  /// - Parameters:
  ///   - whole: the problem with all rows.
  ///   - leftOut: the rows of each fold.
  ///   - posterior: what predictions integrate over.
  ///   - classCount: K.
  ///   - makePass: the likelihood of all rows in another order, some of them left out.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  init(
    _ whole: LaplaceProblem<Pass>, leftOut: [[Int]], posterior: PosteriorKind?, classCount: Int,
    makePass: (
      _ design: DesignMatrix<Scalar>, _ order: [Int], _ leavingOut: Range<Int>, Parallelism
    ) -> Pass
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
    let sharedInputs =
      isDear && posterior == .kronecker && directions >= Self.sharedDirections
      ? try parallelism.withBLAS { () throws(NumericsError) in
        try KroneckerCovariance<Scalar>.Inputs(gram: whole.gram)
      } : nil
    // The rows of a fold stand together, so that a fold is a run of rows of weight 0.
    let order = Self.order(leftOut, rowCount: rowCount)
    var ordered = design.gathering(order, parallelism: parallelism)
    ordered.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    var start = 0
    folds = leftOut.map { fold in
      let places = start..<start + fold.count
      start = places.upperBound
      let held = ordered.matrix(rows: places)
      return Fold(
        problem: LaplaceProblem(
          pass: makePass(ordered, order, places, inner), gram: whole.gram),
        held: held,
        projected: sharedInputs.map {
          KroneckerCovariance<Scalar>.ProjectedRows(held, on: $0, parallelism: parallelism)
        },
        places: places,
        weights: .zeros(design.columnCount, whole.pass.classCount))
    }
  }

  /// The rows of each fold, fold after fold, and then those that are never left out.
  private static func order(_ leftOut: [[Int]], rowCount: Int) -> [Int] {
    let first = leftOut.flatMap { $0 }
    var isKept = [Bool](repeating: true, count: rowCount)
    for row in first { isKept[row] = false }
    return first + (0..<rowCount).filter { isKept[$0] }
  }

  /// Multiplications of a pass below which folds are fitted side by side: some milliseconds.
  private static var sharedWork: Int { 10_000_000 }
  /// Multiplications of a Gram matrix, some ten milliseconds' worth.
  ///
  /// Beyond, variances are computed with that of all rows, whose curvatures then count alike: where rows are that many,
  /// variances are small.
  private static var gramWork: Double { 1e9 }
  private let sharesGram: Bool
  /// Directions of the logits from which on an eigendecomposition for all priors costs less than a factorisation for
  /// each direction and prior.
  private static var sharedDirections: Int { 5 }

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
    guard !folds.isEmpty else { return .zeros(0, classCount) }
    // 1. The fits.
    let settings = Settings(
      prior: prior, posterior: posterior, isExact: isExact, sharesGram: sharesGram && !isExact)
    let outcomes = Mutex([Result<FoldOutcome, NumericsError>?](repeating: nil, count: folds.count))
    let folds = folds
    // Where folds are many, rows are few: a curvature that is kept saves little time there, and takes ten times the memory.
    let keepsCurvature = folds.count == 1
    let predict: @Sendable (Int) -> Void = { index in
      let outcome: Result<FoldOutcome, NumericsError>
      do throws(NumericsError) {
        outcome = .success(
          try Self.predict(folds[index], settings, keepsCurvature: keepsCurvature))
      } catch {
        outcome = .failure(error)
      }
      outcomes.withLock { $0[index] = outcome }
    }
    if folds[0].problem.parallelism.threadCount == parallelism.threadCount {
      for index in folds.indices { predict(index) }
    } else {
      parallelism.forEachBlock(of: folds.count, blockSize: 1) { _, range in
        for index in range { predict(index) }
      }
    }
    try parallelism.checkCancellation()
    // 2. What they predict.
    let count = folds.last?.places.upperBound ?? 0
    var means = Matrix<Double>.zeros(count, prior.columnCount)
    var variances = means
    for (index, outcome) in outcomes.withLock({ $0 }).enumerated() {
      guard let found = try outcome?.get() else { continue }
      self.folds[index].weights = found.weights
      self.folds[index].curvature = found.curvature
      iterationCount += found.iterations
      fitCount += 1
      let place = folds[index].places.lowerBound
      means.replaceBlock(row: place, column: 0, with: found.means)
      if let found = found.variances { variances.replaceBlock(row: place, column: 0, with: found) }
    }
    return predictive.logits(means: means, variances: posterior == nil ? nil : variances)
  }

  private struct FoldOutcome: Sendable {
    let weights: Matrix<Double>
    let means: Matrix<Double>
    let variances: Matrix<Double>?
    let curvature: LikelihoodCurvature?
    let iterations: Int
  }

  private struct Settings: Sendable {
    let prior: Matrix<Double>
    let posterior: PosteriorKind?
    let isExact: Bool
    let sharesGram: Bool
  }

  private static func predict(
    _ fold: Fold, _ settings: Settings, keepsCurvature: Bool
  ) throws(NumericsError) -> FoldOutcome {
    let problem = fold.problem
    var preconditioner: Preconditioner?
    if let curvature = fold.curvature {
      preconditioner = try Preconditioner(curvature, prior: settings.prior)
    }
    let solution = try problem.solve(
      settings.prior, from: fold.weights, preconditionedBy: preconditioner,
      isFinal: settings.isExact)
    let isDemanding = keepsCurvature && (fold.curvature != nil || solution.isDemanding)
    let weights = Matrix<Scalar>(solution.weights)
    var variances = Matrix<Double>?.none
    switch settings.posterior {
    case nil: break
    case .kronecker:
      let outputCurvature = problem.pass.outputCurvature(
        solution.logits, rowLimit: settings.isExact ? nil : RecipeConstants.scalingRowCount)
      let directionCount = Pass.directionCount(problem.pass.classCount)
      let precision = problem.geometricMean(settings.prior)
      let leverages =
        if let projected = fold.projected, !settings.isExact {
          try projected.leverages(
            outputCurvature: outputCurvature, directionCount: directionCount,
            priorPrecision: precision, biasPrecision: RecipeConstants.biasPrecision,
            parallelism: problem.parallelism)
        } else {
          try KroneckerCovariance.leverages(
            of: fold.held,
            gram: settings.sharesGram ? problem.gram : problem.inputGram(solution.logits),
            outputCurvature: outputCurvature, directionCount: directionCount,
            priorPrecision: precision, biasPrecision: RecipeConstants.biasPrecision,
            parallelism: problem.parallelism)
        }
      variances = Matrix<Double>(leverages)
    case .some(let kind):
      // A covariance without curvatures is made of the Gram matrix: that of the rows that count.
      let own =
        kind == .meanField
        ? LaplaceProblem(
          pass: problem.pass,
          gram: problem.pass.design.gram(
            rowWeights: problem.pass.weights, parallelism: problem.parallelism)) : problem
      variances = Matrix<Double>(
        try own.covariance(kind, solution.logits, settings.prior).leverages(fold.held))
    }
    return FoldOutcome(
      weights: solution.weights, means: Matrix<Double>(fold.held.multiplied(by: weights)),
      variances: variances,
      curvature: isDemanding ? problem.curvature(solution.logits, .some) : nil,
      iterations: solution.iterations)
  }
}
