#!/usr/bin/env python3
"""Makes a small feature cache in the layout of the Python original's text script. Needs numpy.

    Scripts/make-text-cache.py Fixtures/text

writes CACHE_DIR/PREFIX/KEY for two caches of 16 features: all rows (300 for training, 120 matched, 120
mismatched), and one whose name says that it holds the first 200 and 60. Classes overlap, more so in the
mismatched split, so that scores differ from one another.
"""
import hashlib
import json
import pathlib
import sys

import numpy as np

ENCODER, LENGTH, TYPE = "FacebookAI/roberta-base", 256, "float16"
PREFIX = "roberta_activations/mnli_roberta_cls"
SPLITS = ("train", "validation_matched", "validation_mismatched")
SUFFIXES = dict(zip(SPLITS, ("train", "val_m", "val_mm")))


def key(limits=None):
    payload = f"v2|{ENCODER}|{LENGTH}|{TYPE}|{'|'.join(SPLITS)}"
    name = f"{ENCODER.replace('/', '__').replace('-', '_')}_len{LENGTH}_{TYPE}"
    if limits:
        payload += "|train{}|val{}".format(*limits)
        name += "_tr{}_val{}".format(*limits)
    return f"{name}_{hashlib.sha1(payload.encode()).hexdigest()[:12]}"


def main(target):
    random = np.random.default_rng(7)
    centres = random.normal(size=(3, 16))
    arrays = {}
    for split, rows, shift in zip(SPLITS, (300, 120, 120), (0, 0, 0.5)):
        labels = random.integers(0, 3, rows).astype(np.int32)
        noise = random.normal(size=(rows, 16))
        arrays[split] = ((0.5 * centres[labels] + noise + shift).astype(np.float16), labels)
    for limits in (None, (200, 60)):
        folder = pathlib.Path(target) / PREFIX / key(limits)
        folder.mkdir(parents=True, exist_ok=True)
        counts = {}
        for split, (features, labels) in arrays.items():
            count = None if limits is None else limits[split != "train"]
            counts[split] = len(labels[:count])
            np.savez_compressed(folder / f"X_{SUFFIXES[split]}.npz", data=features[:count])
            np.savez_compressed(folder / f"y_{SUFFIXES[split]}.npz", data=labels[:count])
        (folder / "metadata.json").write_text(json.dumps(
            {"cache_key": key(limits), "backbone": ENCODER, "max_length": LENGTH,
             "cache_dtype": TYPE, "dataset": "glue/mnli", "split_schema": list(SPLITS), "seed": 0,
             "rows": counts}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
