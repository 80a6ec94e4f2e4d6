import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Where the search of a precision begins")
struct RecipeConstantsTests {
  @Test("the curvature at the classes' frequencies, as a power of ten rounded up")
  func firstExponent() {
    func exponent(_ weights: [Double], _ directions: Int) -> Double {
      RecipeConstants.firstExponent(classWeights: weights, directionCount: directions)
    }
    // N/2 for two classes alike, N/K for K of them.
    #expect(exponent([500, 500], 1) == 3)
    #expect(exponent([20, 20], 1) == 2)
    #expect(exponent([Double](repeating: 100, count: 1000), 999) == 2)
    #expect(exponent([Double](repeating: 101, count: 1000), 999) == 3)
    // 12 rows of 1,000 bend the likelihood as 24 do.
    #expect(exponent([988, 12], 1) == 2)
    // Nothing to tell apart, and more rows than the range is for.
    #expect(exponent([1000, 0], 1) == 0)
    #expect(exponent([1e9, 1e9], 1) == 6)
  }
}
