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
  public enum ElementType: String, Sendable, CaseIterable {
    /// Half precision.
    case float16
    /// Single precision.
    case float32
  }

  /// The text encoder, "FacebookAI/roberta-base".
  public var encoder = "FacebookAI/roberta-base"
  /// The tokens of a sentence pair.
  public var maxLength = 256
  /// How features are stored.
  public var elementType = ElementType.float16
  /// The training rows that were encoded, or `nil` for all.
  public var trainLimit: Int?
  /// The rows of each validation split that were encoded, or `nil` for all.
  public var validationLimit: Int?
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
    var name = ""
    for character in encoder {
      switch character {
      case "/": name += "__"
      case "-": name += "_"
      default: name.append(character)
      }
    }
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
