@testable import BllarseMLflow
import BllarseTestSupport
import Foundation
import Testing

@Suite("Credentials file")
struct CredentialsFileTests {
  private func read(_ text: String) -> CredentialsFile {
    CredentialsFile(text: text, path: "credentials")
  }

  @Test("both separators, comments, case, spaces, and what stands behind the first separator")
  func form() {
    let file = read(
      """
      # a comment
      ; another
      [mlflow]
      MLFLOW_Tracking_Username =  anna
        ; an indented comment
      mlflow_tracking_password: a=b;c#d:e
      tracking_uri = https://mlflow.example.org
      """)
    #expect(file.user == "anna")
    #expect(file.password?.exposed == "a=b;c#d:e")
    #expect(file.trackingURI == "https://mlflow.example.org")
    #expect(file.warnings.isEmpty)
  }

  @Test("a byte order mark and line ends of Windows are no part of keys and values")
  func windows() {
    let file = read("\u{FEFF}[mlflow]\r\nmlflow_tracking_username = anna\r\n")
    #expect(file.user == "anna")
    #expect(file.warnings.isEmpty)
  }

  @Test("the last of equal keys wins, and %% means %")
  func duplicates() {
    let file = read(
      """
      [mlflow]
      mlflow_tracking_password = first
      mlflow_tracking_password = 100%%
      [other]
      mlflow_tracking_password = wrong
      """)
    #expect(file.password?.exposed == "100%")
  }

  @Test("[DEFAULT] fills in for an existing section, and is nothing alone")
  func defaults() {
    let alone = read("[DEFAULT]\nmlflow_tracking_username = anna\n")
    #expect(alone.user == nil)
    let both = read("[DEFAULT]\nmlflow_tracking_username = anna\n[mlflow]\n")
    #expect(both.user == "anna")
  }

  @Test("a fault is a warning that names file and line, and never the value")
  func faults() {
    let file = read(
      """
      key = before any section
      [mlflow]
      hunter2-without-key
      mlflow_tracking_username = anna
      mlflow_tracking_password = 50%off
      [broken
      """)
    #expect(file.user == "anna")
    #expect(file.password?.exposed == "50%off")
    #expect(
      file.warnings == [
        "credentials:1: expected a [section] before the first key; the line is ignored",
        "credentials:3: expected 'key = value'; the line is ignored",
        "credentials:5: a '%' must be written '%%' for MLflow's own client to read this file",
        "credentials:6: expected ']' after the section's name; the line is ignored",
      ])
  }

  @Test("a file that others can read is warned of, a missing one is not")
  func permissions() throws {
    let scratch = try TemporaryDirectory()
    let path = try scratch.write(
      "credentials", Array("[mlflow]\nmlflow_tracking_password = hush-hush\n".utf8))
    chmod(path, 0o644)
    #expect(
      CredentialsFile(path: path).warnings == [
        "\(path) holds a password and can be read by others; run: chmod 600 \(path)"
      ])
    chmod(path, 0o600)
    #expect(CredentialsFile(path: path).warnings.isEmpty)
    #expect(CredentialsFile(path: scratch.file("none")) == CredentialsFile())
  }

  @Test("a file saved as UTF-16 is named for what it is; a byte order mark of UTF-8 is dropped")
  func encodings() throws {
    let scratch = try TemporaryDirectory()
    let text = "[mlflow]\nmlflow_tracking_username = anna\n"
    let path = try scratch.write("c", [0xEF, 0xBB, 0xBF] + Array(text.utf8))
    #expect(CredentialsFile(path: path).user == "anna")
    let bytes: [UInt8] = [0xFF, 0xFE] + Array(text.utf8).flatMap { [$0, 0] as [UInt8] }
    try scratch.write("c", bytes)
    let file = CredentialsFile(path: path)
    #expect(file.user == nil && file.warnings.count == 1)
    #expect(file.warnings.first?.contains("c is UTF-16 text, expected UTF-8") == true)
    try scratch.write(".env", bytes)
    let notes = EnvironmentFiles.read(in: scratch.path, environment: [:]).notes
    #expect(notes == [".env is UTF-16 text, expected UTF-8; going on without it, save it as UTF-8"])
  }
}
