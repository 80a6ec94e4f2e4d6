import BllarseNumerics

/// Fits a head to each label of sets, by the trainer that fits it to two classes.
struct IndependentLabelsTrainer: HeadTrainer {
  /// What fits a label, or what predicts one that does not vary.
  private enum Label {
    case varying(any HeadTrainer)
    case constant(ConstantLabel)
  }

  private var labels: [Label]
  /// What the fit of each says of itself so far.
  private var fits: [LabelFit]
  /// What they are called.
  private let names: [String]
  /// The places of labels that vary, at least one.
  private let varying: [Int]
  /// Whether heads are scored within epochs: then a step is one of every label.
  private let scoresBatches: Bool

  /// Makes a trainer for each label.
  ///
  /// - Parameters:
  ///   - data: rows with sets of labels, at least one of which varies.
  ///   - scoresBatches: whether trainers report heads within epochs.
  ///   - make: what makes a trainer for rows of two classes.
  /// - Throws: what `make` throws.
  init(
    _ data: TrainingData, scoresBatches: Bool,
    make: (TrainingData) throws(DataError) -> any HeadTrainer
  ) throws(DataError) {
    self.scoresBatches = scoresBatches
    var labels: [Label] = []
    for label in 0..<data.split.labelSets.labelCount {
      let split = data.split.asking(for: label)
      if let constant = ConstantLabel(split) {
        labels.append(.constant(constant))
      } else {
        labels.append(.varying(try make(TrainingData(split: split, classCount: 2))))
      }
    }
    self.labels = labels
    fits = labels.map { label in
      if case .constant(let head) = label { LabelFit(head) } else { LabelFit(FitInfo()) }
    }
    names = data.outputNames.isEmpty ? labels.indices.map(String.init) : data.outputNames
    varying = labels.indices.filter { if case .varying = labels[$0] { true } else { false } }
  }

  private var trainers: [any HeadTrainer] {
    labels.compactMap { if case .varying(let trainer) = $0 { trainer } else { nil } }
  }

  var head: any Head {
    head { label in
      if case .varying(let trainer) = labels[label] { trainer.head } else { nil }
    }
  }

  /// The head of all labels, with what is given for those that vary.
  private func head(_ varying: (_ label: Int) -> (any Head)?) -> IndependentLabels {
    IndependentLabels(
      labels.indices.map { label in
        if case .constant(let head) = labels[label] { return head }
        guard let head = varying(label) as? any ClassificationHead else {
          preconditionFailure("labels are predicted by heads of classes")
        }
        return head
      })
  }

  // MARK: - What the fit says

  /// The sums over labels, and the mean of their estimates.
  var info: FitInfo {
    var info = FitInfo()
    info.iterations = fits.reduce(0) { $0 + $1.iterations }
    let evidence = fits.compactMap(\.evidence)
    // The marginal likelihood of rows that all have a label, or none, has no part here.
    if evidence.count == fits.count { info.evidence = evidence.reduce(0, +) }
    info.note = fits.note(names: names)
    info.estimate = fits.estimate
    info.labels = fits.map(\.values)
    return info
  }

  /// The mean over labels.
  var batchLoss: Double? {
    let losses = trainers.compactMap(\.batchLoss)
    return losses.isEmpty ? nil : losses.reduce(0, +) / Double(losses.count)
  }

  // MARK: - Steps

  /// Whether a step is one of one label, after which a run can stop, as each is a fit of its own.
  private func goesByLabel(rowCount: Int) -> Bool {
    !scoresBatches && trainers.allSatisfy { $0.stepCount(rowCount: rowCount) == 1 }
  }

  func stepCount(rowCount: Int) -> Int {
    goesByLabel(rowCount: rowCount)
      ? varying.count : trainers.first?.stepCount(rowCount: rowCount) ?? 1
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport] {
    if goesByLabel(rowCount: split.rowCount) {
      _ = try run(varying[step], step: 0, epoch: epoch, on: split)
      return []
    }
    // A label that is told to stop leaves all as they were.
    var next = self
    var reports: [Int: [BatchReport]] = [:]
    for label in varying {
      reports[label] = try next.run(label, step: step, epoch: epoch, on: split)
    }
    self = next
    return combined(reports)
  }

  private mutating func run(
    _ label: Int, step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport] {
    guard case .varying(var trainer) = labels[label] else { return [] }
    let reports = try trainer.runStep(step, epoch: epoch, on: split.asking(for: label))
    labels[label] = .varying(trainer)
    fits[label] = LabelFit(trainer.info)
    return reports
  }

  /// What trainers report after the same batches, as heads of all labels.
  private func combined(_ reports: [Int: [BatchReport]]) -> [BatchReport] {
    let count = reports.values.map(\.count).min() ?? 0
    return (0..<count).map { place in
      let losses = varying.compactMap { reports[$0]?[place].loss }
      return BatchReport(
        batch: reports[varying[0]]?[place].batch ?? 0,
        loss: losses.isEmpty ? nil : losses.reduce(0, +) / Double(losses.count),
        head: head { reports[$0]?[place].head })
    }
  }

  // MARK: - Checkpoints

  private static let fitsKey = "label_fits"

  func encode(into writer: inout SafetensorsWriter) {
    writer.encode(iterations: info.iterations, info.evidence)
    writer.metadata[Self.fitsKey] = RunOutput.json(fits)
    for label in varying {
      guard case .varying(let trainer) = labels[label] else { continue }
      var part = SafetensorsWriter()
      trainer.encode(into: &part)
      writer.add(part, prefix: IndependentLabels.prefix(label))
    }
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    let count = labels.count
    fits = try file.entry(Self.fitsKey, "what \(count) fits say, as a JSON list") { text in
      RunOutput.decode([LabelFit].self, from: text).flatMap { $0.count == count ? $0 : nil }
    }
    for label in varying {
      guard case .varying(var trainer) = labels[label] else { continue }
      try trainer.restore(from: file.part(IndependentLabels.prefix(label)))
      labels[label] = .varying(trainer)
    }
  }
}
