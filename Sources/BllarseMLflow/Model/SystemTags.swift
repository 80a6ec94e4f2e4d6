import Foundation

/// The tags MLflow's pages look for, as its own client sets them.
package enum SystemTags {
  package static func make(
    user: String, program: String, directory: String
  ) -> [String: String] {
    var tags = [
      "mlflow.user": user, "mlflow.source.name": program, "mlflow.source.type": "LOCAL",
    ]
    if let git = GitState(containing: directory) {
      tags["mlflow.source.git.commit"] = git.commit
      tags["mlflow.source.git.branch"] = git.branch
      tags["mlflow.source.git.repoURL"] = git.remoteURL
    }
    return tags
  }

  /// The home folder that the system has for this account; nil where it has none, as in some containers.
  package static var accountHome: String? {
    guard let entry = getpwuid(geteuid()), let home = entry.pointee.pw_dir else { return nil }
    return String(cString: home)
  }

  /// The login name, as `id -un` says it.
  package static func user(environment: [String: String]) -> String {
    if let entry = getpwuid(geteuid()), let name = entry.pointee.pw_name {
      return String(cString: name)
    }
    return environment["USER"] ?? environment["LOGNAME"] ?? "unknown"
  }
}

/// Readable names for runs without one: an adjective, a noun and a number.
package enum RunName {
  private static let adjectives = [
    "amber", "brisk", "calm", "clever", "crisp", "daring", "eager", "fair", "gentle", "golden",
    "honest", "humble", "keen", "lively", "lucid", "mellow", "merry", "nimble", "patient", "placid",
    "quiet", "rapid", "serene", "silver", "steady", "sturdy", "sunny", "tidy", "vivid", "witty",
  ]
  private static let nouns = [
    "badger", "beech", "birch", "bison", "cedar", "crane", "curlew", "dolphin", "falcon", "finch",
    "fox", "hare", "heron", "ibis", "jay", "larch", "linnet", "lynx", "marten", "maple", "newt",
    "oak", "otter", "owl", "pine", "plover", "robin", "stoat", "swift", "wren",
  ]

  package static func random() -> String {
    let adjective = adjectives.randomElement() ?? "calm"
    let noun = nouns.randomElement() ?? "swift"
    return "\(adjective)-\(noun)-\(Int.random(in: 100...999))"
  }
}
