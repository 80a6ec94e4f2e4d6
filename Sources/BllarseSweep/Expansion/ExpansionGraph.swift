/// A sweep's space compiled for counting: a graph of states that is walked from the first axis to
/// the end, one branch a configuration.
///
/// Conditions see values only through the predicates written in the file, so a key's value is
/// reduced to one bit a predicate. The number of configurations below a state depends only on the
/// bits that states below it still look at; it is computed once for each such combination. A
/// product of unconditional axes is therefore counted and indexed without visiting its points.
final class ExpansionGraph {
  enum State {
    case end
    case dead
    case test([[Literal]], yes: Int, no: Int)
    case axis(Int, next: Int)
    case branch([Int])
  }

  /// One predicate's bit in the mask of one key.
  struct Literal {
    let slot: Int
    let bit: UInt64
  }

  struct Leaf {
    let points: Axis.Points
    let count: Int
    /// The masks of the keys of a point that conditions look at.
    let masks: (Int) -> [(slot: Int, mask: UInt64)]
    let slots: Set<Int>
  }

  private struct Key: Hashable {
    let state: Int
    let masks: [UInt64]
  }

  private(set) var states: [State] = [.end, .dead]
  private(set) var leaves: [Leaf] = []
  private var relevant: [[Int]] = [[], []]
  private let path: String
  private var slotOfKey: [String: Int] = [:]
  private var predicates: [[Predicate]] = []
  private var known: [Key: Int] = [:]
  private(set) var overflowed = false
  private(set) var start = 0
  /// The masks of absent keys.
  private(set) var initialMasks: [UInt64] = []

  init(_ block: Block, path: String) throws {
    self.path = path
    // The root's condition looks at keys that the block itself sets: it is tested at the end.
    let end = try block.condition.map { try test($0, yes: 0, no: 1) } ?? 0
    start = try enter(block, next: end)
    initialMasks = predicates.indices.map { mask(of: nil, slot: $0) }
  }

  private func mask(of value: JSON?, slot: Int) -> UInt64 {
    var mask: UInt64 = 0
    for (bit, predicate) in predicates[slot].enumerated() where predicate.accepts(value) {
      mask |= 1 << UInt64(bit)
    }
    return mask
  }

  private func add(_ state: State, relevant slots: Set<Int>) -> Int {
    states.append(state)
    relevant.append(slots.sorted())
    return states.count - 1
  }

  /// Whatever looks at a key stands after what sets it, and is compiled before that.
  private func test(_ condition: Condition, yes: Int, no: Int) throws -> Int {
    var slots = Set(relevant[yes] + relevant[no])
    let literals = try condition.alternatives.map { alternative in
      try alternative.map { requirement in
        let slot = slotOfKey[requirement.key, default: predicates.count]
        if slot == predicates.count { predicates.append([]) }
        slotOfKey[requirement.key] = slot
        let bit = predicates[slot].firstIndex(of: requirement.predicate) ?? predicates[slot].count
        if bit == predicates[slot].count { predicates[slot].append(requirement.predicate) }
        guard bit < 64 else {
          throw SweepError.data(
            "\(path): the conditions compare '\(requirement.key)' in more than 64 different ways; write them with 'in: […]'"
          )
        }
        slots.insert(slot)
        return Literal(slot: slot, bit: 1 << UInt64(bit))
      }
    }
    return add(.test(literals, yes: yes, no: no), relevant: slots)
  }

  /// Compiles a block from its end to its beginning, and returns its first state.
  private func enter(_ block: Block, next: Int) throws -> Int {
    var state = try block.exclusion.map { try test($0, yes: 1, no: next) } ?? next
    for dimension in block.dimensions.reversed() {
      switch dimension {
      case .axis(let axis):
        let leaf = self.axis(axis.points, next: state)
        state = try axis.condition.map { try test($0, yes: leaf, no: state) } ?? leaf
      case .block(let inner):
        let body = try enter(inner, next: state)
        state = try inner.condition.map { try test($0, yes: body, no: state) } ?? body
      case .concatenation(let blocks):
        let bodies = try blocks.map { inner in
          let body = try enter(inner, next: state)
          return try inner.condition.map { try test($0, yes: body, no: 1) } ?? body
        }
        state = add(.branch(bodies), relevant: Set(bodies.flatMap { relevant[$0] }))
      }
    }
    return block.base.isEmpty ? state : axis(.rows([block.base]), next: state)
  }

  private func axis(_ points: Axis.Points, next: Int) -> Int {
    var assignedByAll = Set(relevant[next])
    let leaf: Leaf
    switch points {
    case .rows(let rows):
      let masks = rows.map { row in
        let tracked = row.compactMap { assignment in
          slotOfKey[assignment.key].map { slot in
            (slot: slot, mask: mask(of: assignment.value.literal, slot: slot))
          }
        }
        assignedByAll.formIntersection(tracked.map(\.slot))
        return tracked
      }
      leaf = Leaf(
        points: points, count: rows.count, masks: { masks[$0] },
        slots: Set(masks.joined().map(\.slot)))
    case .random(let random):
      let tracked = random.parameters.compactMap { parameter in
        slotOfKey[parameter.key].map { (parameter: parameter, slot: $0) }
      }
      let slots = Set(tracked.map(\.slot))
      assignedByAll.formIntersection(slots)
      leaf = Leaf(
        points: points, count: random.count,
        masks: { [unowned self] point in
          tracked.map { ($1, mask(of: random.value($0, at: point), slot: $1)) }
        }, slots: slots)
    }
    leaves.append(leaf)
    return add(
      .axis(leaves.count - 1, next: next), relevant: Set(relevant[next]).subtracting(assignedByAll))
  }

  /// The number of configurations from `state` on, for the keys' masks so far.
  func count(from state: Int, _ masks: [UInt64]) -> Int {
    if state < 2 { return state == 0 ? 1 : 0 }
    let key = Key(state: state, masks: relevant[state].map { masks[$0] })
    if let count = known[key] { return count }
    let count: Int
    switch states[state] {
    case .end: count = 1
    case .dead: count = 0
    case .test(let condition, let yes, let no):
      count = self.count(from: holds(condition, masks) ? yes : no, masks)
    case .branch(let starts): count = starts.reduce(0) { add($0, self.count(from: $1, masks)) }
    case .axis(let index, let next):
      let leaf = leaves[index]
      if isIndependent(leaf, next: next) {
        let (product, overflow) = leaf.count.multipliedReportingOverflow(
          by: self.count(from: next, masks))
        if overflow { overflowed = true }
        count = overflow ? .max : product
      } else {
        count = (0..<leaf.count).reduce(0) {
          add($0, self.count(from: next, self.masks(masks, after: $1, of: leaf)))
        }
      }
    }
    known[key] = count
    return count
  }

  private func add(_ a: Int, _ b: Int) -> Int {
    let (sum, overflow) = a.addingReportingOverflow(b)
    if overflow { overflowed = true }
    return overflow ? .max : sum
  }

  /// Whether what follows an axis is the same for all its points.
  func isIndependent(_ leaf: Leaf, next: Int) -> Bool {
    leaf.slots.isEmpty || !relevant[next].contains { leaf.slots.contains($0) }
  }

  func masks(_ masks: [UInt64], after point: Int, of leaf: Leaf) -> [UInt64] {
    var result = masks
    for entry in leaf.masks(point) { result[entry.slot] = entry.mask }
    return result
  }

  func holds(_ condition: [[Literal]], _ masks: [UInt64]) -> Bool {
    condition.contains { $0.allSatisfy { masks[$0.slot] & $0.bit != 0 } }
  }
}
