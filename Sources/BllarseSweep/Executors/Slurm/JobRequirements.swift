/// What tasks need of the node that they run on, as far as the login node can tell: the Python
/// environment, the container's image, the job script with the file that it shares with others.
struct JobRequirements {
  let options: SubmitOptions
  let runner: any CommandRunner
  var environment = Host.environment

  static let sharedFile = "common.sh"

  func check() throws -> [String] {
    let script = try scriptText()
    try checkImage(script)
    return try checkVenv(isContainer: Self.engine(of: script) != nil)
  }

  /// The directory's file that a job script shares, if it has one.
  func sharedScript() throws -> String? {
    guard let jobScript = options.jobScript, try scriptText().contains("/\(Self.sharedFile)"),
      let directory = Files.parent(of: jobScript)
    else { return nil }
    let path = "\(directory)/\(Self.sharedFile)"
    guard Files.exists(path) else {
      throw SweepError.usage(
        "the job script \(jobScript) sources \(Self.sharedFile), which is not beside it: copy it from where the script is from"
      )
    }
    return path
  }

  private func scriptText() throws -> String {
    try options.jobScript.flatMap { try Files.text(of: $0) } ?? ""
  }

  private func checkVenv(isContainer: Bool) throws -> [String] {
    guard let venv = options.venv, !Files.exists("\(venv)/bin/activate") else { return [] }
    if Files.exists(venv) {
      throw SweepError.usage(
        "--venv \(venv) has no bin/activate, so it is no Python environment; make one with 'python3 -m venv \(venv)'"
      )
    }
    if isContainer {
      return ["note: \(venv) (--venv) is not here: it must be in the image, or on the nodes"]
    }
    // Beside what is here, it would be here too: nodes see the same directories.
    if let parent = Files.parent(of: venv), parent != "/", Files.isDirectory(parent) {
      throw SweepError.usage("there is no --venv \(venv); make it with 'python3 -m venv \(venv)'")
    }
    return ["note: \(venv) (--venv) is not here: it must be on the nodes"]
  }

  private enum Engine { case docker, apptainer }

  private static func engine(of script: String) -> Engine? {
    switch (script.contains("BLLARSE_DOCKER_IMAGE"), script.contains("BLLARSE_APPTAINER_IMAGE")) {
    case (true, false): .docker
    case (false, true): .apptainer
    // A script with both decides on the node.
    default: nil
    }
  }

  private func checkImage(_ script: String) throws {
    guard environment["BLLARSE_IMAGE_CHECK"] != "node" else { return }
    func image(_ variable: String) -> String? {
      environment[variable].flatMap { $0.isEmpty ? nil : $0 }
    }
    let missing: String
    let variable: String
    switch Self.engine(of: script) {
    case .docker:
      variable = "BLLARSE_DOCKER_IMAGE"
      let image = image(variable) ?? "bllarse-dev"
      // Without Docker here, or without its answer, the nodes must tell.
      guard let answer = try? runner.run(["docker", "image", "inspect", image]), answer.status != 0,
        answer.errors.lowercased().contains("no such")
      else { return }
      missing =
        "the Docker image \(image) is not on this machine; build it ('docker build -t \(image) .' in bllarse's directory) on the nodes too"
    case .apptainer:
      variable = "BLLARSE_APPTAINER_IMAGE"
      let image = image(variable) ?? "bllarse.sif"
      guard !image.contains("://"), !Files.exists(image) else { return }
      missing =
        "there is no Apptainer image \(Files.absolute(image)); build it ('apptainer build \(image) bllarse.def' in bllarse's directory)"
    case nil: return
    }
    throw SweepError.usage(
      "\(missing), name another by \(variable), or leave it to the nodes with BLLARSE_IMAGE_CHECK=node"
    )
  }
}
