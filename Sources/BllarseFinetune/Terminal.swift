import ArgumentParser
import BllarseCore
import BllarseMLflow
import BllarseNumerics
import Foundation

/// Progress on standard error, results on standard output.
struct Terminal: RunObserver {
  func runDidLoad(_ data: FeatureDataset, seconds: RunSeconds) {
    let rows = data.splitNames.map { "\(data[$0]?.rowCount ?? 0) \($0)" }.joined(separator: ", ")
    Self.tell(
      "\(data.name): \(rows) rows, \(data.featureCount) features, \(data.outputs) "
        + String(format: "(%.2f s)", seconds.load + seconds.features))
  }

  func runDidAssign(_ roles: SplitRoles) { Self.tell(roles.description) }

  func runDidScoreBaseline(_ test: SplitScores) {
    Self.tell(
      String(
        format: "pretrained classifier: acc %.4f  nll %.4f  ece %.4f", test.acc, test.nll, test.ece)
    )
  }

  func runDidScoreBatch(_ record: EpochRecord) {
    Self.tell("epoch \(record.epoch), \(record.step) rows seen" + figures(record))
  }

  func runDidFinishEpoch(_ record: EpochRecord) {
    Self.tell("epoch \(record.epoch)" + figures(record))
  }

  private func figures(_ record: EpochRecord) -> String {
    let names = ["loss", "acc", "nll", "ece", "rmse", "crps", "hamming_loss"]
    let scores = names.compactMap { name in
      record.metrics[name].map { "  \(name) " + Self.figure($0) }
    }
    let elbo = record.metrics["elbo"].map { String(format: "  elbo %.2f", $0) } ?? ""
    return scores.joined() + elbo + String(format: "  %.2f s", record.seconds)
  }

  func runDidNote(_ message: String) { Self.tell("note: " + message) }

  /// Where the run is tracked, when it has ended.
  func runIsTracked(_ location: RunLocation) { Self.tell("MLflow: \(location)") }

  func show(_ result: RunResult, output: String?) {
    let test = result.roles.test
    var splits = result.splits.map { ($0.split, $0.scores) }
    if let scores = result.uncalibrated?[test] { splits.append(("\(test) (uncalibrated)", scores)) }
    if result.hasHead, let before = result.baseline?.first(where: { $0.split == test }) {
      splits.append(("\(test) before", before.scores))
    }
    show(splits)
    showCalibration(result)
    if let estimate = result.leftOut { show(estimate, result.test.task) }
    if let recipe = result.recipe {
      show(recipe)
    } else if let elbo = result.elbo {
      let name =
        switch result.test.task {
        case .classification:
          result.test.isOrdered ? "log evidence" : "evidence lower bound"
        case .regression: "log evidence"
        case .multilabel: "log evidence, or its bound, of all labels"
        }
      var line = String(format: "\(name) %.4f after %d iterations", elbo, result.iterations)
      if let gap = result.certificate {
        line += String(format: ", between %.2g and %.2g below its maximum", gap.lower, gap.upper)
      }
      print(line)
    }
    if let detections = result.metrics?.outOfDistribution { show(detections) }
    let seconds = result.seconds
    print(
      String(
        format: "seconds: load %.3f, features %.3f, fit %.3f, evaluate %.3f, total %.3f",
        seconds.load, seconds.features, seconds.fit, seconds.evaluate, seconds.total))
    if let output { print("written to \(output)") }
    // A log has it before a server is waited for, whatever becomes of the process then.
    fflush(nil)
  }

  func show(_ splits: [(split: String, scores: SplitScores)]) {
    let width = max(12, splits.map(\.split.count).max() ?? 0)
    let scores = splits.first?.scores
    let metrics = Metric.ofSplits(
      scores?.task ?? .classification, ordered: scores?.isOrdered ?? false
    ).map(\.name)
    let rows = splits.map { split in (split.split, metrics.map { Self.figure(split.scores[$0]) }) }
    show([("split", metrics)] + rows, nameWidth: width)
  }

  /// What to expect of target values, or labels, of new rows.
  private func show(_ estimate: [String: Double], _ task: LearningTask) {
    let names = Metric.ofSplits(task).map(\.name)
    show([("estimate", names.map { estimate[$0].map(Self.figure) ?? "" })], nameWidth: 12)
    print(
      String(
        format: "estimate of new rows, from %.0f left out; NLL ± %.4f", estimate["rows"] ?? 0,
        estimate["nll_se"] ?? .nan))
  }

  /// A score in a table: four digits after the point, or four significant ones where it is large.
  private static func figure(_ value: Double) -> String {
    String(format: value.magnitude < 1e5 ? "%.4f" : "%.3e", value)
  }

  /// Rows of a table, the first of them its head; columns are wide enough to keep apart.
  private func show(_ rows: [(String, [String])], nameWidth: Int) {
    for (name, figures) in rows {
      let cells = figures.map { figure in
        String(repeating: " ", count: max(1, 9 - figure.count)) + figure
      }
      print(name.padding(toLength: nameWidth, withPad: " ", startingAt: 0) + cells.joined())
    }
  }

