package import BllarseNumerics

/// Images and the class of each, as many.
package struct ImageSplit: Sendable {
  package let images: ImageSet
  package let labels: [Int32]
}

/// Images in named splits.
package struct ImageDataset: Sendable {
  /// What the data set is called, "cifar10".
  package let name: String
  /// The splits in their order; "train" and "test" are among them.
  package let splits: [(name: String, split: ImageSplit)]
  package let classNames: [String]
  /// The channels' statistics, for backbones whose file has none.
  package var normalization: ChannelNormalization?

  package subscript(name: String) -> ImageSplit? { splits.first { $0.name == name }?.split }

  func limited(to subsets: [String: RowSubset]) -> ImageDataset {
    let splits = splits.map { name, split in
      guard let rows = subsets[name]?.rows else { return (name, split) }
      let images = split.images.with(split.images.pixels.gatheringRows(rows))
      return (name, ImageSplit(images: images, labels: rows.map { split.labels[$0] }))
    }
    return ImageDataset(
      name: name, splits: splits, classNames: classNames, normalization: normalization)
  }

  /// The features that a backbone gives to all images.
  ///
  /// - Throws: `DataError` when images and backbone do not fit, or a feature is not finite.
  package func features(
    through backbone: ResidualMLP, execution: Execution = .available
  ) throws(DataError) -> FeatureDataset {
    let splits = try splits.map { (name, split) throws(DataError) in
      let features = try backbone.features(
        of: split.images, normalization: normalization, execution: execution)
      return (
        name, try FeatureSplit(features: FeatureMatrix(features), labels: split.labels, name: name)
      )
    }
    return try FeatureDataset(
      name: name, splits: splits, classNames: classNames, execution: execution)
  }
}

/// The built-in data: 1,797 images of handwritten digits, 8 x 8 pixels in 17 grey levels, with a small
/// backbone that was trained on other digits.
///
/// The package's data files may be named ($BLLARSE_RESOURCES) when they are not beside the executable.
///
/// - Note: Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
///   Learning Repository, 1998, doi:10.24432/C50P49 (CC BY 4.0). 1,297 images are for training and 500
///   for testing.
package enum DigitsDataset {
  /// The name of the file of the backbone that ships with the images.
  package static let backboneName = "scaling_mlp_mnist5k.safetensors"

  /// The images, in the splits "train" and "test".
  ///
  /// - Throws: `DataError` when the data files are missing or damaged.
  package static func images(resources: String? = nil) throws(DataError) -> ImageDataset {
    let file = try SafetensorsFile(
      path: Resources.path("digits/digits.safetensors", in: resources))
    var splits: [(name: String, split: ImageSplit)] = []
    for name in ["train", "test"] {
      let pixels = try file.stored(name + "_images").pixels()
      let labels = try file.labels(name + "_labels")
      try DataError.require(
        pixels.columnCount == 64 && pixels.rowCount == labels.count, .wrongShape, file: file.path,
        key: name + "_images", found: "\(pixels)", expected: "\(labels.count) images of 8 x 8")
      let images = ImageSet(pixels: pixels, channels: 1, height: 8, width: 8, maximum: 16)
      splits.append((name, ImageSplit(images: images, labels: labels)))
    }
    return ImageDataset(name: "digits", splits: splits, classNames: (0..<10).map(String.init))
  }

  /// The backbone that ships with the images: 128 features for images of one channel.
  ///
  /// - Throws: `DataError` when the file is missing or damaged.
  package static func backbone(resources: String? = nil) throws(DataError) -> ResidualMLP {
    try ResidualMLP(path: try backbonePath(resources: resources))
  }

  static func backbonePath(resources: String?) throws(DataError) -> String {
    try Resources.path("digits/" + backboneName, in: resources)
  }
}

