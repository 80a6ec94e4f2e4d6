import Foundation

/// The header by which a server says when to come again.
enum RetryAfter {
  /// The longest wait that is done for a server's wish, in seconds: as long as the longest without one.
  static let maxSeconds = Backoff.maxSeconds

  /// The longest wish that is told apart from a longer one: some thirty thousand years, in seconds.
  static let maxWish = 1e12

  /// Reads the header: seconds, or a date in one of HTTP's three forms.
  ///
  /// - Returns: the seconds from now, at least 0; nil for anything else (a sign, a hexadecimal number,
  ///   a word), which says nothing.
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
