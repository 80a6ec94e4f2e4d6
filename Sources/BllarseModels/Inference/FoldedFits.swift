package import BllarseNumerics

/// The rows that are left out in turn, fold after fold, and what can be said of their labels.
///
/// A class whose rows are all in one fold cannot be predicted without it, and is no use for a choice. But
/// leaving such rows out of a score chooses rows by their labels: a model of one positive row in a thousand
/// rightly expects about one positive among the others, and looks less certain than it should be on negative rows
/// alone. So the likelihood of the rows that are kept is conditional on what they were chosen by,
///
///     p(y | x, y is no lone class) = p(y | x) / Σ p(k | x) over the other classes k,
///
/// which is the softmax of the other classes' logits, at any temperature.
struct LeftOutRows: Sendable {
  /// The rows of each fold that is left out.
  let folds: [[Int]]
  /// The same, one after the other.
  let rows: [Int]
  /// Places among ``rows`` that can be scored.
  let scored: [Int]
  /// The labels there.
  let labels: [Int32]
  /// How often each counts; `nil` for once.
  let weights: [Double]?
  /// The class probabilities there, where they are the targets.
  let distributions: ClassDistributions?
  /// The group of each, which is chosen or not as one.
  let groups: [Int]
  /// Classes that cannot be predicted without a fold.
  private let loneClasses: [Int]

  /// Divides the rows.
  ///
  /// - Parameters:
  ///   - division: of all rows into folds.
  ///   - labels: of all rows.
  ///   - weights: of all rows.
  ///   - classCount: K.
  ///   - distributions: class probabilities of all rows, where they are the targets.
  init(
    _ division: RowFolds, labels: [Int32], weights: [Double]?, classCount: Int,
    distributions: ClassDistributions? = nil
  ) {
    let count = division.evaluatedCount
    var folds = [[Int]](repeating: [], count: count)
    for (row, fold) in division.folds.enumerated() where fold < count { folds[fold].append(row) }
    var isInFold = [Set<Int>](repeating: [], count: classCount)
    for (row, fold) in division.folds.enumerated() where weights?[row] != 0 {
      guard let distributions else {
        isInFold[Int(labels[row])].insert(fold)
        continue
      }
      for k in 0..<classCount where distributions.probabilities[row, k] > 0 {
        isInFold[k].insert(fold)
      }
    }
    let lone = isInFold.indices.filter { k in
      isInFold[k].count == 1 && isInFold[k].allSatisfy { $0 < count }
    }
    let isLone = Set(lone)
    let rows = folds.flatMap { $0 }
    let known = isInFold.count { !$0.isEmpty } - lone.count
    func isPredictable(_ row: Int) -> Bool {
      guard let distributions else { return !isLone.contains(Int(labels[row])) }
      return lone.allSatisfy { distributions.probabilities[row, $0] == 0 }
    }
    let scored =
      known > 1
      ? rows.indices.filter { isPredictable(rows[$0]) && weights?[rows[$0]] != 0 } : []
    self.folds = folds
    self.rows = rows
    self.scored = scored
    self.labels = scored.map { labels[rows[$0]] }
    self.weights = weights.map { weights in scored.map { weights[rows[$0]] } }
    self.distributions = distributions?.gatheringRows(scored.map { rows[$0] })
    groups = scored.map { division.groups[rows[$0]] }
    loneClasses = lone
  }

  /// Whether there is anything to choose by.
  var isEmpty: Bool { scored.isEmpty }

  /// The logits of the rows that can be scored, without the classes that cannot be predicted.
  func restricted(_ logits: Matrix<Double>) -> Matrix<Double> {
    guard scored.count < rows.count || !loneClasses.isEmpty else { return logits }
    var result = logits.gatheringRows(scored)
    for row in 0..<result.rowCount {
      result.withMutableRow(row) { values in
        for k in loneClasses { values[k] = Self.impossible }
      }
    }
    return result
  }

  /// By how much one candidate predicts the rows that can be scored better than another.
  ///
  /// - Parameters:
  ///   - losses: of the one, in nats, a number for each.
  ///   - others: of the other.
  ///   - places: of the rows that count; `nil` for all.
  /// - Returns: the sum of the differences and its standard error: rows of a group are one observation.
  func gain(of losses: [Double], over others: [Double], places: [Int]? = nil) -> Gain {
    let places = places ?? Array(labels.indices)
    var total = 0.0
    for place in places { total += weights?[place] ?? 1 }
    func difference(_ place: Int) -> Double { others[place] - losses[place] }
    let sum = places.reduce(0) { $0 + (weights?[$1] ?? 1) * difference($1) }
    let mean = total > 0 ? sum / total : 0
    return Gain(
      sum: sum,
      standardError: groupedStandardError(places) { difference($0) - mean })
  }

