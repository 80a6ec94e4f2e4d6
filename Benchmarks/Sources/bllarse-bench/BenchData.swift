import BllarseCore
import BllarseNumerics

/// The rows that a case works on.
struct BenchData {
  let features: FeatureMatrix
  let labels: [Int32]
  let classCount: Int

  var rowCount: Int { labels.count }
  var columnCount: Int { features.columnCount }

  /// The training split of a feature file.
  init(file: String, _ execution: Execution) throws {
    let data = try FeatureFile(path: file).dataset(execution: execution)
    let train = try data.split("train")
    features = train.features
    labels = train.labels
    classCount = data.classCount
  }

  /// Normal features, and labels from a linear model with Gumbel noise (as the peers' data are).
  init(rows: Int, dim: Int, classes: Int, half: Bool) {
    var weightStream = Philox(seed: 0, purpose: .sampling, index: 0)
    let scale = 3 / Double(dim).squareRoot()
    let weights = Matrix<Float>(
      rows: dim, columns: classes,
      elements: weightStream.normals(count: dim * classes).map { Float($0 * scale) })
    // Rows are drawn from a table of normal numbers at random places: a hundred times faster than fresh
    // ones, and as good for timing.
    var tableStream = Philox(seed: 0, purpose: .sampling, index: 1)
    let table = tableStream.normals(count: 1 << 20).map { Float($0) }
    var placeStream = Philox(seed: 0, purpose: .sampling, index: 2)
    let matrix = Matrix<Float>(rows: rows, columns: dim, drawing: table) {
      placeStream.integer(below: (1 << 20) - dim)
    }
    let scores = matrix.multiplied(by: weights)
    var noise = Philox(seed: 0, purpose: .sampling, index: 3)
    labels = (0..<rows).map { row in
      scores.withRow(row) { values in
        var best = (score: -Float.infinity, index: 0)
        for k in values.indices {
          let gumbel = -logarithm(-logarithm(noise.uniform()))
          let score = values[k] + Float(gumbel)
          if score > best.score { best = (score, k) }
        }
        return Int32(best.index)
      }
    }
    features =
      half
      ? FeatureMatrix(
        Matrix<Float16>(rows: rows, columns: dim, elements: matrix.elements.map { Float16($0) }))
      : FeatureMatrix(matrix)
    classCount = classes
  }

  /// A head for these data, with the reference's design.
  var head: IBProbitHead<Float> {
    IBProbitHead(
      .init(featureCount: columnCount, classCount: classCount, transform: .standardLayerNorm))
  }
}

extension Matrix<Float> {
  /// Rows that are stretches of a table, each starting where `place` says.
  fileprivate init(rows: Int, columns: Int, drawing table: [Float], _ place: () -> Int) {
    self.init(rows: rows, columns: columns, repeating: 0)
    for row in 0..<rows {
      let start = place()
      withMutableRow(row) { values in
        for column in values.indices { values[column] = table[start + column] }
      }
    }
  }
}
