public import BllarseNumerics
import Glibc

/// The eigenbasis of the scatter of scaled inputs, `diag(s)·S_xx·diag(s) = Uᵀ·diag(e)·U`.
///
/// Under a prior whose precision is λ in all directions of the scaled inputs, times that of the noise, the
/// weights have the covariance `S (UᵀeU + λ)⁻¹ S / τ`. Directions that the rows do not span are left out of U.
public struct RegressionBasis: Sendable, Equatable {
  /// s, D numbers that are not negative: ones for a prior that is the same for all inputs.
  public let scales: [Double]
  /// e, R positive numbers.
  public let eigenvalues: [Double]
  /// U, R x D; its rows are orthonormal.
  public let vectors: Matrix<Double>

  /// Takes a basis as it is.
  ///
  /// - Throws: `NumericsError` for sizes that differ, and numbers that cannot be.
  public init(
    scales: [Double], eigenvalues: [Double], vectors: Matrix<Double>
  ) throws(NumericsError) {
    for (what, found, expected) in [
      ("columns of eigenvectors", vectors.columnCount, scales.count),
      ("rows of eigenvectors", vectors.rowCount, eigenvalues.count),
    ] where found != expected {
      throw .sizeMismatch(
        of: what, found: found, expected: expected,
        reason: "as the basis has scales and eigenvalues")
    }
    for value in scales {
      try NumericsError.require(
        value >= 0 && value.isFinite, "the scale of an input", value,
        "a finite number that is not negative")
    }
    for value in eigenvalues {
      try NumericsError.require(
        value > 0 && value.isFinite, "an eigenvalue of the inputs", value, "a positive number")
    }
    if let (row, column) = vectors.firstNonFinite { throw .notFinite(row: row, column: column) }
    self.init(unchecked: scales, eigenvalues, vectors)
  }

  init(unchecked scales: [Double], _ eigenvalues: [Double], _ vectors: Matrix<Double>) {
    (self.scales, self.eigenvalues, self.vectors) = (scales, eigenvalues, vectors)
  }

  /// Rows of centred inputs in this basis.
  ///
  /// - Returns: the coordinates, n x R, and what lies outside of the basis, n x D, unless nothing can.
  func coordinates(_ rows: Matrix<Double>) -> (inside: Matrix<Double>, outside: Matrix<Double>?) {
    let scaled = rows.scalingColumns(by: scales)
    let inside = scaled.multiplied(by: vectors, transposingOther: true)
    if eigenvalues.count == scales.count { return (inside, nil) }
    var outside = scaled
    Matrix.multiply(inside, vectors, into: &outside, alpha: -1, beta: 1)
    return (inside, outside)
  }

  /// Rows z with `z·zᵀ = x (S (UᵀeU + λ)⁻¹ S) xᵀ`, n x (R or R + D).
  func whitened(_ rows: Matrix<Double>, precision: Double) -> Matrix<Double> {
    let (inside, outside) = coordinates(rows)
    let left = inside.scalingColumns(by: eigenvalues.map { 1 / ($0 + precision).squareRoot() })
    guard var right = outside else { return left }
    right.scale(by: 1 / precision.squareRoot())
    var result = Matrix<Double>.zeros(rows.rowCount, left.columnCount + right.columnCount)
    result.replaceBlock(row: 0, column: 0, with: left)
    result.replaceBlock(row: 0, column: left.columnCount, with: right)
    return result
  }
}

extension Matrix<Double> {
  /// Every column times a number.
  func scalingColumns(by factors: [Double]) -> Matrix {
    var result = compact()
    for row in 0..<rowCount {
      result.withMutableRow(row) { values in
        for column in values.indices { values[column] *= factors[column] }
      }
    }
    return result
  }
}

/// What is known of the noise's precision τ, for targets in the model's units.
public enum RegressionNoise: Sendable, Equatable {
  /// It is integrated out: `τ ~ Ga(shape, rate)` after the rows, with one shape for all targets, and a rate
  /// for each.
  case integrated(prior: GammaParameters, shape: Double, rates: [Double])
  /// It was estimated, for each target; with the logarithm of its hyperpriors' densities, which is part of the
  /// log evidence.
  case estimated(precisions: [Double], logHyperpriors: [Double])

