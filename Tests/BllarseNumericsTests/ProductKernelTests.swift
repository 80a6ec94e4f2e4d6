import BllarseKernels
import Testing

/// A type the kernels exist for, with the entries of their table.
private protocol ProductScalar: BinaryFloatingPoint, Sendable {
  static func pack(
    _ table: BllarseProductsTable, _ classes: Int, _ features: Int, _ w: [Self], _ stride: Int
  ) -> [Self]
  static func forward(
    _ table: BllarseProductsTable, _ rows: Int, _ classes: Int, _ features: Int, _ x: [Self],
    _ xStride: Int, _ packed: [Self], _ m: inout [Self], _ mStride: Int)
  static func backward(
    _ table: BllarseProductsTable, _ rows: Int, _ classes: Int, _ features: Int, _ x: [Self],
    _ xStride: Int, _ r: [Self], _ rStride: Int, _ g: inout [Double], _ gStride: Int)
  static func gram(
    _ table: BllarseProductsTable, _ rows: Int, _ features: Int, _ x: [Self], _ xStride: Int,
    _ c: inout [Self], _ cStride: Int)
  /// Elements in 64 bytes.
  static var lanes: Int { get }
}

extension Float: ProductScalar {
  static func pack(
    _ table: BllarseProductsTable, _ classes: Int, _ features: Int, _ w: [Float], _ stride: Int
  ) -> [Float] {
    var packed = [Float](repeating: .nan, count: classes * features)
    table.pack_f32(classes, features, w, stride, &packed)
    return packed
  }
  static func forward(
    _ table: BllarseProductsTable, _ rows: Int, _ classes: Int, _ features: Int, _ x: [Float],
    _ xStride: Int, _ packed: [Float], _ m: inout [Float], _ mStride: Int
  ) {
    table.forward_f32(rows, classes, features, x, xStride, packed, &m, mStride)
  }
  static func backward(
    _ table: BllarseProductsTable, _ rows: Int, _ classes: Int, _ features: Int, _ x: [Float],
    _ xStride: Int, _ r: [Float], _ rStride: Int, _ g: inout [Double], _ gStride: Int
  ) {
    table.backward_f32(rows, classes, features, x, xStride, r, rStride, &g, gStride, nil, 0)
  }
  static func gram(
    _ table: BllarseProductsTable, _ rows: Int, _ features: Int, _ x: [Float], _ xStride: Int,
    _ c: inout [Float], _ cStride: Int
  ) {
    table.gram_f32(rows, features, x, xStride, &c, cStride)
  }
  static var lanes: Int { 16 }
}

extension Double: ProductScalar {
  static func pack(
    _ table: BllarseProductsTable, _ classes: Int, _ features: Int, _ w: [Double], _ stride: Int
  ) -> [Double] {
    var packed = [Double](repeating: .nan, count: classes * features)
    table.pack_f64(classes, features, w, stride, &packed)
    return packed
  }
  static func forward(
    _ table: BllarseProductsTable, _ rows: Int, _ classes: Int, _ features: Int, _ x: [Double],
    _ xStride: Int, _ packed: [Double], _ m: inout [Double], _ mStride: Int
  ) {
    table.forward_f64(rows, classes, features, x, xStride, packed, &m, mStride)
  }
  static func backward(
    _ table: BllarseProductsTable, _ rows: Int, _ classes: Int, _ features: Int, _ x: [Double],
    _ xStride: Int, _ r: [Double], _ rStride: Int, _ g: inout [Double], _ gStride: Int
  ) {
    table.backward_f64(rows, classes, features, x, xStride, r, rStride, &g, gStride, nil, 0)
  }
  static func gram(
    _ table: BllarseProductsTable, _ rows: Int, _ features: Int, _ x: [Double], _ xStride: Int,
    _ c: inout [Double], _ cStride: Int
  ) {
    table.gram_f64(rows, features, x, xStride, &c, cStride)
  }
  static var lanes: Int { 8 }
}

/// Uniform numbers in -0.5..<0.5, from a multiplicative generator with fixed constants.
private struct Numbers {
  var state: UInt64
  mutating func next() -> Double {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Double(state >> 11) * 0x1p-53 - 0.5
  }
  mutating func array<Scalar: ProductScalar>(_ count: Int) -> [Scalar] {
    (0..<count).map { _ in Scalar(next()) }
  }
}

/// Entries of an output that were wrong, and whether bytes outside it were touched.
private struct Faults: Equatable {
  var forward = 0
  var backward = 0
  var outside = 0
}

