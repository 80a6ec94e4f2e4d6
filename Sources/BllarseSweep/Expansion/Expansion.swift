/// The ordered list of a sweep's configurations, computed one at a time.
///
/// The order is that of the axes, the last fastest; it depends on nothing but the file.
public final class Expansion {
  /// The number of configurations.
  public let count: Int
  package let file: SweepFile
  private let graph: ExpansionGraph
  private let ignored: Set<String>

  /// Prepares a sweep's expansion.
  ///
  /// - Throws: ``SweepError`` (65) when there are more configurations than an `Int` counts, or none.
  /// - Complexity: proportional to the file's length, whatever the number of configurations, unless
  ///   conditions tie many keys together.
  public init(_ file: SweepFile) throws {
    self.file = file
    ignored = Set(file.ignoredKeys)
    graph = try ExpansionGraph(file.space, path: file.path)
    count = graph.count(from: graph.start, graph.initialMasks)
    guard !graph.overflowed else {
      throw SweepError.data("\(file.path): more than \(Int.max) configurations; shorten the axes")
    }
    guard count > 0 else {
      throw SweepError.data(
        "\(file.path): the conditions leave no configuration; check 'when' and 'exclude'")
    }
  }

  /// The configuration at a position in `0..<count`; an error (65) when a reference finds no value in it.
  package func configuration(at index: Int) throws -> Configuration {
    precondition((0..<count).contains(index), "index \(index), of \(count) configurations")
    return try configuration(assignments(at: index), index: index)
  }

  /// The configuration at a position as a manifest would hold it.
  package func entry(at index: Int, inversions: [String: String] = [:]) throws -> ManifestEntry {
    guard (0..<count).contains(index) else { throw SweepError.noConfiguration(index, of: count) }
    return ManifestEntry(
      index: index, configuration: try configuration(at: index), program: file.program.command,
      inversions: inversions, lists: ListStyles())
  }

  private func assignments(at index: Int) -> Assignments {
    var rest = index
    var state = graph.start
    var masks = graph.initialMasks
    var assigned = Assignments()
    while true {
      switch graph.states[state] {
      case .end, .dead: return assigned
      case .test(let condition, let yes, let no): state = graph.holds(condition, masks) ? yes : no
      case .branch(let starts):
        state = graph.states.count
        for start in starts {
          let below = graph.count(from: start, masks)
          if rest < below {
            state = start
            break
          }
          rest -= below
        }
      case .axis(let number, let next):
        let leaf = graph.leaves[number]
        var point = 0
        if graph.isIndependent(leaf, next: next) {
          let below = graph.count(from: next, masks)
          point = rest / below
          rest %= below
        } else {
          while true {
            let below = graph.count(from: next, graph.masks(masks, after: point, of: leaf))
            if rest < below { break }
            rest -= below
            point += 1
          }
        }
        masks = graph.masks(masks, after: point, of: leaf)
        assigned.set(leaf.points, point: point)
        state = next
      }
    }
  }

  private func configuration(_ assigned: Assignments, index: Int) throws -> Configuration {
    var resolver = Resolver(assigned: assigned, file: file, index: index)
    var parameters: [JSON.Member] = []
    parameters.reserveCapacity(assigned.entries.count)
    var needsHash: [Int] = []
    for (place, entry) in assigned.entries.enumerated() {
      if entry.value.references.contains("config.hash") {
        guard Configuration.bookkeepingKeys.contains(entry.key) || ignored.contains(entry.key)
        else {
          throw SweepError.data(
            "\(file.path): '\(entry.key)' contains ${config.hash}, which is computed from it; only keys that do not change the result may (add it to identity.ignore)"
          )
        }
        needsHash.append(place)
        parameters.append(JSON.Member(entry.key, .null))
      } else {
        parameters.append(JSON.Member(entry.key, try resolver.value(of: entry.key)))
      }
    }
    func contentHash(_ ignored: Set<String>) -> String {
      // Nobody knows which keys change what a run() of the user's computes.
      let kept = parameters.filter {
        !ignored.contains($0.key) && (file.runsItself || $0.value != .null)
          && (file.runsItself || !Configuration.bookkeepingKeys.contains($0.key))
      }
      let program = JSON.strings(file.program.identity)
      return Digest.hex(JSON.object(["program": program, "parameters": .object(kept)]).canonical)
    }
    let hash = contentHash(ignored)
    let replicates = file.replicateKeys
    let group = replicates.isEmpty ? hash : contentHash(ignored.union(replicates))
    resolver.hash = hash
    for place in needsHash {
      parameters[place].value = try resolver.value(of: parameters[place].key)
    }
    return Configuration(parameters: parameters, hash: hash, groupHash: group)
  }
}

