/// The folder of a feature cache of the Python original's text script, and what its name says.
///
/// The script encodes the sentence pairs of MultiNLI once and keeps what came out in
///
///     CACHE_DIR / PREFIX / KEY
///     KEY     = ENCODER "_len" MAX_LENGTH "_" TYPE ["_tr" N "_val" M] "_" DIGEST
///     DIGEST  = the first 12 hexadecimal digits of SHA-1 of
///               "v2|ENCODER|MAX_LENGTH|TYPE|train|validation_matched|validation_mismatched"
///               ["|train" N "|val" M]
///
/// where ENCODER has `__` for `/` and `_` for `-` in the key, and the bracketed parts are there when the
/// cache holds the first N and M rows of its splits only ("all" for one that is not limited).
public struct TextCache: Sendable, Equatable {
  /// How features are stored.
  public enum ElementType: String, Sendable, CaseIterable { case float16, float32 }

  /// The text encoder, "FacebookAI/roberta-base".
  public var encoder = "FacebookAI/roberta-base"
  /// The tokens of a sentence pair.
  public var maxLength = 256
  /// How features are stored.
  public var elementType = ElementType.float16
  /// The training rows that were encoded, and the rows of each validation split, or `nil` for all.
  public var trainLimit, validationLimit: Int?
  /// The directory of all caches.
  public var directory = "data/feature_cache"
  /// The folder in it, and in the repository of published caches.
  public var prefix = "roberta_activations/mnli_roberta_cls"

  /// The repository of published caches.
  public var repository = "dimarkov/bllarse-features"

  /// A cache of all rows, with the defaults of the script.
  public init() {}

  /// The name of the folder.
  public var key: String {
    var payload =
      "v2|\(encoder)|\(maxLength)|\(elementType.rawValue)"
      + "|train|validation_matched|validation_mismatched"
    var name = encoder.map { $0 == "/" ? "__" : $0 == "-" ? "_" : String($0) }.joined()
    name += "_len\(maxLength)_\(elementType.rawValue)"
    if trainLimit != nil || validationLimit != nil {
      let train = trainLimit.map(String.init) ?? "all"
      let validation = validationLimit.map(String.init) ?? "all"
      payload += "|train\(train)|val\(validation)"
      name += "_tr\(train)_val\(validation)"
    }
    return name + "_" + Digest.hex(payload, .sha1).prefix(12)
  }

  /// The folder.
  public var path: String {
    // As Python joins paths: an absolute second part stands alone.
    let parent = prefix.hasPrefix("/") ? prefix : directory + "/" + prefix
    let parts = parent.split(separator: "/") + [key[...]]
    return (parent.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
  }

  /// The folder in the repository of published caches.
  public var publishedPath: String {
    (prefix.split(separator: "/") + [key[...]]).joined(separator: "/")
  }
}

extension TextCache {
  /// What a cache holds, as its metadata and the headers of its arrays say: rows of the training split and of
  /// the validation splits of the same genres and of others.
  package struct Content: Sendable, Equatable {
    package let trainCount, matchedCount, mismatchedCount, featureCount: Int

    /// The rows of all splits.
    package var totalCount: Int { trainCount + matchedCount + mismatchedCount }
  }

  /// The training rows of MultiNLI.
  package static let fullTrainCount = 392_702

  /// The features that the published encoders give a row.
  package static func featureCount(encoder: String) -> Int? {
    ["FacebookAI/roberta-base": 768, "FacebookAI/roberta-large": 1024][encoder]
  }

  private static let splits = [
    (name: "train", suffix: "train"), (name: "validation_matched", suffix: "val_m"),
    (name: "validation_mismatched", suffix: "val_mm"),
  ]
  private static let metadataName = "metadata.json"

