import Foundation

/// How fast requests may follow one another, learnt from what a server refuses.
///
/// After a refusal requests keep the distance that the server asked for, so that they are not sent only to
/// be refused. After some requests in a row that were taken, half the distance is tried; where that is
/// refused, the old one holds, and for twice as long.
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
  package var didTake: @Sendable () -> Void = {}
  /// A server has refused a request for the moment, which is repeated after the wait.
  package var willWait: @Sendable (RequestWait) -> Void = { _ in }
  /// Called at least every ten seconds of a wait.
  package var isWaiting: @Sendable () -> Void = {}

  package init() {}
}

package struct RequestWait: Sendable, Equatable {
  package var seconds: Double
  /// What the server asked for, if it is longer than is waited.
  package var asked: Double?
  package var reason: String
  package var refusals: Int

  package var line: String {
    let wish = asked.map { ", not the \(Self.text($0)) that it asks for" } ?? ""
    return "\(reason); the next request goes out in \(Self.text(seconds))\(wish)"
  }

  static func text(_ seconds: Double) -> String {
    if seconds < 10 { return "\((seconds * 10).rounded() / 10) s" }
    return seconds < 1e15 ? "\(Int(seconds.rounded())) s" : "\(seconds) s"
  }
}

/// The header by which a server says when to come again.
enum RetryAfter {
  /// The longest wait that is done for a server's wish, in seconds: as long as the longest without one.
  static let maxSeconds = HTTPSettings.maxBackoffSeconds

  /// The longest wish that is told apart from a longer one: some thirty thousand years, in seconds.
  static let maxWish = 1e12

  /// Seconds from now, at least 0, of a number or a date in one of HTTP's three forms; nil for anything else
  /// (a sign, a hexadecimal number, a word).
  static func seconds(_ text: String, now: Date = Date()) -> Double? {
    let text = text.trimmingCharacters(in: .whitespaces)
    if let first = text.utf8.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) {
      guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: ".") }),
        let seconds = Double(text)
      else { return nil }
      // Any longer is for ever, and no number of a clock's.
      return min(seconds, maxWish)
    }
    for format in [
      "EEE, dd MMM yyyy HH:mm:ss zzz", "EEEE, dd-MMM-yy HH:mm:ss zzz", "EEE MMM d HH:mm:ss yyyy",
    ] {
      let formatter = DateFormatter()
      formatter.locale = Locale(identifier: "en_US_POSIX")
      formatter.timeZone = TimeZone(identifier: "GMT")
      formatter.dateFormat = format
      let words = text.split(separator: " ").joined(separator: " ")
      if let date = formatter.date(from: words) { return max(0, date.timeIntervalSince(now)) }
    }
    return nil
  }
}

extension HTTPSettings {
  /// The longest wait without jitter, as in MLflow's client.
  static let maxBackoffSeconds = 120.0

  /// How long to wait after so many failures in a row, counted from 1: exponential, capped, with jitter so
  /// that many runs do not come back to a server all at once, or what the server asked for, capped too.
  func backoffSeconds(
    failures: Int, retryAfter: Double? = nil, random: Double = .random(in: 0..<1)
  ) -> Double {
    let exponential = backoffFactor * Double(1 << min(max(failures - 1, 0), 20))
    return
      (retryAfter.map { min($0, RetryAfter.maxSeconds) }
      ?? min(Self.maxBackoffSeconds, exponential)) + backoffJitter * random
  }
}
