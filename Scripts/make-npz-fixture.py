#!/usr/bin/env python3
"""Makes Fixtures/npz: arrays as NumPy writes them, stored and deflated. Needs numpy.

    Scripts/make-npz-fixture.py Fixtures/npz

`cache` is laid out as the feature caches of the Python original's text experiments. The elements of
X_SPLIT are 0, 1, 2, … times the step of the split, so that a test knows them.
"""
import json
import pathlib
import sys
import zipfile

import numpy as np


def features(rows, columns, step, dtype):
    return (np.arange(rows * columns) * step).reshape(rows, columns).astype(dtype)


def main(target):
    target = pathlib.Path(target)
    cache = target / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(cache / "X_train.npz", data=features(6, 4, 1, np.float16))
    np.savez_compressed(cache / "y_train.npz", data=np.array([0, 1, 2, 0, 1, 2], np.int32))
    np.savez_compressed(cache / "X_val_m.npz", data=features(3, 4, 2, np.float32))
    np.savez(cache / "y_val_m.npz", data=np.array([2, 1, 0], np.int32))
    np.savez_compressed(cache / "X_val_mm.npz", data=features(2, 4, 3, np.float16))
    np.savez(cache / "y_val_mm.npz", data=np.array([1, 1], np.int32))
    (cache / "metadata.json").write_text(json.dumps(
        {"model": "text encoder", "num_classes": 3,
         "class_names": ["entailment", "neutral", "contradiction"]}))

    np.savez_compressed(
        target / "all.npz", X_train=features(4, 3, 1, np.float64), y_train=np.arange(4) % 2,
        X_test=features(2, 3, 1, np.float32), y_test=np.array([0, 1], np.uint8))
    np.save(target / "fortran.npy", np.asfortranarray(features(3, 5, 1, np.float32)))
    np.save(target / "big_endian.npy", features(2, 2, 1, ">f4"))
    np.save(target / "objects.npy", np.array(["a", 1], dtype=object), allow_pickle=True)
    np.save(target / "fields.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
    np.save(target / "scalar.npy", np.float64(2.5))
    np.lib.format.write_array(
        open(target / "version2.npy", "wb"), features(2, 3, 1, np.float32), version=(2, 0))
    # Larger than one buffer of a decompressor, and with zip64 fields although it is small.
    with zipfile.ZipFile(target / "zip64.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("X_train.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, features(300, 400, 0.25, np.float32))


if __name__ == "__main__":
    main(sys.argv[1])
