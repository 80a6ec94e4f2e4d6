import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Text caches: the folder's name")
struct TextCacheKeyTests {
  // hashlib.sha1(b"v2|FacebookAI/roberta-base|256|float16|train|validation_matched|validation_mismatched")
  // and so on, with "|trainN|valM" at the end where rows are limited. The second and the third are the
  // names under which such caches are published.
  @Test(
    "is what hashlib makes of it",
    arguments: [
      ("base", 256, TextCache.ElementType.float16, nil, nil, "len256_float16_c23d76995195"),
      ("base", 512, .float16, nil, nil, "len512_float16_5c31d846204b"),
      ("large", 512, .float16, nil, nil, "len512_float16_abf7f41285e1"),
      ("base", 512, .float32, nil, nil, "len512_float32_087dc74368ef"),
      ("base", 512, .float16, 128, 64, "len512_float16_tr128_val64_374fa67f8f0e"),
      ("large", 256, .float16, 1000, nil, "len256_float16_tr1000_valall_40c5801c2faf"),
      ("large", 256, .float16, nil, 2048, "len256_float16_trall_val2048_307b3ee3c777"),
    ] as [(String, Int, TextCache.ElementType, Int?, Int?, String)])
  func key(
    size: String, length: Int, type: TextCache.ElementType, train: Int?, validation: Int?,
    expected: String
  ) {
    var cache = TextCache()
    cache.encoder = "FacebookAI/roberta-\(size)"
    cache.maxLength = length
    cache.elementType = type
    cache.trainLimit = train
    cache.validationLimit = validation
    #expect(cache.key == "FacebookAI__roberta_\(size)_" + expected)
  }

  @Test("stands behind the directory and the prefix; an absolute prefix stands alone")
  func path() {
    var cache = TextCache()
    cache.directory = "/data/cache/"
    #expect(
      cache.path
        == "/data/cache/roberta_activations/mnli_roberta_cls/"
        + "FacebookAI__roberta_base_len256_float16_c23d76995195")
    cache.prefix = "/elsewhere/"
    #expect(cache.path == "/elsewhere/FacebookAI__roberta_base_len256_float16_c23d76995195")
    cache.prefix = "p"
    cache.directory = "relative"
    #expect(cache.path.hasPrefix("relative/p/FacebookAI__"))
    #expect(cache.publishedPath.hasPrefix("p/FacebookAI__"))
  }
}

@Suite("Text caches: what they hold")
struct TextCacheContentTests {
  let directory: TemporaryDirectory
  var cache = TextCache()

  init() throws {
    directory = try TemporaryDirectory()
    cache.directory = directory.file("text")
    try FileManager.default.copyItem(atPath: Fixtures.path("text"), toPath: cache.directory)
  }

  private func expectFault(_ message: String, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(sourceLocation: sourceLocation) {
      try cache.content()
    } throws: { error in
      "\(error)" == message
    }
  }

  private func file(_ name: String) -> String {
    cache.path.dropFirst(directory.path.count + 1) + "/" + name
  }

  private func editMetadata(_ old: String, _ new: String) throws {
    try directory.edit(file("metadata.json")) { $0.replacing(old, with: new) }
  }

  @Test("the rows of its splits and the features of a row")
  func content() throws {
    let expected = TextCache.Content(
      trainCount: 300, matchedCount: 120, mismatchedCount: 120, featureCount: 16)
    #expect(try cache.content() == expected)
    #expect(expected.totalCount == 540)
    var limited = cache
    (limited.trainLimit, limited.validationLimit) = (200, 60)
    #expect(try limited.content().trainCount == 200)
    #expect(try limited.content().mismatchedCount == 60)
  }

  @Test("a missing cache is named, with the command that pulls it and the script that makes it")
  func missing() {
    var cache = cache
    cache.encoder = "FacebookAI/roberta-large"
    cache.directory = "/it's"
    let folder = "roberta_activations/mnli_roberta_cls/\(cache.key)"
    #expect {
      try cache.content()
    } throws: { error in
      "\(error)"
        == "/it's/\(folder): there is no feature cache; pull it with: huggingface-cli download "
        + "dimarkov/bllarse-features --repo-type dataset --include '\(folder)/*' --local-dir "
        + "'/it'\\''s'; or make it with --stage extract of the Python original's "
        + "scripts/roberta_mnli.py"
    }
    cache = self.cache
    cache.trainLimit = 7
    #expect {
      try cache.content()
    } throws: { error in
      "\(error)".hasSuffix(
        "; or give --stage train_eval, which takes these rows of the full cache, \(self.cache.path)"
      )
    }
  }

  @Test("missing files are named")
  func missingFiles() throws {
    for name in ["y_val_m.npz", "metadata.json"] { try directory.remove(file(name)) }
    #expect {
      try cache.content()
    } throws: { error in
      "\(error)".hasPrefix(
        "\(cache.path): the feature cache has no y_val_m.npz, no metadata.json; pull it with: ")
    }
  }

  @Test("metadata of another cache, or of other rows, are refused by key")
  func metadata() throws {
    let path = cache.path + "/metadata.json"
    try editMetadata("\"train\": 300", "\"train\": 392702")
    expectFault(
      "\(path): rows, train: the value is 392702, expected 300, the rows of X_train; the cache is "
        + "not whole: pull or extract it again")
    try editMetadata("\"train\": 392702", "\"training\": 300")
    expectFault(
      "\(path): rows, train: there is no number of rows, expected 300, the rows of X_train; pull or "
        + "extract the cache again")
    try editMetadata("\"max_length\": 256", "\"max_length\": 512")
    expectFault(
      "\(path): max_length: the value is '512', expected '256', as the folder's name says; the "
        + "folder holds another cache: give it its own name back")
    try editMetadata("{", "")
    expectFault(
      "\(path): byte 13: text after the end of the value, expected JSON; pull or extract the cache again"
    )
  }

  @Test("arrays that contradict one another are refused without reading them whole")
  func arrays() throws {
    let (matched, mismatched) = (file("y_val_m.npz"), file("y_train.npz"))
    try directory.write(matched, directory.read(mismatched))
    expectFault(
      "\(cache.path): y_val_m: there are 120 rows of features and 300 labels, expected one label a row"
    )
  }
}