  /// The standard error of a weighted sum, in which rows of one group are one observation.
  ///
  /// - Parameters:
  ///   - places: of the rows that count.
  ///   - deviation: of a row from the mean.
  /// - Returns: infinity for less than two groups.
  func groupedStandardError(_ places: [Int], _ deviation: (Int) -> Double) -> Double {
    var sums: [Int: Double] = [:]
    for place in places {
      sums[groups[place], default: 0] += (weights?[place] ?? 1) * deviation(place)
    }
    let count = Double(sums.count)
    guard count > 1 else { return .infinity }
    // In an order that does not change from run to run.
    let squares = sums.keys.sorted().reduce(0) { $0 + (sums[$1] ?? 0) * (sums[$1] ?? 0) }
    return (squares * count / (count - 1)).squareRoot()
  }

  /// How much better one candidate is than another, in nats over all rows.
  struct Gain {
    var sum: Double
    var standardError: Double
    /// Whether it is more than ``RecipeConstants/scalingErrors`` standard errors.
    var isPlain: Bool { sum > RecipeConstants.scalingErrors * standardError }
  }

  /// A logit whose probability is 0 at any temperature that a calibration has.
  private static var impossible: Double { -1e9 }
}

/// Training rows divided into folds at random, rows that belong together in one fold.
///
/// Rows belong together if they have one group, or if their features are equal: a copy of a row that is
/// left out must not be fitted to. Groups are shuffled and dealt to the folds in turn, so that folds differ in
/// size by one group. They are not stratified: how often a class occurs among few rows is part of what a
/// fit has to guess, and folds with the same share of every class would tell.
package struct RowFolds {
  /// The fold of every row, in `0..<count`.
  let folds: [Int]
  /// The group of every row, dense from 0.
  let groups: [Int]
  /// The number of folds: ten, or one for each group where there are fewer.
  let count: Int

  /// Divides rows.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - groups: numbers of groups, or `nil` where every row is its own.
  ///   - seed: of the shuffles.
  ///   - count: folds at most.
  /// - Complexity: N·log N, and N·D where rows are equal.
  init(
    _ features: FeatureMatrix, groups: [Int]? = nil, seed: UInt64,
    count: Int = RecipeConstants.foldCount
  ) {
    self.init(
      groups: EqualRows.merge(groups, with: EqualRows.firsts(features)), seed: seed,
      count: count)
  }

  /// Divides rows of known groups, any numbers.
  init(groups: [Int], seed: UInt64, count: Int) {
    var numbers: [Int: Int] = [:]
    var sizes: [Int] = []
    self.groups = groups.map { group in
      if let known = numbers[group] {
        sizes[known] += 1
        return known
      }
      numbers[group] = sizes.count
      sizes.append(1)
      return sizes.count - 1
    }
    var generator = Philox(seed: seed, purpose: .permutation, index: 0)
    let shuffled = generator.permutation(count: sizes.count)
    self.count = max(1, min(count, sizes.count))
    var foldOfGroup = [Int](repeating: 0, count: sizes.count)
    for (place, group) in shuffled.enumerated() { foldOfGroup[group] = place % self.count }
    folds = self.groups.map { foldOfGroup[$0] }
  }

  /// How many folds are left out in turn: as many as hold enough rows.
  var evaluatedCount: Int {
    guard count > 1 else { return 0 }
    var rows = 0
    var sizes = [Int](repeating: 0, count: count)
    for fold in folds { sizes[fold] += 1 }
    for fold in 0..<count {
      rows += sizes[fold]
      if rows >= RecipeConstants.leftOutRowCount { return fold + 1 }
    }
    return count
  }

  /// Rows of whole groups, at random: about `count` of them, or all where there are not so many more.
  func sample(_ count: Int, seed: UInt64) -> [Int] {
    guard groups.count > count else { return Array(groups.indices) }
    let parts = max(1, groups.count / count)
    let finer = RowFolds(groups: groups, seed: seed, count: parts)
    return finer.folds.indices.filter { finer.folds[$0] == 0 }
  }
}

