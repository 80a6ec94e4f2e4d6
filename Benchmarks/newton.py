"""`--optimizer newton` beside scikit-learn's LogisticRegression(tol=1e-8) on the same penalised problem.

Both fit in turn, each in a process of its own; the objective Σ loss + λ/2·‖W‖² of both is computed here in double
precision, and seconds are medians of the fit alone. For two classes scikit-learn has one column of weights w and
bllarse two, -w/2 and w/2, so that its λ is half of ours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from safetensors.numpy import load_file


def data(features, dtype):
    file = load_file(features)
    return file["X_train"].astype(dtype), file["y_train"]


def objective(logits, labels, penalty, weights):
    shifted = logits - logits.max(1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    return loss.sum() + 0.5 * penalty * (weights**2).sum()


def peer(features, penalty, dtype):
    """Prints seconds and objective of scikit-learn, as a process of its own."""
    from sklearn.linear_model import LogisticRegression

    X, y = data(features, dtype)
    classes = int(y.max()) + 1
    model = LogisticRegression(tol=1e-8, C=1 / (penalty if classes > 2 else penalty / 2), max_iter=100_000)
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    W, b = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if classes == 2:
        W, b = np.vstack([-W / 2, W / 2]), np.concatenate([-b / 2, b / 2])
    value = objective(X.astype(np.float64) @ W.T + b, y, penalty, W)
    print(json.dumps({"seconds": seconds, "objective": value}))


def ours(finetune, features, penalty):
    with tempfile.TemporaryDirectory() as output:
        subprocess.run(
            [finetune, "--features", features, "--loss-fn", "CrossEntropy", "--l2", str(penalty), "--output", output, "--overwrite"],
            check=True, capture_output=True)
        with open(os.path.join(output, "result.json")) as file:
            seconds = json.load(file)["seconds"]["fit"]
        weights = load_file(os.path.join(output, "head.safetensors"))["weights"].astype(np.float64)
    X, y = data(features, np.float64)
    return {"seconds": seconds, "objective": objective(X @ weights[:-1] + weights[-1], y, penalty, weights[:-1])}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finetune")
    parser.add_argument("--features", required=True, action="append")
    parser.add_argument("--penalty", type=float, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", choices=["float32", "float64"])
    arguments = parser.parse_args()
    if arguments.peer:
        return peer(arguments.features[0], arguments.penalty[0], arguments.peer)
    print("| data | λ | newton, s | scikit-learn, float64, s | ratio | float32, s | ratio | objective, ours | float64 | float32 |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for features in arguments.features:
        for penalty in arguments.penalty or [2.0, 20.0]:
            runs = {"ours": [], "float64": [], "float32": []}
            for _ in range(arguments.rounds):
                runs["ours"].append(ours(arguments.finetune, features, penalty))
                for kind in ["float64", "float32"]:
                    done = subprocess.run(
                        [sys.executable, __file__, "--peer", kind, "--features", features, "--penalty", str(penalty)],
                        check=True, capture_output=True, text=True)
                    runs[kind].append(json.loads(done.stdout))
            s = {kind: statistics.median(run["seconds"] for run in r) for kind, r in runs.items()}
            f = {kind: r[0]["objective"] for kind, r in runs.items()}
            print(
                f"| {os.path.basename(features)} | {penalty:g} | {s['ours']:.4f} | {s['float64']:.4f} | "
                f"{s['float64'] / s['ours']:.1f} | {s['float32']:.4f} | {s['float32'] / s['ours']:.1f} | "
                f"{f['ours']:.7f} | {f['float64']:.7f} | {f['float32']:.7f} |", flush=True)


if __name__ == "__main__":
    main()
