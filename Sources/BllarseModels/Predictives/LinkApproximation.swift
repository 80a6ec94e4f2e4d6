package import BllarseNumerics
import Glibc

/// How the softmax of random logits is integrated: from their mean f and covariance Σ to class probabilities.
public enum LinkApproximation: String, Sendable, Hashable, CaseIterable, Codable {
  /// MacKay's with one variance a row, `softmax(f / √(1 + π/4·v̄))`: see ``Predictive``; the default.
  case meanProbit = "mean-probit"
  /// MacKay's with the variance of each logit, `softmax(f_k / √(1 + π/8·Σ_kk))`.
  case probit
  /// Monte Carlo, the mean of softmax over draws from N(f, Σ).
  case monteCarlo = "mc"
  /// The Laplace bridge: the mean of the Dirichlet distribution whose logits have these moments.
  case bridge
  /// The Laplace bridge of logits that are scaled to a variance at which it is good.
  case bridgeNorm = "bridge-norm"
}

/// A link approximation with what its draws depend on.
public struct Link: Sendable, Equatable {
  /// Which.
  public var approximation: LinkApproximation
  /// Draws a row, of ``LinkApproximation/monteCarlo``.
  public var sampleCount: Int
  /// Their seed.
  ///
  /// Which draws a row has depends on this and on its features alone.
  public var seed: UInt64

  /// The draws of a row where none are asked for: a standard error of 0.016 at most.
  public static let defaultSampleCount = 1000

  /// Describes a link approximation.
  public init(
    _ approximation: LinkApproximation = .meanProbit,
    sampleCount: Int = Link.defaultSampleCount, seed: UInt64 = 0
  ) {
    (self.approximation, self.sampleCount, self.seed) = (approximation, sampleCount, seed)
  }
}

