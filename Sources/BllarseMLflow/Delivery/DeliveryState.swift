/// How far a journal has been delivered to one destination.
///
/// Losing this file costs nothing but time: the run is found again by its tag, and sending an event
/// twice changes nothing.
package struct DeliveryState: Equatable, Sendable {
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
  /// The state the run was ended with.
  package var endStatus: RunStatus?

  /// The process let go of the run without ending it.
  package var isDetached = false
  /// The time of the last record delivered, in milliseconds since 1970.
  package var lastTime = 0

  package init(uri: String, localID: String) {
    self.uri = uri
    self.localID = localID
  }

  /// Reads the file; nil if there is none or it is unreadable, which means starting over.
  package init?(path: String) {
    guard let bytes = try? Files.bytes(of: path),
      let json = try? JSON.parse(bytes: bytes, isLenient: true),
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
    var members: [JSON.Member] = [
      .init("version", .int(1)), .init("uri", .string(uri)),
      .init("local_id", .string(localID)), .init("offset", .int(offset)),
      .init("next_sequence", .int(nextSequence)),
      .init("creation_uncertain", .bool(isCreationUncertain)),
      .init("parent_pending", .bool(isParentPending)),
      .init("adoption_pending", .bool(isAdoptionPending)),
      .init("detached", .bool(isDetached)), .init("last_time", .int(lastTime)),
      .init("refused_count", .int(refusedCount)),
      .init("refused_items", .array(refusedItems.sorted().map { .string($0) })),
    ]
    if let experimentID { members.append(.init("experiment_id", .string(experimentID))) }
    if let runID { members.append(.init("run_id", .string(runID))) }
    if let artifactURI { members.append(.init("artifact_uri", .string(artifactURI))) }
    if let endStatus { members.append(.init("end_status", .string(endStatus.rawValue))) }
    try Files.write(JSON.object(members).bytes, to: path, durability: .none)
  }
}