/// Rows whose features are the same numbers.
package enum EqualRows {
  /// The first row that each row is equal to: itself for most.
  ///
  /// - Complexity: N·min(D, 16), and N·D where rows are equal.
  package static func firsts(_ features: FeatureMatrix) -> [Int] {
    switch features.storage {
    case .float16(let matrix): firsts(matrix)
    case .float32(let matrix): firsts(matrix)
    case .float64(let matrix): firsts(matrix)
    }
  }

  private static func firsts<Element: BinaryFloatingPoint & BitwiseCopyable & Sendable>(
    _ matrix: Matrix<Element>
  ) -> [Int] {
    // The hash of a few columns tells nearly all rows apart.
    let step = max(matrix.columnCount / 16, 1)
    var known: [UInt64: [Int]] = Dictionary(minimumCapacity: matrix.rowCount)
    return (0..<matrix.rowCount).map { row in
      let hash = matrix.withRow(row) { values in
        var hash: UInt64 = 0
        for column in stride(from: 0, to: values.count, by: step) {
          // -0 and 0 agree.
          hash = (hash ^ Double(values[column] + 0).bitPattern) &* 0x9E37_79B9_7F4A_7C15
          hash ^= hash >> 29
        }
        return hash
      }
      if let first = known[hash, default: []].first(where: { matrix.agree($0, row) }) {
        return first
      }
      known[hash, default: []].append(row)
      return row
    }
  }

  /// Numbers of groups in which rows are together that either division has together.
  package static func merge(_ groups: [Int]?, with firsts: [Int]) -> [Int] {
    guard let groups else { return firsts }
    // Union and find over the rows.
    var parents = Array(firsts.indices)
    func root(_ row: Int) -> Int {
      var row = row
      while parents[row] != row {
        parents[row] = parents[parents[row]]
        row = parents[row]
      }
      return row
    }
    var firstOfGroup: [Int: Int] = [:]
    for row in firsts.indices {
      for other in [firsts[row], firstOfGroup[groups[row]] ?? row] {
        let (a, b) = (root(row), root(other))
        parents[max(a, b)] = min(a, b)
      }
      if firstOfGroup[groups[row]] == nil { firstOfGroup[groups[row]] = row }
    }
    return firsts.indices.map { root($0) }
  }
}

