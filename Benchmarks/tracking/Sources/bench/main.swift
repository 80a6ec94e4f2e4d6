// Measures run tracking: the cost of a logging call, how much logging slows a training, how fast
// metrics reach a server, and how much memory a million events take.
//
//   bench call|delivery|loop|memory URI DIRECTORY
//
// Prints one line a figure: what it is, a tab, its value.
import Foundation

let arguments = CommandLine.arguments
guard arguments.count == 4 else {
  FileHandle.standardError.write(
    Data("usage: bench call|delivery|loop|memory URI DIRECTORY\n".utf8))
  exit(64)
}
let bench = Bench(uri: arguments[2], directory: arguments[3])
switch arguments[1] {
case "call": try bench.measureCalls()
case "delivery": try bench.measureDelivery()
case "loop": try bench.measureLoop()
case "memory": try bench.measureMemory()
default:
  FileHandle.standardError.write(Data("bench: no measurement '\(arguments[1])'\n".utf8))
  exit(64)
}
