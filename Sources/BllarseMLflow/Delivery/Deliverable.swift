/// A value that is sent with others and may be refused alone.
protocol Deliverable: Sendable {
  var key: String { get }
  /// What a store would refuse it for; nil if nothing is known.
  var fault: String? { get }
  /// The value, for the file of refused ones.
  var members: [JSON.Member] { get }
}

extension MetricPoint: Deliverable {
  var fault: String? { Naming.keyFault(key) }

  var members: [JSON.Member] {
    [
      .init("key", .string(key)), .init("value", .double(value)), .init("time", .int(time)),
      .init("step", .int(step)),
    ]
  }
}

extension KeyValue: Deliverable {
  var fault: String? { Naming.keyFault(key) }
  var members: [JSON.Member] { [.init("key", .string(key)), .init("value", .string(value))] }
}

extension StagedArtifact: Deliverable {
  var key: String { path }
  var fault: String? { Naming.artifactFault(path) }
  var members: [JSON.Member] { [.init("key", .string(path)), .init("file", .string(file))] }
}
