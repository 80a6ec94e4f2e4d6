import ArgumentParser
import BllarseCore

/// `bllarse-finetune [train]`: one run.
struct Train: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Fits a head and scores it on the test split (the default).")

  @OptionGroup(title: "What to fit") var method: MethodOptions
  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Running") var running: RunningOptions
  @OptionGroup(title: "Tracking") var tracking: TrackingOptions

  func validate() throws {
    try method.check()
    try data.check()
  }

  func run() throws {
    var configuration = RunConfiguration()
    method.apply(to: &configuration)
    data.apply(to: &configuration)
    running.apply(to: &configuration)
    let terminal = Terminal()
    for warning in method.warnings { terminal.runDidNote(warning) }
    try reportingErrors {
      let tracker = try tracking.start(configuration, terminal)
      do {
        let observers: [any RunObserver] = [terminal] + (tracker.map { [$0] } ?? [])
        let (result, _) = try FineTuning(configuration, observers: observers).run()
        terminal.show(result, output: configuration.outputPath)
        tracker?.finish(result)
      } catch {
        tracker?.fail()
        throw error
      }
    }
  }
}
