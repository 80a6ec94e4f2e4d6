// swift-tools-version: 6.2
import PackageDescription

// A package of its own: users of the library neither build nor resolve it.
let package = Package(
  name: "bllarse-benchmarks",
  dependencies: [
    .package(name: "bllarse", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
  ],
  targets: [
    .executableTarget(
      name: "bllarse-bench",
      dependencies: [
        .product(name: "BllarseCore", package: "bllarse"),
        .product(name: "BllarseNumerics", package: "bllarse"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
