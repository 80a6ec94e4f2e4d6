public import ArgumentParser
public import BllarseCore

extension NamedBackbone.Pretraining: ExpressibleByArgument {}

/// Which backbone makes features of images: a file, or a name with the Python original's options.
struct BackboneOptions: ParsableArguments {
  @Option(help: "The file of the backbone whose features are used, instead of the data set's own.")
  var backbone: String?

  @Option(
    help: """
      A backbone by what it was trained on: in21k, in21k_cifar (and then the data set), from --model-dir; or \
      random, weights drawn from --seed. (default: in21k_cifar, for CIFAR with one of the options that follow)
      """)
  var pretrained: NamedBackbone.Pretraining?

  @Option(help: "The number of the backbone's features, published: 512, 1024. (default: 512)")
  var embedDim: Int?

  @Option(help: "The number of the backbone's blocks, published: 6, 12. (default: 6)")
  var numBlocks: Int?

  @Option(
    help: """
      Where --pretrained looks for its file, B_6-Wi_512_res_64_in21k_cifar10.safetensors and the like. \
      (default: BLLARSE_MODEL_DIR, or .checkpoints)
      """)
  var modelDir: String?

  @Flag(
    help: """
      Start a head that is fitted by steps from zero, not from the classifier that an in21k_cifar backbone \
      was trained with.
      """)
  var reinitialize = false

  /// Whether the backbone is one by name.
  func isNamed(_ dataset: String) -> Bool {
    if pretrained != nil { return true }
    let isAnyGiven = embedDim != nil || numBlocks != nil || modelDir != nil || reinitialize
    return isAnyGiven && backbone == nil && !ImageDatasets.isBuiltIn(dataset)
  }

  func check(_ dataset: String?, features: String?) throws {
    let given: [(String, Bool)] = [
      ("--backbone", backbone != nil), ("--pretrained", pretrained != nil),
      ("--embed-dim", embedDim != nil), ("--num-blocks", numBlocks != nil),
      ("--model-dir", modelDir != nil), ("--reinitialize", reinitialize),
    ]
    if features != nil, let name = given.first(where: \.1)?.0 {
      throw ValidationError("\(name) needs images; --features are used as they are")
    }
    for (name, value) in [("--embed-dim", embedDim), ("--num-blocks", numBlocks)] {
      if let value, !(1...65536).contains(value) {
        throw ValidationError("\(name) is \(value); expected a number from 1 to 65536")
      }
    }
    if backbone != nil && pretrained != nil {
      throw ValidationError(
        "--backbone and --pretrained exclude one another: a file, or a name to look up")
    }
    let dataset = dataset ?? "digits"
    let isFromFile = isNamed(dataset) && pretrained != .random
    if modelDir != nil && !isFromFile {
      throw ValidationError(
        "--model-dir goes with --pretrained in21k or in21k_cifar, whose files it holds")
    }
    if isFromFile && pretrained != .in21k && ImageDatasets.isBuiltIn(dataset) {
      throw ValidationError(
        "--pretrained in21k_cifar goes with --dataset cifar10 or cifar100, not with the \(dataset)")
    }
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.backbonePath = backbone
    configuration.embeddingSize = embedDim
    configuration.blockCount = numBlocks
    configuration.reinitializes = reinitialize
    guard isNamed(configuration.dataset) else { return }
    var named = NamedBackbone(dataset: configuration.dataset)
    named.pretraining = pretrained ?? named.pretraining
    named.embeddingSize = embedDim ?? named.embeddingSize
    named.blockCount = numBlocks ?? named.blockCount
    named.directory = modelDir ?? EnvironmentVariable.modelDirectory.value ?? named.directory
    configuration.namedBackbone = named
  }
}
