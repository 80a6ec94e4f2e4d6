public import BllarseNumerics
import Glibc

/// Epochs over batches whose fixed point is the optimum of all rows: the updates `sites`.
///
/// Where merging batches that were fitted alone settles short of the optimum, refinement lets each batch
/// see what all others know, however small the batches are.
public struct IBProbitSiteRefinement<Scalar: BLASScalar>: Sendable {
  package var sites: ProbitSites<Scalar>
  private let precision: Matrix<Double>
  private let logOfPrior: Double
  private let rowCount: Int

  /// Reads all rows once for the precision that the batches share.
  ///
  /// - Parameters:
  ///   - head: describes the design and the prior; its posterior is not used.
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made `Λ₀ + XᵀX` indefinite.
  public init(
    _ head: IBProbitHead<Scalar>, features: FeatureMatrix, labels: [Int32]
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: head.configuration.featureCount,
      classCount: head.configuration.classCount, parallelism: head.parallelism)
    try self.init(head, checked: features, labels: labels)
  }

  /// Reads rows that were checked.
  package init(
    _ head: IBProbitHead<Scalar>, checked features: FeatureMatrix, labels: [Int32]
  ) throws(NumericsError) {
    var design = try head.design(features)
    design.makeResident(limit: residentDesignLimit, parallelism: head.parallelism)
    let problem = try ProbitProblemPrecision(design, head.configuration, head.parallelism)
    precision = problem.precision
    logOfPrior = problem.logOfPrior
    rowCount = features.rowCount
    sites = ProbitSites(
      ProbitPass(
        design: design, labels: labels, classCount: head.configuration.classCount,
        parallelism: head.parallelism),
      cholesky: problem.cholesky, prior: problem.prior)
  }

  /// Refreshes all rows, batch by batch.
  ///
  /// - Parameters:
  ///   - order: the rows in order.
  ///   - batchSize: rows of a batch; the last may have fewer.
  ///   - iterations: how often a batch is refreshed before the next.
  /// - Throws: `NumericsError` for an order, a batch size or a number of iterations that cannot be.
  public mutating func runEpoch(
    order: [Int], batchSize: Int, iterations: Int
  ) throws(NumericsError) {
    try TrainingRows.checkOrder(order, rowCount: rowCount)
    try NumericsError.require(batchSize >= 1, "the batch size", Double(batchSize), "1 or more")
    try NumericsError.requireUpdate(iterations: iterations, forgettingRate: 0)
    for first in stride(from: 0, to: order.count, by: batchSize) {
      runBatch(order[first..<min(first + batchSize, order.count)], iterations: iterations)
    }
  }

  /// Refreshes the rows of one batch.
  package mutating func runBatch(_ rows: ArraySlice<Int>, iterations: Int) {
    sites.refresh(rows, iterations: iterations)
  }

  /// The evidence lower bound with the rows as they were refreshed last, in nats; it never falls from
  /// batch to batch.
  public var evidenceLowerBound: Double { sites.evidenceLowerBound(logOfPrior: logOfPrior) }

  /// The posterior over the weights.
  public var posterior: GaussianPosterior {
    GaussianPosterior(precision: precision, naturalMean: sites.naturalMean)
  }
}

/// `Λ₀ + XᵀX` of a design, factored.
package struct ProbitProblemPrecision {
  /// XᵀX.
  let gram: Matrix<Double>
  let precision: Matrix<Double>
  let cholesky: Cholesky<Double>
  /// The diagonal of Λ₀.
  let prior: [Double]
  /// log|Λ₀|.
  let logOfPrior: Double

  init<Scalar: BLASScalar>(
    _ design: DesignMatrix<Scalar>, _ configuration: IBProbitHead<Scalar>.Configuration,
    _ parallelism: Parallelism
  ) throws(NumericsError) {
    gram = design.gram(parallelism: parallelism)
    var precision = gram
    prior = [Double](repeating: configuration.priorPrecision, count: precision.rowCount)
    precision.addToDiagonal(prior)
    cholesky = try parallelism.withBLAS { () throws(NumericsError) in try Cholesky(precision) }
    self.precision = precision
    logOfPrior = Double(precision.rowCount) * log(configuration.priorPrecision)
  }

  /// What the evidence lower bound of some classes is less than their objective.
  func boundConstant(classCount: Int) -> Double {
    0.5 * Double(classCount) * (cholesky.logDeterminant - logOfPrior)
  }
}