/// Runs both products and compares each entry with a loop in Double.
///
/// The bound is n·u·Σ|aᵢbᵢ|, u the unit roundoff: what any order of n additions and products obeys
/// (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
private func faults<Scalar: ProductScalar>(
  _ type: Scalar.Type, _ table: BllarseProductsTable, rows: Int, classes: Int, features: Int
) -> Faults {
  var numbers = Numbers(state: UInt64(rows * 1_000_003 + classes * 1009 + features))
  let xStride = features + Scalar.lanes
  let mStride = classes + 3
  let wStride = features + 5
  let gStride = features + 7
  let x: [Scalar] = numbers.array(rows * xStride)
  let w: [Scalar] = numbers.array(classes * wStride)
  let r: [Scalar] = numbers.array(rows * mStride)
  let start: [Double] = numbers.array(classes * gStride)
  var m = [Scalar](repeating: 777, count: rows * mStride)
  var g = start
  let packed = Scalar.pack(table, classes, features, w, wStride)
  Scalar.forward(table, rows, classes, features, x, xStride, packed, &m, mStride)
  Scalar.backward(table, rows, classes, features, x, xStride, r, mStride, &g, gStride)

  let unit = Double(Scalar.ulpOfOne) / 2
  var result = Faults()
  for i in 0..<rows {
    for k in 0..<mStride {
      guard k < classes else {
        if m[i * mStride + k] != 777 { result.outside += 1 }
        continue
      }
      var sum = 0.0
      var size = 0.0
      for d in 0..<features {
        let product = Double(x[i * xStride + d]) * Double(w[k * wStride + d])
        sum += product
        size += abs(product)
      }
      let bound = Double(features + 1) * (unit + 0x1p-53) * size
      if !(abs(Double(m[i * mStride + k]) - sum) <= bound) { result.forward += 1 }
    }
  }
  for k in 0..<classes {
    for d in 0..<gStride {
      guard d < features else {
        if g[k * gStride + d] != start[k * gStride + d] { result.outside += 1 }
        continue
      }
      var sum = 0.0
      var size = 0.0
      for i in 0..<rows {
        let product = Double(r[i * mStride + k]) * Double(x[i * xStride + d])
        sum += product
        size += abs(product)
      }
      let bound = Double(rows + 1) * (unit + 0x1p-53) * size + 0x1p-52
      let total = start[k * gStride + d] + sum
      if !(abs(g[k * gStride + d] - total) <= bound) { result.backward += 1 }
    }
  }
  return result
}

/// Entries of the lower triangle that are wrong, and entries that hold neither 777 nor their value.
private func gramFaults<Scalar: ProductScalar>(
  _ type: Scalar.Type, _ table: BllarseProductsTable, rows: Int, features: Int
) -> Faults {
  var numbers = Numbers(state: UInt64(rows * 1009 + features))
  let xStride = features + 3
  let cStride = rows + 2
  let x: [Scalar] = numbers.array(rows * xStride)
  var c = [Scalar](repeating: 777, count: rows * cStride)
  Scalar.gram(table, rows, features, x, xStride, &c, cStride)
  let unit = Double(Scalar.ulpOfOne) / 2
  var result = Faults()
  for i in 0..<rows {
    for k in 0..<cStride {
      let found = Double(c[i * cStride + k])
      if k > i && found == 777 { continue }
      guard k < rows else {
        result.outside += 1
        continue
      }
      var sum = 0.0
      var size = 0.0
      for d in 0..<features {
        let product = Double(x[i * xStride + d]) * Double(x[k * xStride + d])
        sum += product
        size += abs(product)
      }
      let bound = Double(features + 1) * (unit + 0x1p-53) * size
      if !(abs(found - sum) <= bound) { result.forward += 1 }
    }
  }
  return result
}

@Suite("Skinny product kernels")
struct ProductKernelTests {
  /// Levels of this build that this processor can run.
  static let levels = (0...2).filter { bllarse_products_table(Int32($0)) != nil }

