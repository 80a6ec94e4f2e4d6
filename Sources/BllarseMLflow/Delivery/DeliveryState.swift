import Foundation

/// How far a journal has been delivered to one destination.
///
/// Losing this file costs nothing but time: the run is found again by its tag, and sending an event
/// twice changes nothing.
package struct DeliveryState: Equatable, Sendable, Codable {
  private var version = 1
  package var uri: String
  package var localID: String
  /// Where the first line that is not delivered begins.
  package var offset = 0
  /// Records before this number are delivered or refused.
  package var nextSequence = 0
  package var experimentID: String?
  package var runID: String?
  package var artifactURI: String?
  /// Whether an attempt to make the run may have succeeded without our knowing.
  package var isCreationUncertain = false
  /// The parent's tag holds an id the destination did not know yet.
  package var isParentPending = false
  /// Children that arrived first are still to be nested under the run.
  package var isAdoptionPending = false
  package var refusedCount = 0
  /// Items refused in the records from `nextSequence` on, as `sequence/key`.
  package var refusedItems: Set<String> = []
  package var endStatus: RunStatus?
  /// The process let go of the run without ending it.
  package var isDetached = false
  /// The time of the last record delivered, in milliseconds since 1970.
  package var lastTime = 0

  private enum CodingKeys: String, CodingKey {
    case version, uri, offset
    case localID = "local_id"
    case nextSequence = "next_sequence"
    case experimentID = "experiment_id"
    case runID = "run_id"
    case artifactURI = "artifact_uri"
    case isCreationUncertain = "creation_uncertain"
    case isParentPending = "parent_pending"
    case isAdoptionPending = "adoption_pending"
    case refusedCount = "refused_count"
    case refusedItems = "refused_items"
    case endStatus = "end_status"
    case isDetached = "detached"
    case lastTime = "last_time"
  }

  package init(uri: String, localID: String) { (self.uri, self.localID) = (uri, localID) }

  /// Reads the file; nil if there is none or it is unreadable, which means starting over.
  package init?(path: String) {
    guard let bytes = try? Files.bytes(of: path),
      let state = try? JSONDecoder().decode(Self.self, from: Data(bytes))
    else { return nil }
    self = state
  }

  package func save(to path: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    try Files.write(Array(try encoder.encode(self)), to: path, durability: .none)
  }
}
