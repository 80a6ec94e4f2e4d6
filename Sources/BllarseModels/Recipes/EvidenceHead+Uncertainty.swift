package import BllarseNumerics
import Glibc

/// What a posterior says about rows.
package struct UncertaintyParts: Sendable {
  /// As they are predicted, n x K.
  package var logProbabilities: Matrix<Float>
  /// Where the entropy was to be split.
  package var mutualInformation: [Double]?
  package var energy: [Double]
  package var leverage: [Double]
}

extension EvidenceHead {
  /// Draws of the logits for the softmax.
  private static var drawCount: Int { 64 }
  /// Numbers of draws that are held at once, for each thread: 16 MB.
  private static var drawLimit: Int { 1 << 20 }

  /// A draw of the logits: its share, and a standard normal number for each column.
  private struct LogitDraws: Sendable {
    var weights: [Double] = []
    var deviations: [[Double]] = []
  }

  /// Predicts rows, with the scores of their uncertainty, in one pass over the features.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - map: a calibration on held-out rows that predictions go through.
  ///   - splitsEntropy: whether to compute mutual informations.
  ///   - parallelism: the threads to work with; they do not change the result.
  /// - Returns: predictions, the same bits as `logProbabilities` gives, and scores.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  package func uncertaintyParts(
    _ features: FeatureMatrix, map: HeldOutCalibration, splitsEntropy: Bool,
    parallelism: Parallelism
  ) throws(NumericsError) -> UncertaintyParts {
    try TrainingRows.checkFeatureCount(features, featureCount)
    let draws = splitsEntropy ? logitDraws() : nil
    let (rows, classes) = (features.rowCount, classCount)
    // A column each for the mutual information, the energy and the leverage.
    var logs = Matrix<Float>.zeros(0, 0)
    let scores = Matrix<Double>(rows: rows, columns: 3) { scores in
      scores.initialize(repeating: 0)
      guard let scoreBase = scores.baseAddress else { return }
      let scoreAddress = SharedAddress(scoreBase)
      logs = Matrix<Float>(rows: rows, columns: classes) { target in
        guard let base = target.baseAddress else { return }
        let address = SharedAddress(base)
        forEachBlock(features, parallelism) { range, moments in
          let own = Matrix<Float>(logProbabilities(moments))
          let block =
            map == .none
            ? own : Matrix<Float>(map.apply(to: HeldOutCalibration.arguments(own)))
          block.withUnsafePointer { source, _ in
            (address.pointer + range.lowerBound * classes).update(
              from: source, count: range.count * classes)
          }
          for row in 0..<range.count {
            let place = scoreAddress.pointer + 3 * (range.lowerBound + row)
            (place[1], place[2]) = energyAndLeverage(moments, row)
          }
          guard let draws else { return }
          for (row, value) in mutualInformation(moments, draws, map, block).enumerated() {
            scoreAddress.pointer[3 * (range.lowerBound + row)] = value
          }
        }
      }
    }
    return UncertaintyParts(
      logProbabilities: logs, mutualInformation: splitsEntropy ? scores.column(0) : nil,
      energy: scores.column(1), leverage: scores.column(2))
  }

  private func logitDraws() -> LogitDraws {
    var draws = LogitDraws()
    // Two classes are integrated on a grid: the trapezoidal rule is exact to rounding for a Gaussian.
    if classCount == 2 {
      let grid = Array(stride(from: -6.0, through: 6.0, by: 0.5))
      let densities = grid.map { exp(-0.5 * $0 * $0) }
      let total = densities.reduce(0, +)
      draws.weights = densities.map { $0 / total }
      draws.deviations = grid.map { [$0] }
    } else {
      // The same draws for all rows, so that rows differ by their moments only.
      var generator = Philox(seed: 0, purpose: .sampling, index: 1)
      for _ in 0..<Self.drawCount {
        draws.weights.append(1 / Double(Self.drawCount))
        draws.deviations.append(generator.normals(count: classCount))
      }
    }
    return draws
  }

  private func energyAndLeverage(
    _ moments: LogitMoments, _ row: Int
  ) -> (energy: Double, leverage: Double) {
    var values = moments.means.row(row)
    // A probit column as two logits: the logistic function of 1.702·f is close to Φ(f).
    if values.count == 1 { values = [-0.851 * values[0], 0.851 * values[0]] }
    let variances = moments.variances.row(row)
    return (
      -SpecialFunctions.logSumExp(values.map { inverseTemperature * $0 }),
      variances.reduce(0, +) / Double(variances.count)
    )
  }

  /// The mutual informations of a block of rows.
  ///
  /// - Parameters:
  ///   - moments: of the logits.
  ///   - draws: deviations from them.
  ///   - map: a calibration on held-out rows.
  ///   - predicted: the logarithms of what is predicted, n x K.
  /// - Returns: nats, one for each row.
  private func mutualInformation(
    _ moments: LogitMoments, _ draws: LogitDraws, _ map: HeldOutCalibration,
    _ predicted: Matrix<Float>
  ) -> [Double] {
    var projection = DrawProjection(classCount: classCount)
    var result: [Double] = []
    let size = draws.weights.count * classCount  // of the draws of a row
    let step = max(1, Self.drawLimit / size)
    for start in stride(from: 0, to: predicted.rowCount, by: step) {
      let rows = start..<min(start + step, predicted.rowCount)
      let drawn = logs(moments, draws, rows)
      let logs = map == .none ? drawn : map.apply(to: drawn)
      let probabilities = logs.exponentials()
      logs.withUnsafePointer { logs, _ in
        probabilities.withUnsafePointer { probabilities, _ in
          for row in rows {
            let exponentials = predicted.row(row).map { exp(Double($0)) }
            let total = exponentials.reduce(0, +)
            let offset = (row - rows.lowerBound) * size
            let set = DrawProjection.Draws(
              logs: logs + offset, probabilities: probabilities + offset, weights: draws.weights,
              candidateWeight: 1)
            result.append(
              projection.mutualInformation([set], target: exponentials.map { $0 / total }))
          }
        }
      }
    }
    return result
  }

  /// The log-probabilities for every draw of some rows, (n·S) x K.
  private func logs(
    _ moments: LogitMoments, _ draws: LogitDraws, _ rows: Range<Int>
  ) -> Matrix<Double> {
    let columns = moments.means.columnCount
    // Two logits are w and -w, and their difference has twice the variance.
    let isOpposite = classCount == 2 && columns == 2
    let half = 0.5.squareRoot()
    let count = draws.weights.count
    var logits = Matrix<Double>.zeros(rows.count * count, columns)
    for row in rows {
      let mean = moments.means.row(row)
      let scale = moments.variances.row(row).map { max($0, 0).squareRoot() }
      for (s, deviation) in draws.deviations.enumerated() {
        logits.withMutableRow((row - rows.lowerBound) * count + s) { values in
          for k in values.indices {
            let shift = isOpposite ? (k == 0 ? -half : half) * deviation[0] : deviation[k]
            values[k] = mean[k] + scale[k] * shift
          }
        }
      }
    }
    return TemperedLogits(
      Predictive(likelihood: likelihood).logits(means: logits, variances: nil),
      inverseTemperature
    ).logProbabilities
  }
}