  var targetCount: Int {
    switch self {
    case .integrated(_, _, let rates): rates.count
    case .estimated(let precisions, _): precisions.count
    }
  }

  /// The degrees of freedom of predictions of a target.
  var degreesOfFreedom: Double {
    switch self {
    case .integrated(_, let shape, _): 2 * shape
    case .estimated: .infinity
    }
  }

  /// What multiplies `1 + x'A⁻¹x` in the square of a prediction's scale.
  func variance(_ target: Int) -> Double {
    switch self {
    case .integrated(_, let shape, let rates): rates[target] / shape
    case .estimated(let precisions, _): 1 / precisions[target]
    }
  }
}

/// How a fit went, target by target.
public struct LinearRegressionReport: Sendable, Equatable {
  /// How many iterations there were; 0 for closed forms.
  public var iterationCounts: [Int] = []
  /// Whether they converged.
  public var hasConverged: [Bool] = []
  /// Whether the evidence has its maximum where no weight is left, or no prior.
  public var isAtBound: [Bool] = []
  /// γ, how many weights the rows determine.
  public var effectiveCounts: [Double] = []
  /// The log evidence along the iterations of relevance determination and variational fits, in the model's units.
  public var evidenceTraces: [[Double]] = []
}

/// Linear regression with a distribution over its weights: what T real targets are, given features.
///
///     y = ȳ + w·(x - x̄) + noise,      noise ~ N(0, 1/τ),      w_j ~ N(0, 1/(τ λ_j))
///
/// where x are the features after a transform, and x̄ and ȳ the means of the training rows: a flat prior of the
/// intercept, which is independent of the weights about the means and has the variance 1/(τW). Predictions are
/// centred as the fit was, and hold the intercept's own uncertainty:
///
///     location ȳ + w·(x - x̄),      scale² = (1 + 1/W + (x - x̄)ᵀ(S_xx + Λ)⁻¹(x - x̄)) / τ
///
/// as a Student-t distribution where the noise was integrated out, and a Gaussian where it was estimated.
///
/// ```swift
/// let model = try LinearRegressionPosterior(fitting: features, targets: targets)
/// let predictions = try model.predict(newFeatures)
/// let (lower, upper) = try predictions.centralIntervals(0.9)
/// ```
public struct LinearRegressionPosterior: Sendable, Equatable {
  /// How features become inputs.
  public let transform: FeatureTransform
  /// The units of the model's targets, T: a target divided by its scale is what everything else is about.
  public let targetScales: [Double]
  /// The number of rows of positive weight.
  public private(set) var rowCount: Int
  /// The sum of all weights, W.
  public private(set) var weight: Double
  /// x̄, D, and ȳ in the model's units, T.
  public private(set) var inputMeans, targetMeans: [Double]
  /// `S_xy`, D x T, in the model's units.
  public private(set) var crossScatter: Matrix<Double>
  /// `S_yy`, T, in the model's units.
  public private(set) var targetScatter: [Double]
  /// One basis for all targets, or one for each.
  public private(set) var bases: [RegressionBasis]
  /// λ of each target, relative to the noise's precision, in the directions of its basis.
  public let precisions: [Double]
  /// What is known of the noise.
  public private(set) var noise: RegressionNoise
  /// The log evidence of each target, in the targets' own units.
  public private(set) var logEvidence: [Double]
  /// The means of the weights, D x T, in the model's units.
  public private(set) var weights: Matrix<Double>
  /// How the fit went; `nil` for a model that was put together from parts.
  public internal(set) var report: LinearRegressionReport?