extension ProgramDescription {
  /// What of the program belongs to a configuration's identity: its name, wherever it lies,
  /// and how it is given lists, where that is not the usual way.
  var identity: [String] {
    let name = command[0].split(separator: "/").last.map(String.init) ?? command[0]
    return [name] + command.dropFirst() + lists.identity
  }
}

/// The keys set so far, in order of their first appearance; a later value replaces an earlier one.
struct Assignments {
  private(set) var entries: [(key: String, value: Template)] = []

  mutating func set(_ points: Axis.Points, point: Int) {
    switch points {
    case .rows(let rows): for entry in rows[point] { set(entry.key, entry.value) }
    case .random(let random):
      for parameter in random.parameters {
        set(parameter.key, .literal(random.value(parameter, at: point)))
      }
    }
  }

  private mutating func set(_ key: String, _ value: Template) {
    if let place = entries.firstIndex(where: { $0.key == key }) {
      entries[place].value = value
    } else {
      entries.append((key, value))
    }
  }

  subscript(key: String) -> Template? { entries.first { $0.key == key }?.value }
}

struct Resolver {
  let assigned: Assignments
  let file: SweepFile
  let index: Int
  var hash: String?

  func value(of key: String) throws -> JSON {
    guard let template = assigned[key] else { return .null }
    return try resolve(template, of: key, seen: [key])
  }

  private func resolve(_ template: Template, of key: String, seen: [String]) throws -> JSON {
    switch template {
    case .literal(let value): return value
    case .list(let elements):
      return .array(try elements.map { try resolve($0, of: key, seen: seen) })
    case .text(let pieces):
      if pieces.count == 1, case .reference(let name) = pieces[0] {
        return try lookUp(name, from: key, seen: seen)
      }
      var text = ""
      for piece in pieces {
        switch piece {
        case .verbatim(let part): text += part
        case .reference(let name): text += try lookUp(name, from: key, seen: seen).plainText
        }
      }
      return .string(text)
    case .table(let by, let cases, let otherwise):
      let selector = try lookUp(by, from: key, seen: seen).plainText
      if let found = cases.first(where: { $0.value == selector }) {
        return try resolve(found.template, of: key, seen: seen)
      }
      guard let otherwise else {
        throw fault(
          "the table of '\(key)' has no case for \(by) = \(selector)\(hint(for: selector, among: cases.map(\.value))); add it, or a 'default'",
          key)
      }
      return try resolve(otherwise, of: key, seen: seen)
    }
  }

  private func lookUp(_ name: String, from key: String, seen: [String]) throws -> JSON {
    if name == "sweep.name" { return .string(file.name) }
    if name == "config.hash", let hash { return .string(String(hash.prefix(8))) }
    guard !seen.contains(name) else {
      throw fault("'\(name)' refers to itself (\((seen + [name]).joined(separator: " → ")))", key)
    }
    guard let template = assigned[name] else {
      throw fault("'\(key)' refers to '\(name)', which configuration \(index) does not set", key)
    }
    return try resolve(template, of: name, seen: seen + [name])
  }

  private func fault(_ message: String, _ key: String) -> SweepError {
    let place = file.keyPositions[key].map { ":\($0)" } ?? ""
    return SweepError.data("\(file.path)\(place): \(message)")
  }
}
