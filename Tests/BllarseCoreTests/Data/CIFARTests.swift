import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("CIFAR from its binary files")
struct CIFARTests {
  let directory: TemporaryDirectory
  init() throws { directory = try TemporaryDirectory() }

  /// A record: the labels, then 3,072 pixels that count up from `start`.
  static func record(_ labels: [UInt8], start: Int) -> [UInt8] {
    labels + (0..<3072).map { UInt8(truncatingIfNeeded: start + $0) }
  }

  func writeCIFAR10(into folder: String = "", label: UInt8 = 9) throws {
    try FileManager.default.createDirectory(
      atPath: directory.file(folder), withIntermediateDirectories: true)
    for batch in 1...5 {
      try directory.write(
        folder + "/data_batch_\(batch).bin",
        Self.record([UInt8(batch)], start: batch) + Self.record([0], start: 10 * batch))
    }
    try directory.write(folder + "/test_batch.bin", Self.record([label], start: 7))
  }

  @Test("batches follow one another, channel by channel, under the archive's folder or here")
  func cifar10() throws {
    try writeCIFAR10(into: "cifar-10-batches-bin")
    for place in [directory.path, directory.file("cifar-10-batches-bin")] {
      let data = try CIFARDataset.cifar10.load(from: place)
      let (train, test) = (try #require(data["train"]), try #require(data["test"]))
      #expect(train.labels == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0])
      #expect(test.labels == [9])
      #expect(train.images.channels == 3 && train.images.height == 32 && train.images.width == 32)
      #expect(Array(train.images.pixels.row(8).prefix(3)) == [5, 6, 7])
      #expect(Array(train.images.pixels.row(9).prefix(3)) == [50, 51, 52])
      #expect(test.images.batch.pixels[0, 1] == (8 / 255 as Float))
      #expect(data.classNames.count == 10)
      #expect(data.normalization == .cifar)
    }
  }

  @Test("CIFAR-100 has two labels a record, of which the fine one counts, and names")
  func cifar100() throws {
    try directory.write(
      "train.bin", Self.record([3, 99], start: 0) + Self.record([1, 0], start: 1))
    try directory.write("test.bin", Self.record([0, 42], start: 2))
    try directory.write(
      "fine_label_names.txt", Array((0..<100).map { "class \($0)\n" }.joined().utf8))
    let data = try CIFARDataset.cifar100.load(from: directory.path)
    #expect(data["train"]?.labels == [99, 0])
    #expect(data["test"]?.labels == [42])
    #expect(data.classNames[42] == "class 42")
    #expect(data["test"]?.images.pixels[0, 0] == 2)
  }

  @Test("missing files, half records and foreign labels say what to do")
  func faults() throws {
    #expect {
      try CIFARDataset.cifar100.load(from: directory.path)
    } throws: { error in
      "\(error)"
        == "\(directory.path): there is no test.bin here nor in cifar-100-binary, expected "
        + "train.bin, test.bin; unpack cifar-100-binary.tar.gz (cs.toronto.edu/~kriz/cifar.html) "
        + "into this directory"
    }
    try writeCIFAR10(label: 10)
    #expect {
      try CIFARDataset.cifar10.load(from: directory.path)
    } throws: { error in
      "\(error)" == "\(directory.path)/test_batch.bin: row 0 (from 0): the label is 10, expected a "
        + "class index in 0..<10; the file is damaged or of another data set: unpack "
        + "cifar-10-binary.tar.gz again"
    }
    try directory.write("data_batch_3.bin", [1, 2, 3])
    #expect {
      try CIFARDataset.cifar10.load(from: directory.path)
    } throws: { error in
      "\(error)" == "\(directory.path)/data_batch_3.bin: the file has 3 bytes, expected whole "
        + "records of 3073 bytes; the file is damaged or not the binary version: unpack "
        + "cifar-10-binary.tar.gz again"
    }
    try directory.remove("data_batch_4.bin")
    try directory.write("data_batch_3.bin", Self.record([1], start: 0))
    #expect {
      try CIFARDataset.cifar10.load(from: directory.path)
    } throws: { error in
      "\(error)" == "\(directory.path)/data_batch_4.bin: the file does not exist; check the path"
    }
  }
}
