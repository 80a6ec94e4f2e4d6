/// How far the delivery of a run has come.
public struct DeliveryReport: Sendable, Equatable {
  /// Events that are in the journal only.
  public var undeliveredEvents = 0
  /// Items the server refused; they are kept beside the journal.
  public var refusedItems = 0
  /// Why delivery stopped, if it did: one line, without secrets.
  public var problem: String?
  /// The command that delivers what is left.
  public var command: String?

  /// Whether everything has arrived.
  public var isComplete: Bool { undeliveredEvents == 0 }
}
