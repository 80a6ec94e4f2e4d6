import Dispatch
public import Foundation
import Synchronization

/// Listens to signals that ask the process to end; ``Run/endOnTermination(signals:status:waitingUpTo:report:)``
/// makes one.
public final class TerminationHandler: Sendable {
  private let sources: Mutex<[any DispatchSourceSignal]>
  private let signals: [Int32]

  /// Calls `action` with each of the signals that arrives, on a thread of its own, where everything is
  /// allowed.
  ///
  /// A signal that the process was started to ignore stays ignored: `nohup` means it.
  fileprivate init(signals: [Int32], action: @escaping @Sendable (Int32) -> Void) {
    let signals = signals.filter { !Self.isIgnored($0) }
    self.signals = signals
    sources = Mutex(Self.listen(signals, action))
  }

  private static func isIgnored(_ number: Int32) -> Bool {
    var present = sigaction()
    guard sigaction(number, nil, &present) == 0 else { return false }
    // Handlers are compared as addresses: SIG_IGN is the number 1.
    return unsafeBitCast(present.__sigaction_handler.sa_handler, to: Int.self) == 1
  }

  private static func listen(
    _ signals: [Int32], _ action: @escaping @Sendable (Int32) -> Void
  ) -> sending [any DispatchSourceSignal] {
    let queue = DispatchQueue(label: "bllarse.termination")
    var sources: [any DispatchSourceSignal] = []
    for number in signals {
      // A handler that does nothing, and not SIG_IGN, which child processes would inherit.
      signal(number) { _ in }
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { action(number) }
      source.resume()
      sources.append(source)
    }
    return sources
  }

  /// Stops listening; the signals get back their usual effect.
  public func cancel() {
    sources.withLock { sources in
      for source in sources { source.cancel() }
      sources = []
    }
    for number in signals { signal(number, SIG_DFL) }
  }
}

extension Run {
  /// Ends the run when a signal ends the process, and then lets the signal have its effect.
  ///
  /// - Parameters:
  ///   - signals: those to listen to.
  ///   - status: KILLED, or what the run should end as.
  ///   - limit: how long to wait for delivery; SLURM kills after KillWait, 30 seconds by default.
  ///   - report: called with the run when it has ended.
  /// - Returns: keep it for as long as this is wanted, and cancel it before the process ends.
  public func endOnTermination(
    signals: [Int32] = [SIGTERM, SIGINT, SIGHUP], status: RunStatus = .killed,
    waitingUpTo limit: Duration = .seconds(5), report: @escaping @Sendable (Run) -> Void = { _ in }
  ) -> TerminationHandler {
    TerminationHandler(signals: signals) { [weak self] number in
      if let self {
        finish(status: status, waitingUpTo: limit)
        report(self)
      }
      // Dispatch blocks the signal in every thread it can; here it must get through.
      var set = sigset_t()
      sigemptyset(&set)
      sigaddset(&set, number)
      signal(number, SIG_DFL)
      pthread_sigmask(SIG_UNBLOCK, &set, nil)
      raise(number)
    }
  }
}
