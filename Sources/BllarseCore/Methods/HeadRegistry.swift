public import BllarseNumerics
import BllarseSupport
import Synchronization

/// The heads that there are: the built-in ones, and those that were registered from outside the package.
public enum HeadRegistry {
  private struct Contents {
    var optimizers = OptimizerMethod.builtIn
    var registered: [HeadMethod] = []
    var methods: [HeadMethod] = []

    init() { update() }

    var builtIn: [HeadMethod] {
      [
        .softmax, .probit, .laplace, .polyaGamma(OneAgainstRest.self),
        .polyaGamma(StickBreaking.self),
        .linear(CrossEntropyLoss.self, [FitOptions.labelSmoothing], optimizers),
        .linear(SquaredErrorLoss.self, [], optimizers), .vbll, .orderedProbit, .gaussian,
      ]
    }
    mutating func update() { methods = builtIn + registered }
  }
  private static let contents = Mutex(Contents())

  /// The name of the default.
  public static let softmax = HeadMethod.softmax.name
  /// The name of the head of weights that were trained elsewhere.
  public static let givenWeights = HeadMethod.laplace.name

  /// All heads that can be fitted, the default first.
  public static var methods: [HeadMethod] { contents.withLock { $0.methods } }

  /// What `--head` accepts, the default first.
  public static var methodNames: [String] { methods.map(\.name) }

  /// Adds a head, for the whole process; to be called before command lines and files are read.
  ///
  /// - Parameter method: the head; one that is there under its name is replaced.
  public static func register(_ method: HeadMethod) {
    contents.withLock { contents in
      precondition(
        !contents.builtIn.contains { $0.name == method.name },
        "the head \(method.name) is built in")
      contents.registered.removeAll { $0.name == method.name }
      contents.registered.append(method)
      contents.update()
    }
  }

  /// Adds an optimiser to the classical heads, for the whole process; to be called before command lines
  /// and files are read.
  ///
  /// - Parameter optimizer: what `--optimizer` accepts then; one that is there under its name is replaced.
  public static func register(_ optimizer: OptimizerMethod) {
    precondition(
      optimizer.name != "newton" && !OptimizerMethod.builtIn.contains { $0.name == optimizer.name },
      "the optimiser \(optimizer.name) is built in")
    contents.withLock { contents in
      contents.optimizers.removeAll { $0.name == optimizer.name }
      contents.optimizers.append(optimizer)
      contents.update()
    }
  }

  /// The head of a name, or `nil`.
  public static func method(named name: String) -> HeadMethod? {
    methods.first { $0.name == name }
  }

  /// All kinds of heads that a checkpoint can hold.
  public static var kinds: [any Head.Type] {
    methods.flatMap(\.kinds) + [CalibratedHead.self, IndependentLabels.self]
  }

  /// The names of all kinds.
  public static var names: [String] {
    kinds.map { $0.kind }.uniqued
  }

  /// The kind of a name, or `nil`.
  public static func kind(named name: String) -> (any Head.Type)? {
    kinds.first { $0.kind == name }
  }

  /// What fits the head of a configuration.
  ///
  /// - Throws: `DataError.Code.missingKey` when there is no such head, or no such way to fit it.
  static func trainer(
    _ configuration: RunConfiguration, data: TrainingData, execution: Execution
  ) throws(DataError) -> any HeadTrainer {
    let (way, plan) = (try configuration.method.way(), configuration.fitPlan)
    guard configuration.asksForEachLabel else { return try way.trainer(plan, data, execution) }
    return try IndependentLabelsTrainer(data, scoresBatches: plan.scoringInterval > 0) {
      (data) throws(DataError) in try way.trainer(plan, data, execution)
    }
  }