/// CIFAR-10 and CIFAR-100 from their binary versions on disk.
///
/// A record is one label byte (two for CIFAR-100: coarse, fine) and 3,072 pixel bytes: red, green and
/// blue, each 32 rows of 32.
///
/// - Note: Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
///   cs.toronto.edu/~kriz/cifar.html, "Binary version".
package enum CIFARDataset: String, Sendable, CaseIterable {
  /// Ten classes, five training files.
  case cifar10
  /// A hundred (fine) classes, one training file.
  case cifar100

  private static let pixelCount = 3 * 32 * 32

  private var labelBytes: Int { self == .cifar10 ? 1 : 2 }
  private var classCount: Int { self == .cifar10 ? 10 : 100 }
  private var folder: String { self == .cifar10 ? "cifar-10-batches-bin" : "cifar-100-binary" }
  private var archive: String {
    self == .cifar10 ? "cifar-10-binary.tar.gz" : "cifar-100-binary.tar.gz"
  }
  private var namesFile: String { self == .cifar10 ? "batches.meta.txt" : "fine_label_names.txt" }
  private var trainFiles: [String] {
    self == .cifar10 ? (1...5).map { "data_batch_\($0).bin" } : ["train.bin"]
  }
  private var testFile: String { self == .cifar10 ? "test_batch.bin" : "test.bin" }

  /// Reads the splits "train" and "test", with the fine labels for CIFAR-100, from the directory of the files
  /// or the one in which the published archive was unpacked.
  ///
  /// - Throws: `DataError`: a file is missing, is not made of whole records, or has a label that is no
  ///   class.
  package func load(from directory: String) throws(DataError) -> ImageDataset {
    let place = try locate(in: directory)
    var train: [ImageSplit] = []
    for name in trainFiles { train.append(try read(place + "/" + name)) }
    let test = try read(place + "/" + testFile)
    return ImageDataset(
      name: rawValue, splits: [("train", Self.joined(train)), ("test", test)],
      classNames: try classNames(place), normalization: .cifar)
  }

  /// The sizes of the data set's files; labels are read with the images.
  ///
  /// - Throws: `DataError`: a file is missing, or is not made of whole records.
  func header(in directory: String) throws(DataError) -> ImageHeader {
    let place = try locate(in: directory)
    func count(_ name: String) throws(DataError) -> Int {
      try recordCount(MappedFile(path: place + "/" + name))
    }
    var train = 0
    for name in trainFiles { train += try count(name) }
    let test = try count(testFile)
    return ImageHeader(
      splits: [("train", train), ("test", test)], channels: 3, classCount: classCount,
      byteCount: (train + test) * Self.pixelCount)
  }

  private func recordCount(_ file: MappedFile) throws(DataError) -> Int {
    let recordSize = labelBytes + Self.pixelCount
    try DataError.require(
      file.bytes.count > 0 && file.bytes.count.isMultiple(of: recordSize), .malformedFile,
      file: file.path, found: "the file has \(file.bytes.count) bytes",
      expected: "whole records of \(recordSize) bytes",
      advice: "the file is damaged or not the binary version: unpack \(archive) again")
    return file.bytes.count / recordSize
  }

  private func locate(in directory: String) throws(DataError) -> String {
    for place in [directory, directory + "/" + folder]
    where Files.exists(place + "/" + testFile) {
      return place
    }
    throw DataError(
      .missingFile, file: directory, found: "there is no \(testFile) here nor in \(folder)",
      expected: (trainFiles + [testFile]).joined(separator: ", "),
      advice: "unpack \(archive) (cs.toronto.edu/~kriz/cifar.html) into this directory")
  }

  private func read(_ path: String) throws(DataError) -> ImageSplit {
    let file = try MappedFile(path: path)
    let recordSize = labelBytes + Self.pixelCount
    let records = Matrix<UInt8>(
      rows: try recordCount(file), columns: recordSize,
      readOnly: file.bytes.bindMemory(to: UInt8.self), owner: file)
    var labels: [Int32] = []
    labels.reserveCapacity(records.rowCount)
    for row in 0..<records.rowCount {
      let label = records[row, labelBytes - 1]
      try DataError.require(
        label < classCount, .invalidLabel, file: path, row: row, found: "the label is \(label)",
        expected: "a class index in 0..<\(classCount)",
        advice: "the file is damaged or of another data set: unpack \(archive) again")
      labels.append(Int32(label))
    }
    return ImageSplit(
      images: ImageSet(
        pixels: records.columns(labelBytes..<recordSize), channels: 3, height: 32, width: 32),
      labels: labels)
  }

  /// The names beside the data, one a line; numbers when the file is missing.
  private func classNames(_ place: String) throws(DataError) -> [String] {
    let path = place + "/" + namesFile
    guard Files.exists(path) else { return (0..<classCount).map(String.init) }
    let text = try MappedFile(path: path).withBytes { String(decoding: $0, as: UTF8.self) }
    let names = text.split(whereSeparator: \.isNewline).map(String.init).filter { !$0.isEmpty }
    try DataError.require(
      names.count == classCount, .malformedFile, file: path,
      found: "there are \(names.count) names", expected: "\(classCount), one a line",
      advice: "correct or remove the file")
    return names
  }

  private static func joined(_ splits: [ImageSplit]) -> ImageSplit {
    guard splits.count > 1 else { return splits[0] }
    let count = splits.reduce(0) { $0 + $1.labels.count }
    var pixels = Matrix<UInt8>(rows: count, columns: pixelCount, repeating: 0)
    var row = 0
    for split in splits {
      pixels.replaceBlock(row: row, column: 0, with: split.images.pixels)
      row += split.labels.count
    }
    return ImageSplit(images: splits[0].images.with(pixels), labels: splits.flatMap(\.labels))
  }
}

