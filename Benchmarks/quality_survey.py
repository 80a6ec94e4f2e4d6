"""The default next to its peers on many kinds of drawn and public data, half of which nothing was chosen on.

Writes the section "Further kinds of data" of QUALITY.md. Scores of the peers are kept from run to run.
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import warnings

import numpy as np
import sklearn

import quality
import quality_run
import survey_kinds

BEGIN, END = "<!-- survey: begin -->", "<!-- survey: end -->"
SEEDS = 3
PEERS = [name for name in quality.METHODS if name != "default"]


def peer_scores(cache, program, name, seed, data, classes):
    """NLL of the peers: from the file of an earlier run, if it is of the same data."""
    print_of_data = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in data)).hexdigest()
    path = os.path.join(cache, re.sub(r"[^0-9a-z]+", "-", name.lower()) + f"{seed}.json")
    if os.path.exists(path):
        with open(path) as file:
            known = json.load(file)
        if known["data"] == print_of_data and known["sklearn"] == sklearn.__version__:
            return known["nll"]
    nll = {}
    for method in PEERS:
        try:
            nll[method] = quality.METHODS[method](program, data, classes)["nll"]
        except ValueError:  # a class with fewer rows than folds
            nll[method] = None
    os.makedirs(cache, exist_ok=True)
    with open(path, "w") as file:
        json.dump({"data": print_of_data, "sklearn": sklearn.__version__, "nll": nll}, file)
    return nll


def measure(cache, program, name, make):
    """Means over the seeds: the default's NLL and seconds, and the peers' NLL."""
    own, peers = [], []
    draws = [make(seed) for seed in range(SEEDS)]
    classes = int(max(max(draw[1].max(), draw[3].max()) for draw in draws)) + 1
    for seed, draw in enumerate(draws):
        # All get the numbers that a feature file holds.
        data = tuple(part.astype(np.float32).astype(float) if part.ndim == 2 else part for part in draw)
        own.append(quality.package(program, data, classes, []))
        peers.append(peer_scores(cache, program, name, seed, data, classes))
    mean = lambda values: float(np.mean(values)) if None not in values else None
    return (
        mean([each["nll"] for each in own]), mean([each["seconds"] for each in own]),
        {method: mean([each[method] for each in peers]) for method in PEERS})


def section(rows):
    best = lambda peers, names: min(peers[name] for name in names if peers[name] is not None)
    ratio = lambda row: row[2] / best(row[4], quality.RAW)
    every = lambda row: row[2] / best(row[4], PEERS)
    cell = lambda value: "failed" if value is None else f"{value:.4f}"
    mark = lambda value: f"**{value:.3f}**" if value > 1.01 else f"{value:.3f}"
    halves = ["development", "held out"]
    lines = [
        "## Further kinds of data",
        "",
        "Made by `make quality-survey`, `Benchmarks/quality_survey.py`; the kinds are in `Benchmarks/survey_kinds.py`."
        f" {datetime.date.today()}, scikit-learn {sklearn.__version__}. Mean test NLL over {SEEDS} draws or splits,"
        " default settings; *best* is the default's NLL over the lowest of the reference and the two scikit-learn"
        " models, in brackets over all five. Kinds come in pairs of a family, one for development and one held out,"
        " divided by their position in the list before anything was measured. The default was developed on neither"
        " half, but on the public tables above; how an earlier default scored on both was known.",
        "",
    ]
    for half in halves:
        of_half = [row for row in rows if row[1] == half]
        missed = [row for row in of_half if ratio(row) > 1.01]
        lines.append(
            f"- {half}: reached (1.01 and less) in {len(of_half) - len(missed)} of {len(of_half)};"
            f" against all five in {sum(every(row) <= 1.01 for row in of_half)};"
            f" geometric mean of *best* {np.exp(np.mean(np.log([ratio(row) for row in of_half]))):.3f},"
            f" median {np.median([ratio(row) for row in of_half]):.3f}")
    lines += [
        "",
        "| data (rows x features, classes) | half | default | " + " | ".join(PEERS) + " | best | s |",
        "|---" * (len(PEERS) + 5) + "|",
    ]
    for row in sorted(rows, key=ratio, reverse=True):
        name, half, own, seconds, peers = row
        lines.append(
            f"| {name} | {half} | {own:.4f} | " + " | ".join(cell(peers[method]) for method in PEERS)
            + f" | {mark(ratio(row))} ({mark(every(row))}) | {seconds:.2f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finetune", required=True, help="the built bllarse-finetune")
    parser.add_argument("--movie-reviews", help="a feature file with the movie reviews")
    parser.add_argument("--only", help="kinds whose names contain this text; writes no table")
    parser.add_argument("--cache", default="Benchmarks/.survey", help="where the peers' scores are kept")
    parser.add_argument("--output", default="Benchmarks/QUALITY.md")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = []
    for name, half, make in survey_kinds.kinds(arguments.movie_reviews):
        if arguments.only and arguments.only not in name:
            continue
        own, seconds, peers = measure(arguments.cache, arguments.finetune, name, make)
        rows.append((name, half, own, seconds, peers))
        print(f"{name}: {own:.4f}, {({m: v and round(v, 4) for m, v in peers.items()})}", flush=True)
    if not arguments.only:
        quality_run.replace_section(arguments.output, BEGIN, END, section(rows))
        print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