  /// Puts a model together from its parts.
  ///
  /// The weights follow from them.
  ///
  /// - Throws: `NumericsError` for sizes that differ, and numbers that cannot be.
  public init(
    transform: FeatureTransform, targetScales: [Double], rowCount: Int, weight: Double,
    inputMeans: [Double], targetMeans: [Double], crossScatter: Matrix<Double>,
    targetScatter: [Double], bases: [RegressionBasis], precisions: [Double],
    noise: RegressionNoise, logEvidence: [Double]
  ) throws(NumericsError) {
    let (inputs, targets) = (inputMeans.count, targetMeans.count)
    var sizes = [
      ("scales of targets", targetScales.count, targets),
      ("rows of the cross scatter", crossScatter.rowCount, inputs),
      ("columns of the cross scatter", crossScatter.columnCount, targets),
      ("scatters of targets", targetScatter.count, targets),
      ("prior precisions", precisions.count, targets),
      ("noises", noise.targetCount, targets),
      ("log evidences", logEvidence.count, targets),
      ("bases", bases.count, bases.count == 1 ? 1 : targets),
    ]
    for basis in bases { sizes.append(("scales of inputs", basis.scales.count, inputs)) }
    switch transform {
    case .columns(let scale, let shift):
      sizes.append(("scales of features", scale.count, inputs))
      sizes.append(("shifts of features", shift.count, inputs))
    case .centredLayerNorm(_, let mean): sizes.append(("means of features", mean.count, inputs))
    case .identity, .layerNorm: break
    }
    for (what, found, expected) in sizes where found != expected {
      throw .sizeMismatch(
        of: what, found: found, expected: expected, reason: "as there are means")
    }
    try NumericsError.require(
      inputs > 0, "the number of inputs of a regression", Double(inputs), "1 or more")
    try NumericsError.require(
      targets > 0, "the number of targets of a regression", Double(targets), "1 or more")
    try NumericsError.require(
      weight > 0 && weight.isFinite, "the weight of all rows", weight, "a positive number")
    var positive = [("the scale of a target", targetScales), ("a prior precision", precisions)]
    switch noise {
    case .integrated(let prior, let shape, let rates):
      try prior.check("the noise's prior")
      positive.append(("the shape of the noise", [shape]))
      positive.append(("the rate of the noise", rates))
    case .estimated(let precisions, _):
      positive.append(("the precision of the noise", precisions))
    }
    for (name, values) in positive {
      for value in values {
        try NumericsError.require(
          value > 0 && value.isFinite, name, value, Self.expectation(of: name))
      }
    }
    (self.transform, self.targetScales) = (transform, targetScales)
    (self.rowCount, self.weight) = (rowCount, weight)
    (self.inputMeans, self.targetMeans) = (inputMeans, targetMeans)
    (self.crossScatter, self.targetScatter) = (crossScatter, targetScatter)
    (self.bases, self.precisions, self.noise) = (bases, precisions, noise)
    self.logEvidence = logEvidence
    weights = Self.weights(bases, crossScatter, precisions)
    if let (row, column) = weights.firstNonFinite { throw .notFinite(row: row, column: column) }
  }

  private static func expectation(of name: String) -> String {
    switch name {
    case "the shape of the noise":
      "a positive number; give the noise's prior a shape above 0, as one row says nothing of the noise"
    case "the rate of the noise":
      "a positive number; give the noise's prior a rate above 0, as the targets are reproduced exactly"
    default: "a positive number"
    }
  }

  /// `S Uᵀ (e + λ)⁻¹ U S S_xy`.
  private static func weights(
    _ bases: [RegressionBasis], _ cross: Matrix<Double>, _ precisions: [Double]
  ) -> Matrix<Double> {
    var result = Matrix<Double>.zeros(cross.rowCount, cross.columnCount)
    for (index, basis) in bases.enumerated() {
      let targets = bases.count == 1 ? 0..<cross.columnCount : index..<index + 1
      var scaled = cross.columns(targets).compact()
      scaled.scaleRows(by: basis.scales)
      var shrunk = basis.vectors.multiplied(by: scaled)
      for (d, e) in basis.eigenvalues.enumerated() {
        shrunk.withMutableRow(d) { values in
          for t in values.indices { values[t] /= e + precisions[targets.lowerBound + t] }
        }
      }
      var block = basis.vectors.multiplied(by: shrunk, transposing: true)
      block.scaleRows(by: basis.scales)
      result.replaceBlock(row: 0, column: targets.lowerBound, with: block)
    }
    return result
  }

