@_exported public import BllarseSupport
import Foundation

package typealias Files = FileSystem<DataError>
package typealias AtomicFile = Files.AtomicFile

/// Bad data, described in one line: where it is, what was found, what was expected, what to do.
///
/// Everything that reads or writes files, and everything that checks data, throws this error. An
/// executable prints ``description`` and exits with status 65.
///
///     features.safetensors: X_train, row 3, column 7 (from 0): the value is nan, expected a finite
///     number; remove the row or fill the value in
///
/// (in one line). Rows and columns count from 0, lines of text from 1.
public struct DataError: Error, Equatable, Sendable {
  /// The kind of fault; more may be added, so a `switch` over them needs a `default`.
  public struct Code: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// The name of the kind.
    public let description: String
    private init(_ name: String) { description = name }

    /// A file or directory does not exist.
    public static let missingFile = Code("missingFile")
    /// A file exists and cannot be opened or read.
    public static let unreadableFile = Code("unreadableFile")
    /// A file or directory cannot be created or written.
    public static let unwritableFile = Code("unwritableFile")
    /// The bytes of a file contradict its format.
    public static let malformedFile = Code("malformedFile")
    /// A tensor, an array or a metadata entry is not there.
    public static let missingKey = Code("missingKey")
    /// A tensor, an array or a metadata entry has a type or a content that cannot be used.
    public static let wrongType = Code("wrongType")
    /// Sizes contradict one another or what they must be.
    public static let wrongShape = Code("wrongShape")
    /// A value is NaN or infinite.
    public static let notFinite = Code("notFinite")
    /// A value is so large that what is computed from it overflows.
    public static let outOfRange = Code("outOfRange")
    /// A label is not a class.
    public static let invalidLabel = Code("invalidLabel")
    /// There are too few rows or too few classes to fit or to evaluate anything.
    public static let insufficientData = Code("insufficientData")
  }

  /// The kind of fault.
  public var code: Code
  /// The file, as the caller named it; `nil` when the data came from memory.
  public var file: String?
  /// The tensor, array, split or metadata entry.
  public var key: String?
  /// The line of a text file, from 1; the row and the column, from 0.
  public var line, row, column: Int?
  /// What is wrong, a clause without a full stop: "the value is nan".
  public var found: String
  /// What should have been there, a noun phrase: "a finite number", and what the user can do about it, an
  /// imperative: "remove the row".
  public var expected, advice: String?

  /// Describes a fault; every part is as the property of its name says.
  public init(
    _ code: Code, file: String? = nil, key: String? = nil, line: Int? = nil, row: Int? = nil,
    column: Int? = nil, found: String, expected: String? = nil, advice: String? = nil
  ) {
    (self.code, self.file, self.key, self.line) = (code, file, key, line)
    (self.row, self.column) = (row, column)
    (self.found, self.expected, self.advice) = (found, expected, advice)
  }

  /// Throws a fault unless a condition holds.
  static func require(
    _ condition: Bool, _ code: Code, file: String? = nil, key: @autoclosure () -> String? = nil,
    row: Int? = nil, found: @autoclosure () -> String,
    expected: @autoclosure () -> String? = nil, advice: @autoclosure () -> String? = nil
  ) throws(DataError) {
    if condition { return }
    throw DataError(
      code, file: file, key: key(), row: row, found: found(), expected: expected(), advice: advice()
    )
  }

  /// A clause with the names that are there: "there is no such tensor among X_train, y_train".
  static func absence(_ noun: String, among names: [String]) -> String {
    guard !names.isEmpty else { return "there is no such \(noun), nor any other" }
    return "there is no such \(noun) among " + names.prefix(12).joined(separator: ", ")
      + (names.count > 12 ? ", … (\(names.count) in all)" : "")
  }

  /// What is there under a name; a fault with the names that are there, where it is not.
  static func find<Value>(
    _ value: Value?, _ noun: String, _ key: String, in file: String?,
    among names: @autoclosure () -> [String]
  ) throws(DataError) -> Value {
    if let value { return value }
    throw DataError(.missingKey, file: file, key: key, found: absence(noun, among: names()))
  }

  /// There are not as many labels, weights or groups as rows.
  static func wrongCount(
    _ count: Int, _ noun: String, rowCount: Int, file: String? = nil, key: String
  ) -> DataError {
    DataError(
      .wrongShape, file: file, key: key,
      found: "there are \(rowCount) rows of features and \(count) \(noun)s",
      expected: "one \(noun) a row")
  }

  /// The same fault, located in a file unless it is located in one already.
  public func inFile(_ path: String?) -> DataError {
    guard file == nil else { return self }
    var copy = self
    copy.file = path
    return copy
  }
}

// MARK: - Conformances

extension DataError: CustomStringConvertible {
  /// The fault in one line, whatever characters the file's name or its content hold.
  public var description: String {
    var text = ""
    if let file { text += file + ": " }
    let place = [
      key, line.map { "line \($0)" }, row.map { "row \($0)" }, column.map { "column \($0)" },
    ].compactMap { $0 }
    if !place.isEmpty {
      text += place.joined(separator: ", ")
      if row != nil || column != nil { text += " (from 0)" }
      text += ": "
    }
    text += found
    if let expected { text += ", expected " + expected }
    if let advice { text += "; " + advice }
    return text.printable
  }
}

extension DataError: SystemFailure {
  package init(_ error: SystemError) {
    let what = error.operation == .makeDirectory ? "directory" : "file"
    if let obstacle = error.obstacle {
      self.init(
        .unwritableFile, file: error.path, found: "\(obstacle.quoted(limit: 4096)) is a file",
        expected: "a directory", advice: "choose another output directory")
    } else if error.operation == .read {
      let isMissing = [ENOENT, ENOTDIR].contains(error.number)
      self.init(
        isMissing ? .missingFile : .unreadableFile, file: error.path,
        found: isMissing ? "the file does not exist" : "the file cannot be read (\(error.reason))",
        advice: isMissing
          ? "check the path"
          : [EACCES, EPERM].contains(error.number) ? "check its permissions" : nil)
    } else if error.number == EISDIR {
      self.init(
        .unwritableFile, file: error.path, found: "a directory has this name", expected: "a file",
        advice: "choose another name")
    } else {
      let advice =
        switch error.number {
        case ENOENT, ENOTDIR: "create the directory first"
        case EACCES, EPERM, EROFS: "choose a directory that you may write to"
        case ENOSPC, EDQUOT: "free some space"
        default: "check the path"
        }
      self.init(
        .unwritableFile, file: error.path,
        found: "the \(what) cannot be written (\(error.reason))", advice: advice)
    }
  }
}
