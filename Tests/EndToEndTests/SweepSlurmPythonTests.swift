import BllarseTestSupport
import Foundation
import Testing

extension SweepEndToEnd.SweepSlurmTests {
  @Test("Python modules: tasks run what was submitted, and each result holds what the file says")
  func pythonModules() throws {
    let sweeps = try PythonSweeps(tool)
    let names = [
      "own_run", "own_run_failing", "own_run_training", "adapters_last_layer", "config_grid",
      "script_runner", "flags_false",
    ]
    for name in names {
      let submit = try tool.run("submit", "\(name).py", "--cpus-per-task", "1")
      #expect(submit.status == 0, "\(name): \(submit.errors)")
      // The tasks have their own copy.
      try tool.temporary.remove("\(name).py")
    }
    try tool.temporary.remove("own_run_model.py")
    // The file's own SLURM names the job and its limit.
    #expect(tool.text("sweeps/config_grid/submissions/0001/plan.json").contains("\"grid\""))
    for name in names {
      let states = try tool.settled("sweeps/\(name)")
      let expected =
        name == "own_run_failing"
        ? ["done", "failed", "failed"] : Array(repeating: "done", count: states.count)
      #expect(states.map(\.state) == expected, "\(name): \(states.map(\.reason))")
      if name == "own_run_failing" {
        #expect(states[1].reason == "ZeroDivisionError: division by zero (own_run_failing.py:16)")
      }
    }
    try sweeps.checkResults()
    let children = try sweeps.tracked("adapters_last_layer")
    #expect(Set(children.map { $0["optimizer"] }) == ["adamw", "lion"])
    #expect(children.allSatisfy { $0["tune_mode"] == "last_layer" })
  }
}
