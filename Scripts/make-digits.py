#!/usr/bin/env python3
"""Makes the built-in digits data set from its npz file. Needs numpy.

    Scripts/make-digits.py digits_split.npz Sources/BllarseCore/Resources/digits/digits.safetensors

The source is the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998,
doi:10.24432/C50P49, CC BY 4.0): 1,797 images of 8 x 8 pixels in 0..16, permuted by
numpy.random.default_rng(42).permutation(1797); the first 1,297 are the training split. `order` maps a
row of (train, test) to its position in the set's own order.
"""
import json
import struct
import sys

import numpy as np


def main(source, target):
    with np.load(source) as data:
        tensors = {
            "order": np.random.default_rng(42).permutation(1797).astype("<i4"),
            "train_labels": data["train_labels"].astype("<i4"),
            "test_labels": data["test_labels"].astype("<i4"),
            "train_images": data["train_images"].astype("u1"),
            "test_images": data["test_images"].astype("u1"),
        }
    metadata = {
        "source": "Optical Recognition of Handwritten Digits, UCI, doi:10.24432/C50P49, CC BY 4.0",
        "pixel_maximum": "16",
        "class_names": json.dumps([str(digit) for digit in range(10)]),
    }
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name, array in sorted(tensors.items(), key=lambda t: (-t[1].itemsize, t[0])):
        blob = array.tobytes()
        header[name] = {
            "dtype": {"<i4": "I32", "|u1": "U8"}[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


if __name__ == "__main__":
    main(*sys.argv[1:])
