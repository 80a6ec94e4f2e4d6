import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// Training rows that are degenerate in some way, and new rows that make it worse.
struct DegenerateCase: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let features: [[Double]]
  let labels: [Int32]
  let classCount: Int
  var test: [[Double]] = []
}

@Suite("Laplace head")
struct LaplaceHeadTests {
  private static func matrix(_ rows: [[Double]]) -> FeatureMatrix {
    FeatureMatrix(
      Matrix<Double>(rows: rows.count, columns: rows[0].count, elements: rows.flatMap { $0 }))
  }

  private static func normals(_ rows: Int, _ columns: Int, seed: UInt64) -> [[Double]] {
    var generator = Philox(seed: seed, purpose: .sampling)
    return (0..<rows).map { _ in generator.normals(count: columns) }
  }

  static let degenerateCases: [DegenerateCase] = [
    DegenerateCase(
      testDescription: "one row per class", features: normals(10, 5, seed: 1),
      labels: (0..<10).map { Int32($0) }, classCount: 10),
    DegenerateCase(
      testDescription: "constant features", features: [[Double]](repeating: [3, 3, 3], count: 12),
      labels: (0..<12).map { Int32($0 % 3) }, classCount: 3, test: [[1e9, -1e9, 0]]),
    DegenerateCase(
      testDescription: "more classes than features", features: normals(60, 2, seed: 2),
      labels: (0..<60).map { Int32($0 % 12) }, classCount: 12),
    DegenerateCase(
      testDescription: "separable by far",
      features: normals(40, 3, seed: 3).enumerated().map { i, row in
        row.map { $0 + (i % 2 == 0 ? 60 : -60) }
      }, labels: (0..<40).map { Int32($0 % 2) }, classCount: 2),
    DegenerateCase(
      testDescription: "a declared class without rows", features: normals(30, 4, seed: 4),
      labels: (0..<30).map { Int32($0 % 2) }, classCount: 3),
    DegenerateCase(
      testDescription: "a column that varies in new rows only",
      features: normals(30, 3, seed: 5).map { $0 + [7] }, labels: (0..<30).map { Int32($0 % 2) },
      classCount: 2, test: [[0, 0, 0, 1e6]]),
    DegenerateCase(
      testDescription: "a single class present", features: normals(20, 3, seed: 6),
      labels: [Int32](repeating: 0, count: 20), classCount: 2),
    DegenerateCase(
      testDescription: "two rows", features: [[0, 1], [1, 0]], labels: [0, 1], classCount: 2),
    DegenerateCase(testDescription: "one row", features: [[2, 1]], labels: [1], classCount: 2),
    DegenerateCase(
      testDescription: "duplicated columns",
      features: normals(50, 3, seed: 7).map { $0 + $0 }, labels: (0..<50).map { Int32($0 % 3) },
      classCount: 3),
    DegenerateCase(
      testDescription: "more features than rows", features: normals(15, 80, seed: 8),
      labels: (0..<15).map { Int32($0 % 3) }, classCount: 3),
    DegenerateCase(
      testDescription: "features of very different sizes",
      features: normals(40, 3, seed: 9).map { [$0[0] * 1e-8, $0[1], $0[2] * 1e8] },
      labels: (0..<40).map { Int32($0 % 2) }, classCount: 2),
  ]

  @Test("degenerate data give finite probabilities that sum to one", arguments: degenerateCases)
  func degenerate(data: DegenerateCase) throws {
    let features = Self.matrix(data.features)
    let head = try LaplaceHead(
      fitting: features, labels: data.labels, LaplaceConfiguration(classCount: data.classCount))
    let new =
      data.test + Self.normals(5, features.columnCount, seed: 99)
      + [[Double](repeating: 1e12, count: features.columnCount)]
    for rows in [features, Self.matrix(new)] {
      let logs = try head.logProbabilities(rows)
      #expect(logs.rowCount == rows.rowCount && logs.columnCount == data.classCount)
      for row in 0..<logs.rowCount {
        let p = logs.row(row).map { exp(Double($0)) }
        #expect(p.allSatisfy { $0.isFinite && $0 >= 0 })
        #expect(p.reduce(0, +).isClose(to: 1, relative: 1e-5), "\(p)")
      }
    }
    let report = try #require(head.report)
    #expect(report.candidates.allSatisfy { $0.score.isFinite && $0.priorPrecision > 0 })
    if let estimate = report.estimate {
      #expect(estimate.nll.isFinite && estimate.rows > 0)
    } else {
      #expect(head.leftOut == nil && head.inverseTemperature == 1)
    }
  }