  /// Whose an option is, in the words of the command line: "IBProbit and IBPolyaGamma by --update merge".
  static func owners(of name: String) -> String {
    var parts: [(heads: [String], condition: String)] = []
    for method in methods {
      let taking = method.ways.filter { $0.takes(name) || method.selector?.name == name }
      guard !taking.isEmpty else { continue }
      let names = taking.map(\.name).uniqued
      let isAll = names.count == method.wayNames.count
      var condition = ""
      if !isAll, let selector = method.selector {
        condition = " by --\(selector.name) \(names.listed("or"))"
      }
      // Of two ways of one name, the one that takes it may need a switch, or that it is not there.
      for switched in method.ways where switched.requiredSwitch != nil {
        let other = method.ways.first { $0.name == switched.name && $0.requiredSwitch == nil }
        guard let word = switched.requiredSwitch, word != name, method.selector?.name != name,
          names.contains(switched.name), switched.takes(name) != other?.takes(name) ?? false
        else { continue }
        condition += switched.takes(name) ? " and --\(word)" : " without --\(word)"
      }
      if let index = parts.firstIndex(where: { $0.condition == condition }) {
        parts[index].heads.append(method.name)
      } else {
        parts.append(([method.name], condition))
      }
    }
    return parts.map { $0.heads.listed("and") + $0.condition }.joined(separator: "; ")
  }
}

extension HeadRegistry {
  /// What an option of methods takes, by head where heads take other values under its name; `nil` for an option of no
  /// method.
  static func values(of name: String) -> String? {
    var parts: [(expected: String, heads: [String])] = []
    for method in methods {
      for option in method.ways.flatMap(\.options) where option.info.name == name {
        let expected = option.info.expected
        if let index = parts.firstIndex(where: { $0.expected == expected }) {
          parts[index].heads.append(method.name)
        } else {
          parts.append((expected, [method.name]))
        }
      }
    }
    guard parts.count > 1 else { return parts.first?.expected }
    return parts.map { "\($0.heads.uniqued.listed("and")): \($0.expected)" }.joined(separator: "; ")
  }
}

extension OptionInfo {
  /// What must be the case beside the method that takes it, in words.
  var conditions: [String] {
    (needs.contains(.severalEpochs) ? ["in several epochs"] : [])
      + (needs.contains(.featureFile) ? ["on --features"] : [])
      + (neededOption.map { ["with --\($0.name) \($0.value)"] } ?? [])
  }

  /// Whose the option of methods is, and when it has an effect.
  var place: String {
    ([HeadRegistry.owners(of: name)] + conditions).joined(separator: ", ")
  }
}

extension [String] {
  /// "a, b or c".
  func listed(_ conjunction: String) -> String {
    guard count > 1, let last else { return first ?? "" }
    return dropLast().joined(separator: ", ") + " \(conjunction) \(last)"
  }
}

/// One way to fit a head: the options that it takes, and what fits it.
public struct FittingWay: Sendable {
  /// What is the case for a way.
  public struct Traits: OptionSet, Sendable {
    /// One bit a trait.
    public let rawValue: Int
    /// Takes the bits.
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// One pass over the rows reaches the optimum, or all that there is to reach.
    public static let isOnePass = Traits(rawValue: 1)
    /// Every epoch may see other rows: images that are changed at random.
    public static let takesFreshRows = Traits(rawValue: 2)
    /// The fit depends on where it starts: it may start from a pretrained classifier.
    public static let dependsOnStart = Traits(rawValue: 4)
    /// Training rows are predicted by fits that leave them out, which calibrate the predictions.
    public static let calibratesOnFolds = Traits(rawValue: 8)
    /// Targets may be class probabilities, ``Targets/softDistributions``.
    ///
    /// A way without it is given weighted copies of the rows with one class each, where it takes weights.
    public static let takesDistributions = Traits(rawValue: 16)
    /// It makes such copies itself.
    static let copiesDistributions = Traits(rawValue: 32)
    /// The head keeps weights, and no covariance of them.
    static let keepsWeightsOnly = Traits(rawValue: 64)
  }

