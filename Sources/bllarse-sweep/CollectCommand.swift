import ArgumentParser
import BllarseSweep

struct CollectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "collect", abstract: "Gathers the results into one table.",
    discussion: """
      A table shows the keys that vary and five scores, those of the test split first; --wide, csv and \
      json have every number of the results. With --seeds a table shows the mean of each score and half \
      the width of its 95 % interval; --wide, csv and json also its standard deviation and error.
      """)

  @OptionGroup var sweep: SweepArguments
  @Option(help: "table, csv, json or markdown.") var format = CollectFormat.table

  @Option(
    help: .init("Sort by this metric, such as test.nll, the best first.", valueName: "metric"))
  var best: String?

  @Flag(help: "The largest value is the best (the default for acc and elbo), or the smallest.")
  var order: BestOrder?

  @Flag(help: "One row a setting: n, mean, sd, standard error and 95 % interval over its seeds.")
  var seeds = false

  @Flag(help: "Differences to the best setting over the same seeds; needs --best.")
  var paired = false

  @Option(help: .init("The metrics of --seeds, instead of the main five.", valueName: "metric"))
  var metric: [String] = []

  @Flag(name: .shortAndLong, help: "Show every number of the results.") var wide = false

  @Option(name: .shortAndLong, help: .init("Write to a file.", valueName: "file"))
  var output: String?

  func validate() throws {
    if paired, best == nil { throw ValidationError("--paired needs --best METRIC") }
    if order != nil, best == nil {
      throw ValidationError("--\(order?.rawValue ?? "") has an effect with --best METRIC only")
    }
    if !metric.isEmpty, !seeds {
      throw ValidationError(
        "--metric has an effect with --seeds only; --best METRIC shows and sorts by one")
    }
    for (name, isGiven) in [("--seeds", seeds), ("--wide", wide)] where paired && isGiven {
      throw ValidationError("\(name) has no effect with --paired; give one of them")
    }
    if wide, !metric.isEmpty {
      throw ValidationError("--wide shows every metric, --metric some; give one of them")
    }
    if wide, format.isForPrograms {
      throw ValidationError(
        "--wide has no effect with --format \(format.rawValue), which has every number always")
    }
  }

  func run() throws {
    let directory = try sweep.existingDirectory()
    // Records what finished after its launcher had died.
    _ = try StatusReader.fromFiles(directory).all()
    let collector = try Collector(directory)
    let table = try table(of: collector)
    let text =
      switch format {
      case .table: table.text
      case .csv: table.csv
      case .json: table.json
      case .markdown: table.markdown
      }
    if let output { try Files.write(text, to: output) } else { Terminal.write(text) }
    let (finished, total) = collector.progress
    Terminal.note("\(finished) of \(total) configurations have a result")
    if seeds, !isWhole {
      Terminal.note(
        "mean ± half the 95 % interval over the seeds; --wide has deviations, errors and all metrics"
      )
    }
    try ParentRuns.update(directory, collector: collector)
  }

  private var isWhole: Bool { wide || format.isForPrograms }

  private func table(of collector: Collector) throws -> ResultTable {
    let largest = order.map { $0 == .largest }
    if paired, let best { return try collector.pairedTable(best: best, largest: largest) }
    guard seeds else { return try collector.table(best: best, largest: largest, isWide: isWhole) }
    return try collector.replicateTable(
      metrics: metric, best: best, largest: largest, isWide: isWhole)
  }
}

enum CollectFormat: String, ExpressibleByArgument, CaseIterable {
  case table, csv, json, markdown

  /// Whether programs read it: then it holds everything.
  var isForPrograms: Bool { self == .csv || self == .json }
}

enum BestOrder: String, EnumerableFlag { case largest, smallest }
