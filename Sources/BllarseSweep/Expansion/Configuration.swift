/// One configuration: the options of one run.
public struct Configuration: Sendable, Equatable {
  /// The options in the order of the file, with underscores in their names.
  public let parameters: [JSON.Member]
  /// The content's hash: 64 hexadecimal digits over the program and the parameters, without those
  /// that only say where results go and how they are tracked.
  public let hash: String
  /// The same without the replicate keys: equal for the seeds of one setting.
  public let groupHash: String

  /// Keys that do not change what is computed.
  package static let bookkeepingKeys: Set<String> = [
    "output", "resume", "save_every", "enable_mlflow", "enable_wandb", "mlflow_tracking_uri",
    "mlflow_experiment", "group_id", "uid", "log_checkpoints",
  ]

  /// What `${…}` may name beside keys.
  package static let builtInReferences: Set<String> = ["sweep.name", "config.hash"]

  package init(parameters: [JSON.Member], hash: String, groupHash: String) {
    self.parameters = parameters
    self.hash = hash
    self.groupHash = groupHash
  }

  /// The value of a key.
  public subscript(key: String) -> JSON? { parameters.first { $0.key == key }?.value }

  /// `batch_size` as `--batch-size`.
  package static func option(for key: String) -> String {
    (key.count == 1 ? "-" : "--") + String(key.map { $0 == "_" ? "-" : $0 })
  }

  /// The command-line arguments: true is a bare flag, false and null are left out, a list is given as
  /// its key's style says.
  package func arguments(
    inversions: [String: String] = [:], lists: ListStyles = ListStyles()
  ) -> [String] {
    parameters.flatMap { member -> [String] in
      let option = Self.option(for: member.key)
      switch member.value {
      case .null: return []
      case .bool(true): return [option]
      case .bool(false): return inversions[member.key].map { [$0] } ?? []
      case .array(let elements):
        return switch lists[member.key] {
        case .repeat: elements.flatMap { Self.pair(option, $0.plainText) }
        case .words: elements.isEmpty ? [] : [option] + elements.map(\.plainText)
        case .json: Self.pair(option, member.value.compact)
        }
      default: return Self.pair(option, member.value.plainText)
      }
    }
  }

  /// A value that begins with a dash would be read as an option; `--option=value` is not.
  private static func pair(_ option: String, _ value: String) -> [String] {
    value.hasPrefix("-") && option.hasPrefix("--") ? ["\(option)=\(value)"] : [option, value]
  }

  /// Computes the content's hash.
  package static func contentHash(
    program: [String], parameters: [JSON.Member], ignored: Set<String>, countsEvery: Bool = false
  ) -> String {
    let kept = parameters.filter {
      !ignored.contains($0.key)
        && (countsEvery || !bookkeepingKeys.contains($0.key) && $0.value != .null)
    }
    let identity = JSON.object([
      "program": .strings(program), "parameters": .object(kept),
    ])
    return Digest.hex(identity.canonical)
  }
}