  /// The value of the head's selecting option that asks for it: "merge"; empty where there is one way.
  public let name: String
  /// A switch that asks for it, too: of two ways with one name the one whose switch is given.
  public let requiredSwitch: String?
  /// The options that change what it does.
  public let options: [any AnyFitOption]
  /// What is the case for it.
  public let traits: Traits
  /// An estimate of the memory that it works in, beside the features, in bytes.
  let memory: @Sendable (MemoryShape, Method) -> Double
  /// What fits it.
  let trainer: @Sendable (FitPlan, TrainingData, Execution) throws(DataError) -> any HeadTrainer
  /// What is wrong with files that its options name, before anything is fitted.
  var check: @Sendable (FeatureHeader, Method) throws(DataError) -> Void = { _, _ in }

  init(
    _ name: String = "", requiring requiredSwitch: String? = nil, _ options: [any AnyFitOption],
    _ traits: Traits = [], memory: @escaping @Sendable (MemoryShape, Method) -> Double,
    trainer:
      @escaping @Sendable (FitPlan, TrainingData, Execution) throws(DataError) -> any HeadTrainer
  ) {
    self.name = name
    self.requiredSwitch = requiredSwitch
    self.options = options
    self.traits = traits
    self.memory = memory
    self.trainer = trainer
  }

  /// A way that fits all rows in one call.
  ///
  /// - Parameters:
  ///   - name: the value of the head's selecting option that asks for it; empty where there is one way.
  ///   - options: those that ``FitRequest/method`` is asked for.
  ///   - memory: an estimate of the memory that it works in, beside the features, in bytes, of the number
  ///     of rows, features and classes.
  ///   - fit: fits a head; it may throw `NumericsError.cancelled` when it is told to stop.
  public init(
    _ name: String = "", options: [any AnyFitOption] = [],
    memory: @escaping @Sendable (_ rows: Int, _ features: Int, _ classes: Int) -> Double = {
      rows, features, _ in 8 * Double(rows * features)
    },
    fit: @escaping @Sendable (FitRequest) throws(NumericsError) -> any Head
  ) {
    self.init(
      name, options, .isOnePass,
      memory: { shape, _ in memory(Int(shape.rows), Int(shape.columns - 1), Int(shape.classes)) },
      trainer: { plan, data, execution in
        OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
          let head = try fit(request)
          return (head, (head as? any ReportingHead)?.fitInfo ?? FitInfo())
        }
      })
  }

  /// Whether it takes an option.
  public func takes(_ name: String) -> Bool { options.contains { $0.info.name == name } }
}

/// A head that `--head` names, with the ways to fit it.
///
/// It is registered by ``HeadRegistry/register(_:)``; everything else that knows of heads (the command
/// line, the check of a sweep, checkpoints, trackers) reads the registry.
public struct HeadMethod: Sendable {
  /// The name: "IBProbit".
  public let name: String
  /// The option that chooses among ways: `--update`, `--optimizer`; `nil` where there is one.
  public let selector: OptionInfo?
  /// The ways, the default first.
  public let ways: [FittingWay]
  /// The kinds of heads that come of it, as checkpoints store them.
  public let kinds: [any Head.Type]
  /// What these predict.
  public var task: LearningTask { kinds[0].task }
  /// Whether it can be fitted to each label of sets by itself, as to two classes.
  public var fitsEachLabel = true
  /// Whether the head can be fitted for a task: one of classes also for sets of labels, one label after the other.
  public func serves(_ task: LearningTask) -> Bool {
    task == self.task || task == .multilabel && self.task == .classification && fitsEachLabel
  }
  /// Options that mean this head where none is named, in the order in which they are asked.
  public var meaningOptions: [String] = []
  /// The options with which `compare` fits it, beside those of all heads; by default it is fitted once, as it is
  /// when nothing is given.
  public var variants: [[String: String]] = [[:]]
  /// The same where ``variants`` is empty and the head is named: of heads that are not for all data of their task.
  public var namedVariants: [[String: String]] = []
  /// The way that is meant where one of some options is given, and not the selector.
  public var meantWay: (options: [String], name: String)?

