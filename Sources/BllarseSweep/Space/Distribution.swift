/// A distribution of a random axis.
package enum Distribution: Sendable, Equatable {
  case choice([JSON])
  case uniform(low: Double, high: Double)
  case logUniform(low: Double, high: Double)
  /// Both ends included.
  case integer(low: Int, high: Int)
  case normal(mean: Double, deviation: Double)

  /// The value for a number drawn uniformly from the 2⁵³ multiples of 2⁻⁵³ in [0, 1).
  package func value(at unit: Double) -> JSON {
    switch self {
    case .choice(let values): values[Int(unit * Double(values.count))]
    case .uniform(let low, let high): .number(low + (high - low) * unit)
    case .logUniform(let low, let high):
      .number(
        min(
          high,
          max(
            low,
            PortableMath.exp(
              PortableMath.log(low) + (PortableMath.log(high) - PortableMath.log(low)) * unit))))
    case .integer(let low, let high):
      .int(low + min(high - low, Int(unit * (Double(high - low) + 1))))
    case .normal(let mean, let deviation):
      .number(mean + deviation * PortableMath.normalQuantile(max(unit, 0x1p-54)))
    }
  }
}

/// Independent random values for several keys: `count` points that are a function of the seed,
/// the key and the point's number, so any point is drawn alone and a new key disturbs no other.
package struct RandomPoints: Sendable, Equatable {
  package let count: Int
  package let seed: UInt64
  package let parameters: [Parameter]

  package struct Parameter: Sendable, Equatable {
    package let key: String
    package let distribution: Distribution
    let stream: UInt64

    package init(key: String, distribution: Distribution) {
      self.key = key
      self.distribution = distribution
      // FNV-1a of the key's name: the stream's number.
      stream = key.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
  }

  package func value(_ parameter: Parameter, at point: Int) -> JSON {
    let bits = mix(mix(mix(seed) ^ parameter.stream) &+ UInt64(point) &* 0x9e37_79b9_7f4a_7c15)
    return parameter.distribution.value(at: Double(bits >> 11) * 0x1p-53)
  }

  /// SplitMix64's finaliser (Steele, Lea and Flood, 2014; Stafford's variant 13).
  private func mix(_ bits: UInt64) -> UInt64 {
    var z = bits &+ 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
