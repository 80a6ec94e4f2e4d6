import BllarseSupport

/// What takes the place of options that are not given: the environment's word.
public struct OptionDefaults: Sendable, Equatable {
  /// Of `--data-dir`.
  public var dataDirectory: String?
  /// Of `--model-dir`.
  public var modelDirectory: String?
  /// Of `--threads`.
  public var threadCount: Int?
  /// Where the package's data files are, when they are not beside the executable.
  public var resourcesPath: String?
  /// No default but the package's.
  public init() {}
}

extension RunConfiguration {
  /// All options of a run, whatever is fitted, in the order of the help; of options of several methods with
  /// one name the first.
  public static var options: [OptionInfo] {
    var list = RunOption.all.map(\.info)
    for method in HeadRegistry.methods {
      list += (method.selector.map { [$0] } ?? []) + method.ways.flatMap { $0.options.map(\.info) }
    }
    var names: Set<String> = []
    return list.filter { names.insert($0.name).inserted }
  }

  /// Takes the options that were given.
  ///
  /// - Parameters:
  ///   - given: by their long names; a name that no option has is ignored.
  ///   - defaults: for what is not given.
  /// - Throws: ``OptionFault``: a value that is none, options that contradict one another, or one that
  ///   would change nothing and that the Python scripts did not take everywhere.
  public init(
    _ given: GivenOptions, defaults: OptionDefaults = OptionDefaults()
  ) throws(OptionFault) {
    self.init()
    // 1. What is fitted.
    try Self.checkTuneMode(given)
    method = try Method(given)
    // 2. Values: a text must be one of its option's, whether it has an effect or not.
    try takeRunOptions(given)
    try method.take(given)
    if given["epochs"] == nil { epochs = reachesOptimumAtOnce ? 1 : 100 }
    // 3. What belongs together.
    try data.take(given, defaults)
    try takeOutput(given, defaults)
    try checkTask()
    try checkCalibration()
    // 4. What would change nothing.
    let faults = idleOptions(given).faults
    guard faults.isEmpty else { throw OptionFault(faults.joined(separator: "; ")) }
  }

  /// The data and the output that are given, for a head that is fitted already.
  ///
  /// - Throws: ``OptionFault``.
  public init(
    scoring given: GivenOptions, defaults: OptionDefaults = OptionDefaults()
  ) throws(OptionFault) {
    self.init()
    try takeRunOptions(given)
    try data.take(given, defaults, needsBackbone: false)
    try takeOutput(given, defaults)
    for name in ["resume", "overwrite", "save-every", "reinitialize"] where given.contains(name) {
      throw OptionFault("--\(name) is for runs; a stored head is only scored")
    }
  }

  /// What should be known about options that are given and have no effect.
  public func notes(_ given: GivenOptions) -> [String] {
    (given.hasOtherDevice ? [Self.deviceNote] : [])
      + (given["optimizer"] == Method.cavi
        ? ["--optimizer cavi is now --head \(method.head) --update merge"] : [])
      + idleOptions(given).notes
  }

  /// That a device other than the processor changes nothing.
  public static let deviceNote = "--device has no effect here: everything runs on the CPU"

  private static func checkTuneMode(_ given: GivenOptions) throws(OptionFault) {
    let missing = "--tune-mode full_network"
    switch given["tune-mode"] {
    case nil, "last_layer": break
    case "full_network": throw OptionFault("\(missing) does not exist yet; use last_layer")
    case let mode?: throw OptionFault("--tune-mode is '\(mode)'; expected last_layer")
    }
    if given.contains("sequential-update") {
      throw OptionFault("--sequential-update needs \(missing), which does not exist yet")
    }
  }

  mutating func takeRunOptions(
    _ given: GivenOptions, of options: [RunOption] = RunOption.all
  ) throws(OptionFault) {
    for option in options {
      guard let words = given.list(option.info.name) else { continue }
      guard option.take(&self, words) else {
        throw OptionFault(option.info, words.joined(separator: " "))
      }
    }
  }

