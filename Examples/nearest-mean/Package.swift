// swift-tools-version: 6.2
import PackageDescription

// A package of its own that adds a head to bllarse-finetune.
let package = Package(
  name: "nearest-mean",
  dependencies: [.package(name: "bllarse", path: "../..")],
  targets: [
    .executableTarget(
      name: "nearest-mean",
      dependencies: [
        .product(name: "BllarseCore", package: "bllarse"),
        .product(name: "BllarseFinetune", package: "bllarse"),
        .product(name: "BllarseNumerics", package: "bllarse"),
        .product(name: "BllarseTesting", package: "bllarse"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
