import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Resources")
struct ResourcesTests {
  @Test("a directory that the user names comes first, then the executable's own")
  func order() {
    let places = Resources.candidates("/opt/data")
    #expect(places.prefix(2) == ["/opt/data", "/opt/data/bllarse_BllarseCore.resources"])
    #expect(places.contains { $0.hasSuffix("/../share/bllarse") })
    #expect(places.last == Fixtures.packageRoot + "/Sources/BllarseCore/Resources")
    #expect(Set(places).count == places.count)
  }

  @Test("the build's copy is found without the sources")
  func build() throws {
    let place = try #require(
      Resources.candidates(nil).first {
        $0.hasSuffix("debug/bllarse_BllarseCore.resources")
          || $0.hasSuffix("release/bllarse_BllarseCore.resources")
      })
    #expect(
      try Resources.path("digits/digits.safetensors", in: nil) == place
        + "/digits/digits.safetensors")
  }

  @Test("a resource that is nowhere is an error that lists where it was looked for")
  func missing() {
    #expect {
      try Resources.path("digits/none", in: "/opt/data")
    } throws: { error in
      let text = "\(error)"
      return text.hasPrefix("digits/none: the built-in file was not found in /opt/data, ")
        && text.hasSuffix(
          "; copy the directory bllarse_BllarseCore.resources beside the executable, or set "
            + "BLLARSE_RESOURCES to it")
    }
  }
}
