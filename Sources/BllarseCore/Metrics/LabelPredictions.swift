import Glibc
public import BllarseNumerics

/// Predicted probabilities of labels with the labels that rows have.
public struct LabelPredictions: Sendable {
  /// What was predicted: the log-odds of each label, N x L.
  public let logOdds: Matrix<Float>
  /// The labels that rows have, N x L.
  public let labels: LabelSets

  /// Joins predictions and labels.
  ///
  /// - Throws: `NumericsError` when they differ in shape, or there are no rows.
  public init(logOdds: Matrix<Float>, _ labels: LabelSets) throws(NumericsError) {
    guard logOdds.rowCount > 0 else { throw .noRows("rows to score") }
    for (what, found, expected) in [
      ("rows with labels", labels.rowCount, logOdds.rowCount),
      ("labels of a row", labels.labelCount, logOdds.columnCount),
    ] where found != expected {
      throw .sizeMismatch(of: what, found: found, expected: expected, reason: "as predictions have")
    }
    (self.logOdds, self.labels) = (logOdds, labels)
  }

  /// N.
  public var count: Int { labels.rowCount }

  /// The probability that a row has a label.
  func probability(_ row: Int, _ label: Int) -> Double {
    1 / (1 + exp(-Double(logOdds[row, label])))
  }

  /// The negative log-likelihood of an answer, in nats: `log(1 + exp(-f))` of the log-odds for it.
  func loss(_ row: Int, _ label: Int) -> Double {
    let odds = Double(logOdds[row, label]) * (labels[row, label] ? 1 : -1)
    return odds > 0 ? log1p(exp(-odds)) : log1p(exp(odds)) - odds
  }

  /// Whether a label is predicted: it is more probable than not.
  func isPredicted(_ row: Int, _ label: Int) -> Bool { logOdds[row, label] > 0 }

  /// What is known of a row, its answers averaged over labels.
  struct RowScores {
    /// The negative log-likelihood in nats, the Brier score of two classes, the share of wrong answers.
    var (nll, brier, wrong) = (0.0, 0.0, 0.0)
  }

  /// The scores of each row.
  var rowScores: [RowScores] {
    let share = 1 / Double(labels.labelCount)
    return (0..<count).map { row in
      var scores = RowScores()
      for label in 0..<labels.labelCount {
        let error = probability(row, label) - (labels[row, label] ? 1 : 0)
        scores.nll += share * loss(row, label)
        scores.brier += share * 2 * error * error
        if isPredicted(row, label) != labels[row, label] { scores.wrong += share }
      }
      return scores
    }
  }

  /// How well a label is told from the other rows, and how often it is right.
  struct LabelScores {
    /// The rows that have it.
    let positives: Int
    /// The mean negative log-likelihood of its answers, in nats.
    let nll: Double
    /// Right and wrong predictions of it, and rows that have it and are not predicted to.
    let (truePositives, falsePositives, falseNegatives): (Int, Int, Int)
    /// The average precision, and the area under the receiver operating characteristic, where some rows have it and,
    /// for the latter, some have not.
    let averagePrecision, auroc: Double?

    /// `2 TP / (2 TP + FP + FN)`, where some rows have it or are predicted to.
    var f1: Double? {
      let total = 2 * truePositives + falsePositives + falseNegatives
      return total == 0 ? nil : Double(2 * truePositives) / Double(total)
    }

    /// The scores by the names of their metrics.
    var values: [String: Double] {
      var values = ["nll": nll, "positives": Double(positives)]
      (values["f1"], values["auroc"]) = (f1, auroc)
      values["average_precision"] = averagePrecision
      return values
    }
  }

  /// The scores of each label.
  var labelScores: [LabelScores] {
    (0..<labels.labelCount).map { label in
      let odds = (0..<count).map { logOdds[$0, label] }
      let has = (0..<count).map { labels[$0, label] }
      let ranking = Ranking(odds, has)
      var (truePositives, falsePositives, falseNegatives) = (0, 0, 0)
      for (odds, has) in zip(odds, has) {
        switch (odds > 0, has) {
        case (true, true): truePositives += 1
        case (true, false): falsePositives += 1
        case (false, true): falseNegatives += 1
        case (false, false): break
        }
      }
      return LabelScores(
        positives: ranking.positives, nll: Metrics.mean((0..<count).map { loss($0, label) }),
        truePositives: truePositives, falsePositives: falsePositives,
        falseNegatives: falseNegatives, averagePrecision: ranking.averagePrecision,
        auroc: ranking.auroc)
    }
  }

