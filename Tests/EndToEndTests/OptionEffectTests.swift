import BllarseCore
import BllarseTestSupport
import Foundation
import Synchronization
import Testing

/// Every option with every head and every way to fit it.
///
/// It changes the result, or a note says that it does not, or it is refused. A new option, and a new head's, have to be tried here.
@Suite("bllarse-finetune: every option is used, refused or noted")
struct OptionEffectTests {
  /// Weights for the features and for the images.
  private static let weights = LayerFile(seed: 1)

  /// Every head with every way to fit it; several epochs where there are any.
  static let modes: [[String]] = {
    let probit = ["--loss-fn", "IBProbit"]
    let merge = ["--update", "merge", "-bs", "10", "--num-update-iters", "4", "-e", "2"]
    let cavi = ["--update", "cavi", "--num-update-iters", "4", "-e", "2"]
    var modes = [
      probit, probit + merge, probit + cavi,
      probit + ["--update", "sites", "-bs", "10", "--num-update-iters", "2", "-e", "2"],
      probit + merge + ["--parity"], probit + cavi + ["--parity"],
      probit + ["--parity", "--update", "converged"],
    ]
    for head in HeadRegistry.methods where head.name != "IBProbit" {
      switch head.selector?.name {
      case "update"?: modes += [[], merge, cavi].map { ["--loss-fn", head.name] + $0 }
      case "optimizer"?:
        modes += head.ways.map { way in
          ["--loss-fn", head.name, "-o", way.name]
            + (way.traits.contains(.isOnePass) ? [] : ["-bs", "10", "-e", "2"])
        }
      case "vbll-type"?:
        let discriminative = ["--loss-fn", head.name, "--vbll-type", "discriminative"]
        modes += [
          discriminative, discriminative + ["--parameterization", "lowrank"],
          ["--loss-fn", head.name, "--vbll-type", "generative"],
        ]
      default:
        let isGiven = head.ways[0].options.contains { $0.info.isRequired }
        modes.append(
          ["--loss-fn", head.name] + (isGiven ? ["--weights", weights.path] : [])
            + (head.task == .regression ? ["--task", "regression"] : []))
      }
    }
    return modes
  }()

  /// One option in one mode.
  private struct Trial: Sendable {
    let name: String
    let mode: [String]
    /// The words of the mode, and the same with the option.
    let base, words: [String]
    let probe: OptionProbe
    var text: String { "--\(name) with \(mode.joined(separator: " "))" }
  }

  private let directory: TemporaryDirectory
  private let probes: [String: OptionProbe]

  init() throws {
    directory = try TemporaryDirectory()
    let other = try OptionFixture.features(in: directory, name: "other.safetensors", seed: 8)
    probes = try OptionProbe.all(
      other: other, weights: LayerFile(seed: 2).path(in: directory),
      nowhere: directory.file("nowhere"), elsewhere: "elsewhere")
  }

  @Test("on features, whatever is fitted")
  func features() throws {
    let small = try OptionFixture.features(in: directory)
    let large = try OptionFixture.features(in: directory, name: "large.safetensors", rows: 2200)
    let names = try Self.options()
    #expect(names.filter { probes[$0] == nil } == [], "options without a probe")
    #expect(probes.keys.filter { !names.contains($0) } == [], "probes without an option")
    try cross(names.sorted()) { mode, probe in
      ["--features", probe.needsManyRows ? large : small, "--threads", "1"] + mode
    }
  }

  @Test("on images, whatever is fitted")
  func images() throws {
    try CIFARFixture.writeCIFAR10(to: directory, rowsOfBatch: 10, testRows: 20)
    let models = directory.file("models")
    try BackboneFixture(imageSize: 64, classes: 10)
      .write(to: models + "/B_1-Wi_16_res_64_in21k_cifar10.safetensors")
    let data = [
      "--dataset", "cifar10", "--data-dir", directory.path, "--pretrained", "in21k_cifar",
      "--model-dir", models, "--embed-dim", "16", "--num-blocks", "1", "--threads", "1",
    ]
    let names = [
      "dataset", "data-dir", "backbone", "pretrained", "embed-dim", "num-blocks", "model-dir",
      "nodataaug", "reinitialize",
    ]
    try cross(names, modes: Self.modes.filter { !$0.contains("regression") }) { mode, _ in
      data + mode
    }
  }

  // MARK: - Crossing