extension Matrix where Element: BinaryFloatingPoint {
  fileprivate func agree(_ first: Int, _ second: Int) -> Bool {
    withRow(first) { a in
      withRow(second) { b in
        for column in a.indices where a[column] != b[column] { return false }
        return true
      }
    }
  }
}

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
  /// How exact predictions are integrated; others are by the default.
  private let link: Link
  /// The covariance that is integrated over; `nil` for predictions at the optimum.
  private let posterior: CovarianceStructure?
  private let classCount: Int
  private let execution: Execution
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
  ///   - link: how exact predictions are integrated.
  ///   - classCount: K.
  ///   - distributions: class probabilities of all rows, where they are the targets.
  ///   - makePass: the likelihood of all rows in another order, some of them left out.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  init(
    _ whole: LaplaceProblem<Pass>, leftOut: [[Int]], posterior: CovarianceStructure?,
    link: Link = Link(), classCount: Int, distributions: ClassDistributions? = nil,
    makePass: (
      _ design: DesignMatrix<Scalar>, _ order: [Int], _ leavingOut: Range<Int>, Execution
    ) -> Pass
  ) throws(NumericsError) {
    let design = whole.pass.design
    let execution = whole.execution
    let rowCount = design.rowCount
    predictive = Predictive(likelihood: Pass.likelihood)
    self.posterior = posterior
    self.link = link
    self.classCount = classCount
    self.execution = execution
    // Folds are divided among the threads where one alone has too little to do for all of them.
    let work = rowCount * design.columnCount * whole.pass.classCount
    let isShared = leftOut.count > 1 && work < Self.sharedWork
    let inner = isShared ? execution.with(threadCount: 1) : execution
    let columns = Double(design.columnCount)
    let directions = Pass.directionCount(whole.pass.classCount)
    let isDear = Double(rowCount) * columns * columns > Self.gramWork
    sharesGram = isDear
    let sharedInputs =
      isDear && (posterior == .kronecker || posterior == .full)
        && directions >= Self.sharedDirections
      ? try execution.withBLAS { () throws(NumericsError) in
        try KroneckerCovariance<Scalar>.Inputs(gram: whole.gram)
      } : nil
    // The rows of a fold stand together, so that a fold is a run of rows of weight 0.
    let order = Self.order(leftOut, rowCount: rowCount)
    var ordered = design.gathering(order, execution: execution)
    ordered.makeResident(limit: residentDesignLimit, execution: execution)
    let targets = distributions?.gatheringRows(order)
    var start = 0
    folds = leftOut.map { fold in
      let places = start..<start + fold.count
      start = places.upperBound
      let held = ordered.matrix(rows: places)
      let pass = makePass(ordered, order, places, inner)
      return Fold(
        problem: LaplaceProblem(
          pass: pass, gram: whole.gram, linearTerm: targets.map { pass.linearTerm($0) }),
        held: held,
        projected: sharedInputs.map {
          KroneckerCovariance<Scalar>.ProjectedRows(held, on: $0, execution: execution)
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
  ///     rows, whatever that takes, and integrated by the link that predicts; otherwise by the default link, over the
  ///     Kronecker covariance where all classes are coupled.
  /// - Returns: log-probabilities up to a constant in each row, n x K, fold after fold.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite, or when told to stop.
  func logits(
    _ prior: Matrix<Double>, isExact: Bool = false
  ) throws(NumericsError) -> Matrix<Double> {
    guard !folds.isEmpty else { return .zeros(0, classCount) }
    // 1. The fits.
    let settings = Settings(
      prior: prior, posterior: posterior == .full && !isExact ? .kronecker : posterior,
      isExact: isExact, sharesGram: sharesGram && !isExact,
      link: isExact && posterior != nil && link.approximation != .meanProbit ? link : nil)
    let folds = folds
    // Where folds are many, rows are few: a curvature that is kept saves little time there, and takes ten times the memory.
    let keepsCurvature = folds.count == 1
    let predict: @Sendable (Range<Int>) -> [Result<FoldOutcome, NumericsError>] = { range in
      folds[range].map { fold in
        Result { () throws(NumericsError) in
          try Self.predict(fold, settings, keepsCurvature: keepsCurvature)
        }
      }
    }
    let outcomes =
      folds[0].problem.execution.threadCount == execution.threadCount
      ? predict(folds.indices) : execution.map(folds.count, blockSize: 1, predict)
    try execution.checkCancellation()
    // 2. What they predict.
    let count = folds.last?.places.upperBound ?? 0
    var means = Matrix<Double>.zeros(count, prior.columnCount)
    var variances = means
    for (index, outcome) in outcomes.enumerated() {
      let found = try outcome.get()
      self.folds[index].weights = found.weights
      self.folds[index].curvature = found.curvature
      iterationCount += found.iterations
      fitCount += 1
      let place = folds[index].places.lowerBound
      means.replaceBlock(row: place, column: 0, with: found.means)
      if let found = found.variances { variances.replaceBlock(row: place, column: 0, with: found) }
    }
    // By their link they are predictions already.
    if settings.link != nil { return means }
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
    let posterior: CovarianceStructure?
    let isExact: Bool
    let sharesGram: Bool
    /// Another than the default, where predictions are integrated by it.
    let link: Link?
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
    var means = Matrix<Double>(fold.held.multiplied(by: weights))
    switch settings.posterior {
    case nil: break
    case .some(let kind) where settings.link != nil:
      if let link = settings.link {
        let covariance = try weighted(problem, for: kind)
          .covariance(kind, solution.logits, settings.prior)
        means = covariance.logProbabilities(fold.held, means: means, link)
      }
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
            execution: problem.execution)
        } else {
          try KroneckerCovariance.leverages(
            of: fold.held,
            gram: settings.sharesGram ? problem.gram : problem.inputGram(solution.logits),
            outputCurvature: outputCurvature, directionCount: directionCount,
            priorPrecision: precision, biasPrecision: RecipeConstants.biasPrecision,
            execution: problem.execution)
        }
      variances = Matrix<Double>(leverages)
    case .some(let kind):
      variances = Matrix<Double>(
        try weighted(problem, for: kind)
          .covariance(kind, solution.logits, settings.prior).leverages(fold.held))
    }
    return FoldOutcome(
      weights: solution.weights, means: means, variances: variances,
      curvature: isDemanding ? problem.curvature(solution.logits, .some) : nil,
      iterations: solution.iterations)
  }

  /// A covariance without curvatures is made of the Gram matrix: that of the rows that count.
  private static func weighted(
    _ problem: LaplaceProblem<Pass>, for kind: CovarianceStructure
  ) -> LaplaceProblem<Pass> {
    guard kind == .meanField else { return problem }
    return LaplaceProblem(
      pass: problem.pass,
      gram: problem.pass.design.gram(
        rowWeights: problem.pass.weights, execution: problem.execution))
  }
}
