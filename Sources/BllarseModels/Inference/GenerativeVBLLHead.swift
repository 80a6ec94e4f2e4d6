public import BllarseNumerics
import Glibc

/// Classification by Gaussian densities of the features, one for each class, fitted by variational Bayes.
///
///     x | y = k ~ N(μ_k, diag(σ²)),   μ_kd ~ N(0, τ),   q(μ_kd) = N(m_kd, s_kd),   classes equally frequent
///
/// This is the generative variational Bayesian last layer. Given a row, the probability of a class is that of Bayes' rule
/// with the densities `N(x; m_k, diag(σ² + s_k))`.
///
/// - Note: Source: Harrison, Willes and Snoek, "Variational Bayesian last layers", ICLR 2024, section 2.3; the bound as the
///   authors' package has it.
public struct GenerativeVBLLHead: Sendable {
  /// How features are transformed; the means are those of transformed features.
  public let transform: FeatureTransform
  /// m, K x D.
  public let means: Matrix<Double>
  /// s, K x D.
  public let variances: Matrix<Double>
  /// σ², D numbers.
  public let noiseVariances: [Double]

  /// Keeps a posterior: K x D means and variances, D variances of the noise, all variances positive.
  public init(
    transform: FeatureTransform, means: Matrix<Double>, variances: Matrix<Double>,
    noiseVariances: [Double]
  ) {
    precondition(
      variances.rowCount == means.rowCount && variances.columnCount == means.columnCount
        && noiseVariances.count == means.columnCount,
      "\(means) means, \(variances) variances and \(noiseVariances.count) of the noise")
    self.transform = transform
    (self.means, self.variances) = (means, variances)
    self.noiseVariances = noiseVariances
  }

  /// The logarithms of the class probabilities, in double precision.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - execution: the threads to work with; they do not change the result.
  /// - Returns: n x K; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  public func predictive(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Double> {
    try TrainingRows.checkFeatureCount(features, means.columnCount)
    let design = DesignMatrix<Double>(features, transform: transform, hasBias: false)
    let densities = Densities(means, variances, noiseVariances)
    return Matrix(
      rows: features.rowCount, columns: means.rowCount, blockSize: 256, execution: execution
    ) { range in
      var logs = densities.logs(design.matrix(rows: range))
      logs.formLogSoftmaxRows()
      return logs
    }
  }

  /// The densities of the classes, as products with rows take them.
  fileprivate struct Densities: Sendable {
    /// 1/t, D x K, with t = σ² + s.
    let precisions: Matrix<Double>
    /// m/t, D x K.
    let scaledMeans: Matrix<Double>
    /// -½ Σ_d (log t + m²/t), K numbers.
    let constants: [Double]

    init(_ means: Matrix<Double>, _ variances: Matrix<Double>, _ noise: [Double]) {
      var totals = variances
      totals.addToRows(noise)
      let scaled = means.combined(with: totals) { $0 / $1 }
      let terms = totals.map { log($0) }.combined(
        with: scaled.combined(with: means) { $0 * $1 }
      ) { $0 + $1 }
      constants = terms.rowSums().map { -0.5 * $0 }
      precisions = totals.map { 1 / $0 }.transposed()
      scaledMeans = scaled.transposed()
    }

    /// `-½ Σ_d [log t + (x - m)²/t]`, n x K.
    func logs(_ rows: Matrix<Double>) -> Matrix<Double> {
      var squares = rows.compact()
      squares.formSquares()
      var result = rows.multiplied(by: scaledMeans)
      Matrix.multiply(squares, precisions, into: &result, alpha: -0.5, beta: 1)
      result.addToRows(constants)
      return result
    }
  }
}

