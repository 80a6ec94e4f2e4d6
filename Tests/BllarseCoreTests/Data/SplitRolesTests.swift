import BllarseNumerics
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("SplitRoles")
struct SplitRolesTests {
  @Test(
    "the test split is test, else the matched rows; the validation split is another one",
    arguments: [
      (["train", "test"], "test", nil),
      (["train", "validation", "test"], "test", "validation"),
      (["train", "test", "dev"], "test", "dev"),
      (["train", "test", "dev", "valid"], "test", "valid"),
      (["train", "test", "val_m", "val_mm"], "test", "val_m"),
      (["train", "val_m", "val_mm"], "val_m", "val_m"),
      (["train", "validation", "val_m"], "val_m", "validation"),
      (["train", "test", "holdout"], "test", nil),
    ] as [([String], String, String?)])
  func defaults(names: [String], test: String, validation: String?) throws {
    let roles = try SplitRoles(of: names)
    #expect(roles.test == test)
    #expect(roles.validation == validation)
    #expect((roles.note != nil) == (test == validation))
  }

  @Test("a chosen test split does not choose the best epoch too")
  func chosen() throws {
    let names = ["train", "validation", "test", "val_m", "val_mm"]
    var roles = try SplitRoles(of: names, test: "validation")
    #expect(roles.test == "validation" && roles.validation == "val_m")
    roles = try SplitRoles(of: ["train", "val_m", "val_mm"], test: "val_mm")
    #expect(roles.test == "val_mm" && roles.validation == "val_m" && roles.note == nil)
    roles = try SplitRoles(of: ["train", "validation"], test: "val")
    #expect(roles.test == "validation" && roles.validation == nil)
    roles = try SplitRoles(of: names, validation: "test")
    #expect(roles.isShared)
    #expect(roles.description == "test and validation split: test")
  }

  private func message(
    _ names: [String], test: String? = nil, validation: String? = nil
  ) -> String {
    do {
      let roles = try SplitRoles(of: names, test: test, validation: validation, file: "f.npz")
      return roles.description
    } catch { return "\(error)" }
  }

  @Test("faults name the splits that there are")
  func faults() {
    #expect(
      message(["train", "dev", "valid"])
        == "f.npz: test split: there is no such split among train, dev, valid, expected X_test and "
        + "y_test; add them, or name another with --test-split")
    #expect(
      message(["train"])
        == "f.npz: test split: there is no such split among train, expected X_test and y_test; add them"
    )
    #expect(
      message(["train", "dev", "test"], test: "tests")
        == "f.npz: tests split: there is no such split, expected one of dev, test; correct --test-split"
    )
    #expect(
      message(["train", "test"], validation: "train")
        == "f.npz: train split: --validation-split names the rows that the head is fitted to, "
        + "expected test; correct --validation-split")
  }

  @Test("rows that are tested on calibrate only where that was asked for")
  func calibration() throws {
    let rows = try FeatureSplit(
      features: FeatureMatrix(Matrix<Float>(rows: 2, columns: 1, elements: [1, 2])),
      labels: [0, 1])
    let data = try FeatureDataset(
      name: "cache", file: "cache", splits: ["train", "val_m"].map { ($0, rows) })
    let shared = try SplitRoles(of: data.splitNames)
    #expect(throws: DataError.self) {
      try shared.calibrationSplit(among: data.splitNames, of: data.file, isChosen: false)
    }
    #expect(
      try shared.calibrationSplit(among: data.splitNames, of: data.file, isChosen: true) == "val_m")
    let none = try SplitRoles(of: ["train", "test"])
    #expect {
      try none.calibrationSplit(among: data.splitNames, of: data.file, isChosen: false)
    } throws: { error in
      "\(error)"
        == "cache: validation split: there is no such split, expected rows to calibrate on, "
        + "beside train and val_m; add X_val and y_val, or name another split with --validation-split"
    }
  }
}