/// Covariances of the logits of n rows, all directions of the weights among them: those in which all logits shift
/// together, which only the prior holds, too.
package enum LogitCovariance: Sendable {
  /// `diag(v)`, n x C.
  case diagonal(Matrix<Double>)
  /// `V·diag(s)·Vᵀ`: s, n x C, and V, C x C, the same for all rows.
  case factored(Matrix<Double>, vectors: Matrix<Double>)
  /// n x C², the rows of a C x C matrix one after the other.
  case full(Matrix<Double>)

  /// Adds as much to the variance of every logit of a row, without covariance.
  mutating func add(_ variances: [Double]) {
    func adding(_ matrix: Matrix<Double>, everyPlaces step: Int) -> Matrix<Double> {
      var result = matrix
      for (row, variance) in variances.enumerated() {
        for place in stride(from: 0, to: matrix.columnCount, by: step) {
          result[row, place] += variance
        }
      }
      return result
    }
    switch self {
    case .diagonal(let v): self = .diagonal(adding(v, everyPlaces: 1))
    case .factored(let s, let vectors):
      self = .factored(adding(s, everyPlaces: 1), vectors: vectors)
    case .full(let matrices):
      let size = Int(Double(matrices.columnCount).squareRoot().rounded())
      self = .full(adding(matrices, everyPlaces: size + 1))
    }
  }

  /// The variances of the logits, n x C.
  var variances: Matrix<Double> {
    switch self {
    case .diagonal(let v): return v
    case .factored(let s, let vectors):
      return s.multiplied(by: vectors.transposed().map { $0 * $0 })
    case .full(let matrices):
      let size = Int(Double(matrices.columnCount).squareRoot().rounded())
      var result = Matrix<Double>.zeros(matrices.rowCount, size)
      for row in 0..<matrices.rowCount {
        for k in 0..<size { result[row, k] = matrices[row, k * (size + 1)] }
      }
      return result
    }
  }

  /// `Σ·1`, n x C.
  private var rowSums: Matrix<Double> {
    switch self {
    case .diagonal(let v): return v
    case .factored(let s, let vectors):
      let totals = vectors.columnSums()
      var scaled = s.compact()
      for row in 0..<s.rowCount {
        scaled.withMutableRow(row) { values in
          for j in values.indices { values[j] *= totals[j] }
        }
      }
      return scaled.multiplied(by: vectors.transposed())
    case .full(let matrices):
      let size = Int(Double(matrices.columnCount).squareRoot().rounded())
      var result = Matrix<Double>.zeros(matrices.rowCount, size)
      for row in 0..<matrices.rowCount {
        matrices.withRow(row) { values in
          for k in 0..<size {
            for l in 0..<size { result[row, k] += values[k * size + l] }
          }
        }
      }
      return result
    }
  }

  /// The moments of the logits given that they sum to 0.
  ///
  ///     f - Σ1·(1ᵀf)/(1ᵀΣ1),   diag(Σ - Σ1·1ᵀΣ/(1ᵀΣ1))
  ///
  /// - Parameter means: f, n x C.
  /// - Returns: means and variances, n x C.
  func summingToZero(_ means: Matrix<Double>) -> LatentMoments {
    let sums = rowSums
    var (means, variances) = (means.compact(), variances)
    for row in 0..<means.rowCount {
      let side = sums.row(row)
      let total = side.reduce(0, +)
      // Logits that sum to a certain number are moved as one.
      let shares =
        total > 0 ? side.map { $0 / total } : side.map { _ in 1 / Double(max(side.count, 1)) }
      let sum = means.row(row).reduce(0, +)
      means.withMutableRow(row) { f in for k in f.indices { f[k] -= shares[k] * sum } }
      variances.withMutableRow(row) { v in
        for k in v.indices { v[k] = max(v[k] - shares[k] * side[k], 0) }
      }
    }
    return LatentMoments(means: means, variances: variances)
  }

  /// A matrix R with `R·Rᵀ = Σ` of a row, C x C.
  func root(_ row: Int) -> Matrix<Double> {
    switch self {
    case .diagonal(let v): return .diagonal(v.row(row).map { max($0, 0).squareRoot() })
    case .factored(let s, let vectors):
      let roots = s.row(row).map { max($0, 0).squareRoot() }
      var result = vectors.compact()
      for k in 0..<result.rowCount {
        result.withMutableRow(k) { values in
          for j in values.indices { values[j] *= roots[j] }
        }
      }
      return result
    case .full(let matrices): return Self.semidefiniteRoot(matrices.row(row))
    }
  }

  /// The lower triangular factor of a positive semidefinite matrix: a pivot that is rounding ends its column.
  private static func semidefiniteRoot(_ elements: [Double]) -> Matrix<Double> {
    let size = Int(Double(elements.count).squareRoot().rounded())
    var factor = Matrix<Double>.zeros(size, size)
    for j in 0..<size {
      var pivot = elements[j * size + j]
      let scale = pivot
      for m in 0..<j { pivot -= factor[j, m] * factor[j, m] }
      guard pivot > 1e-14 * scale, pivot > 0 else { continue }
      let root = pivot.squareRoot()
      factor[j, j] = root
      for i in j + 1..<max(size, j + 1) {
        var value = elements[i * size + j]
        for m in 0..<j { value -= factor[i, m] * factor[j, m] }
        factor[i, j] = value / root
      }
    }
    return factor
  }
}

extension Link {
  /// The logarithms of the probabilities of the classes of rows.
  ///
  /// - Parameters:
  ///   - means: f, n x C.
  ///   - covariance: Σ of each row.
  ///   - hashes: a number for each row, which its draws depend on.
  /// - Returns: n x C; the exponentials of a row sum to 1.
  func logProbabilities(
    means: Matrix<Double>, _ covariance: LogitCovariance, hashes: [UInt64]
  ) -> Matrix<Double> {
    var logs: Matrix<Double>
    switch approximation {
    case .meanProbit:
      return Predictive(likelihood: .softmax).logProbabilities(
        means: means, variances: covariance.variances)
    case .probit:
      logs = means.combined(with: covariance.variances) { f, v in
        f / (1 + Double.pi / 8 * v).squareRoot()
      }
    case .bridge, .bridgeNorm:
      logs = Self.bridge(
        covariance.summingToZero(means), isNormalised: approximation == .bridgeNorm)
    case .monteCarlo: logs = draws(means, covariance, hashes)
    }
    logs.formLogSoftmaxRows()
    return logs
  }