extension GenerativeVBLLHead {
  /// Fits a head to rows.
  ///
  /// With y the class of a row, the bound is
  ///
  ///     F = Σ_i w_i [log N(x; m_y, diag(σ²)) - ½ Σ_d s_yd/σ_d² - log Σ_k N(x; m_k, diag(σ² + s_k))]
  ///         - Σ_k KL(N(m_k, diag(s_k)) || N(0, τI)) - Σ_d [ν log σ_d² + ω/(2σ_d²)],    ν = (dof + D + 1)/2
  ///
  /// It starts where the same without the sum over k has its maximum, which coordinate ascent in closed form finds, and
  /// climbs to a stationary point by ``LimitedMemoryBFGS``, so that it never falls. It is not concave.
  ///
  /// - Parameters:
  ///   - features: N x D, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - classCount: K.
  ///   - weights: how often each row counts, numbers that are not negative; `nil` for once.
  ///   - scaling: of the features; `nil` for features as they are.
  ///   - configuration: priors and where to stop. The prior scale is τ itself here, and covariances are diagonal.
  ///   - execution: the threads to work with, and what tells them to stop.
  /// - Returns: the head, and the bounds.
  /// - Throws: `NumericsError`: there are no rows, a label is no class, a feature is not finite or a weight is negative;
  ///   `cancelled`.
  /// - Complexity: 8·N·D·K operations for each of some hundred evaluations.
  public static func fit(
    _ features: FeatureMatrix, labels: [Int32], classCount: Int, weights: [Double]? = nil,
    scaling: FeatureScaling? = nil, _ configuration: VBLLConfiguration,
    execution: Execution = .available
  ) throws(NumericsError) -> (head: GenerativeVBLLHead, info: VBLLInfo) {
    try TrainingRows.check(
      features, labels: labels, classCount: classCount, weights: weights, execution: execution)
    try configuration.check()
    // About their means, where squares of features with an offset lose no digits; the prior's mean moves with them.
    var priorMean = [Double](repeating: 0, count: features.columnCount)
    let transform: FeatureTransform
    if let scaling {
      transform = scaling.transform(of: features, weights: weights, execution: execution)
    } else {
      priorMean = ColumnStatistics(features, weights: weights, execution: execution).means
        .map { -$0 }
      transform = .columns(
        scale: [Double](repeating: 1, count: features.columnCount), shift: priorMean)
    }
    let bound = GenerativeBound(
      DesignMatrix(features, transform: transform, hasBias: false), labels: labels,
      classCount: classCount, weights: weights, priorMean: priorMean, configuration,
      execution: execution)
    let start = bound.closedForm()
    let coordinates = GenerativeBound.Coordinates(start, bound)
    let scale = abs(try bound.valueAndGradient(start).value)
    let solution = try LimitedMemoryBFGS(
      memory: 20, tolerance: configuration.tolerance * scale,
      iterationLimit: 20 * configuration.iterationLimit
    ).minimize(from: [Double](repeating: 0, count: coordinates.count)) {
      point throws(NumericsError) in
      try execution.checkCancellation()
      let here = coordinates.parameters(point)
      let (value, gradient) = try bound.valueAndGradient(here)
      return (value.isNaN ? .infinity : -value, coordinates.gradient(gradient, at: here).map(-))
    }
    let end = coordinates.parameters(solution.point)
    return (
      GenerativeVBLLHead(
        transform: transform, means: end.means, variances: end.variances,
        noiseVariances: end.noise),
      VBLLInfo(bounds: solution.history.map { -$0 }, converged: solution.converged)
    )
  }
}

/// The bound of the generative head, with its derivatives.
struct GenerativeBound {
  /// A posterior, or derivatives with respect to it.
  struct Parameters {
    /// K x D.
    var means: Matrix<Double>
    /// K x D.
    var variances: Matrix<Double>
    /// D numbers.
    var noise: [Double]
  }

  private let design: DesignMatrix<Double>
  private let labels: [Int32]
  private let weights: [Double]?
  private let classCount: Int
  private let priorMean: [Double]
  /// τ.
  private let priorVariance: Double
  /// ω.
  private let scale: Double
  /// ν.
  private let shape: Double
  private let execution: Execution
  /// Of the rows of each class, with their weights: their number, sums and sums of squares.
  private let own: Sums

  /// Σ r_ik, Σ r_ik·x and Σ r_ik·x².
  struct Sums: Sendable {
    /// K numbers.
    var counts: [Double]
    /// K x D.
    var firsts: Matrix<Double>
    /// K x D.
    var seconds: Matrix<Double>

    init(_ classCount: Int, _ size: Int) {
      counts = [Double](repeating: 0, count: classCount)
      firsts = .zeros(classCount, size)
      seconds = firsts
    }

    mutating func add(_ rows: Matrix<Double>, _ squares: Matrix<Double>, _ shares: Matrix<Double>) {
      for (k, sum) in shares.columnSums().enumerated() { counts[k] += sum }
      Matrix.multiply(shares, transposingA: true, rows, into: &firsts, beta: 1)
      Matrix.multiply(shares, transposingA: true, squares, into: &seconds, beta: 1)
    }

