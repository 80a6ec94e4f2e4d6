#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where the package's own data files are.
///
/// The build puts them into `bllarse_BllarseCore.resources` beside the executable. They are looked for,
/// in this order: in a directory that the user named, beside the running executable, beside the loaded
/// image that holds this code (a test bundle), in `share/bllarse` next to the executable's `bin`, and
/// in the package's sources. `Bundle.module` is not used: it traps when the directory was moved.
enum Resources {
  static let directoryName = "bllarse_BllarseCore.resources"

  /// The path of a resource.
  ///
  /// - Parameters:
  ///   - name: the path inside the resources, "digits/digits.safetensors".
  ///   - directory: where the user said that they are ($BLLARSE_RESOURCES), if anywhere.
  /// - Throws: `DataError.Code.missingFile`, with the places where it was looked for.
  static func path(_ name: String, in directory: String?) throws(DataError) -> String {
    let places = candidates(directory)
    for place in places where access("\(place)/\(name)", R_OK) == 0 { return "\(place)/\(name)" }
    throw DataError(
      .missingFile, file: name,
      found: "the built-in file was not found in " + places.joined(separator: ", "),
      advice: "copy the directory \(directoryName) beside the executable, or set "
        + "BLLARSE_RESOURCES to it")
  }

  /// The directories to look in, each once, best first.
  static func candidates(_ directory: String?) -> [String] {
    var places: [String] = []
    func add(_ place: String) { if !places.contains(place) { places.append(place) } }
    if let directory, !directory.isEmpty {
      add(directory)
      add("\(directory)/\(directoryName)")
    }
    let executable = executableDirectory
    for image in [executable, imageDirectory].compactMap({ $0 }) {
      add("\(image)/\(directoryName)")
    }
    if let executable {
      add("\(executable)/../share/bllarse")
      add("\(executable)/../share/bllarse/\(directoryName)")
    }
    add(sourceDirectory)
    return places
  }

  private static var executableDirectory: String? {
    guard let path = realpath("/proc/self/exe", nil) else { return nil }
    defer { free(path) }
    return parent(String(cString: path))
  }

  private static var imageDirectory: String? {
    var info = Dl_info()
    guard dladdr(#dsohandle, &info) != 0, let name = info.dli_fname,
      let path = realpath(name, nil)
    else { return nil }
    defer { free(path) }
    return parent(String(cString: path))
  }

  /// `Sources/BllarseCore/Resources`, when the package is still where it was built.
  private static var sourceDirectory: String { parent(parent(#filePath)) + "/Resources" }

  private static func parent(_ path: String) -> String {
    path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
  }
}
