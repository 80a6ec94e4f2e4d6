import ArgumentParser
import BllarseSweep

struct CollectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "collect", abstract: "Gathers the results into one table.")

  @OptionGroup var sweep: SweepArguments

  @Option(help: "table, csv, json or markdown.")
  var format = CollectFormat.table

  @Option(
    help: ArgumentHelp(
      "Sort by this metric, such as test.nll, the best first.", valueName: "metric"))
  var best: String?

  @Flag(help: "The largest value is the best (the default for acc and elbo), or the smallest.")
  var order: BestOrder?

  @Flag(help: "One row a setting: n, mean, sd, standard error and 95 % interval over its seeds.")
  var seeds = false

  @Flag(help: "Differences to the best setting over the same seeds; needs --best.")
  var paired = false

  @Option(help: ArgumentHelp("The metrics of --seeds (all).", valueName: "metric"))
  var metric: [String] = []

  @Option(name: .shortAndLong, help: ArgumentHelp("Write to a file.", valueName: "file"))
  var output: String?

  func validate() throws {
    if paired, best == nil { throw ValidationError("--paired needs --best METRIC") }
  }

  func run() throws {
    let directory = try sweep.existingDirectory()
    // Records what finished after its launcher had died.
    _ = try StatusReader.fromFiles(directory).all()
    let collector = try Collector(directory)
    let largest = order.map { $0 == .largest }
    let table =
      if paired, let best {
        try collector.pairedTable(best: best, largest: largest)
      } else if seeds {
        try collector.replicateTable(metrics: metric, best: best, largest: largest)
      } else {
        try collector.table(best: best, largest: largest)
      }
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
    try ParentRuns.update(directory, collector: collector)
  }
}

enum CollectFormat: String, ExpressibleByArgument, CaseIterable {
  case table, csv, json, markdown
}

enum BestOrder: String, EnumerableFlag {
  case largest, smallest
}