  @Test("constant features give the classes' frequencies")
  func frequencies() throws {
    let features = Self.matrix([[Double]](repeating: [3, 3], count: 40))
    let labels = (0..<40).map { Int32($0 % 4 == 0 ? 0 : 1) }
    let head = try LaplaceHead(
      fitting: features, labels: labels, LaplaceConfiguration(classCount: 2))
    let p = exp(Double(try head.logProbabilities(features)[0, 0]))
    #expect(abs(p - 0.25) < 0.03, "\(p)")
  }

  private static let options: [(String, @Sendable (inout LaplaceConfiguration) -> Void, Int, Int)] =
    [
      ("softmax", { _ in }, 4, 200), ("two classes", { _ in }, 2, 100),
      ("more features than rows", { _ in }, 3, 12),
      ("a covariance a class", { $0.posterior = .block }, 3, 80),
      ("a precision a class", { $0.prior = .evidencePerClass }, 3, 80),
      ("one covariance", { $0.posterior = .shared }, 3, 80),
      ("diagonals", { $0.posterior = .diagonal }, 3, 80),
      ("mean field", { $0.posterior = .meanField }, 2, 80),
      ("one against the rest", { $0.likelihood = .probit }, 3, 80),
      ("softmax of two", { $0.likelihood = .softmax }, 2, 80),
      ("a precision a feature", { $0.prior = .automaticRelevance }, 3, 80),
      ("rows", { $0.scaling = .rows }, 3, 80),
      ("all classes coupled", { $0.posterior = .full }, 3, 80),
      ("all classes coupled, more features than rows", { $0.posterior = .full }, 3, 12),
      (
        "all classes coupled, a precision a class",
        {
          $0.posterior = .full
          $0.prior = .evidencePerClass
        }, 3, 80
      ),
      ("probit", { $0.link = Link(.probit) }, 3, 80),
      ("draws", { $0.link = Link(.monteCarlo, sampleCount: 30, seed: .max) }, 3, 80),
      ("draws, more features than rows", { $0.link = Link(.monteCarlo, sampleCount: 30) }, 3, 12),
      ("the Laplace bridge", { $0.link = Link(.bridge) }, 2, 80),
      (
        "the normalised Laplace bridge, all classes coupled",
        {
          $0.link = Link(.bridgeNorm)
          $0.posterior = .full
        }, 4, 80
      ),
      (
        "draws of diagonals",
        {
          $0.link = Link(.monteCarlo, sampleCount: 30)
          $0.posterior = .diagonal
        }, 3, 80
      ),
      (
        "given precision, no calibration",
        {
          $0.prior = .fixed(2)
          $0.calibratesOnLeftOut = false
        }, 3, 80
      ),
    ]

  @Test("save, load, predict: the same bits", arguments: options.indices)
  func checkpoint(index: Int) throws {
    let (name, change, classes, rows) = Self.options[index]
    let (features, labels) = EvidenceFixture.sample(
      rows: rows, columns: 17, classes: classes, strength: 0.5, seed: index)
    var configuration = LaplaceConfiguration(classCount: classes)
    change(&configuration)
    var head: any ClassificationHead = try LaplaceHead(
      fitting: FeatureMatrix(features), labels: labels, configuration)
    let method: [HeldOutCalibration.Method?] = [nil, .temperature, .vector, .isotonic]
    if let method = method[index % 4] {
      let logs = HeldOutCalibration.arguments(
        try head.logProbabilities(FeatureMatrix(features)))
      head = CalibratedHead(head, try HeldOutCalibration(fitting: method, to: logs, labels))
    }
    let directory = try TemporaryDirectory()
    let path = directory.file("head.safetensors")
    try HeadCheckpoint(
      head: head, outputNames: (0..<classes).map(String.init), dataset: "test", backbone: "",
      arguments: "{}"
    ).write(to: path)
    let read = try HeadCheckpoint(path: path).head.classifier()
    let new = FeatureMatrix(
      Matrix<Double>(
        rows: 30, columns: 17, elements: Self.normals(30, 17, seed: 5).flatMap { $0 }))
    #expect(try read.logProbabilities(new) == head.logProbabilities(new), "\(name)")
    #expect(try Uncertainty(read, new).leverage == Uncertainty(head, new).leverage)
  }

