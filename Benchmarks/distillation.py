#!/usr/bin/env python3
"""A teacher that was fitted to all rows, and students of 200 rows with its probabilities, or with labels.

    python Benchmarks/distillation.py --program .build/release/bllarse-finetune digits=FILE reviews=FILE …

Each FILE is a safetensors file with `X_train`, `y_train`, `X_test`, `y_test`. Teacher and students are `softmax` as it
is when nothing is chosen; students have the same rows and are scored on the test rows' labels. Needs numpy, safetensors.
"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

NAMES = ["X_train", "y_train", "X_test", "y_test"]


def scores(program, path, output):
    subprocess.run([program, "--features", path, "--output", output, "--overwrite", "--threads", "1"],
                   check=True, capture_output=True)
    test = json.loads((Path(output) / "result.json").read_text())["test"]
    return test["nll"], test["acc"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--program", default="bllarse-finetune")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    print("data, rows of which: nll and acc of the teacher, of students by labels, by probabilities")
    for entry in options.data:
        name, path = entry.split("=", 1)
        data = load_file(path)
        with tempfile.TemporaryDirectory() as folder:
            file, teacher = folder + "/features.safetensors", folder + "/teacher"
            save_file({key: data[key] for key in NAMES}, file)
            best = scores(options.program, file, teacher)
            predictions = folder + "/predictions.safetensors"
            subprocess.run([options.program, "predict", "--head", teacher + "/head.safetensors", "--features", file,
                            "--split", "train", "--out", predictions], check=True, capture_output=True)
            shares = load_file(predictions)["probabilities"]
            found = []
            for seed in range(options.seeds):
                rows = np.random.default_rng(seed).permutation(len(shares))[:options.rows]
                for targets in (data["y_train"], shares):
                    part = {**{key: data[key] for key in NAMES}, "X_train": data["X_train"][rows],
                            "y_train": np.ascontiguousarray(targets[rows])}
                    save_file(part, file, {"num_classes": str(shares.shape[1])})
                    found.append(scores(options.program, file, folder + "/student"))
            hard, soft = np.mean(found[::2], 0), np.mean(found[1::2], 0)
            worst = np.max(np.array(found[1::2])[:, 0] - np.array(found[::2])[:, 0])
            print(f"{name}, {options.rows} of {len(shares)}: {best[0]:.3f} {best[1]:.3f}, {hard[0]:.3f} {hard[1]:.3f}, "
                  f"{soft[0]:.3f} {soft[1]:.3f}; largest difference of nll {worst:+.3f}", flush=True)


main()
