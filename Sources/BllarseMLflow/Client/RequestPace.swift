/// How fast requests may follow one another, learnt from what a server refuses.
///
/// A server that lets one request a second through refuses the second of two that come at once. From
/// then on requests keep the distance it asked for, so that they are not sent only to be refused. After
/// some requests in a row that were taken, half the distance is tried; where that is refused, the old one
/// holds, and for twice as long.
package struct RequestPace: Sendable, Equatable {
  /// How many requests have to be taken in a row before a shorter distance is tried.
  static let firstTrial = 8
  /// A longer distance would keep from a server what it may take by now.
  static let maxInterval = 10.0
  /// Below this requests follow one another without a pause.
  static let minInterval = 0.01

  /// The distance between the beginnings of two requests, in seconds.
  package private(set) var interval = 0.0
  private var takenCount = 0
  private var trial = RequestPace.firstTrial
  /// The longest wait that the server asked for: one that says what is left asks for less later on.
  private var longestWish = 0.0

  package init() {}

  /// A request was taken.
  package mutating func take() {
    guard interval > 0 else { return }
    takenCount += 1
    guard takenCount >= trial else { return }
    takenCount = 0
    interval = interval / 2 < Self.minInterval ? 0 : interval / 2
  }

  /// A request was refused for coming too early; `wait` is what the server asked for, or what is waited.
  package mutating func refuse(wait: Double) {
    takenCount = 0
    let wish = min(max(wait, Self.minInterval), Self.maxInterval)
    longestWish = max(longestWish, wish)
    guard interval > 0 else {
      interval = wish
      return
    }
    if wish < interval / 4 {
      // A little too early, for a server that says what is left to wait.
      interval = min(interval + wish, Self.maxInterval)
      return
    }
    trial = min(trial * 2, 1024)
    // Never longer than the server ever wanted: where it is others that take its time, waiting more helps none.
    interval = max(interval, min(interval * 2, longestWish))
  }
}

/// Who waits for a client's answers: asked and told while it works.
package struct RequestObserver: Sendable {
  /// Whether no one wants the answer any more; asked often.
  package var isCancelled: @Sendable () -> Bool = { false }
  /// A server has taken a request.
  package var didTake: @Sendable () -> Void = {}
  /// A server has refused a request for the moment, which is repeated after the wait.
  package var willWait: @Sendable (RequestWait) -> Void = { _ in }
  /// Called at least every ten seconds of a wait.
  package var isWaiting: @Sendable () -> Void = {}

  package init() {}
}

/// A wait that a server caused.
package struct RequestWait: Sendable, Equatable {
  /// How long, in seconds.
  package var seconds: Double
  /// What the server asked for, if it is longer than is waited.
  package var asked: Double?
  /// Why: one line.
  package var reason: String
  /// How often the request was refused so far.
  package var refusals: Int

  /// One line for a log.
  package var line: String {
    let wish = asked.map { ", not the \(Self.text($0)) that it asks for" } ?? ""
    return "\(reason); the next request goes out in \(Self.text(seconds))\(wish)"
  }

  static func text(_ seconds: Double) -> String {
    if seconds < 10 { return "\((seconds * 10).rounded() / 10) s" }
    return seconds < 1e15 ? "\(Int(seconds.rounded())) s" : "\(seconds) s"
  }
}
