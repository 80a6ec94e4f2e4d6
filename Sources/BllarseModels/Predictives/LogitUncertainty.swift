package import BllarseNumerics
import Glibc
import Synchronization

/// What a posterior says about rows.
package struct UncertaintyParts: Sendable {
  /// As they are predicted, n x K.
  package var logProbabilities: Matrix<Float>
  /// Where the entropy was to be split.
  package var mutualInformation: [Double]?
  package var energy: [Double]
  package var leverage: [Double]
}

/// The scores of the uncertainty of rows whose logits are Gaussian.
package struct LogitUncertainty: Sendable {
  private let classCount: Int
  /// How logits become probabilities.
  private let predictive: Predictive
  private let draws: LogitDraws?

  /// Prepares the scores.
  ///
  /// - Parameters:
  ///   - classCount: K.
  ///   - predictive: how logits become probabilities.
  ///   - splitsEntropy: whether to compute mutual informations.
  init(classCount: Int, predictive: Predictive, splitsEntropy: Bool) {
    (self.classCount, self.predictive) = (classCount, predictive)
    draws = splitsEntropy ? Self.logitDraws(classCount) : nil
  }

  /// Draws of the logits for the softmax.
  private static var drawCount: Int { 64 }
  /// Numbers of draws that are held at once, for each thread: 16 MB.
  private static var drawLimit: Int { 1 << 20 }

  /// A draw of the logits: its share, and a standard normal number for each column.
  private struct LogitDraws: Sendable {
    var weights: [Double] = []
    var deviations: [[Double]] = []
  }

  /// Predicts rows block by block, with the scores of their uncertainty.
  ///
  /// - Parameters:
  ///   - rowCount: n.
  ///   - blockSize: rows that are predicted together.
  ///   - map: a calibration on held-out rows that predictions go through.
  ///   - execution: the threads to work with; they do not change the result.
  ///   - predict: log-probabilities of a range of rows, and the moments of their logits.
  /// - Returns: predictions and scores.
  func parts(
    rowCount: Int, blockSize: Int, map: HeldOutCalibration, execution: Execution,
    _ predict: @Sendable (Range<Int>) -> (own: Matrix<Float>, moments: LatentMoments)
  ) -> UncertaintyParts {
    // A column each for the mutual information, the energy and the leverage.
    let scores = Mutex(Matrix<Double>.zeros(rowCount, 3))
    let logs = Matrix<Float>(
      rows: rowCount, columns: classCount, blockSize: blockSize, execution: execution
    ) { range in
      let (own, moments) = predict(range)
      let block =
        map == .none ? own : Matrix<Float>(map.apply(to: HeldOutCalibration.arguments(own)))
      var part = Matrix<Double>.zeros(range.count, 3)
      for row in 0..<range.count {
        (part[row, 1], part[row, 2]) = energyAndLeverage(moments, row)
      }
      if let draws {
        for (row, value) in mutualInformation(moments, draws, map, block).enumerated() {
          part[row, 0] = value
        }
      }
      scores.withLock { $0.replaceBlock(row: range.lowerBound, column: 0, with: part) }
      return block
    }
    return scores.withLock { scores in
      UncertaintyParts(
        logProbabilities: logs, mutualInformation: draws != nil ? scores.column(0) : nil,
        energy: scores.column(1), leverage: scores.column(2))
    }
  }

  private static func logitDraws(_ classCount: Int) -> LogitDraws {
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
      for _ in 0..<drawCount {
        draws.weights.append(1 / Double(drawCount))
        draws.deviations.append(generator.normals(count: classCount))
      }
    }
    return draws
  }

  private func energyAndLeverage(
    _ moments: LatentMoments, _ row: Int
  ) -> (energy: Double, leverage: Double) {
    var values = moments.means.row(row)
    // A probit column as two logits: the logistic function of 1.702·f is close to Φ(f).
    if values.count == 1 { values = [-0.851 * values[0], 0.851 * values[0]] }
    let variances = moments.variances.row(row)
    return (
      -SpecialFunctions.logSumExp(values.map { predictive.inverseTemperature * $0 }),
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
    _ moments: LatentMoments, _ draws: LogitDraws, _ map: HeldOutCalibration,
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
    _ moments: LatentMoments, _ draws: LogitDraws, _ rows: Range<Int>
  ) -> Matrix<Double> {
    let columns = moments.means.columnCount
    // Two logits are w and -w, and their difference has twice the variance.
    let isOpposite = classCount == 2 && columns == 2
    let half = 0.5.squareRoot()
    let count = draws.weights.count
    var logits = Matrix<Double>.zeros(rows.count * count, columns)
    for row in rows {
      let mean = moments.means.row(row)
      var scale = moments.variances.row(row).map { max($0, 0).squareRoot() }
      if isOpposite {
        // Of logits with variances of their own the difference has their sum.
        let mean = (0.5 * (scale[0] * scale[0] + scale[1] * scale[1])).squareRoot()
        if scale[0] != scale[1] { scale = [mean, mean] }
      }
      for (s, deviation) in draws.deviations.enumerated() {
        logits.withMutableRow((row - rows.lowerBound) * count + s) { values in
          for k in values.indices {
            let shift = isOpposite ? (k == 0 ? -half : half) * deviation[0] : deviation[k]
            values[k] = mean[k] + scale[k] * shift
          }
        }
      }
    }
    return predictive.logProbabilities(means: logits, variances: nil)
  }
}
