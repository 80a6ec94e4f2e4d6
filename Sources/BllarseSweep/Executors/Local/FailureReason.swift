/// The line of a program's standard error that says why it failed.
///
/// Programs end in different ways: with the line itself, with a hint at their usage, with where their
/// run is tracked, with a trace of what was called.
enum FailureReason {
  /// Finds the line among the last ones; nil when there is none.
  static func line(in lines: [String]) -> String? {
    let exception = pythonException(in: lines)
    let error = lines.lastIndex { isError($0) && !isSecondHand($0) }
    let found =
      switch (exception, error) {
      case (let exception?, let error?):
        // Who started a program that failed says only that it did; the program has said why.
        isSecondHand(lines[exception]) ? error : max(exception, error)
      case (let exception?, nil): exception
      case (nil, let error?): error
      case (nil, nil): lines.lastIndex { !isAside($0) } ?? lines.indices.last
      }
    return found.map { lines[$0].trimmed }
  }

  /// The first line after the last trace that is not indented: `ValueError: …`, which may go on over
  /// more lines.
  private static func pythonException(in lines: [String]) -> Int? {
    guard let trace = lines.lastIndex(where: { $0.hasPrefix("Traceback (most recent call last)") })
    else { return nil }
    return lines[(trace + 1)...].firstIndex { $0.first?.isWhitespace == false }
  }

  /// `Error: …`, `prog: error: …`, `Fatal error: …`, `KeyError: …`.
  private static func isError(_ line: String) -> Bool {
    let line = line.trimmed
    return ["error:", "Error:", "ERROR:"].contains { word in
      guard let range = line.firstRange(of: word) else { return false }
      let before = line[..<range.lowerBound]
      if before.isEmpty || before.last == " " { return true }
      // A Python exception: `torch.cuda.OutOfMemoryError:`.
      return word == "Error:" && before.allSatisfy { $0.isLetter || $0 == "." || $0 == "_" }
    }
  }

  private static func isSecondHand(_ line: String) -> Bool {
    line.contains("CalledProcessError") || line.hasPrefix("SystemExit")
  }

  /// What programs add to an error: how to call them, notes, where the run is tracked.
  private static func isAside(_ line: String) -> Bool {
    let line = line.trimmed
    let starts = [
      "usage:", "see '", "see \"", "help:", "try '", "for more information", "note:", "mlflow: ",
    ]
    let lower = line.lowercased()
    return starts.contains { lower.hasPrefix($0) } || lower.contains("--help")
      || lower.contains(" warning ") || lower.contains(": note: ")
  }
}
