/// Concludes an attempt from what is in its own directory, whoever started the program and whether that
/// one still lives: how it ended, and its result.
struct Conclusion {
  let run: RunDirectory
  let attempt: AttemptDirectory
  let claim: AttemptClaim
  let hash: String

  private var needsResult: Bool { claim.needsResult ?? true }
  private var resultPath: String { "\(run.path)/\(claim.outputDirectory)/result.json" }

  typealias Outcome = (end: AttemptEnd, result: RunResult?)

  func outcome(
    of ending: Ending, stopSignal: Int32?, seconds: Double, finished: Double
  ) -> Outcome {
    var end = AttemptEnd(
      outcome: .failed, exitCode: Int(ending.code), reason: "", seconds: seconds,
      finished: finished)
    var result: RunResult?
    switch ending {
    case .exit(0):
      do {
        result = self.result(try metrics(), seconds: seconds, finished: finished)
        end.outcome = .done
      } catch { end.reason = "\(error)" }
    case .exit(75): (end.outcome, end.reason) = (.interrupted, "interrupted; can be resumed")
    case .exit(let code):
      end.reason = lastError ?? "exit code \(code), and nothing on standard error"
    case .signal(let number):
      end.signal = Signals.name(number)
      if let stopSignal {
        (end.outcome, end.reason) = (.interrupted, "stopped by \(Signals.name(stopSignal))")
      } else {
        end.reason = "ended by \(Signals.name(number))" + (lastError.map { ": \($0)" } ?? "")
      }
    }
    return (end, result)
  }

  /// What the directory says of an attempt that is over and whose launcher saw no end;
  /// nil when the program left neither its exit code nor a whole result.
  func recovered() -> Outcome? {
    if let record = attempt.exit {
      // A signal that asks to end came from outside, as the launcher's own end did.
      var stopSignal: Int32?
      if case .signal(let number) = record.ending, Signals.asksToEnd(number) { stopSignal = number }
      return outcome(
        of: record.ending, stopSignal: stopSignal, seconds: record.seconds,
        finished: record.finished)
    }
    // An earlier attempt's result may lie in a directory that this one went on in.
    guard needsResult, let time = Files.modified(resultPath),
      time > claim.started - Self.clockSlack, let metrics = try? metrics()
    else { return nil }
    let seconds = max(0, time - claim.started)
    var end = AttemptEnd(
      outcome: .done, exitCode: 0, reason: "its result is whole; its end was not seen",
      seconds: seconds, finished: time)
    // A failed run of bllarse-finetune keeps the scores that it had, and says that it failed.
    if let failure = metrics["failure"]?.stringValue {
      (end.outcome, end.exitCode, end.reason) = (.failed, 1, failure)
      return (end, nil)
    }
    return (end, result(metrics, seconds: seconds, finished: time))
  }

  /// A file server's clock and a host's may differ by about this many seconds.
  private static let clockSlack = 2.0

  /// Writes the result, then the end: who finds the end finds the result too.
  func write(_ outcome: Outcome) throws {
    if let result = outcome.result { try run.write(result) }
    try attempt.write(outcome.end)
  }

  private func result(_ metrics: JSON, seconds: Double, finished: Double) -> RunResult {
    RunResult(
      index: run.index, hash: hash, attempt: attempt.number, seconds: seconds, finished: finished,
      host: claim.host, metrics: metrics)
  }

  private var lastError: String? {
    FailureReason.line(in: Files.lastLines(.max, of: attempt.errors)).map { String($0.prefix(500)) }
  }

  /// `result.json` of the output directory; for a program without one the JSON object printed last.
  private func metrics() throws -> JSON {
    func object(_ text: String?) -> JSON? {
      text.flatMap { try? JSON.parse($0) }.flatMap { $0.members == nil ? nil : $0 }
    }
    if let text = try? Files.text(of: resultPath) {
      if let json = object(text) { return json }
      throw SweepError.failed("exit code 0, but \(resultPath) is not a JSON object")
    }
    if needsResult { throw SweepError.failed("exit code 0, but there is no \(resultPath)") }
    return object(Files.lastLines(1, of: attempt.output).first) ?? .object([JSON.Member]())
  }
}

extension RunDirectory {
  /// Records the end of the last attempt when it is over, unseen, and its directory tells it.
  func recover(_ number: Int, hash: String, at now: Double, isOver: Bool) -> Conclusion.Outcome? {
    let attempt = attempt(number)
    guard attempt.end == nil, let claim = attempt.claim, isOver || !attempt.isAlive(claim, at: now)
    else { return nil }
    let conclusion = Conclusion(run: self, attempt: attempt, claim: claim, hash: hash)
    guard let outcome = conclusion.recovered() else { return nil }
    // Who may only read is told all the same.
    try? conclusion.write(outcome)
    return outcome
  }
}

/// The line of a program's standard error that says why it failed.
enum FailureReason {
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

  /// The first line after the last trace that is not indented: `ValueError: …`.
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
    let line = line.trimmed.lowercased()
    let starts = [
      "usage:", "see '", "see \"", "help:", "try '", "for more information", "note:", "mlflow: ",
    ]
    return starts.contains { line.hasPrefix($0) }
      || ["--help", " warning ", ": note: "].contains { line.contains($0) }
  }
}