  /// Describes a head.
  public init(
    _ name: String, selector: OptionInfo? = nil, ways: [FittingWay], kinds: [any Head.Type]
  ) {
    precondition(!ways.isEmpty && !kinds.isEmpty, "the head \(name) cannot be fitted")
    precondition(kinds.allSatisfy { $0.task == kinds[0].task }, "\(name) is for several tasks")
    (self.name, self.ways, self.kinds) = (name, ways, kinds)
    self.selector = selector.map { info in
      var info = info
      info.expected = oneOf(ways.map(\.name).uniqued)
      return info
    }
  }

  /// Finds a way by its name.
  ///
  /// - Parameters:
  ///   - name: the default when `nil`.
  ///   - isOn: whether a switch is on.
  /// - Returns: the way whose switch is on, before the one of the same name without a switch.
  func way(_ name: String?, isOn: (String) -> Bool) -> FittingWay? {
    let candidates = ways.filter { way in
      (name == nil || way.name == name) && (way.requiredSwitch.map(isOn) ?? true)
    }
    return candidates.first { $0.requiredSwitch != nil && (name != nil || $0.name == ways[0].name) }
      ?? candidates.first { $0.requiredSwitch == nil }
  }
}

/// A head and how it is to be fitted: the name of a ``HeadMethod``, the way, and the values of options.
///
/// Values of options that the way does not take may be there and change nothing.
public struct Method: Sendable, Equatable {
  /// The head's name.
  public var head: String
  /// The way's name; the head's default when `nil`.
  public var wayName: String?
  private var texts: [String: String] = [:]

  /// Names a head and a way.
  public init(_ head: String = HeadRegistry.softmax, _ way: String? = nil) {
    (self.head, wayName) = (head, way)
  }

  /// The value of an option.
  public subscript<Value>(option: FitOption<Value>) -> Value {
    get { texts[option.info.name].flatMap(option.parse) ?? option.defaultValue }
    set { texts[option.info.name] = option.text(newValue) }
  }

  /// Gives an option by its text.
  mutating func give(_ name: String, _ text: String) { texts[name] = text }

  /// Whether an option is given by a text.
  func isGiven(_ name: String, _ text: String) -> Bool { texts[name] == text }

  /// What results and trackers show of an option.
  func recorded(_ option: any AnyFitOption) -> ArgumentValue? {
    option.recorded(texts[option.info.name])
  }

  /// How the head is fitted.
  ///
  /// - Throws: `DataError.Code.missingKey` when there is no such head, or no such way to fit it.
  public func way() throws(DataError) -> FittingWay {
    guard let method = HeadRegistry.method(named: head) else {
      throw DataError(
        .missingKey, found: "there is no head \(head.quoted())",
        expected: oneOf(HeadRegistry.methodNames))
    }
    guard let way = method.way(wayName, isOn: { texts[$0] != nil }) else {
      throw DataError(
        .missingKey,
        found: "\(head) is not fitted by --\(method.selector?.name ?? "update") \(wayName ?? "")",
        expected: oneOf(method.ways.map(\.name)))
    }
    return way
  }

  /// The way, where it is known.
  var knownWay: FittingWay? { try? way() }

  /// Whether something is the case for the way.
  func has(_ trait: FittingWay.Traits) -> Bool { knownWay?.traits.contains(trait) ?? false }

  /// Whether an option changes what the way does.
  func takes(_ option: some AnyFitOption) -> Bool { knownWay?.takes(option.info.name) ?? false }

  /// The option that chooses among the head's ways.
  public var selector: OptionInfo? { HeadRegistry.method(named: head)?.selector }

  /// The head and the way in the words of the command line: "--head IBProbit --update merge".
  public var words: String {
    var text = "--head \(head)"
    guard let way = knownWay else { return text }
    if let selector { text += " --\(selector.name) \(way.name)" }
    for option in way.options where option.info.namesMethod && texts[option.info.name] != nil {
      text += " --\(option.info.name)"
    }
    return text
  }
}
