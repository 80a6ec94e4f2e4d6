import BllarseNumerics

extension HeadMethod {
  /// Softmax regression by the default recipe.
  static let softmax = HeadMethod(
    "softmax", ways: [.recipe(.softmax)], kinds: [EvidenceHead.self])
}

extension FittingWay {
  /// The default recipe with a likelihood.
  static func recipe(
    _ likelihood: EvidenceLikelihood, _ name: String = "", also: [any AnyFitOption] = []
  )
    -> FittingWay
  {
    FittingWay(
      name,
      also + [
        FitOptions.prior, FitOptions.posterior, FitOptions.scaling, FitOptions.sampleWeight,
        FitOptions.group, FitOptions.classWeight,
      ],
      [.isOnePass, .calibratesOnFolds], memory: { $0.recipe($1[FitOptions.posterior]) },
      trainer: { configuration, data, parallelism in
        OnePassTrainer(configuration, data, parallelism) { request throws(NumericsError) in
          let head = try EvidenceHead(request, likelihood)
          return (head, head.fitInfo)
        }
      })
  }
}

extension EvidenceHead {
  /// Fits the head that a run asks for.
  ///
  /// - Throws: `NumericsError` when rounding makes a precision indefinite, or the fit was told to stop.
  fileprivate init(
    _ request: FitRequest, _ likelihood: EvidenceLikelihood
  ) throws(NumericsError) {
    var evidence = EvidenceConfiguration(classCount: request.classCount)
    evidence.likelihood = likelihood
    evidence.posterior = request.method[FitOptions.posterior]
    evidence.prior = request.method[FitOptions.prior]
    evidence.scaling = request.method[FitOptions.scaling]
    evidence.calibratesOnLeftOut = request.calibratesOnFolds
    evidence.seed = request.seed
    try self.init(
      fitting: request.features, labels: request.labels, weights: request.rowWeights,
      groups: request.groups, evidence, parallelism: request.parallelism)
  }
}

extension MemoryShape {
  /// What the recipe works in.
  fileprivate func recipe(_ posterior: PosteriorKind?) -> Double {
    let covariance = (posterior == .laplace ? 4 * classes : 6) * small
    if isWide {
      // The basis of the rows' space of two scalings, and one in double; the folds' rows.
      let folds = min(10, max(1, 2500 / max(rows, 1) * 10))
      return (5 + folds) * design + covariance + (2 + folds) * logits + block
    }
    // Scaled rows, and the same with those of a fold together; what is freed and not given back.
    return 2.2 * design + Self.megabytes(20) + min(Self.megabytes(110), 4 * design) + covariance
      + 1.5 * logits + min(Self.megabytes(24), 1.2 * logits) + min(threads, 10) * hessians
  }

  /// The Hessian of a fold, its factor and a copy, where it is small enough to be formed.
  private var hessians: Double {
    let size = columns * classes
    let isFormed = classes > 2 && LikelihoodCurvature.isAffordable(Int(rows), Int(size), .some)
    return isFormed ? 3 * 8 * size * size : 0
  }
}

// MARK: - What a run asks of it

extension EvidenceHead: ColumnSelectingHead, LeftOutPredictingHead, ReportingHead,
  UncertaintySplittingHead
{
  var leftOutColumns: [Int] { transform.leftOutColumns }

  var fitInfo: FitInfo {
    FitInfo(
      iterations: report?.iterationCount ?? 0, evidence: report?.logEvidence,
      certificate: report.map { GapCertificate(lower: 0, upper: $0.gapBound) }, report: report)
  }
}
