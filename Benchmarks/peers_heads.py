#!/usr/bin/env python3
"""The heads next to laplace-torch, vbll and scikit-learn in one run, as tables: writes Benchmarks/PEERS.md.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install torch laplace-torch vbll scikit-learn safetensors
    .venv-peers/bin/python peers_heads.py --program ../.build/release/bllarse-finetune --digits digits.safetensors
        --reviews movie_reviews_minilm.safetensors --supersenses wordnet_supersense_minilm.safetensors

Features: of the digits through the small backbone (`features`, `labels`), of movie reviews and of WordNet's supersenses by MiniLM
(`X_train`, `y_train`, `X_test`, `y_test`). It takes an hour or two, most of it vbll's; `--epochs` makes it shorter, and says so.
"""
import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import peers_laplace
import peers_regression
import peers_vbll

PACKAGES = ["laplace-torch", "vbll", "scikit-learn", "torch"]


def tell(text):
    print(text, file=sys.stderr, flush=True)


def laplace(sets, program):
    yield "## Softmax last-layer Laplace beside laplace-torch"
    yield ""
    yield ("At the same weights and prior precision 1; differences are the largest of two predicted probabilities of test rows (mc: "
           f"{peers_laplace.SAMPLES} draws each), NLL and ECE those of the probit link. Seconds are of posterior and predictions; "
           "ours are of the whole process, training rows predicted too, files read and written. laplace-torch has its default "
           "backend, and BackPackGGN for diagonals, which is much faster there.")
    yield ""
    yield from peers_laplace.HEADING.split("\n")
    for path, structures in sets:
        for row in peers_laplace.rows(path, structures, program):
            tell(f"laplace {path} {row['structure']}")
            yield peers_laplace.line(row)


def vbll(sets, program, epochs):
    yield "## VBLL beside vbll"
    yield ""
    yield ("The bound is vbll's own, in nats of all rows, of its parameters after the epochs and of ours at the optimum; higher is better. "
           "Predictions of vbll's are means of its draws. Seconds of vbll are those of its own code, of "
           f"{peers_vbll.EPOCHS_TIMED} epochs, times their number; in brackets those of all epochs with the same sums as one "
           "product, which gave the parameters.")
    yield ""
    yield "| data | covariance | who | bound | acc | NLL | ECE | seconds |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, path, parameterization in sets:
        count = epochs or (1000 if parameterization == "dense" else 30)
        found = peers_vbll.compare(name, path, parameterization, program, count)
        tell(f"vbll {name} {parameterization}")
        for who in ("vbll", "bllarse"):
            s = found[who]
            label = f"vbll, {count} epochs" if who == "vbll" else who
            seconds = f"{s['seconds']:.2f}"
            if who == "vbll":
                seconds += f" ({s['seconds of one product']:.0f})"
            yield (f"| {name} | {parameterization} | {label} | {s['bound']:.3f} | {s['acc']:.4f} | {s['nll']:.4f} | "
                   f"{s['ece']:.4f} | {seconds} |")


def regression(reviews, program):
    yield "## Regression beside scikit-learn"
    yield ""
    yield "Means over five halves of the diabetes table, and the sentiment of movie reviews; features standardised for everyone."
    yield ""
    yield "| data | model | RMSE | NLL | CRPS | coverage at 0.9 | width at 0.9 | seconds |"
    yield "|---|---|---|---|---|---|---|---|"
    sets = {"diabetes": peers_regression.diabetes(), "sentiment": peers_regression.sentiment(reviews)}
    for row in peers_regression.scoreboard(sets, program):
        tell(f"regression {row['data']} {row['model']}")
        yield (f"| {row['data']} | {row['model']} | {row['rmse']:.4f} | {row['nll']:.4f} | {row['crps']:.4f} | "
               f"{row['coverage0.9']:.4f} | {row['width0.9']:.4f} | {row['seconds']:.2f} |")
    yield ""
    yield "Largest relative differences from scikit-learn's fit, at the same hyperpriors, tolerance 1e-12, nothing pruned:"
    yield ""
    yield "| data | model | weights | log evidence |"
    yield "|---|---|---|---|"
    for name, data in (("diabetes", next(peers_regression.diabetes())),
                       ("sentiment", next(peers_regression.sentiment(reviews)))):
        for row in peers_regression.differences(data, program):
            tell(f"differences {name} {row['model']}")
            yield f"| {name} | {row['model']} | {row['weights']:.1e} | {row['evidence']:.1e} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default="bllarse-finetune")
    for name in ("digits", "reviews", "supersenses"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--epochs", type=int, help="of vbll's optimiser (default: 1000 for dense, 30 for diagonal)")
    parser.add_argument(
        "--only", nargs="+", choices=["laplace", "vbll", "regression"], help="other parts of the file stay as they are")
    parser.add_argument("--out", default=Path(__file__).with_name("PEERS.md"))
    arguments = parser.parse_args()
    a = arguments
    parts = {
        "laplace": lambda: laplace(
            [(a.digits, ["full", "kron"]), (a.reviews, ["full", "kron"]), (a.supersenses, ["kron", "diag"])], a.program),
        "vbll": lambda: vbll(
            [("digits", a.digits, "dense"), ("reviews", a.reviews, "dense"), ("supersenses", a.supersenses, "diagonal")],
            a.program, a.epochs),
        "regression": lambda: regression(a.reviews, a.program),
    }
    version = subprocess.run([a.program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    head = ["# Heads beside their peers", "", f"Made by `peers_heads.py`: bllarse {version}, {versions}, "
            f"{os.cpu_count()} processors ({platform.machine()}).", ""]
    out = Path(a.out)
    written = sections(out.read_text(encoding="utf-8")) if a.only and out.exists() else {}
    for name, part in parts.items():
        if a.only and name not in a.only:
            continue
        found = []
        # After every row: the whole takes an hour.
        for line in part():
            found.append(line)
            written[name] = found
            text = "\n".join([*head, *(line for key in parts for line in [*written.get(key, []), ""])])
            out.write_text(text.rstrip() + "\n", encoding="utf-8")


def sections(text):
    """The lines of each part of a file that was written before, by its name."""
    titles = {"laplace": "Softmax last-layer", "vbll": "VBLL", "regression": "Regression"}
    found, own = {}, None
    for line in text.split("\n"):
        if line.startswith("## "):
            own = next(name for name, title in titles.items() if line[3:].startswith(title))
            found[own] = []
        if own:
            found[own].append(line)
    return {name: lines[:-1] if lines[-1] == "" else lines for name, lines in found.items()}


if __name__ == "__main__":
    main()
