import ArgumentParser
import BllarseCore

/// `bllarse-finetune [train]`: one run.
struct Train: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Fits a head and scores it on the test split (the default).")

  @OptionGroup(title: "What to fit") var method: MethodOptions
  @OptionGroup(title: "softmax, and IBProbit to its optimum") var recipe: RecipeOptions
  @OptionGroup(title: "Calibration") var calibration: CalibrationOptions
  @OptionGroup(title: "Classical heads") var optimizer: OptimizerOptions
  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Splits") var splits: SplitOptions
  @OptionGroup(title: "Rows") var rows: RowOptions
  @OptionGroup(title: "Running") var running: RunningOptions
  @OptionGroup(title: "Tracking") var tracking: TrackingOptions
  @OptionGroup(visibility: .hidden) var oldSpellings: OldSpellings

  @Flag(
    help: """
      Check the options, and that files are there and fit together; fit nothing, and print one line about \
      the run.
      """)
  var check = false

  func validate() throws {
    try method.check(optimizer, parity: recipe.parity)
    try recipe.check()
    try calibration.check()
    try optimizer.check()
    try data.check()
    try splits.check()
    try rows.check()
    let configuration = configuration
    try recipe.check(configuration)
    try calibration.check(configuration)
    let faults = idleOptions(configuration).faults
    guard faults.isEmpty else { throw ValidationError(faults.joined(separator: "; ")) }
  }

  /// What the options ask for.
  var configuration: RunConfiguration {
    var configuration = RunConfiguration()
    optimizer.apply(to: &configuration)
    method.apply(to: &configuration, optimizer, parity: recipe.parity)
    recipe.apply(to: &configuration)
    calibration.apply(to: &configuration)
    data.apply(to: &configuration)
    splits.apply(to: &configuration)
    rows.apply(to: &configuration)
    running.apply(to: &configuration)
    return configuration
  }

  /// What should be known about the options.
  func notes(_ configuration: RunConfiguration) -> [String] {
    (optimizer.optimizer == .cavi
      ? ["--optimizer cavi is now --head \(configuration.lossFunction) --update merge"] : [])
      + idleOptions(configuration).notes
  }

  func run() throws {
    let configuration = configuration
    let terminal = Terminal()
    for note in notes(configuration) { terminal.runDidNote(note) }
    guard !check else {
      try reportingErrors { print("the run can start: \(try RunPlan(configuration))") }
      return
    }
    Interruption.listen(configuration.outputPath)
    try reportingErrors {
      _ = try RunPlan.checkOutput(of: configuration)
      let tracker = try tracking.start(configuration, terminal)
      do {
        let observers: [any RunObserver] =
          [terminal, InterruptionPhases(configuration: configuration)]
          + (tracker.map { [$0] } ?? [])
        let run = FineTuning(
          configuration, observers: observers, shouldStop: { Interruption.signal != nil })
        let (result, _) = try run.run()
        terminal.show(result, output: configuration.outputPath)
        Interruption.enter(.delivery)
        tracker?.finish(result)
        Interruption.endsByItself()
      } catch {
        let isInterrupted = error is RunInterrupted
        if isInterrupted { Interruption.endsByItself() } else { Interruption.enterFailure(error) }
        tracker?.fail(interrupted: isInterrupted)
        if !isInterrupted { Interruption.endsByItself() }
        throw error
      }
    }
  }
}
