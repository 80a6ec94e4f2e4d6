// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "tracking-benchmarks",
  dependencies: [.package(name: "bllarse", path: "../..")],
  targets: [
    .executableTarget(
      name: "bench",
      dependencies: [
        .product(name: "BllarseCore", package: "bllarse"),
        .product(name: "BllarseMLflow", package: "bllarse"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
