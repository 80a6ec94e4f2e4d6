import ArgumentParser
import BllarseSweep

/// The MLflow run that the runs of a submission are nested in.
struct TrackingArguments: ParsableArguments {
  @Option(help: ArgumentHelp("Nest the runs in this MLflow run.", valueName: "run"))
  var parentRunId: String?

  /// The id of the parent, if there is one.
  func parent(of indices: [Int], in directory: SweepDirectory, total: Int) throws -> String? {
    parentRunId
  }
}

/// The parent runs of a sweep's submissions.
enum ParentRuns {
  /// Ends the parents of submissions of which nothing is under way.
  static func update(_ directory: SweepDirectory) throws {}
}
