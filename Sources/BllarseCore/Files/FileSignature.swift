/// What a file is by its first bytes, to tell somebody who named the wrong one.
enum FileSignature {
  /// An advice for a file that is not what was wanted.
  ///
  /// - Parameters:
  ///   - bytes: the file.
  ///   - wanted: the format that was expected, "safetensors".
  /// - Returns: an imperative.
  static func advice(_ bytes: UnsafeRawBufferPointer, wanted: String) -> String {
    if let kind = kind(bytes), kind != wanted {
      return "the file looks like \(kind): convert it to \(wanted)"
    }
    return "the file is damaged or is not \(wanted): copy or write it again"
  }

  private static func kind(_ bytes: UnsafeRawBufferPointer) -> String? {
    let signatures: [(String, [UInt8])] = [
      ("npz (or another zip, such as a PyTorch checkpoint)", [0x50, 0x4B, 0x03, 0x04]),
      ("npy", [0x93] + "NUMPY".utf8),
      ("HDF5", [0x89] + "HDF".utf8),
      ("a Python pickle", [0x80, 0x02]),
      ("a Python pickle", [0x80, 0x04]),
      ("a Python pickle", [0x80, 0x05]),
      ("gzip", [0x1F, 0x8B]),
      ("Parquet", Array("PAR1".utf8)),
      ("a Git LFS pointer (run `git lfs pull`)", Array("version https://git-lfs".utf8)),
      ("a web page", Array("<!DOCTYPE".utf8)),
      ("a web page", Array("<html".utf8)),
    ]
    for (name, signature) in signatures where bytes.starts(with: signature) { return name }
    return nil
  }
}