  /// The number of features of a row, D.
  public var featureCount: Int { inputMeans.count }
  /// The number of targets, T.
  public var targetCount: Int { targetMeans.count }

  /// The basis of a target.
  public func basis(_ target: Int) -> RegressionBasis { bases[bases.count == 1 ? 0 : target] }

  /// The prior precision of every weight relative to the noise's, D x T; infinite for weights that are 0.
  public var relativePrecisions: Matrix<Double> {
    var result = Matrix<Double>.zeros(featureCount, targetCount)
    for target in 0..<targetCount {
      for (j, scale) in basis(target).scales.enumerated() {
        result[j, target] = precisions[target] / (scale * scale)
      }
    }
    return result
  }

  /// The expected precision of the noise of each target, in the targets' own units.
  public var noisePrecisions: [Double] {
    (0..<targetCount).map { 1 / (noise.variance($0) * targetScales[$0] * targetScales[$0]) }
  }

  /// The means of the weights of the inputs, and in the last row the intercept, (D + 1) x T, in the targets' own
  /// units.
  public var mean: Matrix<Double> {
    var result = Matrix<Double>.zeros(featureCount + 1, targetCount)
    for target in 0..<targetCount {
      var intercept = targetMeans[target]
      for j in 0..<featureCount {
        result[j, target] = targetScales[target] * weights[j, target]
        intercept -= weights[j, target] * inputMeans[j]
      }
      result[featureCount, target] = targetScales[target] * intercept
    }
    return result
  }
  /// The same for features as they are given: (D + 1) x T, the intercept last; `nil` where the transform is not one
  /// of columns.
  public var featureMean: Matrix<Double>? {
    guard case .columns(let scale, let shift) = transform else { return nil }
    var result = mean
    for target in 0..<targetCount {
      for j in 0..<featureCount {
        result[featureCount, target] += result[j, target] * shift[j]
        result[j, target] *= scale[j]
      }
    }
    return result
  }
}

extension Matrix<Double> {
  /// Every row times a number.
  mutating func scaleRows(by factors: [Double]) {
    for (row, factor) in factors.enumerated() {
      withMutableRow(row) { values in for k in values.indices { values[k] *= factor } }
    }
  }
}

// MARK: - Predictions

extension LinearRegressionPosterior {
  /// Rows of a block: enough for products at full speed.
  private static var blockSize: Int { 1024 }

  /// Predicts targets.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - execution: the threads to work with.
  /// - Returns: n x T distributions, in the targets' own units.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width, `notFinite` and `outOfRange` for values.
  /// - Complexity: O(n·D·R) for each basis.
  public func predict(
    _ features: FeatureMatrix, execution: Execution = .available
  ) throws(NumericsError) -> TargetDistributions {
    try TrainingRows.checkFeatureCount(features, featureCount)
    try TrainingRows.checkValues(features, execution: execution)
    var locations = Matrix<Double>.zeros(features.rowCount, targetCount)
    var scales = locations
    for start in stride(from: 0, to: features.rowCount, by: Self.blockSize) {
      try execution.checkCancellation()
      let range = start..<min(start + Self.blockSize, features.rowCount)
      let inputs = centredInputs(features.rows(range))
      let (means, variances) = execution.withBLAS {
        (inputs.multiplied(by: weights), leverages(inputs))
      }
      for row in 0..<range.count {
        for t in 0..<targetCount {
          locations[start + row, t] = targetScales[t] * (targetMeans[t] + means[row, t])
          scales[start + row, t] =
            targetScales[t] * (noise.variance(t) * (1 + variances[row, t])).squareRoot()
        }
      }
    }
    return try TargetDistributions(
      locations: locations, scales: scales,
      degreesOfFreedom: [Double](repeating: noise.degreesOfFreedom, count: targetCount))
  }