  /// The logarithms of the parameters of Dirichlet distributions.
  ///
  ///     α_k = (1 - 2/K + e^{f_k}·Σ_j e^{-f_j} / K²) / v_k
  ///
  /// Normalised: with `c = mean(v) / √(K/2)`, the means over √c and the variances over c before.
  ///
  /// - Note: Source: Hobbhahn, Kristiadi and Hennig, "Fast predictive uncertainty for classification with Bayesian deep
  ///   networks", UAI 2022.
  private static func bridge(_ moments: LatentMoments, isNormalised: Bool) -> Matrix<Double> {
    var result = moments.means.compact()
    let classes = Double(result.columnCount)
    for row in 0..<result.rowCount {
      var (f, v) = (moments.means.row(row), moments.variances.row(row))
      let size = v.reduce(0, +) / classes / (classes / 2).squareRoot()
      if isNormalised, size > 0 {
        f = f.map { $0 / size.squareRoot() }
        v = v.map { $0 / size }
      }
      // In logarithms: an exponential of a logit of 800 is no number.
      let other = SpecialFunctions.logSumExp(f.map { -$0 }) - 2 * log(classes)
      let constant = log(max(1 - 2 / classes, 0))
      result.withMutableRow(row) { target in
        for k in target.indices {
          target[k] =
            SpecialFunctions.logSumExp([constant, f[k] + other])
            - log(max(v[k], .leastNormalMagnitude))
        }
      }
    }
    return result
  }

  /// The logarithms of means of softmax over draws.
  private func draws(
    _ means: Matrix<Double>, _ covariance: LogitCovariance, _ hashes: [UInt64]
  ) -> Matrix<Double> {
    let columns = means.columnCount
    var result = means.compact()
    for row in 0..<means.rowCount {
      var generator = Philox(seed: seed, purpose: .sampling, index: hashes[row])
      let normals = Matrix<Double>(
        rows: sampleCount, columns: columns,
        elements: generator.normals(count: sampleCount * columns))
      var logits = normals.multiplied(by: covariance.root(row).transposed())
      logits.addToRows(means.row(row))
      logits.formLogSoftmaxRows()
      let sums = logits.exponentials().columnSums()
      result.withMutableRow(row) { target in
        for k in target.indices {
          target[k] =
            (sums[k] > 1e-200 ? log(sums[k]) : SpecialFunctions.logSumExp(logits.column(k)))
            - log(Double(sampleCount))
        }
      }
    }
    return result
  }
}

extension PosteriorCovariance {
  /// The logarithms of the probabilities of the classes of rows, some hundred at a time.
  ///
  /// - Parameters:
  ///   - rows: n x D.
  ///   - means: of their logits, n x C.
  ///   - link: how the softmax is integrated.
  /// - Returns: n x C; the exponentials of a row sum to 1.
  func logProbabilities(
    _ rows: Matrix<Scalar>, means: Matrix<Double>, _ link: Link
  ) -> Matrix<Double> {
    let hashes = link.approximation == .monteCarlo ? rows.rowHashes() : []
    var result = means.compact()
    for start in stride(from: 0, to: rows.rowCount, by: 256) {
      let range = start..<min(start + 256, rows.rowCount)
      result.replaceBlock(
        row: start, column: 0,
        with: link.logProbabilities(
          means: means.rows(range),
          logitCovariance(rows.rows(range).compact(), isCentred: link.approximation == .probit),
          hashes: hashes.isEmpty ? [] : Array(hashes[range])))
    }
    return result
  }
}

extension FeatureMatrix {
  /// A number for each row that depends on its values alone: equal rows have the same.
  func rowHashes() -> [UInt64] {
    switch storage {
    case .float16(let matrix): matrix.rowHashes()
    case .float32(let matrix): matrix.rowHashes()
    case .float64(let matrix): matrix.rowHashes()
    }
  }
}

extension Matrix where Element: BinaryFloatingPoint {
  /// A number for each row that depends on its values alone: equal rows have the same.
  func rowHashes() -> [UInt64] {
    (0..<rowCount).map { row in
      withRow(row) { values in
        var hash: UInt64 = 0
        for column in values.indices {
          // -0 and 0 agree.
          hash = (hash ^ Double(values[column] + 0).bitPattern) &* 0x9E37_79B9_7F4A_7C15
          hash ^= hash >> 29
        }
        return hash
      }
    }
  }
}
