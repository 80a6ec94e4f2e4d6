@testable import BllarseMLflow
import BllarseTestSupport
import Testing

@Suite("Environment files")
struct EnvironmentFilesTests {
  @Test(
    "a line is read as Python's dotenv reads it",
    arguments: [
      ("A=b", "b"), ("A = b ", "b"), ("export A=b", "b"), ("  export\tA=b", "b"),
      ("\u{FEFF}A=b", "b"), ("A=b\r\nB=c\r\n", "b"), ("A=b\rB=c", "b"), ("A=", ""), ("A=''", ""),
      ("A=b # why", "b"), ("A=b#c", "b#c"), ("A= # why", ""), ("A=#b", "#b"), ("# A=x\n\nA=b", "b"),
      ("A='b # c' # why", "b # c"), ("A=\"b # c\"# why", "b # c"),
      (#"A='it\'s \n'"#, #"it's \n"#), (#"A="say \"b\"\nc\\""#, "say \"b\"\nc\\"),
      ("A=\"two\nlines\"", "two\nlines"), ("A=b=c&d", "b=c&d"), ("A=x\nA=b", "b"),
      ("H=host\nA=http://${H}:5000", "http://host:5000"), ("A='${H}'", "${H}"),
      ("A=\"${H:-else}\"", "else"), ("A=${GIVEN}", "given"), ("A=$H", "$H"), ("A=${H", "${H"),
      ("A=${H}.", "."), ("A=\u{FC}\u{1F600}", "\u{FC}\u{1F600}"),
    ])
  func lines(text: String, expected: String) {
    let file = EnvironmentFile(text: text, path: "f", environment: ["GIVEN": "given"])
    #expect(file.values["A"] == expected)
    #expect(file.notes == [])
  }

  @Test("a bad line is named without its value, and the others count")
  func badLines() {
    let file = EnvironmentFile(
      text: "A=1\nhush-hush\nB='hush\nC=2\n3D=hush\nE=\"x\" hush\nexport\nF G=hush\nH=3",
      path: ".env")
    #expect(file.values == ["A": "1", "C": "2", "H": "3"])
    #expect(
      file.notes == [
        ".env:2: expected KEY=value; the line is ignored",
        ".env:3: the value of B is not well quoted; the line is ignored",
        ".env:5: expected KEY=value; the line is ignored",
        ".env:6: the value of E is not well quoted; the line is ignored",
        ".env:7: expected KEY=value; the line is ignored",
        ".env:8: expected KEY=value; the line is ignored",
      ])
  }

  @Test(
    "the environment wins over both files, the secret one over the other; the rest is left alone")
  func order() throws {
    let scratch = try TemporaryDirectory()
    try scratch.write(
      ".env",
      Array("MLFLOW_TRACKING_URI=a\nMLFLOW_EXPERIMENT_NAME=a\nBLLARSE_DATA_DIR=a\nPATH=a".utf8))
    try scratch.write(
      ".env.secrets", Array("HF_TOKEN=b\nMLFLOW_EXPERIMENT_NAME=b\nHF_HOME=b\nbad".utf8))
    let (values, notes) = EnvironmentFiles.read(
      in: scratch.path, environment: ["MLFLOW_TRACKING_URI": ""])
    #expect(
      values == ["MLFLOW_EXPERIMENT_NAME": "b", "BLLARSE_DATA_DIR": "a", "HF_TOKEN": "b"])
    #expect(notes == [".env.secrets:4: expected KEY=value; the line is ignored"])
  }

  @Test("no file is nothing, a folder of that name is nothing")
  func absent() throws {
    let scratch = try TemporaryDirectory()
    try Files.makeDirectory(scratch.file(".env"))
    let (values, notes) = EnvironmentFiles.read(in: scratch.path, environment: [:])
    #expect(values.isEmpty && notes.isEmpty)
  }
}
