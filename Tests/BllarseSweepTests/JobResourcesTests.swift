import BllarseTestSupport
import Testing

@testable import BllarseSweep

@Suite("SLURM: what a run gets")
struct JobResourcesTests {
  static let partitions = """
    PartitionName=cpu AllowGroups=ALL Default=YES DefaultTime=NONE MaxTime=1-00:00:00 DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED
    PartitionName=small AllowGroups=ALL Default=NO DefaultTime=00:30:00 MaxTime=01:00:00 DefMemPerCPU=200 MaxMemPerNode=UNLIMITED
    PartitionName=node AllowGroups=ALL Default=NO DefaultTime=NONE MaxTime=UNLIMITED DefMemPerNode=3000 MaxMemPerNode=UNLIMITED

    """

  static func resources(
    limits: ClusterLimits = ClusterLimits(), script: String? = nil,
    environment: [String: String] = [:], answer: CommandResult? = nil,
    options given: [JSON.Member] = []
  ) throws -> JobResources {
    var options = SubmitOptions()
    try options.apply(given, file: "s.yaml")
    let runner = ScriptedRunner([
      "scontrol": answer ?? CommandResult(status: 0, output: partitions)
    ])
    return JobResources.ask(
      options, limits: limits, script: script, environment: environment, runner: runner)
  }

  @Test("what is not asked for is the partition's, then the cluster's, and each is said")
  func defaults() throws {
    #expect(
      try Self.resources().line
        == "each run gets 1 processor (SLURM's default), memory without a limit (partition cpu), 1-00:00:00 of time (MaxTime of partition cpu); at most 7 at once"
    )
    var limits = ClusterLimits()
    limits.memoryPerProcessor = Memory("400M")
    #expect(
      try Self.resources(
        limits: limits,
        options: [JSON.Member("cpus_per_task", 4), JSON.Member("max_concurrent", "none")]
      ).line
        == "each run gets 4 processors (as asked), 1.6G of memory (the cluster's DefMemPerCPU), 1-00:00:00 of time (MaxTime of partition cpu); any number at once"
    )
    #expect(
      try Self.resources(limits: limits, options: [JSON.Member("partition", "node")]).line
        == "each run gets 1 processor (SLURM's default), 2.9G of memory (DefMemPerNode of partition node), time without a limit (partition node); at most 7 at once"
    )
    // Whichever partition takes the job.
    #expect(
      try Self.resources(limits: limits, options: [JSON.Member("partition", "node,small")]).line
        == "each run gets 1 processor (SLURM's default), 200M of memory (DefMemPerCPU of partition small), 00:30:00 of time (DefaultTime of partition small); at most 7 at once"
    )
  }

  @Test("all places where sbatch reads options count, each before the one before it")
  func places() throws {
    let script = """
      #!/bin/bash
      #SBATCH --mem=100M --time=10
      #SBATCH -c 3   # comment
      # more
      echo
      #SBATCH --time=99
      """
    #expect(
      try Self.resources(script: script).line
        == "each run gets 3 processors (#SBATCH of the job script), 100M of memory (#SBATCH of the job script), 00:10:00 of time (#SBATCH of the job script); at most 7 at once"
    )
    let environment = ["SBATCH_TIMELIMIT": "2:00:00", "SBATCH_MEM_PER_CPU": "1G"]
    #expect(
      try Self.resources(script: script, environment: environment).line
        == "each run gets 3 processors (#SBATCH of the job script), 3G of memory (SBATCH_MEM_PER_CPU), 02:00:00 of time (SBATCH_TIMELIMIT); at most 7 at once"
    )
    let asked = try Self.resources(
      script: script, environment: environment,
      options: [
        JSON.Member("mem", "2G"), JSON.Member("time", "1-0"),
        JSON.Member("sbatch_args", .array(["-t", "5", "--mem-per-cpu=300", "-c2"])),
      ])
    #expect(
      asked.line
        == "each run gets 2 processors (as asked), 600M of memory (as asked), 00:05:00 of time (as asked); at most 7 at once"
    )
  }

  @Test("too little memory for the largest run is told, with what to ask for")
  func warning() throws {
    let resources = try Self.resources(options: [JSON.Member("partition", "small")])
    func warning(_ megabytes: Int) -> String? {
      resources.warning(for: .init(index: 17, bytes: megabytes << 20))
    }
    #expect(warning(200) == nil && resources.warning(for: nil) == nil)
    #expect(
      warning(201)
        == "configuration 17 needs about 201M of memory, and a run gets 200M (DefMemPerCPU of partition small); give --mem 300M"
    )
    #expect(warning(3000)?.hasSuffix("give --mem 4G") == true)
    #expect(try Self.resources().warning(for: .init(index: 0, bytes: 1 << 50)) == nil)
  }

  @Test("a cluster that does not tell is told as such")
  func silence() throws {
    #expect(
      try Self.resources(
        answer: CommandResult(status: 1, errors: "no controller\n"),
        options: [JSON.Member("mem", "1G")]
      ).line
        == "each run gets 1 processor (SLURM's default), 1G of memory (as asked); at most 7 at once; the cluster's defaults are not known: no controller"
    )
  }

  @Test("seven run at once unless the file or the command says otherwise, and a record keeps it")
  func concurrency() throws {
    func limit(_ value: JSON) throws -> Int? {
      var options = SubmitOptions()
      try options.apply([JSON.Member("max_concurrent", value)], file: "s.yaml")
      var again = SubmitOptions()
      try again.apply(options.json.members ?? [], file: "plan.json")
      #expect(again == options)
      return options.maxConcurrent
    }
    #expect(SubmitOptions().maxConcurrent == 7)
    #expect(try limit(3) == 3 && limit(.null) == 7)
    #expect(try limit(0) == nil && limit("none") == nil)
    for wrong in [JSON.int(-1), "all", .double(0.5)] {
      #expect(
        throws: SweepError(
          .data,
          "s.yaml: slurm.max_concurrent is a positive number, or none for no limit; found \(wrong.plainText)"
        )
      ) { try limit(wrong) }
    }
    var options = SubmitOptions()
    options.maxRequeues = 0
    var again = SubmitOptions()
    try again.apply(options.json.members ?? [], file: "plan.json")
    #expect(again == options)
  }
}
