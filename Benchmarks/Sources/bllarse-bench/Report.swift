import BllarseNumerics
import Foundation

/// The natural logarithm.
func logarithm(_ value: Double) -> Double { log(value) }

enum Clock {
  /// The seconds that `body` takes.
  static func seconds(_ body: () throws -> Void) rethrows -> Double {
    let start = DispatchTime.now().uptimeNanoseconds
    try body()
    return Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
  }
}

/// The speed of sgemm on large square matrices: what this machine can do at most.
enum Peak {
  static func measure(_ execution: Execution) -> Double {
    let size = 2048
    let a = Matrix<Float>(rows: size, columns: size, repeating: 0.5)
    var c = Matrix<Float>.zeros(size, size)
    BLASThreadCount.set(execution)
    let samples = (0..<5).map { _ in
      Clock.seconds { Matrix.multiply(a, a, into: &c) }
    }
    return 2 * Double(size * size * size) / median(samples)
  }
}

func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : 0.5 * (sorted[middle - 1] + sorted[middle])
}

/// What a case measured.
struct Report {
  let name: String
  let threads: Int
  let peak: Double
  var shape = (rows: 0, dim: 0, classes: 0)
  var featureBytes = 0
  var iterations = 0
  var flops = 0.0
  var samples: [Double] = []
  var extra: [String: Double] = [:]

  init(name: String, threads: Int, peak: Double) {
    self.name = name
    self.threads = threads
    self.peak = peak
  }

  mutating func describe(_ data: BenchData) {
    shape = (data.rowCount, data.columnCount, data.classCount)
    featureBytes = data.features.byteCount
  }

  mutating func time(_ repeats: Int, _ body: () throws -> Void) rethrows {
    for _ in 0..<repeats { samples.append(try Clock.seconds(body)) }
  }

  /// One line for people on standard error, one JSON object on standard output.
  func show() {
    let seconds = samples.isEmpty ? 0 : median(samples)
    let speed = seconds > 0 ? flops / seconds : 0
    let memory = Report.peakMemory()
    var values: [String: Double] = extra
    values["rows"] = Double(shape.rows)
    values["dim"] = Double(shape.dim)
    values["classes"] = Double(shape.classes)
    values["threads"] = Double(threads)
    values["iterations"] = Double(iterations)
    values["seconds"] = seconds
    values["seconds_min"] = samples.min() ?? 0
    values["seconds_max"] = samples.max() ?? 0
    values["gflops"] = speed * 1e-9
    values["sgemm_peak_gflops"] = peak.isFinite ? peak * 1e-9 : 0
    values["share_of_peak"] = speed / peak
    values["feature_bytes"] = Double(featureBytes)
    values["peak_memory_bytes"] = Double(memory)
    let pairs = values.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }
    print("{\"case\": \"\(name)\", \(pairs.joined(separator: ", "))}")
    let line = String(
      format:
        "%@ %d x %d, %d classes: %.4f s (%.4f to %.4f), %d iterations, %.1f GFLOP/s = %.0f %% "
        + "of sgemm %.0f, memory %.0f MB for %.0f MB of features\n",
      name, shape.rows, shape.dim, shape.classes, seconds, samples.min() ?? 0, samples.max() ?? 0,
      iterations, speed * 1e-9, 100 * speed / peak, peak * 1e-9, Double(memory) * 1e-6,
      Double(featureBytes) * 1e-6)
    FileHandle.standardError.write(Data(line.utf8))
  }

  /// The largest resident size of this process so far, in bytes.
  static func peakMemory() -> Int {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    for line in status.split(separator: "\n") where line.hasPrefix("VmHWM:") {
      return (Int(line.split(separator: " ").dropFirst().first ?? "") ?? 0) * 1024
    }
    return 0
  }
}
