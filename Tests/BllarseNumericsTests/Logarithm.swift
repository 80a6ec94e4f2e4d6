import Foundation

/// The natural logarithm, so that tests need no import of their own for it.
func logarithm(_ value: Double) -> Double { log(value) }
