import BllarseCore
import BllarseFinetune
import BllarseTesting

HeadRegistry.register(.nearestMean)
HeadRegistry.register(.sgd)
// "nearest-mean conformance": what every head of the package must do, too.
if CommandLine.arguments.dropFirst().first == "conformance" {
  let faults = try HeadConformance(.nearestMean).faults()
  print(faults.isEmpty ? "the head conforms" : faults.joined(separator: "\n"))
} else {
  FinetuneProgram.main()
}
