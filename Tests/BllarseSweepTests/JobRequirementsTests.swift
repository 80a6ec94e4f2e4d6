import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseSweep

@Suite("SLURM: what a job needs is looked for before it is sent")
struct JobRequirementsTests {
  static let scripts = Fixtures.packageRoot + "/Scripts/slurm"

  static func requirements(
    script: String? = nil, venv: String? = nil, environment: [String: String] = [:],
    docker: CommandResult = CommandResult(status: 0)
  ) -> JobRequirements {
    var options = SubmitOptions()
    options.jobScript = script.map { $0.contains("/") ? $0 : "\(scripts)/\($0)" }
    options.venv = venv
    return JobRequirements(
      options: options, runner: ScriptedRunner(["docker": docker]), environment: environment)
  }

  static func message(_ requirements: JobRequirements) -> String? {
    do {
      _ = try requirements.check()
      return nil
    } catch {
      #expect((error as? SweepError)?.code == .usage)
      return "\(error)"
    }
  }

  @Test("a generated script and the shared file hold the same text")
  func body() throws {
    let shared = try #require(try Files.text(of: "\(Self.scripts)/common.sh"))
    #expect(shared.contains(SlurmExecutor.scriptBody))
  }

  @Test("a directory without bin/activate, and one missing beside what is here, are refused")
  func venv() throws {
    let scratch = try TemporaryDirectory()
    #expect(
      Self.message(Self.requirements(venv: scratch.path))
        == "--venv \(scratch.path) has no bin/activate, so it is no Python environment; make one with 'python3 -m venv \(scratch.path)'"
    )
    let missing = scratch.file("venv")
    #expect(
      Self.message(Self.requirements(venv: missing))
        == "there is no --venv \(missing); make it with 'python3 -m venv \(missing)'")
    // On the nodes, or in an image: only they can tell.
    let elsewhere = scratch.file("not/here")
    #expect(
      try Self.requirements(venv: elsewhere).check()
        == ["note: \(elsewhere) (--venv) is not here: it must be on the nodes"])
    #expect(
      try Self.requirements(script: "slurm_run_config_docker.sh", venv: missing).check()
        == ["note: \(missing) (--venv) is not here: it must be in the image, or on the nodes"])
    try Files.makeDirectory(scratch.file("venv/bin"))
    try scratch.write("venv/bin/activate", [])
    #expect(try Self.requirements(venv: missing).check() == [])
  }

  @Test("a Docker image that this machine does not have is refused, unless nodes are to tell")
  func docker() {
    let missing = CommandResult(
      status: 1, errors: "Error response from daemon: No such image: bllarse-dev:latest\n")
    let script = "slurm_run_config_docker.sh"
    let text = Self.message(Self.requirements(script: script, docker: missing))
    #expect(
      text
        == "the Docker image bllarse-dev is not on this machine; build it ('docker build -t bllarse-dev .' in bllarse's directory) on the nodes too, name another by BLLARSE_DOCKER_IMAGE, or leave it to the nodes with BLLARSE_IMAGE_CHECK=node"
    )
    #expect(
      Self.message(
        Self.requirements(
          script: script, environment: ["BLLARSE_DOCKER_IMAGE": "other"], docker: missing))?
        .contains("the Docker image other is not") == true)
    #expect(
      Self.message(
        Self.requirements(
          script: script, environment: ["BLLARSE_IMAGE_CHECK": "node"], docker: missing)) == nil)
    let silent = CommandResult(status: 1, errors: "Cannot connect to the Docker daemon\n")
    #expect(Self.message(Self.requirements(script: script, docker: silent)) == nil)
    #expect(
      Self.message(Self.requirements(script: "slurm_run_config.sh", docker: missing)) == nil)
  }

  @Test("an Apptainer image that is not there is refused; an address is the node's affair")
  func apptainer() throws {
    let scratch = try TemporaryDirectory()
    let script = "slurm_run_config_apptainer.sh"
    let image = scratch.file("x.sif")
    let environment = ["BLLARSE_APPTAINER_IMAGE": image]
    #expect(
      Self.message(Self.requirements(script: script, environment: environment))
        == "there is no Apptainer image \(image); build it ('apptainer build \(image) bllarse.def' in bllarse's directory), name another by BLLARSE_APPTAINER_IMAGE, or leave it to the nodes with BLLARSE_IMAGE_CHECK=node"
    )
    try scratch.write("x.sif", [])
    #expect(Self.message(Self.requirements(script: script, environment: environment)) == nil)
    #expect(
      Self.message(
        Self.requirements(
          script: script, environment: ["BLLARSE_APPTAINER_IMAGE": "docker://bllarse"])) == nil)
  }

  @Test("a job script that shares a file goes with it, and is refused without it")
  func shared() throws {
    let scratch = try TemporaryDirectory()
    #expect(
      try Self.requirements(script: "slurm_run_config.sh").sharedScript()
        == "\(Self.scripts)/common.sh")
    let text = try #require(try Files.text(of: "\(Self.scripts)/slurm_run_config.sh"))
    let copy = try scratch.write("job.sh", Array(text.utf8))
    #expect(throws: SweepError.self) { try Self.requirements(script: copy).sharedScript() }
    let own = try scratch.write("own.sh", Array("exit 0\n".utf8))
    #expect(try Self.requirements(script: own).sharedScript() == nil)
  }
}