  /// Inputs less their means, n x D.
  func centredInputs(_ features: FeatureMatrix) -> Matrix<Double> {
    DesignMatrix<Double>(features, transform: transform.centred(on: inputMeans), hasBias: false)
      .matrix(rows: 0..<features.rowCount)
  }

  /// `1/W + xᵀ(S_xx + Λ)⁻¹x` of rows of centred inputs, n x T: the variance of what is predicted of the noiseless
  /// target, in units of the noise's.
  func leverages(_ inputs: Matrix<Double>) -> Matrix<Double> {
    var result = Matrix<Double>(
      rows: inputs.rowCount, columns: targetCount, repeating: 1 / weight)
    for (index, basis) in bases.enumerated() {
      let targets = bases.count == 1 ? 0..<targetCount : index..<index + 1
      let (inside, outside) = basis.coordinates(inputs)
      var variances = Matrix<Double>.zeros(basis.eigenvalues.count, targets.count)
      for (d, e) in basis.eigenvalues.enumerated() {
        for t in targets { variances[d, t - targets.lowerBound] = 1 / (e + precisions[t]) }
      }
      let sums = inside.map { $0 * $0 }.multiplied(by: variances)
      let rest = outside?.rowSquaredNorms()
      for row in 0..<inputs.rowCount {
        for t in targets {
          result[row, t] +=
            sums[row, t - targets.lowerBound] + (rest.map { $0[row] / precisions[t] } ?? 0)
        }
      }
    }
    return result
  }
}

// MARK: - Further rows

extension LinearRegressionPosterior {
  /// Learns from further rows: exactly what a fit to all rows would be with the same transform, units, and prior
  /// precisions, and, where it was estimated, the same precision of the noise.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - targets: n x T, finite.
  ///   - weights: how much each row counts; `nil` for 1 each.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` with the first row at fault; the model is then as it was.
  /// - Complexity: O(n·D² + D³); where rows seen and new together are fewer than inputs, O((R + n)²·D).
  public mutating func update(
    _ features: FeatureMatrix, targets: Matrix<Double>, weights: [Double]? = nil,
    execution: Execution = .available
  ) throws(NumericsError) {
    try RegressionRows.check(
      features, targets: targets, featureCount: featureCount, targetCount: targetCount,
      weights: weights, execution: execution)
    let rows = RegressionRows(
      features, transform: transform, targets: scaled(targets), weights: weights,
      execution: execution)
    let (cross, own) = rows.targetProducts(execution: execution)
    let total = weight + rows.weight
    let factor = weight / total * rows.weight
    let inputShift = zip(rows.inputMeans, inputMeans).map { $0 - $1 }
    let targetShift = zip(rows.targetMeans, targetMeans).map { $0 - $1 }
    var newCross = crossScatter
    newCross.add(cross)
    for j in 0..<featureCount {
      for t in 0..<targetCount { newCross[j, t] += factor * inputShift[j] * targetShift[t] }
    }
    let newOwn = targetScatter.indices.map { (t: Int) -> Double in
      targetScatter[t] + own[t] + factor * targetShift[t] * targetShift[t]
    }
    var newBases: [RegressionBasis] = []
    // The scatter is UᵀeU, the new rows' own, and that of the two means.
    let between = inputShift.map { factor.squareRoot() * $0 }
    let isWide = bases.contains { $0.eigenvalues.count + features.rowCount + 1 < featureCount }
    let scatter =
      isWide ? nil : rows.design.gram(rowWeights: weights, execution: execution)
    for basis in bases {
      var seen = basis.vectors
      seen.scaleRows(by: basis.eigenvalues.map { $0.squareRoot() })
      let mean = Matrix(
        rows: 1, columns: featureCount, elements: zip(between, basis.scales).map { $0 * $1 })
      if var total = scatter?.scalingColumns(by: basis.scales) {
        total.scaleRows(by: basis.scales)
        for part in [seen, mean] {
          execution.withBLAS { total.addLowerGram(of: part, keeping: 1) }
        }
        total.mirrorLowerTriangle()
        newBases.append(
          try RegressionBasis(scatter: total, scales: basis.scales, execution: execution))
      } else {
        let own = rows.weightedInputs().scalingColumns(by: basis.scales)
        newBases.append(
          try RegressionBasis(
            rowsOf: .stacked([seen, own, mean]), scales: basis.scales, execution: execution))
      }
    }
    let newNoise: RegressionNoise
    var newEvidence = logEvidence
    let spectra = newBases.map {
      RegressionSpectrum(
        $0, cross: newCross, targetScatter: newOwn, weight: total, execution: execution)
    }
    let spectrum = { (t: Int) -> RegressionSpectrum in spectra[spectra.count == 1 ? 0 : t] }
    switch noise {
    case .integrated(let prior, _, _):
      let all = (0..<targetCount).map { spectrum($0).noise($0, precisions[$0], prior: prior) }
      newNoise = .integrated(prior: prior, shape: all[0].shape, rates: all.map(\.rate))
      for t in 0..<targetCount {
        newEvidence[t] =
          spectrum(t).logEvidence(t, precisions[t], prior: prior)
          - (total - 1) * log(targetScales[t])
      }
    case .estimated(let values, let logs):
      newNoise = noise
      for t in 0..<targetCount {
        newEvidence[t] =
          spectrum(t).logEvidence(t, noise: values[t], weights: precisions[t] * values[t])
          + logs[t] - total * log(targetScales[t])
      }
    }
    let share = rows.weight / total
    let newInputMeans = zip(inputMeans, inputShift).map { $0 + share * $1 }
    let newTargetMeans = zip(targetMeans, targetShift).map { $0 + share * $1 }
    let updated = try LinearRegressionPosterior(
      transform: transform, targetScales: targetScales, rowCount: rowCount + rows.rowCount,
      weight: total, inputMeans: newInputMeans,
      targetMeans: newTargetMeans,
      crossScatter: newCross, targetScatter: newOwn, bases: newBases, precisions: precisions,
      noise: newNoise, logEvidence: newEvidence)
    self = updated
  }

