/// How far a journal has been delivered to one destination.
///
/// Losing this file costs nothing but time: the run is found again by its tag, and sending an event
/// twice changes nothing.
package struct DeliveryState: Equatable, Sendable {
  package var uri, localID: String
  /// Where the first line that is not delivered begins.
  package var offset = 0
  /// Records before this number are delivered or refused.
  package var nextSequence = 0
  package var experimentID, runID, artifactURI: String?
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

  package init(uri: String, localID: String) { (self.uri, self.localID) = (uri, localID) }

  /// Reads the file; nil if there is none or it is unreadable, which means starting over.
  package init?(path: String) {
    guard let json = (try? Files.bytes(of: path)).flatMap(JSON.lenient),
      let uri = json["uri"]?.stringValue, let localID = json["local_id"]?.stringValue,
      let offset = json["offset"]?.integer, let next = json["next_sequence"]?.integer
    else { return nil }
    self.init(uri: uri, localID: localID)
    self.offset = offset
    nextSequence = next
    experimentID = json["experiment_id"]?.stringValue
    runID = json["run_id"]?.stringValue
    artifactURI = json["artifact_uri"]?.stringValue
    isCreationUncertain = json["creation_uncertain"] == .bool(true)
    isParentPending = json["parent_pending"] == .bool(true)
    isAdoptionPending = json["adoption_pending"] == .bool(true)
    isDetached = json["detached"] == .bool(true)
    lastTime = json["last_time"]?.integer ?? 0
    refusedCount = json["refused_count"]?.integer ?? 0
    refusedItems = Set((json["refused_items"]?.arrayValue ?? []).compactMap(\.stringValue))
    endStatus = json["end_status"]?.stringValue.flatMap(RunStatus.init)
  }

  package func save(to path: String) throws(TrackingError) {
    let json = JSON.object([
      "version": 1, "uri": .string(uri), "local_id": .string(localID), "offset": .int(offset),
      "next_sequence": .int(nextSequence), "creation_uncertain": .bool(isCreationUncertain),
      "parent_pending": .bool(isParentPending), "adoption_pending": .bool(isAdoptionPending),
      "detached": .bool(isDetached), "last_time": .int(lastTime),
      "refused_count": .int(refusedCount),
      "refused_items": .array(refusedItems.sorted().map { .string($0) }),
      "experiment_id": experimentID.map(JSON.string), "run_id": runID.map(JSON.string),
      "artifact_uri": artifactURI.map(JSON.string),
      "end_status": endStatus.map { .string($0.rawValue) },
    ])
    try Files.write(json.bytes, to: path, durability: .none)
  }
}
