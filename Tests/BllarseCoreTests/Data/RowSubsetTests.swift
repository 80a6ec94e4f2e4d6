import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("RowSubset")
struct RowSubsetTests {
  @Test("shares are by class, the rest goes to the largest remainders, and no class is left out")
  func quotas() {
    #expect(RowSubset.quotas(10, [50, 30, 20]) == [5, 3, 2])
    #expect(RowSubset.quotas(4, [50, 30, 20]) == [2, 1, 1])
    #expect(RowSubset.quotas(3, [98, 1, 1]) == [1, 1, 1])
    #expect(RowSubset.quotas(2, [98, 1, 1]) == [1, 1, 0])
    #expect(RowSubset.quotas(5, [0, 3, 3]) == [0, 3, 2])
    for seed in 0..<50 {
      var generator = SplitMix64(seed: seed)
      let sizes = (0..<5).map { _ in Int(generator.next() % 40) + 1 }
      let total = sizes.reduce(0, +)
      for count in 1..<total {
        let quotas = RowSubset.quotas(count, sizes)
        #expect(quotas.reduce(0, +) == count)
        #expect(zip(quotas, sizes).allSatisfy { 0...$1 ~= $0 })
        if count >= 5 { #expect(!quotas.contains(0)) }
      }
    }
  }

  @Test("the same seed takes the same rows, and more of them in a larger subset")
  func seeds() {
    let labels = (0..<300).map { Int32($0 * 7 % 11 % 3) }
    let small = RowSubset(stratified: 30, of: labels, seed: 4).rows
    #expect(small == RowSubset(stratified: 30, of: labels, seed: 4).rows)
    #expect(small != RowSubset(stratified: 30, of: labels, seed: 5).rows)
    #expect(Set(small).count == 30 && small == small.sorted())
    let large = RowSubset(stratified: 120, of: labels, seed: 4).rows
    #expect(Set(large).isSuperset(of: small))
    #expect(RowSubset(stratified: 400, of: labels, seed: 4).rows == Array(0..<300))
    #expect(RowSubset(first: 3, of: 300).rows == [0, 1, 2])
    #expect(RowSubset(first: 3, of: 2).rows == [0, 1])
  }
}