  @Test(
    "heads that name their posterior as before, and no link, are read as they were",
    arguments: CovarianceStructure.formerNames.keys.sorted())
  func formerNames(name: String) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 50, columns: 4, classes: 3, strength: 1, seed: 1)
    var configuration = LaplaceConfiguration(classCount: 3)
    let structure = try #require(CovarianceStructure(rawValue: name))
    configuration.posterior = structure
    let head = try LaplaceHead(
      fitting: FeatureMatrix(features), labels: labels, configuration)
    let directory = try TemporaryDirectory()
    var writer = SafetensorsWriter(metadata: [
      "format": "bllarse-head", "format_version": "1", "head": "Laplace", "feature_count": "4",
      "class_count": "3", "class_names": "[\"a\", \"b\", \"c\"]", "dataset": "",
      "backbone": "", "arguments": "{}",
    ])
    head.encode(into: &writer)
    #expect(writer.metadata["posterior"] == structure.rawValue)
    #expect(writer.metadata["link"] == nil)
    writer.metadata["posterior"] = name
    try writer.write(to: directory.file("head.safetensors"))
    let read = try HeadCheckpoint(path: directory.file("head.safetensors")).head.classifier()
    #expect(
      try read.logProbabilities(FeatureMatrix(features))
        == head.logProbabilities(FeatureMatrix(features)))
    #expect((read as? LaplaceHead)?.posterior.covariance.structure == structure)
  }

  @Test("what a damaged checkpoint lacks is named")
  func damagedCheckpoint() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 50, columns: 4, classes: 2, strength: 1, seed: 1)
    let head = try LaplaceHead(
      fitting: FeatureMatrix(features), labels: labels, LaplaceConfiguration(classCount: 2))
    let directory = try TemporaryDirectory()
    let path = directory.file("head.safetensors")
    for (key, value) in [("likelihood", "cauchy"), ("posterior", "none"), ("row_total", "-1")] {
      var writer = SafetensorsWriter(metadata: [
        "format": "bllarse-head", "format_version": "1", "head": "Laplace", "feature_count": "4",
        "class_count": "2", "class_names": "[\"a\", \"b\"]", "dataset": "", "backbone": "",
        "arguments": "{}",
      ])
      head.encode(into: &writer)
      writer.metadata[key] = value
      try writer.write(to: path)
      let error = try #require(throws: DataError.self) { try HeadCheckpoint(path: path) }
      #expect("\(error)".contains(path))
      #expect("\(error)".contains(key), "\(error)")
    }
  }

  @Test("rows far from the training rows are less certain, by epistemic scores above all")
  func uncertainty() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 300, columns: 6, classes: 3, strength: 1, seed: 21)
    let head = try LaplaceHead(
      fitting: FeatureMatrix(features), labels: labels, LaplaceConfiguration(classCount: 3))
    var far = features
    far.scale(by: 12)
    let near = try Uncertainty(head, FeatureMatrix(features))
    let away = try Uncertainty(head, FeatureMatrix(far))
    func mean(_ values: [Double]?) -> Double { Metrics.mean(values ?? [.nan]) }
    #expect(mean(away.leverage) > 50 * mean(near.leverage))
    #expect(mean(near.mutualInformation) > 0)
    for scores in [near, away] {
      let information = try #require(scores.mutualInformation)
      let aleatoric = try #require(scores.aleatoric)
      for row in 0..<300 {
        #expect(information[row] >= 0 && aleatoric[row] >= 0)
        #expect(information[row] + aleatoric[row] <= log(3) + 1e-9)
      }
    }
  }

  @Test(
    "mutual information and expected entropy add up to the entropy of what is predicted, through every map",
    arguments: [2, 3], [HeldOutCalibration.none, .temperature(0.3), .temperature(2.5)])
  func entropySplit(classes: Int, map: HeldOutCalibration) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 60, columns: 8, classes: classes, strength: 3, seed: 11)
    let head = CalibratedHead(
      try LaplaceHead(
        fitting: FeatureMatrix(features), labels: labels,
        LaplaceConfiguration(classCount: classes)), map)
    let new = FeatureMatrix(features)
    let scores = try Uncertainty(head, new)
    #expect(try scores.logProbabilities == head.logProbabilities(new))
    let information = try #require(scores.mutualInformation)
    let aleatoric = try #require(scores.aleatoric)
    for row in 0..<60 {
      let entropy = scores.logProbabilities.row(row).reduce(0.0) {
        $0 - exp(Double($1)) * Double($1)
      }
      #expect(information[row] >= 0 && aleatoric[row] >= 0)
      #expect((information[row] + aleatoric[row] - entropy).magnitude < 1e-12)
    }
    // What the predictions do not know they hardly owe to the weights alone, nor to the labels alone.
    #expect(Metrics.mean(information) > 1e-4 && Metrics.mean(aleatoric) > 1e-4)
    #expect(try Uncertainty(head, new, splitsEntropy: false).mutualInformation == nil)
  }

  @Test("draws are projected on the margin in closed form where there are two of them")
  func drawProjection() throws {
    // Two draws (a, 1 - a) and (1 - a, a), target (1/2, 1/2): their average, so nothing is to be done and
    // the mutual information is log 2 - H(a).
    let p = [0.9, 0.1, 0.1, 0.9]
    let logs = p.map { log($0) }
    func information(_ target: [Double]) -> Double {
      p.withUnsafeBufferPointer { p in
        logs.withUnsafeBufferPointer { logs in
          guard let p = p.baseAddress, let logs = logs.baseAddress else { return .nan }
          var projection = DrawProjection(classCount: 2)
          return projection.mutualInformation(
            [
              DrawProjection.Draws(
                logs: logs, probabilities: p, weights: [0.5, 0.5], candidateWeight: 1)
            ], target: target)
        }
      }
    }
    let entropy = -(0.9 * log(0.9) + 0.1 * log(0.1))
    #expect(information([0.5, 0.5]).isClose(to: log(2) - entropy, relative: 1e-12))
    // Another margin: the joint table's odds ratio stays 81, which with the margins determines it:
    // ½u/(1-u)·(1-v)/v = 81·…, u + v = 2q.
    let q = 0.8
    var (low, high) = (q, 1.0)
    for _ in 0..<200 {
      let u = 0.5 * (low + high)
      let v = 2 * q - u
      if u / (1 - u) * (1 - v) / v < 81 { low = u } else { high = u }
    }
    func h(_ a: Double) -> Double { -(a * log(a) + (1 - a) * log(1 - a)) }
    let expected = h(q) - 0.5 * (h(low) + h(2 * q - low))
    #expect(information([q, 1 - q]).isClose(to: expected, relative: 1e-6))
  }

  @Test("a checkpoint with a number that is none is refused, in tensors and metadata")
  func notANumber() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 50, columns: 4, classes: 2, strength: 1, seed: 1)
    let head = try LaplaceHead(
      fitting: FeatureMatrix(features), labels: labels, LaplaceConfiguration(classCount: 2))
    let directory = try TemporaryDirectory()
    let path = directory.file("head.safetensors")
    var checkpoint = HeadCheckpoint(
      head: head, outputNames: ["a", "b"], dataset: "", backbone: "", arguments: "{}")
    try checkpoint.write(to: path)
    #expect(try HeadCheckpoint(path: path).outputNames == ["a", "b"])
    func altered(_ weights: Matrix<Double>, _ beta: Double) -> LaplaceHead {
      LaplaceHead(
        transform: head.transform, likelihood: head.likelihood,
        posterior: LaplacePosterior(
          mean: weights, covariance: head.posterior.covariance,
          priorPrecision: head.priorPrecision),
        inverseTemperature: beta)
    }
    var weights = head.posterior.mean
    weights[1, 0] = .nan
    checkpoint.head = altered(weights, 1)
    try checkpoint.write(to: path)
    let error = try #require(throws: DataError.self) { try HeadCheckpoint(path: path) }
    #expect(error.code == .notFinite && error.key == "weights" && error.row == 1)
    checkpoint.head = altered(head.posterior.mean, .infinity)
    try checkpoint.write(to: path)
    #expect(throws: DataError.self) { try HeadCheckpoint(path: path) }
  }

  @Test("the same data and seed give the same bits, whatever the number of threads of predictions")
  func reproducible() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 150, columns: 6, classes: 3, strength: 1, seed: 41)
    func fit() throws -> LaplaceHead {
      try LaplaceHead(
        fitting: FeatureMatrix(features), labels: labels, LaplaceConfiguration(classCount: 3),
        execution: Execution(threadCount: 2))
    }
    let first = try fit().logProbabilities(FeatureMatrix(features))
    let second = try fit()
    for threads in 1...2 {
      let again = try second.logProbabilities(
        FeatureMatrix(features), execution: Execution(threadCount: threads))
      #expect(again == first)
    }
  }
}
