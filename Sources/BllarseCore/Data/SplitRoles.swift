/// What a run does with the splits of a data set.
///
/// The head is fitted to "train". The test split is the one whose scores a run reports as `acc`, `nll`,
/// `ece` and `test`; the validation split chooses the best epoch and calibrates. Every other split is
/// scored too.
public struct SplitRoles: Sendable, Equatable {
  /// The split that heads are fitted to.
  public static let training = "train"
  /// Validation splits that need not be named, the most preferred first.
  static let validationNames = ["validation", "valid", "dev", "val_m"]

  /// The test split.
  public let test: String
  /// The validation split, if there is one.
  public let validation: String?

  /// Whether the rows that choose the best epoch are also those that are reported.
  public var isShared: Bool { validation == test }

  /// The test split where nobody names one: "test", or the matched rows of the Python original's text
  /// caches, "val_m", if there is one of them.
  static func defaultTest(of names: [String]) -> String? {
    ["test", "val_m"].first(where: names.contains)
  }

  /// Gives each split its part.
  ///
  /// - Parameters:
  ///   - names: the splits that are there.
  ///   - test: the test split; "test" or "val_m" when `nil`.
  ///   - validation: the validation split; when `nil`, the first of "validation", "valid", "dev" and
  ///     "val_m" that is not the test split. The text caches of the Python original have no test split:
  ///     "val_m" is then both, as it is there.
  ///   - file: the file they are in, for messages.
  /// - Throws: `DataError.Code.missingKey` for a name that is not there, or no test split.
  public init(
    of names: [String], test: String? = nil, validation: String? = nil, file: String? = nil
  ) throws(DataError) {
    let others = names.filter { $0 != Self.training }
    func named(_ name: String, by option: String) throws(DataError) -> String {
      // The file may call it X_val; its split is "validation".
      let name = name == "val" && !others.contains(name) ? "validation" : name
      try DataError.require(
        others.contains(name), name == Self.training ? .wrongType : .missingKey, file: file,
        key: "\(name) split",
        found: name == Self.training
          ? "\(option) names the rows that the head is fitted to" : "there is no such split",
        expected: Self.list(others), advice: "correct \(option)")
      return name
    }
    if let test {
      self.test = try named(test, by: "--test-split")
    } else if let test = Self.defaultTest(of: names) {
      self.test = test
    } else {
      throw DataError(
        .missingKey, file: file, key: "test split", found: DataError.absence("split", among: names),
        expected: "X_test and y_test",
        advice: others.isEmpty ? "add them" : "add them, or name another with --test-split")
    }
    if let validation {
      self.validation = try named(validation, by: "--validation-split")
    } else {
      let test = self.test
      let free = Self.validationNames.first { names.contains($0) && $0 != test }
      self.validation = free ?? (test == "val_m" ? test : nil)
    }
  }

  /// The parts where no head is fitted, and the test split may be any.
  init(scoring names: [String]) {
    test = Self.defaultTest(of: names) ?? names.last ?? "test"
    validation = nil
  }

  private static func list(_ names: [String]) -> String {
    switch names.count {
    case 0: "a split beside train"
    case 1: names[0]
    default: "one of " + names.joined(separator: ", ")
    }
  }
}

extension SplitRoles: CustomStringConvertible {
  /// What a run says about its splits, in one line.
  public var description: String {
    guard let validation else { return "test split: \(test); no validation split" }
    return isShared
      ? "test and validation split: \(test)"
      : "test split: \(test); validation split: \(validation)"
  }

  /// What the user should know about rows that serve twice; `nil` when none do.
  public var note: String? {
    guard isShared else { return nil }
    return
      "\(test) chooses the best epoch and is reported as test, so the scores of that epoch flatter; "
      + "--test-split or --validation-split names another split"
  }

  /// The name of the split whose rows calibrate predictions.
  ///
  /// - Throws: `DataError` when there is none, or it is the test split and nobody said so.
  func calibrationSplit(
    among names: [String], of file: String?, isChosen: Bool
  ) throws(DataError) -> String {
    guard let validation else {
      throw DataError(
        .missingKey, file: file, key: "validation split", found: "there is no such split",
        expected: "rows to calibrate on, beside " + names.joined(separator: " and "),
        advice: "add X_val and y_val, or name another split with --validation-split")
    }
    try DataError.require(
      !isShared || isChosen, .wrongType, file: file, key: "\(validation) split",
      found: "its rows are the test split too", expected: "other rows to calibrate on",
      advice: "name the splits with --validation-split and --test-split")
    return validation
  }
}

extension SplitRoles: Encodable {
  private enum CodingKeys: String, CodingKey { case train, test, validation }

  /// Writes which split is which.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(Self.training, forKey: .train)
    try container.encode(test, forKey: .test)
    try container.encode(validation, forKey: .validation)
  }
}
