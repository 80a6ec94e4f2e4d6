import BllarseCore
import BllarseTesting
import Testing

@Suite("Head conformance")
struct HeadConformanceTests {
  @Test("every built-in head conforms", arguments: HeadRegistry.methodNames)
  func builtIn(name: String) throws {
    let method = try #require(HeadRegistry.method(named: name))
    // A given prior and scaling: what is chosen on folds depends on which rows a fold has.
    let conformance = HeadConformance(
      method, options: ["prior": "1", "scaling": "global", "batch-size": "20"]
    ) { way in
      var claims: HeadConformance.Claims = []
      if way.traits.contains(.isOnePass) { claims = [.rowOrder, .classOrder] }
      if name == "MultinomialPolyaGamma" { claims.remove(.classOrder) }
      if way.takes("sample-weight") { claims.insert(.weights) }
      return claims
    }
    let faults = try conformance.faults()
    #expect(faults.isEmpty, "\(faults)")
  }
}