    mutating func add(_ other: Sums) {
      for k in counts.indices { counts[k] += other.counts[k] }
      firsts.add(other.firsts)
      seconds.add(other.seconds)
    }

    /// `Σ r_ik·(x - m_kd)²`, K x D.
    func squares(about means: Matrix<Double>) -> Matrix<Double> {
      var result = seconds
      for k in counts.indices {
        result.withMutableRow(k) { values in
          firsts.withRow(k) { firsts in
            means.withRow(k) { m in
              for d in values.indices {
                values[d] = max(0, values[d] - 2 * m[d] * firsts[d] + counts[k] * m[d] * m[d])
              }
            }
          }
        }
      }
      return result
    }

    /// `Σ r_ik·(x - m_kd)`, K x D.
    func deviations(from means: Matrix<Double>) -> Matrix<Double> {
      var result = firsts
      for k in counts.indices {
        result.withMutableRow(k) { values in
          means.withRow(k) { m in for d in values.indices { values[d] -= counts[k] * m[d] } }
        }
      }
      return result
    }
  }

  /// Describes the bound; a class's prior mean is `priorMean` in the design's coordinates.
  init(
    _ design: DesignMatrix<Double>, labels: [Int32], classCount: Int, weights: [Double]?,
    priorMean: [Double], _ configuration: VBLLConfiguration, execution: Execution
  ) {
    (self.design, self.labels, self.weights) = (design, labels, weights)
    (self.classCount, self.priorMean) = (classCount, priorMean)
    priorVariance = configuration.priorScale
    scale = configuration.wishartScale
    shape = (configuration.degreesOfFreedom + Double(design.columnCount) + 1) / 2
    self.execution = execution
    own =
      Self.sums(design, classCount, execution) { rows, range in
        var shares = Matrix<Double>.zeros(range.count, classCount)
        for row in 0..<range.count {
          let place = range.lowerBound + row
          shares[row, Int(labels[place])] = weights?[place] ?? 1
        }
        return (shares, 0)
      }.sums
  }

  /// Sums over all rows with the shares that `body` gives them, a part of the rows for each thread.
  private static func sums(
    _ design: DesignMatrix<Double>, _ classCount: Int, _ execution: Execution,
    _ body: @Sendable (Matrix<Double>, Range<Int>) -> (shares: Matrix<Double>, value: Double)
  ) -> (sums: Sums, value: Double) {
    let part = max(1, (design.rowCount + execution.threadCount - 1) / execution.threadCount)
    let parts = execution.map(design.rowCount, blockSize: part) { range in
      var total = (sums: Sums(classCount, design.columnCount), value: 0.0)
      for start in stride(from: range.lowerBound, to: range.upperBound, by: 512) {
        let block = start..<min(start + 512, range.upperBound)
        let rows = design.matrix(rows: block).compact()
        var squares = rows
        squares.formSquares()
        let (shares, value) = body(rows, block)
        total.sums.add(rows, squares, shares)
        total.value += value
      }
      return [total]
    }
    var result = (sums: Sums(classCount, design.columnCount), value: 0.0)
    for part in parts {
      result.sums.add(part.sums)
      result.value += part.value
    }
    return result
  }

  /// Where the bound without the densities of the other classes has its maximum, by coordinate ascent.
  func closedForm() -> Parameters {
    let total = own.counts.reduce(0, +)
    var noise = [Double](repeating: 1, count: design.columnCount)
    var means = Matrix<Double>.zeros(classCount, design.columnCount)
    var variances = means
    for _ in 0..<20 {
      for k in 0..<classCount {
        for d in noise.indices {
          let precision = 1 / priorVariance + own.counts[k] / noise[d]
          variances[k, d] = 1 / precision
          means[k, d] =
            (priorMean[d] / priorVariance + own.firsts[k, d] / noise[d]) / precision
        }
      }
      let squares = own.squares(about: means)
      for d in noise.indices {
        var sum = scale
        for k in 0..<classCount { sum += squares[k, d] + own.counts[k] * variances[k, d] }
        noise[d] = sum / (total + 2 * shape)
      }
    }
    return Parameters(means: means, variances: variances, noise: noise)
  }

