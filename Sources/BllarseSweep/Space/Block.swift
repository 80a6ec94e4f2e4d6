/// A part of a sweep: fixed values, and axes whose product they are combined with.
///
/// The axes stand in a fixed order, the first slowest: `grid` in the order written, `zip`, `list`,
/// `random`, `product`, `concat`, `seeds`. So the order of the sections in a file means nothing.
package struct Block: Sendable {
  /// Values that hold unless an axis says otherwise.
  package var base: [(key: String, value: Template)] = []
  /// The dimensions, slowest first.
  package var dimensions: [Dimension] = []
  /// The block counts only where this holds.
  package var condition: Condition?
  package var exclusions: [Condition] = []
  package var position = Position(line: 1, column: 1)

  package init() {}
}

/// One factor of a block.
package indirect enum Dimension: Sendable {
  case axis(Axis)
  /// Combined with what stands before; left out where its condition does not hold.
  case block(Block)
  /// One after another.
  case concatenation([Block])
}

/// A list of points, each of which sets some keys.
package struct Axis: Sendable {
  package enum Points: Sendable {
    case rows([[(key: String, value: Template)]])
    case random(RandomPoints)
  }

  package let points: Points
  /// Where it does not hold, the axis is left out and its keys keep their base values.
  package let condition: Condition?
  /// The section of the file, for messages.
  package let section: String
  package let position: Position

  package var count: Int {
    switch points {
    case .rows(let rows): rows.count
    case .random(let random): random.count
    }
  }

  /// The keys that some point sets, in order of appearance.
  package var keys: [String] {
    switch points {
    case .rows(let rows):
      var seen: Set<String> = []
      return rows.joined().map(\.key).filter { seen.insert($0).inserted }
    case .random(let random): return random.parameters.map(\.key)
    }
  }
}

/// A sweep as its file states it.
public struct SweepFile: Sendable {
  /// The sweep's name, also its directory's.
  public var name: String
  /// What runs.
  public var program: ProgramDescription
  package var space: Block
  /// The keys that only replicate a configuration (`seed`).
  package var replicateKeys: [String]
  /// Keys that do not change what is computed, beside ``Configuration/bookkeepingKeys``.
  package var ignoredKeys: [String]
  /// Defaults of `submit`: option names without dashes, and their values.
  package var slurm: [JSON.Member]
  package var executor: ExecutorChoice?
  /// The text as read, kept with the sweep.
  package var sourceText: String
  /// The file's path as given.
  public var path: String
  /// Where each key was first written.
  package var keyPositions: [String: Position]
  /// Values that were given to all configurations beside the file.
  package internal(set) var overrides: [Override] = []
  /// What the file has more if it is a Python module.
  package var python: PythonSweep?
  /// What its reader should know.
  package var notes: [String] = []
}

/// The program that runs a configuration.
public struct ProgramDescription: Sendable, Equatable {
  /// The program and its leading arguments; a name without a slash is looked up.
  public var command: [String] = ["bllarse-finetune"]
  /// The option that takes the directory for results; nil when the program has none.
  package var outputOption: String? = "--output"
  /// The option that takes the directory of an interrupted attempt; nil when it cannot resume.
  package var resumeOption: String? = "--resume"
  /// Whether the program describes its own options on `--experimental-dump-help`.
  package var describesItself = true
  /// How it takes values that are lists.
  package var lists = ListStyles()

  /// A description of `bllarse-finetune`.
  public init() {}
}

extension SweepFile {
  /// All keys that some configuration may have, in the file's order.
  package var keys: [String] {
    var seen: Set<String> = []
    return space.possibleValues.map(\.key).filter { seen.insert($0).inserted }
  }
}
