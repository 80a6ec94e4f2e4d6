#!/usr/bin/env python3
"""Makes Fixtures/images/resize.safetensors: planes resized by Pillow, bilinear and antialiased.

    pip install numpy pillow safetensors
    Scripts/make-resize-fixture.py Fixtures/images/resize.safetensors
"""
import sys

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

# (height, width) -> (height, width): larger, smaller, both, odd factors, single pixels.
SIZES = [((8, 8), (16, 16)), ((32, 32), (16, 16)), ((7, 5), (3, 11)), ((28, 28), (9, 20)),
         ((1, 1), (4, 3)), ((6, 9), (1, 1)), ((5, 5), (5, 2)), ((64, 48), (10, 7))]


def main(target):
    rng, tensors = np.random.default_rng(3), {}
    for index, (old, new) in enumerate(SIZES):
        plane = rng.random(old, dtype=np.float32)
        resized = Image.fromarray(plane, mode="F").resize(new[::-1], Image.Resampling.BILINEAR)
        tensors[f"input_{index}"] = plane
        tensors[f"output_{index}"] = np.ascontiguousarray(np.asarray(resized, dtype=np.float32))
    save_file(tensors, target)


if __name__ == "__main__":
    main(sys.argv[1])