  mutating func takeOutput(
    _ given: GivenOptions, _ defaults: OptionDefaults
  ) throws(OptionFault) {
    threadCount = threadCount ?? defaults.threadCount
    data.resourcesPath = defaults.resourcesPath
    output.uploadsCheckpoints = given.contains("enable-mlflow") && given.contains("log-checkpoints")
    guard let resumed = given["resume"] else { return }
    if let path = output.path, path != resumed {
      throw OptionFault(
        "--resume \(resumed) and --output \(path) differ; a run resumes in its own directory")
    }
    // A job script that gives both starts the first time and resumes from then on.
    (output.resumes, output.resumesExistingOnly) = (true, output.path == nil)
    output.path = resumed
  }

  /// Refuses what is for classes only, where target values are predicted.
  private func checkTask() throws(OptionFault) {
    guard task != .classification else { return }
    if data.featuresPath == nil {
      let targets = task == .multilabel ? "zeros and ones for each label" : "target values"
      throw OptionFault("--task \(task.rawValue) needs --features with \(targets)")
    }
    if epochs == 0 {
      throw OptionFault("--epochs 0 scores a classifier, and --task is \(task.rawValue)")
    }
    if temperatureScaling != nil {
      throw OptionFault(
        "--temperature-scaling, with --ts-iters and --ts-test-fractions, is for class probabilities, and "
          + "--task is \(task.rawValue)")
    }
  }

  private func checkCalibration() throws(OptionFault) {
    guard let calibration else { return }
    if task == .multilabel, calibration.needsValidation {
      throw OptionFault(
        "--calibration \(calibration.rawValue) is for class probabilities, and --task is multilabel; "
          + "give folds, which calibrates each label, or none")
    }
    if task == .regression, calibration != .none {
      throw OptionFault(
        "--calibration \(calibration.rawValue) maps class probabilities, and --task is "
          + "\(task.rawValue); leave it out")
    }
    if effectiveEpochs == 0 {
      throw OptionFault("--calibration needs a head, and --epochs 0 fits none")
    }
    if calibration == .folds, !method.has(.calibratesOnFolds) {
      throw OptionFault(
        "--calibration folds goes with softmax and a converged IBProbit without --parity alone; "
          + "give validation, validation-vector or validation-isotonic")
    }
  }

  /// What is to be said, and what is to be refused, about options that change nothing in this run.
  private func idleOptions(_ given: GivenOptions) -> (notes: [String], faults: [String]) {
    var (notes, faults): ([String], [String]) = ([], [])
    func add(_ info: OptionInfo, _ reason: @autoclosure () -> String) {
      if effectiveEpochs == 0 {
        notes.append("--\(info.name) has no effect here: --epochs 0 fits no head")
      } else if info.isNotedWhereIdle {
        notes.append("--\(info.name) has no effect here: \(reason())")
      } else {
        faults.append("--\(info.name) does not go with \(method.words): \(reason())")
      }
    }
    for option in RunOption.all
    where given.contains(option.info.name) && !option.takesEffect(self) {
      add(option.info, "it is for \(option.place)")
    }
    let way = method.knownWay
    for info in Self.options where given.contains(info.name) {
      guard HeadRegistry.isMethodOption(info.name),
        info.name != method.selector?.name || effectiveEpochs == 0
      else {
        continue
      }
      // An optimiser that is no way of a classical head names a closed-form update.
      if info.name == "optimizer", given["optimizer"] == Method.cavi { continue }
      let taken = way?.options.first { $0.info.name == info.name }?.info
      guard taken.map({ !takesEffect($0) }) ?? true || effectiveEpochs == 0 else { continue }
      add(
        info,
        taken == nil
          ? "it is for \(info.place)"
          : "it has an effect \((taken ?? info).conditions.listed("and")) only")
    }
    return (notes, faults)
  }
}

extension Method {
  /// What the Python original's text experiments called an optimiser: a closed-form update, batch by batch.
  static let cavi = "cavi"

