import ArgumentParser
import BllarseCore
import BllarseNumerics

/// Times one case and prints a line for people and a line for machines.
@main
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bllarse-bench",
    abstract: "Times updates, solver, evaluation and prediction, beside this machine's sgemm peak.")

  enum Case: String, ExpressibleByArgument, CaseIterable {
    /// An exact number of coordinate-ascent iterations on the full batch.
    case cavi
    /// The time of one fused pass: the difference between two numbers of iterations.
    case pass
    /// A fit to a relative bound gap, Gram matrix and factorisation included.
    case converged
    /// The number of coordinate-ascent iterations for the same gap.
    case caviCount = "cavi-count"
    /// An epoch of merged batches.
    case merge
    /// An epoch of site refinement.
    case sites
    /// The logarithms of predictive probabilities.
    case predict
    /// Prediction and the scores of a run.
    case evaluate
    /// Coordinate ascent of the one-against-rest Polya-Gamma head.
    case polyaGamma = "polya-gamma"
    /// An epoch of AdamW on a softmax head.
    case adamw
    /// The sgemm peak alone.
    case peak
  }

  @Argument(help: "What to time: \(Case.allCases.map(\.rawValue).joined(separator: ", ")).")
  var `case`: Case

  @Option(help: "A feature file; without one, data are generated.") var features: String?
  @Option var rows = 50_000
  @Option var dim = 512
  @Option var classes = 10
  @Option var iterations = 64
  @Option var batchSize = 64
  @Option var tolerance = 1e-6
  @Option(help: "Timed repetitions; the median counts.") var repeats = 3
  @Option var threads: Int?
  @Flag(help: "A converged fit proves its distance to the optimum.") var certify = false
  @Flag(help: "Generate features in half precision.") var half = false
  @Flag(help: "Skip the sgemm peak, whose matrices would count as memory.") var noPeak = false

  func run() throws {
    let execution = threads.map(Execution.init(threadCount:)) ?? .available
    let peak = noPeak ? .infinity : Peak.measure(execution)
    var report = Report(name: self.case.rawValue, threads: execution.threadCount, peak: peak)
    guard self.case != .peak else { return report.show() }

    let data =
      try features.map { try BenchData(file: $0, execution) }
      ?? BenchData(rows: rows, dim: dim, classes: classes, half: half)
    report.describe(data)
    let (n, d, k) = (Double(data.rowCount), Double(data.columnCount + 1), Double(data.classCount))
    var head = data.head
    let gram = n * d * d
    let product = 4 * n * d * k

    switch self.case {
    case .cavi:
      report.iterations = iterations
      report.flops = gram + d * d * d / 3 + Double(iterations) * (product + 2 * d * d * k)
      try report.time(repeats) {
        head.reset()
        try head.update(
          features: data.features, labels: data.labels, iterations: iterations,
          execution: execution)
      }
    case .pass:
      // Two lengths of the same run: what they share cancels.
      func seconds(_ count: Int) throws -> Double {
        try Clock.seconds {
          head.reset()
          try head.update(
            features: data.features, labels: data.labels, iterations: count,
            execution: execution)
        }
      }
      _ = try seconds(2)
      let samples = try (0..<repeats).map { _ in
        (try seconds(4 + iterations) - seconds(4)) / Double(iterations)
      }
      report.flops = product
      report.samples = samples
    case .converged:
      func fit() throws -> IBProbitHead<Float>.FitInfo {
        try head.fit(
          features: data.features, labels: data.labels, tolerance: tolerance, isCertified: certify)
      }
      var info = try fit()
      try report.time(repeats) { info = try fit() }
      report.iterations = info.iterations
      report.flops = gram + d * d * d / 3 + Double(info.iterations) * product
      report.extra["elbo"] = info.evidenceLowerBounds.last
      report.extra["gap_lower"] = info.certificate.lower
      report.extra["gap_upper"] = info.certificate.upper
      report.extra["objective"] = info.objective
    case .caviCount:
      let best = try head.fit(
        features: data.features, labels: data.labels, tolerance: tolerance / 100)
      guard let optimum = best.evidenceLowerBounds.last else { return }
      var count = 0
      try report.time(1) {
        head.reset()
        let info = try head.update(
          features: data.features, labels: data.labels, iterations: iterations, reportsBounds: true)
        count =
          info.evidenceLowerBounds.firstIndex { optimum - $0 <= tolerance * abs(optimum) } ?? -1
      }
      report.iterations = count
    case .merge:
      report.iterations = iterations
      report.extra["batch_size"] = Double(batchSize)
      let order = Array(0..<data.rowCount)
      let b = Double(batchSize)
      report.flops =
        gram + n / b * (b * b * d + b * b * b + Double(iterations) * 2 * b * b * k) + 2 * n * d * k
      try report.time(repeats) {
        head.reset()
        try head.update(
          features: data.features, labels: data.labels, order: order, batchSize: batchSize,
          iterations: iterations, forgettingRate: 1e-3, execution: execution)
        _ = try head.mean()
      }
    case .sites:
      report.iterations = iterations
      report.extra["batch_size"] = Double(batchSize)
      var refinement = try IBProbitSiteRefinement<Float>(
        head.configuration, features: data.features, labels: data.labels, execution: execution)
      let order = Array(0..<data.rowCount)
      report.flops = 2 * n * d * d
      try report.time(repeats) {
        try refinement.runEpoch(order: order, batchSize: batchSize, iterations: iterations)
      }
    case .predict, .evaluate:
      try head.fit(
        features: data.features, labels: data.labels, tolerance: 1e-3, execution: execution)
      report.flops = 2 * n * d * k
      try report.time(repeats) {
        let logProbabilities = try head.logProbabilities(data.features, execution: execution)
        if self.case == .evaluate {
          _ = SplitScores(
            try Predictions(
              logProbabilities: logProbabilities, labels: data.labels, execution: execution))
        }
      }
    case .polyaGamma:
      try HeadCases(data: data, execution: execution)
        .polyaGamma(&report, iterations: iterations, repeats: repeats)
    case .adamw:
      try HeadCases(data: data, execution: execution)
        .adamw(&report, batchSize: batchSize, repeats: repeats)
    case .peak:
      break
    }
    report.show()
  }
}
