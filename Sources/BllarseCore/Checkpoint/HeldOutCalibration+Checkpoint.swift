/// How a map to held-out rows is stored: `held_out_calibration` in the metadata is its kind.
extension HeldOutCalibration {
  /// Whether a checkpoint holds a map, be it that of no change.
  static func isStored(in file: SafetensorsFile) -> Bool {
    file.metadata["held_out_calibration"] != nil
  }

  /// Adds the map to a checkpoint.
  func encode(into writer: inout SafetensorsWriter) {
    writer.metadata["held_out_calibration"] = kind
    switch self {
    case .none: break
    case .temperature(let beta):
      writer.metadata["held_out_inverse_temperature"] = String(beta)
    case .vector(let scales, let shifts):
      writer.add("held_out_scales", scales)
      writer.add("held_out_shifts", shifts)
    case .isotonic(let functions):
      for (k, function) in functions.enumerated() {
        writer.add("isotonic\(k).knots", function.knots)
        writer.add("isotonic\(k).values", function.values)
      }
    }
  }

  /// Reads the map of a checkpoint.
  ///
  /// - Throws: `DataError` that names the file and the entry that is missing or wrong.
  init(decoding file: SafetensorsFile, classCount: Int) throws(DataError) {
    let name = try file.metadata("held_out_calibration")
    switch name {
    case "none": self = .none
    case "temperature":
      self = .temperature(try file.number("held_out_inverse_temperature", above: 0))
    case "vector":
      self = .vector(
        scales: try file.finiteVector("held_out_scales", count: classCount),
        shifts: try file.finiteVector("held_out_shifts", count: classCount))
    case "isotonic":
      var functions: [IsotonicFunction] = []
      for k in 0..<classCount {
        let knots = try file.array("isotonic\(k).knots", as: Double.self)
        guard !knots.isEmpty, knots.allSatisfy(\.isFinite),
          zip(knots, knots.dropFirst()).allSatisfy({ $0 < $1 })
        else {
          throw DataError(
            .wrongShape, file: file.path, key: "isotonic\(k).knots",
            found: "there are no numbers that ascend", expected: "one or more that do",
            advice: "write the checkpoint again")
        }
        functions.append(
          IsotonicFunction(
            knots: knots,
            values: try file.finiteVector("isotonic\(k).values", count: knots.count)))
      }
      self = .isotonic(functions)
    default:
      throw DataError(
        .wrongType, file: file.path, key: "held_out_calibration", found: "'\(name)'",
        expected: "none, temperature, vector or isotonic", advice: "update bllarse to read it")
    }
  }

  /// The kind's name: none, temperature, vector or isotonic.
  public var kind: String {
    switch self {
    case .none: "none"
    case .temperature: "temperature"
    case .vector: "vector"
    case .isotonic: "isotonic"
    }
  }
}

extension SafetensorsFile {
  /// A vector of finite numbers.
  fileprivate func finiteVector(_ name: String, count: Int) throws(DataError) -> [Double] {
    let values = try vector(name, count: count)
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw DataError(
        .notFinite, file: path, key: name, row: index, found: "the value is \(values[index])",
        expected: "a finite number", advice: "write the checkpoint again")
    }
    return values
  }
}
