// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "bllarse",
  products: [
    .library(name: "BllarseNumerics", targets: ["BllarseNumerics"]),
    .library(name: "BllarseCore", targets: ["BllarseCore"]),
    .library(name: "BllarseSweep", targets: ["BllarseSweep"]),
    .library(name: "BllarseMLflow", targets: ["BllarseMLflow"]),
    .library(name: "BllarseFinetune", targets: ["BllarseFinetune"]),
    .library(name: "BllarseTesting", targets: ["BllarseTesting"]),
    .executable(name: "bllarse-finetune", targets: ["bllarse-finetune"]),
    .executable(name: "bllarse-sweep", targets: ["bllarse-sweep"]),
    .executable(name: "bllarse-mlflow", targets: ["bllarse-mlflow"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
  ],
  targets: [
    // C libraries, found through pkg-config.
    .systemLibrary(name: "CBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CLAPACKE", pkgConfig: "lapacke", providers: [.apt(["liblapacke-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(
      name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
    .systemLibrary(
      name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .target(name: "BllarseKernels"),
    // Linked into executables only.
    .target(name: "BllarseStartup"),

    // Libraries. Dependencies point one way; Sweep and MLflow never import Core.
    .target(name: "BllarseSupport", dependencies: ["COpenSSL", "CZlib"]),
    .target(
      name: "BllarseNumerics", dependencies: ["CBLAS", "CLAPACKE", "BllarseKernels"],
      swiftSettings: [.strictMemorySafety()]),
    .target(name: "BllarseModels", dependencies: ["BllarseNumerics"]),
    .target(
      name: "BllarseCore",
      dependencies: ["BllarseModels", "BllarseNumerics", "BllarseSupport", "CZlib"],
      resources: [.copy("Resources/digits")]),
    .target(
      name: "BllarseSweep",
      dependencies: ["BllarseSupport", .product(name: "Yams", package: "Yams")],
      // What other interpreters read, compiled in.
      resources: [
        .embedInCode("Python/bllarse_python.py"), .embedInCode("Executors/Slurm/job.sh"),
      ]),
    .target(
      name: "BllarseMLflow",
      dependencies: [
        "BllarseSupport", "CCurl",
        .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "Logging", package: "swift-log"),
      ],
      resources: [.embedInCode("Store/schema.sql")]),

    // The program bllarse-finetune, to which other packages add heads, and what these are tested by.
    .target(
      name: "BllarseFinetune",
      dependencies: [
        "BllarseCore", "BllarseMLflow", "BllarseStartup", "BllarseSupport",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    .target(name: "BllarseTesting", dependencies: ["BllarseCore"]),

    // Executables.
    .executableTarget(name: "bllarse-finetune", dependencies: ["BllarseFinetune"]),
    .executableTarget(
      name: "bllarse-sweep",
      dependencies: [
        "BllarseSweep", "BllarseMLflow", "BllarseStartup",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    .executableTarget(
      name: "bllarse-mlflow",
      dependencies: [
        "BllarseMLflow",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ]),

    // Tests.
    .target(name: "BllarseTestSupport", dependencies: ["BllarseNumerics"], path: "Tests/Support"),
    .testTarget(
      name: "BllarseSupportTests", dependencies: ["BllarseSupport", "BllarseTestSupport"]),
    .testTarget(
      name: "BllarseNumericsTests",
      dependencies: [
        "BllarseKernels", "BllarseModels", "BllarseNumerics", "BllarseTestSupport",
      ]),
    .testTarget(
      name: "BllarseCoreTests",
      dependencies: ["BllarseCore", "BllarseModels", "BllarseTestSupport"]),
    .testTarget(name: "BllarseSweepTests", dependencies: ["BllarseSweep", "BllarseTestSupport"]),
    // Imports what a user of the library imports, and nothing else.
    .testTarget(
      name: "LibraryUseTests", dependencies: ["BllarseCore", "BllarseNumerics", "BllarseTesting"]),
    // The example is a package of its own, too; here its head is tested with the others.
    .executableTarget(
      name: "nearest-mean",
      dependencies: ["BllarseCore", "BllarseNumerics", "BllarseFinetune", "BllarseTesting"],
      path: "Examples/nearest-mean/Sources/nearest-mean"),
    .executableTarget(
      name: "mlflow-test-program", dependencies: ["BllarseMLflow"],
      path: "Tests/MLflowTestProgram"),
    .testTarget(
      name: "BllarseMLflowTests",
      dependencies: [
        "BllarseMLflow", "BllarseTestSupport", "bllarse-mlflow", "mlflow-test-program",
        .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    .testTarget(name: "EndToEndTests", dependencies: ["BllarseCore", "BllarseTestSupport"]),
  ],
  swiftLanguageModes: [.v6]
)

// One set of settings for all Swift targets.
let targetsInC = ["BllarseKernels", "BllarseStartup"]
for target in package.targets where target.type != .system && !targetsInC.contains(target.name) {
  target.swiftSettings =
    (target.swiftSettings ?? []) + [
      .enableUpcomingFeature("ExistentialAny"),
      .enableUpcomingFeature("MemberImportVisibility"),
      .enableUpcomingFeature("InternalImportsByDefault"),
      .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ]
}