  /// The head and the way that are meant: what is given, else what the options belong to.
  fileprivate init(_ given: GivenOptions) throws(OptionFault) {
    var name = given["head"]
    if name == nil, let optimizer = given["optimizer"] {
      name = optimizer == Self.cavi ? "IBProbit" : "CrossEntropy"
    }
    name =
      name
      ?? HeadRegistry.methods.first { $0.meaningOptions.contains { given.contains($0) } }?.name
    let task = try given["task"].map(Self.task)
    name = name ?? HeadRegistry.methods.first { $0.task == task }?.name
    self.init(name ?? HeadRegistry.softmax)
    guard let method = HeadRegistry.method(named: head) else {
      let near = HeadRegistry.methodNames.first { $0.lowercased() == head.lowercased() }
      throw OptionFault(
        "--head is '\(head)'; "
          + (near.map { "did you mean \($0)?" }
            ?? "expected " + oneOf(HeadRegistry.methodNames)))
    }
    if let task, !method.serves(task) {
      let heads = HeadRegistry.methods.filter { $0.serves(task) }.map(\.name)
      throw OptionFault(
        "--task \(task.rawValue) does not go with --head \(head), which is for "
          + "\(method.task.rawValue); expected \(oneOf(heads))")
    }
    if given["optimizer"] == Self.cavi { try requireUpdates(method, given) }
    wayName = method.selector.flatMap { given[$0.name] }
    if wayName == Self.cavi, method.selector?.name == "optimizer" { wayName = nil }
    if wayName == nil, let meant = method.meantWay,
      given["optimizer"] == Self.cavi || meant.options.contains(where: given.contains)
    {
      wayName = meant.name
    }
    if let wayName, !method.ways.contains(where: { $0.name == wayName }) {
      throw OptionFault(
        "--\(method.selector?.name ?? "") is '\(wayName)'; expected "
          + "\(oneOf(method.wayNames)) for --head \(head)")
    }
  }

  private static func task(_ text: String) throws(OptionFault) -> LearningTask {
    guard let task = LearningTask(rawValue: text) else {
      throw OptionFault(
        "--task is '\(text)'; expected \(oneOf(LearningTask.allCases.map(\.rawValue)))")
    }
    return task
  }

  private func requireUpdates(
    _ method: HeadMethod, _ given: GivenOptions
  ) throws(OptionFault) {
    guard method.selector?.name == "update" else {
      throw OptionFault(
        "--optimizer cavi is --update merge of IBProbit or a Polya-Gamma head; \(head) takes "
          + (method.selector == nil ? "no --optimizer" : method.wayNames.listed("or")))
    }
    if let update = given["update"], update != "merge" {
      throw OptionFault(
        "--optimizer cavi is --update merge, and --update \(update) is given; give one of them")
    }
  }

  /// Takes the values of options of methods, and refuses those that are none.
  fileprivate mutating func take(_ given: GivenOptions) throws(OptionFault) {
    for info in [OptionInfo.update, .optimizer] {
      guard let text = given[info.name], text != Self.cavi || info.name != "optimizer" else {
        continue
      }
      let names = HeadRegistry.methods.filter { $0.selector?.name == info.name }.flatMap(\.wayNames)
      guard names.contains(text) else {
        throw OptionFault("--\(info.name) is '\(text)'; expected \(oneOf(names.uniqued))")
      }
    }
    for name in given.names where HeadRegistry.isMethodOption(name) {
      guard let text = given[name] else { continue }
      let declared = HeadRegistry.options(named: name)
      guard declared.isEmpty || declared.contains(where: { $0.accepts(text) }) else {
        let own = knownWay?.options.first { $0.info.name == name }
        throw OptionFault((own ?? declared[0]).info, text)
      }
      give(name, text)
    }
    guard let way = knownWay else { return }
    for option in way.options {
      guard let text = given[option.info.name], !option.accepts(text) else { continue }
      throw OptionFault(
        "--\(option.info.name) \(text) does not go with \(words): expected \(option.info.expected)")
    }
    for option in way.options where option.info.isRequired && given[option.info.name] == nil {
      throw OptionFault("\(words) needs --\(option.info.name), \(option.info.expected)")
    }
    // Where these say how the rows are gone through, and the way says another.
    guard selector?.name == "update", given["update"] != nil else { return }
    for option in [FitOptions.updateIterations, FitOptions.batchSize]
    where given.contains(option.info.name) && !way.takes(option.info.name) {
      throw OptionFault("--\(option.info.name) does not go with --update \(way.name)")
    }
  }
}

