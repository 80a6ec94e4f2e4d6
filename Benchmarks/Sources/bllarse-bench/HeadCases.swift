import BllarseCore
import BllarseNumerics
import Foundation

/// Cases of heads other than the probit one.
struct HeadCases {
  let data: BenchData
  let execution: Execution

  /// Coordinate ascent of the one-against-rest Polya-Gamma head on all rows.
  func polyaGamma(_ report: inout Report, iterations: Int, repeats: Int) throws {
    let (n, d, k) = (
      Double(data.rowCount), Double(data.columnCount + 1), Double(data.classCount)
    )
    report.iterations = iterations
    // A Gram matrix, a factorisation and a triangular solve for each class and iteration.
    report.flops = Double(iterations) * k * (2 * n * d * d + d * d * d / 3)
    var head = IBPolyaGammaHead<Float>(
      .init(featureCount: data.columnCount, classCount: data.classCount, transform: .identity))
    try report.time(repeats) {
      head.reset()
      try head.update(
        features: data.features, labels: data.labels, iterations: iterations,
        execution: execution)
    }
  }

  /// Epochs of AdamW on a softmax head, as a run takes them, without the scores after each.
  ///
  /// `extra["products"]` is what the two products of every batch take alone: X·W and XᵀR.
  func adamw(_ report: inout Report, batchSize: Int, repeats: Int) throws {
    let (n, d, k) = (
      Double(data.rowCount), Double(data.columnCount + 1), Double(data.classCount)
    )
    report.flops = 4 * n * d * k
    report.extra["batch_size"] = Double(batchSize)
    let path = NSTemporaryDirectory() + "/bllarse-bench-\(getpid()).safetensors"
    defer { try? FileManager.default.removeItem(atPath: path) }
    var writer = SafetensorsWriter()
    let matrix: Matrix<Float> = data.features.converted()
    writer.add("X_train", matrix)
    writer.add("y_train", data.labels)
    writer.add("X_test", matrix.rows(0..<data.classCount * 20))
    writer.add("y_test", Array(data.labels.prefix(data.classCount * 20)))
    try writer.write(to: path)

    var configuration = RunConfiguration()
    configuration.data.featuresPath = path
    configuration.method = Method("CrossEntropy", "adamw")
    configuration.method[FitOptions.batchSize] = batchSize
    configuration.threadCount = execution.threadCount
    configuration.epochs = 5
    var products: [Double] = []
    for _ in 0..<repeats {
      let (result, _) = try FineTuning(configuration).run()
      report.samples.append(result.seconds.fit / Double(configuration.epochs))
      products.append(twoProducts(matrix, batchSize))
    }
    report.extra["products"] = median(products)
  }

  /// The seconds of an epoch's products, one batch after the other, by BLAS on all threads.
  private func twoProducts(_ features: Matrix<Float>, _ batchSize: Int) -> Double {
    BLASThreadCount.set(execution)
    let (columns, classes) = (features.columnCount, data.classCount)
    let weights = Matrix<Float>(rows: columns, columns: classes, repeating: 0.01)
    var gradient = Matrix<Float>.zeros(columns, classes)
    return Clock.seconds {
      for first in stride(from: 0, to: features.rowCount, by: batchSize) {
        let batch = features.rows(first..<min(first + batchSize, features.rowCount))
        let logits = batch.multiplied(by: weights)
        Matrix.multiply(batch, transposingA: true, logits, into: &gradient)
      }
    }
  }
}
