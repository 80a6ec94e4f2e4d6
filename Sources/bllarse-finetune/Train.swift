import ArgumentParser
import BllarseCore

/// `bllarse-finetune [train]`: one run.
struct Train: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Fits a head and scores it on the test split (the default).")

  @OptionGroup(title: "What to fit") var method: MethodOptions
  @OptionGroup(title: "Converged IBProbit") var recipe: RecipeOptions
  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Running") var running: RunningOptions

  func validate() throws {
    try method.check()
    try recipe.check()
    try data.check()
    try recipe.check(configuration())
  }

  private func configuration() -> RunConfiguration {
    var configuration = RunConfiguration()
    method.apply(to: &configuration, parity: recipe.parity)
    recipe.apply(to: &configuration)
    data.apply(to: &configuration)
    return configuration
  }

  func run() throws {
    var configuration = configuration()
    running.apply(to: &configuration)
    let terminal = Terminal()
    for warning in method.warnings { terminal.runDidNote(warning) }
    try reportingErrors {
      let (result, _) = try FineTuning(configuration, observers: [terminal]).run()
      terminal.show(result, output: configuration.outputPath)
    }
  }
}
