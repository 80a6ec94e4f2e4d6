import ArgumentParser
import BllarseSweep

/// The MLflow run that the runs of a submission are nested in.
struct TrackingArguments: ParsableArguments {
  @Option(help: ArgumentHelp("Nest the runs in this MLflow run.", valueName: "run"))
  var parentRunId: String?

  /// The id of the parent: the one given, a new one when the configurations are tracked, or nil.
  func parent(of indices: [Int], in directory: SweepDirectory, total: Int) throws -> String? {
    parentRunId
  }

  /// Ends a parent that this sweep made, once nothing is under way.
  func end(_ parent: String, of directory: SweepDirectory) throws {}
}
