import ArgumentParser
import BllarseCore

/// `bllarse-finetune [train]`: one run.
struct Train: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Fits a head and scores it on the test split (the default).")

  @OptionGroup(title: "What to fit") var method: MethodOptions
  @OptionGroup(title: "Converged IBProbit") var recipe: RecipeOptions
  @OptionGroup(title: "Calibration") var calibration: CalibrationOptions
  @OptionGroup(title: "Classical heads") var optimizer: OptimizerOptions
  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Splits") var splits: SplitOptions
  @OptionGroup(title: "Running") var running: RunningOptions
  @OptionGroup(title: "Tracking") var tracking: TrackingOptions

  func validate() throws {
    try method.check()
    try recipe.check()
    try calibration.check()
    try optimizer.check()
    try data.check()
    try splits.check()
    let configuration = configuration()
    try recipe.check(configuration)
    try calibration.check(configuration)
  }

  private func configuration() -> RunConfiguration {
    var configuration = RunConfiguration()
    optimizer.apply(to: &configuration)
    method.apply(to: &configuration, parity: recipe.parity)
    recipe.apply(to: &configuration)
    calibration.apply(to: &configuration)
    data.apply(to: &configuration)
    splits.apply(to: &configuration)
    return configuration
  }

  func run() throws {
    var configuration = configuration()
    running.apply(to: &configuration)
    let terminal = Terminal()
    let warnings =
      method.warnings(optimizer.optimizer) + optimizer.warnings(head: configuration.lossFunction)
      + data.backbone.warnings(configuration) + splits.warnings(configuration)
    for warning in warnings { terminal.runDidNote(warning) }
    Interruption.listen(stopsGracefully: configuration.outputPath != nil)
    try reportingErrors {
      let tracker = try tracking.start(configuration, terminal)
      do {
        let observers: [any RunObserver] = [terminal] + (tracker.map { [$0] } ?? [])
        let run = FineTuning(
          configuration, observers: observers, shouldStop: { Interruption.signal != nil })
        let (result, _) = try run.run()
        terminal.show(result, output: configuration.outputPath)
        tracker?.finish(result)
      } catch {
        tracker?.fail(interrupted: error is RunInterrupted)
        throw error
      }
    }
  }
}
