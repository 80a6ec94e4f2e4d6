import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Matrix")
struct MatrixTests {
  private func counting(_ rows: Int, _ columns: Int) -> Matrix<Double> {
    Matrix(rows: rows, columns: columns, elements: (0..<rows * columns).map(Double.init))
  }

  @Test("a view of rows and columns shows the block without copying")
  func views() {
    let matrix = counting(5, 7)
    let view = matrix.rows(1..<4).columns(2..<5)
    #expect(view.elements == [9, 10, 11, 16, 17, 18, 23, 24, 25])
    #expect(view.rowStride == 7)
    #expect(view.transposed().elements == [9, 16, 23, 10, 17, 24, 11, 18, 25])
    let shared = matrix.withUnsafePointer { base, _ in
      view.withUnsafePointer { start, _ in start == base + 9 }
    }
    #expect(shared)
  }

  @Test("changing a view or a copy leaves the original alone")
  func valueSemantics() {
    let matrix = counting(3, 4)
    var view = matrix.columns(1..<3)
    view[0, 0] = -1
    var copy = matrix
    copy[2, 3] = -2
    #expect(matrix == counting(3, 4))
    #expect(view.elements == [-1, 2, 5, 6, 9, 10])
    #expect(copy[2, 3] == -2)
  }

  @Test("a view that outlives its matrix can be changed in place and keeps its stride")
  func loneView() {
    var view = counting(4, 5).columns(1..<3)
    view.add(view.map { _ in 1 })
    view.scale(by: 2)
    #expect(view.elements == [4, 6, 14, 16, 24, 26, 34, 36])
  }

  @Test("memory starts on a cache line")
  func alignment() {
    for size in 0..<20 {
      let aligned = Matrix<Float>(rows: size, columns: 3, repeating: 0)
        .withUnsafePointer { base, _ in UInt(bitPattern: base) % 64 == 0 }
      #expect(aligned)
    }
  }

  @Test("rows gather, blocks replace, triangles mirror")
  func blocks() {
    let matrix = counting(4, 3)
    #expect(matrix.gatheringRows([2, 0, 2]).elements == [6, 7, 8, 0, 1, 2, 6, 7, 8])
    var target = Matrix<Double>.zeros(3, 4)
    target.replaceBlock(row: 1, column: 2, with: matrix.rows(0..<2).columns(1..<3))
    #expect(target.elements == [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 4, 5])
    var square = counting(3, 3)
    square.mirrorLowerTriangle()
    #expect(square.elements == [0, 3, 6, 3, 4, 7, 6, 7, 8])
  }

  @Test("an index outside the matrix traps with the shape")
  func bounds() async {
    await #expect(processExitsWith: .failure) {
      _ = Matrix<Double>.zeros(2, 2)[2, 0]
    }
  }

  @Test("an empty matrix is a matrix", arguments: [(0, 3), (3, 0), (0, 0)])
  func empty(rows: Int, columns: Int) {
    let matrix = Matrix<Float>.zeros(rows, columns)
    #expect(matrix.elements.isEmpty)
    #expect(matrix.transposed().rowCount == columns)
    #expect(matrix.gram().rowCount == columns)
    #expect(matrix.firstNonFinite == nil)
  }
}
