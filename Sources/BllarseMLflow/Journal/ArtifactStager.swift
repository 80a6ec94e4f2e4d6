import Foundation

/// Puts files beside a journal until they are delivered, each under a number of its own.
struct ArtifactStager {
  let directory: RunDirectory

  /// A file, or all files of a folder, as artifacts at and below `artifactPath`.
  func stage(
    _ path: String, as artifactPath: String?, staging: ArtifactStaging
  ) throws(TrackingError) -> [StagedArtifact] {
    let name = artifactPath ?? URL(fileURLWithPath: path).lastPathComponent
    guard Files.exists(path) else {
      throw TrackingError(.notFound, "the artifact \(path) does not exist")
    }
    guard Files.isDirectory(path) else {
      return [try stageFile(path, as: name, staging: staging)]
    }
    var staged: [StagedArtifact] = []
    let names = FileManager.default.enumerator(atPath: path)
    for case let relative as String in names ?? FileManager.DirectoryEnumerator() {
      let file = path + "/" + relative
      guard !Files.isDirectory(file) else { continue }
      staged.append(try stageFile(file, as: name + "/" + relative, staging: staging))
    }
    return staged.sorted { $0.path < $1.path }
  }

  func stage(text: String, as artifactPath: String) throws(TrackingError) -> StagedArtifact {
    try check(artifactPath)
    let file = try freshName(for: artifactPath)
    try Files.write(Array(text.utf8), to: directory.artifacts + "/" + file)
    return StagedArtifact(path: artifactPath, file: file, size: text.utf8.count)
  }

  private func stageFile(
    _ path: String, as artifactPath: String, staging: ArtifactStaging
  ) throws(TrackingError) -> StagedArtifact {
    try check(artifactPath)
    let file = try freshName(for: artifactPath)
    let target = directory.artifacts + "/" + file
    let size =
      switch staging {
      case .copy: try Files.copy(path, to: target)
      case .link: try Files.linkOrCopy(path, to: target)
      }
    return StagedArtifact(path: artifactPath, file: file, size: size)
  }

  private func check(_ artifactPath: String) throws(TrackingError) {
    if let fault = Naming.artifactFault(artifactPath) {
      throw TrackingError(
        .settings, "the artifact path '\(artifactPath)' \(fault); expected 'folder/file'")
    }
  }

  /// A random prefix keeps files apart that are logged twice under one path.
  private func freshName(for artifactPath: String) throws(TrackingError) -> String {
    try Files.makeDirectory(directory.artifacts)
    let last = artifactPath.split(separator: "/").last.map(String.init) ?? "artifact"
    let prefix = String(UInt64.random(in: 0...UInt64.max), radix: 16)
    return "\(prefix)-\(last.utf8.count > 150 ? "artifact" : last)"
  }
}
