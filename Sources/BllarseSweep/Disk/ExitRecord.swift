/// How an attempt's program ended, as its keeper wrote it down: `exit.json` in the attempt's directory.
///
/// It is there whether or not the launcher has lived to see the end.
package struct ExitRecord: Sendable, Equatable {
  package var ending: Ending
  package var seconds: Double
  package var finished: Double

  package init(ending: Ending, seconds: Double, finished: Double) {
    self.ending = ending
    self.seconds = seconds
    self.finished = finished
  }

  init?(_ json: JSON) {
    if let number = json["signal"]?.intValue {
      ending = .signal(Int32(clamping: number))
    } else if let code = json["exit_code"]?.intValue {
      ending = .exit(Int32(clamping: code))
    } else {
      return nil
    }
    seconds = json["seconds"]?.doubleValue ?? 0
    finished = json["finished"]?.doubleValue ?? 0
  }

  var json: JSON {
    var members = [JSON.Member]()
    switch ending {
    case .exit(let code): members.append(JSON.Member("exit_code", .int(Int(code))))
    case .signal(let number): members.append(JSON.Member("signal", .int(Int(number))))
    }
    members.append(JSON.Member("seconds", .number(seconds)))
    members.append(JSON.Member("finished", .number(finished)))
    return .object(members)
  }
}

extension AttemptDirectory {
  /// What the keeper wrote of the program's end; nil while it runs, and where there was no keeper.
  package var exit: ExitRecord? {
    guard let text = try? Files.text(of: "\(path)/exit.json"), let json = try? JSON.parse(text)
    else { return nil }
    return ExitRecord(json)
  }

  package func write(_ record: ExitRecord) throws {
    try Files.write(record.json.compact + "\n", to: "\(path)/exit.json")
  }
}