extension HeadRegistry {
  /// Whether an option is one of methods: of a way, or what chooses among ways.
  static func isMethodOption(_ name: String) -> Bool {
    methods.contains { $0.selector?.name == name || $0.ways.contains { $0.takes(name) } }
  }

  /// The options of methods with a name; several where methods take other values under it.
  static func options(named name: String) -> [any AnyFitOption] {
    methods.flatMap(\.ways).flatMap(\.options).filter { $0.info.name == name }
  }
}

extension HeadMethod {
  /// The names of the ways, each once.
  var wayNames: [String] {
    ways.map(\.name).uniqued
  }
}

extension DataSource {
  /// Takes what makes a source together, and refuses what contradicts it.
  ///
  /// - Parameters:
  ///   - given: what was given.
  ///   - defaults: for what was not.
  ///   - needsBackbone: whether images need one; scoring a stored head takes that head's.
  /// - Throws: ``OptionFault``.
  fileprivate mutating func take(
    _ given: GivenOptions, _ defaults: OptionDefaults, needsBackbone: Bool = true
  ) throws(OptionFault) {
    let isBuiltIn = ImageDatasets.isBuiltIn(dataset)
    if featuresPath == nil && target != nil {
      throw OptionFault("--target names an array of --features")
    }
    if featuresPath != nil && given.contains("dataset") {
      throw OptionFault("--features and --dataset exclude one another")
    }
    let isNamed =
      given.contains("pretrained")
      || !isBuiltIn && backbonePath == nil
        && ["embed-dim", "num-blocks", "model-dir", "reinitialize"].contains(where: given.contains)
    if featuresPath == nil, !isBuiltIn {
      directory = directory ?? defaults.dataDirectory
      guard directory != nil else {
        throw OptionFault(
          "--dataset \(dataset) needs --data-dir (or BLLARSE_DATA_DIR), the directory of its files")
      }
      if needsBackbone && backbonePath == nil && !isNamed {
        throw OptionFault(
          "--dataset \(dataset) needs --backbone, a file that makes features of it, or --pretrained"
        )
      }
    } else if directory != nil {
      throw OptionFault(
        "--data-dir goes with --dataset cifar10 or cifar100, not with "
          + (featuresPath == nil ? "the digits, which ship with the package" : "--features"))
    }
    if featuresPath != nil,
      let name = [
        "backbone", "pretrained", "embed-dim", "num-blocks", "model-dir", "reinitialize",
      ].first(where: given.contains)
    {
      throw OptionFault("--\(name) needs images; --features are used as they are")
    }
    if backbonePath != nil && given.contains("pretrained") {
      throw OptionFault(
        "--backbone and --pretrained exclude one another: a file, or a name to look up")
    }
    let pretraining = given["pretrained"].flatMap(NamedBackbone.Pretraining.init)
    let isFromFile = isNamed && pretraining != .random
    if given.contains("model-dir") && !isFromFile {
      throw OptionFault(
        "--model-dir goes with --pretrained in21k or in21k_cifar, whose files it holds")
    }
    if isFromFile && pretraining != .in21k && isBuiltIn {
      throw OptionFault(
        "--pretrained in21k_cifar goes with --dataset cifar10 or cifar100, not with the \(dataset)")
    }
    guard isNamed else { return }
    var named = NamedBackbone(dataset: dataset)
    named.pretraining = pretraining ?? named.pretraining
    named.embeddingSize = embeddingSize ?? named.embeddingSize
    named.blockCount = blockCount ?? named.blockCount
    named.directory = given["model-dir"] ?? defaults.modelDirectory ?? named.directory
    namedBackbone = named
  }
}
