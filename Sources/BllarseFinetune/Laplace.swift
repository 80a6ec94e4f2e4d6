import ArgumentParser
import BllarseCore
import BllarseMLflow
import Foundation

enum LaplaceList: OptionList {
  static let options = (HeadRegistry.method(named: HeadRegistry.givenWeights)?.ways ?? [])
    .flatMap(\.options).map(\.info).filter { $0.group != .rows }
}

/// `bllarse-finetune laplace`: a run with the head `laplace`.
struct Laplace: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Gives the weights of a softmax layer that was trained elsewhere a posterior.",
    discussion: """
      The run of --head laplace: by Laplace's method at the weights of --weights, which stay as they are. It scores, \
      stores and tracks as every run does, and says how far the weights are from the optimum under the prior.
      """)

  @OptionGroup(title: "Weights, posterior and predictions")
  var method: DeclaredOptions<LaplaceList>
  @OptionGroup(title: OptionInfo.Group.calibration.rawValue)
  var calibration: DeclaredOptions<CalibrationList>
  @OptionGroup(title: OptionInfo.Group.data.rawValue) var data: DeclaredOptions<DataList>
  @OptionGroup(title: OptionInfo.Group.splits.rawValue) var splits: DeclaredOptions<SplitList>
  @OptionGroup(title: OptionInfo.Group.rows.rawValue) var rows: DeclaredOptions<RowList>
  @OptionGroup(title: OptionInfo.Group.running.rawValue) var running: DeclaredOptions<RunningList>
  @OptionGroup(title: "Tracking") var tracking: DeclaredOptions<TrackingList>

  @Flag(
    help: """
      Check the options, and that files are there and fit together; fit nothing, and print one line about \
      the run.
      """)
  var check = false

  /// All options that it takes.
  static let options =
    LaplaceList.options + CalibrationList.options + DataList.options + SplitList.options
    + RowList.options + RunningList.options + TrackingList.options

  var given: GivenOptions {
    var given = GivenOptions([
      tracking.given, method.given, calibration.given, data.given, splits.given, rows.given,
      running.given,
    ])
    given["head"] = HeadRegistry.givenWeights
    return given
  }

  func validate() throws { _ = try Train.check(given) }

  func run() throws { try Train.run(given, checksOnly: check) }
}
