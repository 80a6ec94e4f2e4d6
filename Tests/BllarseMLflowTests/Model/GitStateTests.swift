@testable import BllarseMLflow
import BllarseTestSupport
import Foundation
import Testing

@Suite("Git state")
struct GitStateTests {
  private func write(_ text: String, _ path: String) throws {
    try Files.makeDirectory(URL(fileURLWithPath: path).deletingLastPathComponent().path)
    try Files.write(Array(text.utf8), to: path)
  }

  @Test("a branch, its commit and the remote without its password are read")
  func branch() throws {
    let scratch = try TemporaryDirectory()
    let git = scratch.file(".git")
    try write("ref: refs/heads/topic/a\n", git + "/HEAD")
    try write("abc123\n", git + "/refs/heads/topic/a")
    try write(
      "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://me:hush-hush@host/x.git\n",
      git + "/config")
    try Files.makeDirectory(scratch.file("sub/deeper"))
    let state = try #require(GitState(containing: scratch.file("sub/deeper")))
    #expect(state.commit == "abc123")
    #expect(state.branch == "topic/a")
    #expect(state.remoteURL == "https://host/x.git")
  }

  @Test("packed references and linked working trees are followed")
  func packed() throws {
    let scratch = try TemporaryDirectory()
    try write(
      "# pack\n111 refs/heads/main\n222 refs/heads/other\n", scratch.file("main/.git/packed-refs"))
    try write("ref: refs/heads/other\n", scratch.file("main/.git/worktrees/w/HEAD"))
    try write("../..\n", scratch.file("main/.git/worktrees/w/commondir"))
    try write("gitdir: \(scratch.path)/main/.git/worktrees/w\n", scratch.file("tree/.git"))
    #expect(GitState(containing: scratch.file("tree"))?.commit == "222")
  }

  @Test("a detached head has a commit and no branch")
  func detached() throws {
    let scratch = try TemporaryDirectory()
    try write("deadbeef\n", scratch.file(".git/HEAD"))
    let state = try #require(GitState(containing: scratch.path))
    #expect(state.commit == "deadbeef")
    #expect(state.branch == nil)
  }
}
