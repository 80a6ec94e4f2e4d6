/// What the fit of one label says of itself, kept from the fits of labels before a run was stopped.
struct LabelFit: Sendable, Equatable, Codable {
  /// Iterations over all rows.
  let iterations: Int
  /// The evidence, or a lower bound of it, in nats.
  let evidence: Double?
  /// The NLL of left-out rows, its standard error, and their number, where rows were left out.
  private(set) var nll, nllError: Double?
  private(set) var rows: Int?
  /// What was chosen, by the names of metrics.
  let chosen: [String: Double]
  /// What the user should know.
  let note: String?

  init(_ info: FitInfo) {
    (iterations, note) = (info.iterations, info.note)
    evidence = info.evidence.flatMap { $0.isFinite ? $0 : nil }
    var numbers = info.chosen
    if let report = info.report {
      numbers["prior_precision"] = report.priorPrecision
      numbers["temperature"] = 1 / report.inverseTemperature
    }
    chosen = numbers.filter(\.value.isFinite)
    guard let report = info.report else { return }
    (nll, nllError, rows) = (
      report.estimate?.nll, report.estimate?.nllError, report.estimate?.rows
    )
  }

  /// A label that is predicted by its rate.
  init(_ label: ConstantLabel) {
    (iterations, evidence, note, chosen) = (0, nil, nil, [:])
    (nll, nllError, rows) = (label.estimate?.nll, 0, label.estimate?.rows)
  }

  /// The numbers of a result, by the names of metrics.
  var values: [String: Double] {
    var values = chosen
    values["estimated_nll"] = nll
    return values
  }
}

extension [LabelFit] {
  /// The mean NLL of left-out rows over the labels that have one, and its standard error as if labels erred together: they
  /// share their rows; `nil` where none has.
  var estimate: [String: Double]? {
    let known = filter { $0.nll != nil }
    guard !known.isEmpty else { return nil }
    let count = Double(known.count)
    var scores = [
      "nll": known.reduce(0) { $0 + ($1.nll ?? 0) } / count,
      "rows": Double(known.compactMap(\.rows).min() ?? 0), "labels": count,
    ]
    let errors = known.compactMap(\.nllError)
    if errors.count == known.count { scores["nll_se"] = errors.reduce(0, +) / count }
    return scores
  }

  /// What the user should know, in a line: each note once, with the names of its labels.
  func note(names: [String]) -> String? {
    func labels(_ places: [Int]) -> String {
      let list = places.prefix(5).map { names[$0].quoted() }.joined(separator: ", ")
      return (places.count == 1 ? "label " : "labels ") + list
        + (places.count > 5 ? " and \(places.count - 5) more" : "")
    }
    var groups: [(note: String, places: [Int])] = []
    for (place, fit) in enumerated() {
      guard let note = fit.note else { continue }
      if let index = groups.firstIndex(where: { $0.note == note }) {
        groups[index].places.append(place)
      } else {
        groups.append((note, [place]))
      }
    }
    var lines = groups.prefix(3).map { "\(labels($0.places)): \($0.note)" }
    if groups.count > 3 { lines.append("\(groups.count - 3) further notes of labels") }
    let missing = indices.filter { self[$0].nll == nil }
    if !missing.isEmpty, missing.count < count {
      lines.append(
        "the estimate is of \(count - missing.count) of \(count) labels: no row can be left out for "
          + labels(missing))
    }
    return lines.isEmpty ? nil : lines.joined(separator: "; ")
  }
}