  /// The mean over labels of a score that some of them have.
  func macroAverage(_ score: (LabelScores) -> Double?) -> Double? {
    let values = labelScores.compactMap(score)
    return values.isEmpty ? nil : Metrics.mean(values)
  }

  /// The harmonic mean of precision and recall of all answers together; `nil` where no row has a label or is predicted to.
  var microF1: Double? {
    let scores = labelScores
    let right = scores.reduce(0) { $0 + $1.truePositives }
    let wrong = scores.reduce(0) { $0 + $1.falsePositives + $1.falseNegatives }
    return right + wrong == 0 ? nil : Double(2 * right) / Double(2 * right + wrong)
  }

  /// The mean over rows of the average precision of their labels, ranked by their log-odds; rows with none or all of the
  /// labels are left out, and it is `nil` where there are no others.
  var rankingPrecision: Double? {
    let values = (0..<count).compactMap { row -> Double? in
      let has = (0..<labels.labelCount).map { labels[row, $0] }
      guard has.contains(true), has.contains(false) else { return nil }
      return labelRankingPrecision(logOdds.row(row), has)
    }
    return values.isEmpty ? nil : Metrics.mean(values)
  }

  /// The mean over a row's labels of the share of its labels among all that rank as high.
  private func labelRankingPrecision(_ odds: [Float], _ has: [Bool]) -> Double {
    let own = odds.indices.filter { has[$0] }
    return Metrics.mean(
      own.map { label in
        let above = odds.indices.filter { odds[$0] >= odds[label] }
        return Double(above.count { has[$0] }) / Double(above.count)
      })
  }

  /// The bins of equal width of all answers: probabilities of labels, and rows that have them.
  func binSums(binCount: Int = 20) -> [BinSums] {
    var bins = [BinSums](repeating: BinSums(), count: binCount)
    for row in 0..<count {
      for label in 0..<labels.labelCount {
        let p = probability(row, label)
        bins[BinSums.index(p, binCount)].add(p, labels[row, label] ? 1 : 0)
      }
    }
    return bins
  }

  /// The expected calibration error of the probabilities of labels.
  var calibrationError: Double { CalibrationError(binSums()).expected }
}

/// Rows in the order of a score, those with a property among the others.
private struct Ranking {
  /// The rows with the property.
  let positives: Int
  /// The mean over them of the share of such rows among all that score as high; `nil` for none.
  private(set) var averagePrecision: Double?
  /// The probability that one of them scores higher than one of the others, of equals one half; `nil` where there are
  /// not both.
  private(set) var auroc: Double?

  /// Ranks rows; equal scores have one rank.
  init(_ scores: [Float], _ has: [Bool]) {
    let order = scores.indices.sorted { scores[$0] > scores[$1] }
    positives = has.count { $0 }
    // What is not a number has no rank.
    guard !scores.contains(where: \.isNaN) else { return }
    let negatives = has.count - positives
    var (seen, hits, precision, wins) = (0, 0, 0.0, 0.0)
    while seen < order.count {
      let score = scores[order[seen]]
      var (rows, own) = (0, 0)
      while seen + rows < order.count, scores[order[seen + rows]] == score {
        if has[order[seen + rows]] { own += 1 }
        rows += 1
      }
      let below = negatives - (seen - hits) - (rows - own)
      wins += Double(own) * (Double(below) + 0.5 * Double(rows - own))
      (seen, hits) = (seen + rows, hits + own)
      precision += Double(own) * Double(hits) / Double(seen)
    }
    guard positives > 0 else { return }
    averagePrecision = precision / Double(positives)
    if negatives > 0 { auroc = wins / (Double(positives) * Double(negatives)) }
  }
}

extension LabelPredictions {
  /// Confidence intervals of "nll", "brier", "hamming_loss" and "subset_acc", each of which holds its value: percentiles of
  /// the scores of N rows drawn with replacement.
  func bootstrapIntervals(
    replicateCount: Int = 1000, level: Double = 0.95, seed: UInt64, execution: Execution
  ) -> BootstrapIntervals {
    let rows = rowScores
    return BootstrapIntervals(
      ["nll", "brier", "hamming_loss", "subset_acc"], rowCount: rows.count,
      replicateCount: replicateCount, level: level, seed: seed, execution: execution
    ) { row in
      var sums = [0.0, 0.0, 0.0, 0.0]
      for place in rows.indices {
        let scores = rows[row(place)]
        sums[0] += scores.nll
        sums[1] += scores.brier
        sums[2] += scores.wrong
        if scores.wrong == 0 { sums[3] += 1 }
      }
      return sums.map { $0 / Double(rows.count) }
    }
  }
}