/// The sizes of a data set of images.
struct ImageHeader: Sendable {
  let splits: [(name: String, rowCount: Int)]
  let channels: Int
  let classCount: Int
  /// The bytes of all images.
  let byteCount: Int
}

/// The image data sets that have names.
public enum ImageDatasets {
  /// Their names.
  public static let names = ["digits"] + CIFARDataset.allCases.map(\.rawValue)

  /// Whether the files of a data set, and its backbone, ship with the package.
  public static func isBuiltIn(_ name: String) -> Bool { name == "digits" }

  /// What may happen to a training image: crops and mirror images for photographs, nothing for digits,
  /// which fill their frames and have no mirror image.
  package static func augmentation(of name: String) -> Augmentation? {
    CIFARDataset(rawValue: name) == nil ? nil : .naturalImages
  }
}

extension DataSource {
  /// The images of the data set.
  ///
  /// - Throws: `DataError`: there is no such data set, or its files are missing or damaged.
  func images() throws(DataError) -> ImageDataset {
    guard let (dataset, directory) = try files() else {
      return try DigitsDataset.images(resources: resourcesPath)
    }
    return try dataset.load(from: directory)
  }

  /// The sizes of the images, as ``images()``.
  func imageHeader() throws(DataError) -> ImageHeader {
    if let (dataset, directory) = try files() { return try dataset.header(in: directory) }
    let images = try DigitsDataset.images(resources: resourcesPath)
    let splits = images.splits.map { (name: $0.name, rowCount: $0.split.labels.count) }
    return ImageHeader(
      splits: splits, channels: 1, classCount: images.classNames.count,
      byteCount: splits.reduce(0) { $0 + $1.rowCount } * 64)
  }

  /// Where the files of the data set are; `nil` for the digits.
  private func files() throws(DataError) -> (dataset: CIFARDataset, directory: String)? {
    if ImageDatasets.isBuiltIn(dataset) { return nil }
    guard let known = CIFARDataset(rawValue: dataset) else {
      throw DataError(
        .missingKey, found: "there is no data set '\(dataset)'",
        expected: ImageDatasets.names.joined(separator: ", "),
        advice: "or give features with --features FILE")
    }
    guard let directory else {
      throw DataError(
        .missingFile, found: "the data set \(dataset) does not ship with the package",
        advice: "name the directory of its files with --data-dir DIR")
    }
    return (known, directory)
  }

  /// The backbone that is asked for, of the size that is asked for; random weights are a function of the seed.
  func backbone(of images: ImageDataset, seed: UInt64) throws(DataError) -> ResidualMLP {
    let channels = images.splits.first?.split.images.channels ?? 3
    let header = try backboneHeader(channels: channels)
    guard header.file == nil else { return try ResidualMLP(header) }
    return ResidualMLP(
      random: header.configuration, seed: seed, name: "\(header.path), seed \(seed)")
  }

  /// The sizes of that backbone.
  ///
  /// - Throws: `DataError`: its file is missing, damaged, or of another size.
  func backboneHeader(channels: Int) throws(DataError) -> BackboneHeader {
    if let namedBackbone {
      return namedBackbone.pretraining == .random
        ? BackboneHeader(random: namedBackbone, channels: channels) : try namedBackbone.header()
    }
    let path: String
    if let backbonePath {
      path = backbonePath
    } else if ImageDatasets.isBuiltIn(dataset) {
      path = try DigitsDataset.backbonePath(resources: resourcesPath)
    } else {
      throw DataError(
        .missingFile, found: "the data set \(dataset) has no backbone of its own",
        advice: "give one with --backbone FILE, or --pretrained and --model-dir DIR")
    }
    let header = try BackboneHeader(path: path)
    try header.require(embeddingSize: embeddingSize, blockCount: blockCount)
    return header
  }
}