  /// Tries every option in every mode.
  private func cross(
    _ names: [String], modes: [[String]] = OptionEffectTests.modes,
    base: ([String], OptionProbe) -> [String]
  ) throws {
    var trials: [Trial] = []
    for mode in modes {
      for name in names {
        guard let probe = probes[name] else { continue }
        let words = base(mode, probe) + ["--output", "out"]
        for companion in probe.companions {
          // A switch that the mode has already is shown against the mode without it.
          let base = (words + companion).filter { probe.value != nil || $0 != "--" + name }
          trials.append(
            Trial(
              name: name, mode: mode, base: base,
              words: probe.rest(of: base) + probe.words(name, mode: mode), probe: probe))
        }
      }
    }

    // 1. What is refused, and what is noted: the program is asked about all at once.
    let answers = try RunChecks.ask(trials.map(\.words))
    try #require(answers.count == trials.count)
    var effective: [Trial] = []
    var noted: [Trial] = []
    for (trial, answer) in zip(trials, answers) {
      // "--train-batch-size is now --batch-size", "--likelihood probit is now --head IBProbit".
      let renaming = answer.notes?.first {
        $0.hasPrefix("--\(trial.name) ") && $0.contains(" is now --")
      }
      let present = renaming?.split(separator: " is now --").last?.prefix { $0 != " " }
      let isOld = present != nil
      let name = present.map { String($0) } ?? trial.name
      let isNoted = answer.notes?.contains { $0.contains("--\(name) has no effect") } ?? false
      switch answer.status {
      case 64:
        #expect(answer.text.contains("--\(trial.name)") || isOld, "\(trial.text): \(answer)")
      case 65:
        // It took effect if its value is what is found wrong.
        let said = try #require(trial.probe.said ?? trial.probe.value)
        #expect(answer.text.contains(said), "\(trial.text): \(answer)")
      default:
        #expect(answer.status == 0)
        if isNoted { noted.append(trial) } else { effective.append(trial) }
      }
    }

    // 2. What is left changes something; what is noted, all of it together, does not.
    let groups = Dictionary(grouping: noted) {
      $0.probe.rest(of: $0.base) == $0.base ? $0.base : $0.words
    }
    let shown = effective
    let jobs = shown.map { [$0] } + Array(groups.values)
    let failures = Mutex<[String]>([])
    let known = Mutex<[[String]: Data]>([:])
    DispatchQueue.concurrentPerform(iterations: jobs.count) { index in
      do {
        let fault =
          index < shown.count
          ? try self.show(shown[index], known) : try self.hide(jobs[index], known)
        if let fault { failures.withLock { $0.append(fault) } }
      } catch {
        failures.withLock { $0.append("\(jobs[index][0].text): \(error)") }
      }
    }
    #expect(failures.withLock { $0.sorted() } == [])
  }

  // MARK: - Signs

  /// What is wrong with an option that should have an effect.
  private func show(_ trial: Trial, _ known: borrowing Mutex<[[String]: Data]>) throws -> String? {
    let place = try TemporaryDirectory()
    switch trial.probe.sign {
    case .result:
      return try Self.result(trial.words) == result(of: trial, known)
        ? "\(trial.text) changes nothing, and no note says so" : nil
    case .output(let appears):
      try Self.run(trial.words, in: place)
      let name = appears ? trial.probe.value ?? "out" : "out"
      return FileManager.default.fileExists(atPath: place.file(name + "/result.json")) == appears
        ? nil : "\(trial.text): \(place.contents)"
    case .checkpoint:
      let epoch = try Self.epochOfCheckpoint(trial.words, in: place)
      return epoch % 7 == 0 ? nil : "\(trial.text): a checkpoint after epoch \(epoch)"
    case .waiting:
      let start = ContinuousClock.now
      try Self.run(trial.words + ["--mlflow-tracking-uri", "http://127.0.0.1:1"], in: place)
      let duration = ContinuousClock.now - start
      return duration < .seconds(25) ? nil : "\(trial.text) waited \(duration)"
    case .replacing:
      try Self.run(trial.base + ["--max-train-samples", "20"], in: place)
      let refused = try finetune.run(trial.base, directory: place.path)
      try Self.run(trial.words, in: place)
      return refused.status == 65 && refused.errors.contains("--\(trial.name)")
        ? nil : "\(trial.text): \(refused)"
    case .tracking:
      return try Self.isTracked(trial.name, trial.words, in: place)
        ? nil : "\(trial.text): not in the record"
    }
  }

  /// What is wrong with options that are said to have no effect: together they must have none.
  private func hide(_ trials: [Trial], _ known: borrowing Mutex<[[String]: Data]>) throws -> String?
  {
    let first = trials[0]
    let options = trials.flatMap { $0.probe.words($0.name, mode: $0.mode) }
    guard try Self.result(first.probe.rest(of: first.base) + options) != result(of: first, known)
    else { return nil }
    return
      "\(options.joined(separator: " ")) with \(first.mode) has an effect after all"
  }

  /// The result of a mode as it is.
  private func result(
    of trial: Trial, _ known: borrowing Mutex<[[String]: Data]>
  ) throws -> Data {
    if let result = known.withLock({ $0[trial.base] }) { return result }
    let result = try Self.result(trial.base)
    known.withLock { $0[trial.base] = result }
    return result
  }
}