  /// F and its derivatives.
  func valueAndGradient(
    _ here: Parameters
  ) throws(NumericsError) -> (value: Double, gradient: Parameters) {
    let densities = GenerativeVBLLHead.Densities(here.means, here.variances, here.noise)
    let (weights, size) = (weights, design.columnCount)
    // 1. The densities of all classes, and what share of a row each has.
    let (other, normaliser) = Self.sums(design, classCount, execution) { rows, range in
      var shares = densities.logs(rows)
      let logs = shares
      shares = shares.softmaxRows()
      var sum = 0.0
      for row in 0..<range.count {
        let weight = weights?[range.lowerBound + row] ?? 1
        if weight > 0 { sum += weight * SpecialFunctions.logSumExp(logs.row(row)) }
      }
      if let weights { shares = shares.scalingRows(by: Array(weights[range])) }
      return (shares, sum)
    }
    var value = -normaliser
    var gradient = Parameters(
      means: .zeros(classCount, size), variances: .zeros(classCount, size),
      noise: [Double](repeating: 0, count: size))
    let (ownSquares, ownDeviations) = (
      own.squares(about: here.means), own.deviations(from: here.means)
    )
    let (squares, deviations) = (
      other.squares(about: here.means), other.deviations(from: here.means)
    )
    for d in 0..<size {
      let noise = here.noise[d]
      let logNoise = log(noise)
      var slope = 0.0  // with respect to σ²
      for k in 0..<classCount {
        let (m, s) = (here.means[k, d], here.variances[k, d])
        let total = noise + s
        // 2. The density of a row's own class.
        value -= 0.5 * (own.counts[k] * (logNoise + s / noise) + ownSquares[k, d] / noise)
        slope +=
          0.5
          * ((ownSquares[k, d] + own.counts[k] * s) / (noise * noise) - own.counts[k] / noise)
        // 3. Those of all, with σ² + s.
        let spread = 0.5 * (other.counts[k] / total - squares[k, d] / (total * total))
        slope += spread
        // 4. The divergence from the prior.
        let offset = m - priorMean[d]
        value -=
          0.5 * ((offset * offset + s) / priorVariance - 1 + log(priorVariance) - log(s))
        gradient.means[k, d] =
          ownDeviations[k, d] / noise - deviations[k, d] / total - offset / priorVariance
        gradient.variances[k, d] =
          spread - 0.5 * own.counts[k] / noise - 0.5 / priorVariance + 0.5 / s
      }
      // 5. The prior of the noise.
      value -= shape * logNoise + 0.5 * scale / noise
      gradient.noise[d] = slope - shape / noise + 0.5 * scale / (noise * noise)
    }
    return (value, gradient)
  }

  /// Coordinates in which the bound bends about equally in all directions: means in units of their standard deviations,
  /// logarithms of variances, those of the noise in units of what the rows leave open of them.
  struct Coordinates {
    private let start: Parameters
    private let meanUnits: Matrix<Double>
    private let noiseUnit: Double

    init(_ start: Parameters, _ bound: GenerativeBound) {
      self.start = start
      meanUnits = start.variances.map { $0.squareRoot() }
      noiseUnit = (2 / (bound.own.counts.reduce(0, +) + 2 * bound.shape)).squareRoot()
    }

    var count: Int { 2 * start.means.rowCount * start.means.columnCount + start.noise.count }

    func parameters(_ point: [Double]) -> Parameters {
      let (rows, columns) = (start.means.rowCount, start.means.columnCount)
      let size = rows * columns
      func matrix(_ range: Range<Int>) -> Matrix<Double> {
        Matrix(rows: rows, columns: columns, elements: Array(point[range]))
      }
      return Parameters(
        means: start.means.combined(
          with: meanUnits.combined(with: matrix(0..<size)) { $0 * $1 }
        ) { $0 + $1 },
        variances: start.variances.combined(with: matrix(size..<2 * size)) { $0 * exp($1) },
        noise: zip(start.noise, point[(2 * size)...]).map { $0 * exp(noiseUnit * $1) })
    }

    /// Derivatives with respect to the coordinates.
    func gradient(_ gradient: Parameters, at here: Parameters) -> [Double] {
      gradient.means.combined(with: meanUnits) { $0 * $1 }.elements
        + gradient.variances.combined(with: here.variances) { $0 * $1 }.elements
        + zip(gradient.noise, here.noise).map { noiseUnit * $0 * $1 }
    }
  }
}
