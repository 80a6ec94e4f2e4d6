import ArgumentParser
import BllarseCore

/// A command line of a run in its present spelling, and what to say about an older one.
///
/// The Python original's scripts spelled some options in several ways, and so did this program. Each of
/// these is read as the present option, with a note that names it; two spellings of one option that say two
/// things are refused.
struct CommandLineWords {
  private(set) var words: [String] = []
  /// One line for each older spelling, and for each option that is given twice.
  private(set) var notes: [String] = []

  /// Older names, without their dashes, and the present ones.
  static let oldNames = [
    "loss-function": "head", "train-batch-size": "batch-size", "dropout-rate": "dropout",
    "ibprobit-alpha": "forgetting-rate", "finetuning-type": "tune-mode",
    "enable-wandb": "enable-mlflow",
  ]
  /// Names beside the present ones that are no older: the original's word for the head.
  private static let otherNames = ["loss-fn": "head"]
  /// Older values, by the names of the options that took them: the present name, and the present values.
  private static let oldValues: [String: (name: String, values: [String: String])] = [
    "likelihood": ("head", ["softmax": "softmax", "probit": "IBProbit"]),
    "calibration": ("calibration", ["loo": "folds"]),
  ]
  private static let shortNames = Dictionary(
    RunConfiguration.options.compactMap { info in info.shortName.map { ($0, info.name) } },
    uniquingKeysWith: { first, _ in first })
  /// Words that begin the command line of something else than a run.
  private static let otherCommands: Set<String> = ["evaluate", "predict", "check", "help", "text"]

  /// Reads the words after the program's name.
  ///
  /// - Throws: `ValidationError` for two spellings of one option that say two things, and for a value that
  ///   an older option never had.
  init(_ arguments: some Collection<String>) throws {
    if let first = arguments.first, Self.otherCommands.contains(first) {
      words = Array(arguments)
      return
    }
    var seen: [String: (spelling: String, written: String, value: String)] = [:]
    var rest = Array(arguments)[...]
    while let word = rest.popFirst() {
      guard word != "--", word.hasPrefix("-") else {
        words.append(word)
        if word == "--" {
          words += rest
          break
        }
        continue
      }
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let spelling = String(parts[0])
      var name = Self.presentName(spelling)
      // The value is after the equals sign, or the next word; a flag has none.
      var value = parts.count > 1 ? String(parts[1]) : nil
      let isNextWord = value == nil && rest.first.map { !$0.hasPrefix("-") } ?? false
      if isNextWord { value = rest.popFirst() }
      if name.text == "device", value?.isEmpty ?? true {
        notes.append("--device without a value has no effect: everything runs on the CPU")
        continue
      }
      var isOld = Self.isOld(spelling)
      let written = [spelling, value].compactMap { $0 }.joined(separator: " ")
      if let old = Self.oldValues[name.text], name.isLong, let given = value {
        if let present = old.values[given] {
          notes.append("\(written) is now --\(old.name) \(present)")
          (name.text, value, isOld) = (old.name, present, true)
        } else if old.name != name.text {
          let words = old.values.sorted { $0.key < $1.key }
            .map { "\($0.key) (now --\(old.name) \($0.value))" }
          throw ValidationError(
            "\(spelling) is '\(given)'; expected \(words.joined(separator: " or "))")
        }
      } else if isOld {
        notes.append("\(spelling) is now --\(name.text)")
      }
      if let value {
        if let earlier = seen[name.text], earlier.value != value {
          if earlier.spelling != spelling,
            [earlier.spelling, spelling].contains(where: { Self.isAnother($0, than: name.text) })
          {
            throw ValidationError("\(earlier.written) and \(written) are one option; give it once")
          }
          notes.append("\(spelling) is given twice: \(value), the last, takes effect")
        }
        seen[name.text] = (spelling, written, value)
      }
      let present = isOld ? "--" + name.text : spelling
      if isNextWord, let value {
        words += [present, value]
      } else {
        words.append(value.map { present + "=" + $0 } ?? present)
      }
    }
  }

  /// The present long name of an option, where it is spelled with two dashes.
  private static func presentName(_ spelling: String) -> (text: String, isLong: Bool) {
    guard spelling.hasPrefix("--") else {
      let short = String(spelling.dropFirst())
      return (shortNames[short] ?? short, false)
    }
    // Underscores are how the original's configurations are written, and some of its options.
    let name = spelling.dropFirst(2).split(separator: "_", omittingEmptySubsequences: false)
      .joined(separator: "-")
    return (oldNames[name] ?? otherNames[name] ?? name, true)
  }

  /// Whether a spelling is an older one.
  private static func isOld(_ spelling: String) -> Bool {
    otherNames[String(spelling.dropFirst(2))] == nil
      && isAnother(spelling, than: presentName(spelling).text)
  }

  /// Whether a spelling is a long name, and not the present one.
  private static func isAnother(_ spelling: String, than present: String) -> Bool {
    spelling.hasPrefix("--") && spelling != "--" + present
  }
}

/// Older names of options, most of them the Python original's.
///
/// They are here so that a description of this program's options has them: ``CommandLineWords`` replaces
/// them before a command line is parsed.
enum OldSpellingList: OptionList {
  static let options =
    (CommandLineWords.oldNames.keys.filter { $0 != "enable-wandb" } + ["likelihood"])
    .sorted().map { OptionInfo($0, group: .method, "") }
}