  /// Targets in the model's units.
  func scaled(_ targets: Matrix<Double>) -> Matrix<Double> {
    targets.scalingColumns(by: targetScales.map { 1 / $0 })
  }
}

extension Matrix<Double> {
  /// Matrices of the same width, one below the other.
  fileprivate static func stacked(_ parts: [Matrix]) -> Matrix {
    var result = Matrix.zeros(parts.reduce(0) { $0 + $1.rowCount }, parts[0].columnCount)
    var row = 0
    for part in parts {
      result.replaceBlock(row: row, column: 0, with: part)
      row += part.rowCount
    }
    return result
  }
}

extension RegressionBasis {
  /// The basis of a scatter of scaled inputs.
  ///
  /// - Complexity: 9·D³.
  init(
    scatter: Matrix<Double>, scales: [Double], execution: Execution
  ) throws(NumericsError) {
    try execution.checkCancellation()
    let eigen = try execution.withBLAS { () throws(NumericsError) in try SymmetricEigen(scatter) }
    // Rounding makes eigenvalues of what does not vary.
    let floor = max(4e-16 * Double(max(scales.count, 10)) * (eigen.values.last ?? 0), 1e-300)
    let kept = eigen.values.indices.filter { eigen.values[$0] > floor }
    self.init(
      unchecked: scales, kept.map { eigen.values[$0] }, eigen.rowVectors.gatheringRows(kept))
  }

  /// The basis of the scatter of rows, fewer than inputs, that are scaled already.
  ///
  /// - Complexity: n²·D and 9·n³.
  init(
    rowsOf rows: Matrix<Double>, scales: [Double], execution: Execution
  ) throws(NumericsError) {
    let inputs = DesignMatrix<Double>(FeatureMatrix(rows), transform: .identity, hasBias: false)
    let basis = try RowSpaceBasis(inputs, execution: execution)
    self.init(
      unchecked: scales, basis.eigenvalues,
      basis.vectors(of: inputs, execution: execution).transposed())
  }
}