  /// How well each score tells out-of-distribution rows from those of the test split, the best first.
  private func show(_ detections: [String: [String: Double]]) {
    let sorted = detections.mapValues { scores in
      ["auroc", "fpr95", "aupr_out"].map { scores[$0] ?? .nan }
    }.sorted { ($0.value[0], $1.key) > ($1.value[0], $0.key) }
    show(
      [(name: "out of distribution", figures: ["auroc", "fpr95", "aupr"])]
        + sorted.map { ($0.key, $0.value.map(Self.figure)) }, nameWidth: 19)
  }

  /// The epoch that predicts the validation split best, or a place in one where heads were scored between
  /// batches, and its scores on the splits that are not trained on.
  func show(_ best: BestEpoch, isWithinEpochs: Bool) {
    let splits = (best.splits ?? [:]).filter { $0.key != SplitRoles.training }
      .sorted { $0.key < $1.key }
      .map { name, scores in
        let names =
          switch scores.task {
          case .classification: ["acc", "nll"]
          case .regression: ["nll", "rmse"]
          case .multilabel: ["nll", "hamming_loss"]
          }
        return name + names.map { " \($0) " + Self.figure(scores[$0]) }.joined()
      }
    let place = isWithinEpochs ? best.seenExamples.map { ", \($0) rows seen" } ?? "" : ""
    print("best epoch \(best.epoch)\(place): " + splits.joined(separator: "; "))
  }

  // MARK: - Calibration

  /// What was fitted to the validation split, and what temperatures do on parts of the test split.
  func showCalibration(_ result: RunResult) {
    if let calibration = result.calibration {
      var line =
        "calibration: \(calibration.method), fitted to \(calibration.rows) rows of the "
        + "\(calibration.split) split"
      if let beta = calibration.inverseTemperature {
        line += String(format: ": inverse temperature %.4f", beta)
      } else if let shifts = calibration.shifts {
        line += String(
          format: ": %ld numbers, factors %.4f to %.4f, shifts %.4f to %.4f",
          calibration.parameters, calibration.range.first ?? 1, calibration.range.last ?? 1,
          shifts.min() ?? 0, shifts.max() ?? 0)
      } else if calibration.knots != nil {
        line += String(
          format: ": %ld steps, log-odds changed by %.4f to %.4f", calibration.parameters,
          calibration.range.first ?? 0, calibration.range.last ?? 0)
      }
      print(line)
      if let choice = calibration.choice { print(choice) }
    }
    guard let rows = result.temperatureScaling else { return }
    print(
      "temperatures fitted to a part of the TEST split, scored on the rest of it "
        + "(mean ± deviation of \(TemperatureScaling.repeatCount) repeats)")
    print("of        part       temperature              acc               nll               ece")
    for summary in TemperatureScalingSummary.summaries(rows) {
      let figures = summary.spreads.map { String(format: "%9.4f ± %.4f", $0.mean, $0.deviation) }
        .joined(separator: " ")
      print(
        summary.source.padding(toLength: 10, withPad: " ", startingAt: 0)
          + "\(summary.testFraction)".padding(toLength: 8, withPad: " ", startingAt: 0) + figures)
    }
  }

  /// What to expect on new rows, what was chosen, and on what grounds.
  func show(_ recipe: LaplaceReport) {
    if let estimate = recipe.estimate {
      print(
        String(
          format: "estimate     %8.4f%9.4f%9.4f%9.4f   of new rows, from %d left out; NLL ± %.4f",
          estimate.acc, estimate.nll, estimate.ece, estimate.brier, estimate.rows,
          estimate.nllError ?? .nan))
    }
    print(
      String(
        format: "%@ regression, scaling %@, prior precision %.3g, temperature %.3f, posterior %@",
        recipe.likelihood.rawValue, recipe.scaling.rawValue, recipe.priorPrecision,
        1 / recipe.inverseTemperature, recipe.posterior.rawValue)
        + (recipe.link == .meanProbit ? "" : ", link \(recipe.link.rawValue)"))
    for reason in recipe.reasons { print(reason) }
    if let distance = recipe.distance {
      print(
        String(
          format: "log evidence %.4f, %.1f parameters determined by the rows",
          recipe.logEvidence ?? .nan, distance.effectiveParameterCount))
      print(
        String(
          format:
            "the optimum is about %.3g nats higher, %.3g standard deviations a parameter away "
            + "(gradient norm %.3g)", distance.newtonDecrement, distance.deviations,
          distance.gradientNorm))
      return
    }
    print("\(recipe.iterationCount) iterations over \(recipe.fitCount) fits")
  }

  /// Writes lines to standard error, with what a terminal obeys escaped: they name files, and quote servers.
  static func tell(_ text: String) {
    FileHandle.standardError.write(Data(text.printableLines.utf8))
  }
}

extension CalibrationReport {
  /// What was asked for, what stands and why; `nil` where a temperature was asked for.
  fileprivate var choice: String? {
    guard let reason else { return nil }
    var line = "calibration: \(requested) was asked for, \(method) stands: \(reason)"
    if let leftOut {
      line += String(
        format: " (nll of %ld left-out rows: %@ %.4f, temperature %.4f, difference %.4f ± %.4f)",
        leftOut.rows, requested, leftOut.requested, leftOut.temperature,
        leftOut.requested - leftOut.temperature, leftOut.differenceError)
    }
    return line
  }
}
