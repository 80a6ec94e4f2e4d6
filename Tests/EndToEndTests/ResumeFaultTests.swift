import BllarseCore
import BllarseTestSupport
import Foundation
import Testing

@Suite("Runs that are killed", .serialized)
struct ResumeFaultTests {
  /// Heads and methods whose states have nothing in common.
  static let methods: [[String]] = [
    ["--loss-fn", "CrossEntropy", "-o", "adamw", "-e", "40", "-bs", "32", "--dropout", "0.2"],
    ["--loss-fn", "CrossEntropy", "-o", "ivon", "-e", "30", "-bs", "64", "-mc", "2"],
    ["--loss-fn", "MSE", "-o", "lion", "-e", "40", "-bs", "64"],
    [
      "--loss-fn", "IBProbit", "--update", "merge", "-bs", "64", "--num-update-iters", "4", "-e",
      "30",
    ],
    ["--loss-fn", "MultinomialPolyaGamma", "-bs", "100", "--num-update-iters", "2", "-e", "20"],
  ]

  @Test(
    "ten runs killed by SIGKILL at random moments, each resumed, end with the bits of one that was not",
    arguments: methods.indices)
  func killed(index: Int) throws {
    let fixture = try ResumeFixture()
    let method = Self.methods[index]
    let watch = ContinuousClock.now
    let reference = fixture.directory.file("reference")
    #expect(try finetune.run(fixture.arguments(method, output: reference)).status == 0)
    // A run's length, corrected after each attempt: the machine may be busier now, or less.
    var duration = ContinuousClock.now - watch
    let expected = try fixture.outcome(reference)
    let names = try fixture.names(reference)
    #expect(
      names == [
        "best.safetensors", "checkpoint.safetensors", "head.safetensors", "metrics.jsonl",
        "result.json",
      ])

    var generator = SplitMix64(seed: 1000 + index)
    var kills = 0
    var attempts = 0
    while kills < 10 {
      attempts += 1
      try #require(attempts < 100, "runs end before they are killed")
      let output = fixture.directory.file("run\(attempts)")
      let arguments = fixture.arguments(method, output: output) + ["--resume", output]
      let process = try fixture.start(arguments, log: output + ".log")
      Thread.sleep(forTimeInterval: (duration * generator.uniform()).inSeconds)
      kill(process.processIdentifier, SIGKILL)
      guard process.finish() == 128 + SIGKILL else {
        duration = duration * 0.7
        continue
      }
      duration = duration * 1.05
      kills += 1
      // What is there can be read, whenever the run died.
      for name in ["checkpoint", "best", "head"] {
        let path = "\(output)/\(name).safetensors"
        guard FileManager.default.fileExists(atPath: path) else { continue }
        let file = try SafetensorsFile(path: path)
        #expect(file.metadata["format"] != nil)
      }
      let resumed = try finetune.run(arguments)
      #expect(resumed.status == 0, "\(resumed.errors)")
      #expect(try fixture.outcome(output) == expected, "kill \(kills)")
      #expect(try fixture.names(output) == names)
    }
  }
}
