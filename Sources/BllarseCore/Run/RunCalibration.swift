import BllarseNumerics

/// The map that a run fits to its validation split after its last epoch.
struct RunCalibration {
  /// The head with the map.
  let head: CalibratedHead
  /// What was fitted.
  let report: CalibrationReport
  /// The scores of the splits without the map, by name.
  let uncalibrated: [String: SplitScores]
  /// What the user should know, in one line.
  let note: String?

  /// Fits the map.
  ///
  /// - Parameters:
  ///   - head: as the last epoch left it.
  ///   - method: the kind of map.
  ///   - split: the validation split.
  ///   - name: its name.
  ///   - uncalibrated: the scores of all splits without the map, by name.
  ///   - parallelism: the threads to work with.
  /// - Throws: `DataError` when predictions are not numbers, `NumericsError` for an unusable head.
  init(
    _ head: any Head, _ method: HeldOutCalibration.Method, on split: FeatureSplit, name: String,
    uncalibrated: [String: SplitScores], parallelism: Parallelism
  ) throws {
    let choice = try CalibrationChoice(method, for: head, on: split, parallelism: parallelism)
    self.head = CalibratedHead(head, choice.calibration)
    self.uncalibrated = uncalibrated
    report = CalibrationReport(choice, split: name, rowCount: split.rowCount)
    note =
      uncalibrated[name]?.acc != 1
      ? nil
      : "all \(split.rowCount) rows of the \(name) split are predicted right: they cannot say how "
        + "certain predictions may be, and --calibration keeps close to what the head says"
  }
}

/// What a run's calibration is, for its result.
public struct CalibrationReport: Sendable, Equatable, Encodable {
  /// What stands: "temperature", "vector" or "isotonic".
  public var method: String
  /// What was asked for, by the same names.
  public var requested: String
  /// Why ``method`` stands, in a clause; `nil` where a temperature was asked for.
  public var reason: String?
  /// How left-out rows were predicted by what was asked for and by temperatures; `nil` where a temperature
  /// was asked for, and where no row could be left out.
  public var leftOut: CalibrationChoice.LeftOutLosses?
  /// The split whose rows it was fitted to.
  public var split: String
  /// The number of those rows.
  public var rows: Int
  /// The factor of the log-probabilities, of a temperature.
  public var inverseTemperature: Double?
  /// Each class's factor of its log-probability, of a vector.
  public var scales: [Double]?
  /// Each class's shift, of a vector.
  public var shifts: [Double]?
  /// The log-odds at which each class's map is given, of isotonic regressions.
  public var knots: [[Double]]?
  /// The log-odds there after the map, of isotonic regressions.
  public var values: [[Double]]?
  /// How many numbers were fitted.
  public var parameters: Int
  /// The smallest and the largest of what the predictions were changed by: factors of log-probabilities of a
  /// temperature or a vector, differences of log-odds of isotonic regressions.
  public var range: [Double]

  enum CodingKeys: String, CodingKey {
    case method, requested, reason, split, rows, scales, shifts, knots, values, parameters, range
    case leftOut = "left_out"
    case inverseTemperature = "inverse_temperature"
  }

  init(_ choice: CalibrationChoice, split: String, rowCount: Int) {
    let calibration = choice.calibration
    method = calibration.kind
    requested = choice.requested.rawValue
    (reason, leftOut) = (choice.reason, choice.leftOut)
    self.split = split
    rows = rowCount
    switch calibration {
    case .none: (parameters, range) = (0, [])
    case .temperature(let beta):
      inverseTemperature = beta
      (parameters, range) = (1, [beta, beta])
    case .vector(let scales, let shifts):
      (self.scales, self.shifts) = (scales, shifts)
      parameters = scales.count + shifts.count
      range = [scales.min() ?? 1, scales.max() ?? 1]
    case .isotonic(let functions):
      knots = functions.map(\.knots)
      values = functions.map(\.values)
      parameters = functions.reduce(0) { $0 + $1.values.count }
      let changes = functions.flatMap { zip($0.values, $0.knots).map { $0 - $1 } }
      range = [changes.min() ?? 0, changes.max() ?? 0]
    }
  }
}

extension RunOutput {
  /// Gives the head of the best epoch a map of its own.
  ///
  /// - Throws: `DataError` when its predictions are not numbers, or the file cannot be read or written.
  func calibrateBest(
    _ method: HeldOutCalibration.Method, on split: FeatureSplit, parallelism: Parallelism
  ) throws {
    let path = path("best.safetensors")
    guard Files.exists(path) else { return }
    var best = try HeadCheckpoint(path: path)
    best.head = try CalibratedHead(
      calibrating: best.head, on: split, method, parallelism: parallelism)
    try writeBest(best)
  }
}
