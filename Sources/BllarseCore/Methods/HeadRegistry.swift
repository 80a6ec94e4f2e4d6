import BllarseNumerics
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
        .softmax, .probit, .polyaGamma(OneAgainstRest.self), .polyaGamma(StickBreaking.self),
        .linear(CrossEntropyLoss.self, [FitOptions.labelSmoothing], optimizers),
        .linear(SquaredErrorLoss.self, [], optimizers),
      ]
    }
    mutating func update() { methods = builtIn + registered }
  }
  private static let contents = Mutex(Contents())

  /// The name of the default.
  public static let softmax = HeadMethod.softmax.name

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
    methods.flatMap(\.kinds) + [CalibratedHead.self]
  }

  /// The names of all kinds.
  public static var names: [String] {
    kinds.map { $0.kind }.unique
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
    try configuration.method.way().trainer(configuration.fitPlan, data, execution)
  }

  /// Whose an option is, in the words of the command line: "IBProbit and IBPolyaGamma by --update merge".
  static func owners(of name: String) -> String {
    var parts: [(heads: [String], condition: String)] = []
    for method in methods {
      let taking = method.ways.filter { $0.takes(name) || method.selector?.name == name }
      guard !taking.isEmpty else { continue }
      let names = taking.map(\.name).unique
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

extension OptionInfo {
  /// What must be the case beside the method that takes it, in words.
  var conditions: [String] {
    (needs.contains(.severalEpochs) ? ["in several epochs"] : [])
      + (needs.contains(.featureFile) ? ["on --features"] : [])
  }

  /// Whose the option of methods is, and when it has an effect.
  var place: String {
    ([HeadRegistry.owners(of: name)] + conditions).joined(separator: ", ")
  }
}

extension [String] {
  /// Each text once, in the order of its first place.
  var unique: [String] { reduce(into: []) { if !$0.contains($1) { $0.append($1) } } }

  /// "a, b or c".
  func listed(_ conjunction: String) -> String {
    guard count > 1, let last else { return first ?? "" }
    return dropLast().joined(separator: ", ") + " \(conjunction) \(last)"
  }
}
