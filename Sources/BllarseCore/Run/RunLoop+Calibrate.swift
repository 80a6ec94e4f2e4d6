import BllarseNumerics

extension RunLoop {
  /// Fits the map that `--calibration` asks for to the validation split, for the last head and the best.
  ///
  /// - Parameter note: receives what the user should know.
  /// - Throws: `DataError` when predictions are not numbers, or a file cannot be written.
  mutating func calibrate(note: (String) -> Void) throws {
    guard let method = configuration.calibrationOrDefault.method, let split = calibrationSplit,
      let name = roles.validation
    else { return }
    let before = if let scores { scores } else { try evaluate() }
    let watch = Stopwatch()
    let calibration = try RunCalibration(
      trainer.head, method, on: split, name: name, uncalibrated: before.scores.byName,
      parallelism: scoring)
    try output?.calibrateBest(method, on: split, parallelism: scoring)
    self.calibration = calibration
    progress.seconds.fit += watch.elapsed
    if let text = calibration.note { note(text) }
    if roles.isShared {
      note("predictions are calibrated on the rows that are reported as test, whose scores flatter")
    }
    _ = try evaluate()
  }
}
