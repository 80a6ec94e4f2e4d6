import Foundation

/// Where the package's own data files are.
///
/// The build puts them into `bllarse_BllarseCore.resources` beside the executable. They are looked for,
/// in this order: in a directory that the user named, beside the running executable, beside the loaded
/// image that holds this code (a test bundle), in `share/bllarse` next to the executable's `bin`, and
/// in the package's sources. `Bundle.module` is not used: it traps when the directory was moved.
enum Resources {
  static let directoryName = "bllarse_BllarseCore.resources"

  /// The path of a resource, "digits/digits.safetensors", that can be read.
  ///
  /// The user may have said where they are ($BLLARSE_RESOURCES).
  ///
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

  private static var executableDirectory: String? { Host.executablePath.map(parent) }

  private static var imageDirectory: String? {
    // The kernel's list of mappings says which file holds this code (dladdr is not visible to Swift).
    let address = UInt(bitPattern: #dsohandle)
    guard let maps = fopen("/proc/self/maps", "re") else { return nil }
    defer { fclose(maps) }
    var (line, capacity): (UnsafeMutablePointer<CChar>?, Int) = (nil, 0)
    defer { free(line) }
    while getline(&line, &capacity, maps) > 0, let text = line.map({ String(cString: $0) }) {
      // 7f0c1000-7f0c2000 r-xp 00001000 fe:01 1234    /path/of the/file
      let fields = text.split(separator: " ", maxSplits: 5)
      let bounds = (fields.first ?? "").split(separator: "-").compactMap { UInt($0, radix: 16) }
      guard bounds.count == 2, bounds[0] <= address, address < bounds[1] else { continue }
      guard let slash = fields.last?.firstIndex(of: "/"), fields.count == 6 else { return nil }
      return parent(String(fields[5][slash...].prefix { $0 != "\n" }))
    }
    return nil
  }

  /// `Sources/BllarseCore/Resources`, when the package is still where it was built.
  private static var sourceDirectory: String { parent(parent(#filePath)) + "/Resources" }

  private static func parent(_ path: String) -> String {
    path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
  }
}