  /// Checks that the folder is there and whole, and that it holds what its name says.
  ///
  /// - Throws: `DataError`: a file is missing or damaged, the metadata contradict the folder's name, or
  ///   the arrays have other sizes than the metadata say.
  package func content() throws(DataError) -> Content {
    let path = path
    // 1. All files.
    let arrays = Self.splits.flatMap { ["X_\($0.suffix)", "y_\($0.suffix)"] }
    let missing =
      arrays.filter { name in
        ![".npz", ".npy"].contains { Files.exists("\(path)/\(name)\($0)") }
      }.map { $0 + ".npz" }
      + (Files.exists("\(path)/\(Self.metadataName)") ? [] : [Self.metadataName])
    try DataError.require(
      missing.isEmpty, .missingFile, file: path,
      found: Files.exists(path)
        ? "the feature cache has no \(missing.joined(separator: ", no "))"
        : "there is no feature cache", advice: howToGetIt)

    // 2. What the metadata say.
    let metadata = try TextCacheMetadata(path: "\(path)/\(Self.metadataName)")
    try metadata.require("cache_key", key)
    try metadata.require("backbone", encoder)
    try metadata.require("max_length", "\(maxLength)")
    try metadata.require("cache_dtype", elementType.rawValue)

    // 3. The arrays.
    let source = try FeatureFormat.open(path)
    var sizes: [(rows: Int, features: Int)] = []
    for (name, suffix) in Self.splits {
      let size = try Self.size(suffix, source)
      try metadata.requireRows(name, size.rows, file: "X_\(suffix)")
      sizes.append(size)
      if size.features == sizes[0].features { continue }
      throw DataError(
        .wrongShape, file: path, key: "X_\(suffix)",
        found: "the rows have \(size.features) features",
        expected: "\(sizes[0].features) as in X_train",
        advice: "make all splits with the same encoder")
    }
    return Content(
      trainCount: sizes[0].rows, matchedCount: sizes[1].rows, mismatchedCount: sizes[2].rows,
      featureCount: sizes[0].features)
  }

  private static func size(
    _ suffix: String, _ source: FeatureArrays
  ) throws(DataError) -> (rows: Int, features: Int) {
    let shape = try source.header("X_" + suffix).shape
    try DataError.require(
      shape.count == 2, .wrongShape, file: source.path, key: "X_" + suffix,
      found: "the shape is \(shape)", expected: "a matrix (rows, features)")
    let extents = try source.header("y_" + suffix).shape
    // Without a 0 the product is the size of what the file holds.
    let labels = extents.contains(0) ? 0 : extents.reduce(1, *)
    guard labels == shape[0] else {
      throw .wrongCount(labels, "label", rowCount: shape[0], file: source.path, key: "y_" + suffix)
    }
    return (shape[0], shape[1])
  }

  /// The commands that bring a missing cache: this package neither encodes texts nor downloads.
  private var howToGetIt: String {
    let directory = prefix.hasPrefix("/") ? "DIR" : Shell.quote(directory)
    var advice =
      "pull it with: huggingface-cli download \(repository) --repo-type dataset --include "
      + "\(Shell.quote(publishedPath + "/*")) --local-dir \(directory); or make it with --stage extract of "
      + "the Python original's scripts/roberta_mnli.py"
    var full = self
    (full.trainLimit, full.validationLimit) = (nil, nil)
    if full != self, Files.exists(full.path) {
      advice +=
        "; or give --stage train_eval, which takes these rows of the full cache, \(full.path)"
    }
    return advice
  }
}

/// `metadata.json` of a cache.
private struct TextCacheMetadata {
  let path: String
  let json: JSON

  private static let advice = "pull or extract the cache again"

  init(path: String) throws(DataError) {
    self.path = path
    json = try JSON(file: path, advice: Self.advice)
    guard case .object = json else {
      throw DataError(
        .malformedFile, file: path, found: "the value is no object", expected: "a JSON object",
        advice: Self.advice)
    }
  }

  /// Refuses a cache that is of something else than its folder's name says.
  func require(_ key: String, _ expected: String) throws(DataError) {
    let value = json[key]
    if value == nil || value == .null { return }
    let found = value?.stringValue ?? value?.intValue.map(String.init) ?? "no text"
    guard found != expected else { return }
    throw DataError(
      .wrongType, file: path, key: key, found: "the value is \(found.quoted(limit: 120))",
      expected: "\(expected.quoted(limit: 120)), as the folder's name says",
      advice: "the folder holds another cache: give it its own name back")
  }

  func requireRows(_ split: String, _ count: Int, file: String) throws(DataError) {
    let announced = json["rows"]?[split]?.intValue
    guard announced != count else { return }
    throw DataError(
      announced == nil ? .missingKey : .wrongShape, file: path, key: "rows, \(split)",
      found: announced.map { "the value is \($0)" } ?? "there is no number of rows",
      expected: "\(count), the rows of \(file)",
      advice: announced == nil ? Self.advice : "the cache is not whole: pull or extract it again")
  }
}
