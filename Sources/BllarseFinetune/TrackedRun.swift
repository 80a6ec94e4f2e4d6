import BllarseCore

/// A run with all that is around it: signals, progress, tracking, its results on the terminal.
struct TrackedRun {
  let configuration: RunConfiguration
  let tracking: TrackingOptions
  /// The group of the tracked run when none is given.
  var group = TrackingOptions.defaultGroup
  /// Tags of the tracked run beside those of every run.
  var tags: [String: String] = [:]
  /// Whether the scores of the best epoch are shown, as the Python original's text script reports them.
  var showsBest = false

  init(_ configuration: RunConfiguration, _ tracking: TrackingOptions) {
    (self.configuration, self.tracking) = (configuration, tracking)
  }

  /// Does it.
  ///
  /// - Parameter prepare: called when the tracker has started, before anything is loaded.
  /// - Throws: `ExitCode`, after what went wrong was told.
  func run(prepare: (RunTracking?) throws -> Void = { _ in }) throws {
    let terminal = Terminal()
    Interruption.listen(configuration.output.path)
    try reportingErrors {
      _ = try RunPlan.checkOutput(of: configuration)
      let tracker = try tracking.start(configuration, terminal, group: group, tags: tags)
      do {
        try prepare(tracker)
        let observers: [any RunObserver] =
          [terminal, InterruptionPhases(configuration: configuration)]
          + (tracker.map { [$0] } ?? [])
        let (result, _) = try FineTuning(
          configuration, observers: observers, shouldStop: { Interruption.signal != nil }
        ).run()
        terminal.show(result, output: configuration.output.path)
        if showsBest, let best = result.best {
          terminal.show(best, isWithinEpochs: configuration.effectiveInterval > 0)
        }
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