  @Test("every number of classes gives the products of plain double loops", arguments: levels)
  func everyClassCount(level: Int) throws {
    let table = try #require(bllarse_products_table(Int32(level))).pointee
    for classes in 0...67 {
      #expect(
        faults(Float.self, table, rows: 29, classes: classes, features: 48) == Faults(),
        "\(classes) classes, float")
      #expect(
        faults(Double.self, table, rows: 29, classes: classes, features: 24) == Faults(),
        "\(classes) classes, double")
    }
  }

  @Test("every number of rows gives the products of plain double loops", arguments: levels)
  func everyRowCount(level: Int) throws {
    let table = try #require(bllarse_products_table(Int32(level))).pointee
    for rows in 0...34 {
      for classes in [1, 2, 10, 37] {
        #expect(
          faults(Float.self, table, rows: rows, classes: classes, features: 16) == Faults(),
          "\(rows) rows, \(classes) classes, float")
        #expect(
          faults(Double.self, table, rows: rows, classes: classes, features: 8) == Faults(),
          "\(rows) rows, \(classes) classes, double")
      }
    }
  }

  @Test("every padded width gives the products of plain double loops", arguments: levels)
  func everyWidth(level: Int) throws {
    let table = try #require(bllarse_products_table(Int32(level))).pointee
    for blocks in 0...18 {
      for classes in [1, 2, 3, 5, 11, 33] {
        #expect(
          faults(Float.self, table, rows: 9, classes: classes, features: 16 * blocks) == Faults(),
          "\(16 * blocks) features, \(classes) classes, float")
        #expect(
          faults(Double.self, table, rows: 9, classes: classes, features: 8 * blocks) == Faults(),
          "\(8 * blocks) features, \(classes) classes, double")
      }
    }
  }

  @Test("the Gram matrix of every number of rows is that of plain double loops", arguments: levels)
  func gram(level: Int) throws {
    let table = try #require(bllarse_products_table(Int32(level))).pointee
    for rows in 0...34 {
      for features in [0, 16, 80] {
        #expect(
          gramFaults(Float.self, table, rows: rows, features: features) == Faults(),
          "\(rows) rows, \(features) features, float")
        #expect(
          gramFaults(Double.self, table, rows: rows, features: features) == Faults(),
          "\(rows) rows, \(features) features, double")
      }
    }
  }

  @Test("the functions use the best level this processor has, and repeat its bits")
  func dispatch() throws {
    let best = try #require(Self.levels.last)
    #expect(Int(bllarse_products_level()) == best)
    let table = try #require(bllarse_products_table(Int32(best))).pointee
    var numbers = Numbers(state: 7)
    let (rows, classes, features) = (21, 10, 64)
    let x: [Float] = numbers.array(rows * features)
    let w: [Float] = numbers.array(classes * features)
    let r: [Float] = numbers.array(rows * classes)
    let packed = Float.pack(table, classes, features, w, features)
    var expected = [Float](repeating: 0, count: rows * classes)
    Float.forward(table, rows, classes, features, x, features, packed, &expected, classes)
    var sums = [Double](repeating: 0, count: classes * features)
    Float.backward(table, rows, classes, features, x, features, r, classes, &sums, features)

    var packedAgain = [Float](repeating: 0, count: classes * features)
    bllarse_products_pack_f32(classes, features, w, features, &packedAgain)
    var m = [Float](repeating: 0, count: rows * classes)
    bllarse_products_forward_f32(
      rows, classes, features, x, features, packedAgain, &m, classes)
    var g = [Double](repeating: 0, count: classes * features)
    x.withUnsafeBytes {
      bllarse_products_backward_f32(
        rows, classes, features, x, features, r, classes, &g, features, $0.baseAddress, $0.count)
    }
    #expect(m == expected)
    #expect(g == sums)
  }

  @Test("BLAS is never preferred for ten classes, and without AVX2 as the best level never at all")
  func choice() {
    #expect(bllarse_products_prefer_blas(10, 512) == 0)
    if bllarse_products_level() != 1 { #expect(bllarse_products_prefer_blas(1000, 2048) == 0) }
  }

  @Test("a row's logits do not depend on the rows around it", arguments: levels)
  func rowsAreIndependent(level: Int) throws {
    let table = try #require(bllarse_products_table(Int32(level))).pointee
    var numbers = Numbers(state: 11)
    let features = 64
    for classes in [1, 2, 5, 10, 20, 50] {
      let x: [Float] = numbers.array(27 * features)
      let w: [Float] = numbers.array(classes * features)
      let packed = Float.pack(table, classes, features, w, features)
      var together = [Float](repeating: 0, count: 27 * classes)
      Float.forward(table, 27, classes, features, x, features, packed, &together, classes)
      for i in 0..<27 {
        var alone = [Float](repeating: 0, count: classes)
        let row = Array(x[i * features..<(i + 1) * features])
        Float.forward(table, 1, classes, features, row, features, packed, &alone, classes)
        #expect(alone == Array(together[i * classes..<(i + 1) * classes]))
      }
    }
  }
}
