"""The default on many classes, many rows, repeated rows and few rows, next to its peers: a section of QUALITY.md.

    quality_many.py --finetune BIN --cache FILE [--supersenses FILE] [--movie-reviews FILE] [--laplace-python PYTHON]
                    [--only TEXT] [--peers-only] [--minutes N]

Peers take hours and do not depend on the package: what they scored is kept in the cache, by the contents of the data.
"""

import argparse
import datetime
import hashlib
import json
import math
import os
import subprocess
import sys

import numpy as np
import sklearn

import many_sets
import quality_run

BEGIN, END = "<!-- many: begin -->", "<!-- many: end -->"
HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = {  # the column, and the method of quality_peers.py
    "by hand": "by-hand",
    "LogisticRegressionCV": "cv",
    "LogisticRegressionCV, standardised": "cv-standardised",
    "laplace-torch, Kronecker": "kronecker",
}


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def peer(data_set, path, column, arguments, cache):
    """Scores of a peer on one file, or why there are none."""
    if column in data_set.skipped:
        return dict(skipped=data_set.skipped[column])
    method = PEERS[column]
    options = ["--iterations", str(data_set.iterations if method == "by-hand" else 300)]
    if method == "by-hand" and data_set.strengths:
        options += ["--strengths", ",".join(map(str, data_set.strengths))]
    key = f"{data_set.name}, {digest(path)}: {method} {' '.join(options)}"
    known = cache.read().get(key)
    if known:
        return known
    if arguments.no_peers:
        return dict(skipped="not run")
    python = arguments.laplace_python if method == "kronecker" else sys.executable
    if not python:
        return dict(skipped="--laplace-python names no Python with laplace-torch")
    command = [python, os.path.join(HERE, "quality_peers.py"), method, path, *options]
    minutes = 10 if method == "kronecker" else arguments.minutes
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * minutes)
    except subprocess.TimeoutExpired:
        found = dict(skipped=f"over {minutes} minutes")
    else:
        if done.returncode:
            print(f"{data_set.name}, {column}: {done.stderr.strip().splitlines()[-1]}", flush=True)
            return dict(skipped="failed")  # not kept: the next run tries again
        found = json.loads(done.stdout)
    cache.add(key, found)
    return found


def default(path, arguments):
    """The default's scores, its own estimate of them, and the coverage of its conformal sets."""
    result = quality_run.whole_process(arguments.finetune, path)
    test, interval = result["test"], result["metrics"]["bootstrap"]["nll"]
    estimate = result.get("estimate") or {}
    coverage = {
        each["level"]: each["coverage"] for each in result["metrics"].get("conformal", []) if each["method"] == "lac"}
    return dict(
        nll=test["nll"], ece=test["ece"], acc=test["acc"], seconds=result["process_seconds"],
        peak=result["process_peak"], test_se=(interval["upper"] - interval["lower"]) / (2 * 1.96),
        estimate=estimate.get("nll"), estimate_se=estimate.get("nll_se"), coverage=coverage)


def mean(draws):
    """Means over draws; None where a draw has no number."""
    average = {}
    for key, value in draws[0].items():
        values = [each.get(key) for each in draws]
        if isinstance(value, dict):
            average[key] = {k: float(np.mean([v[k] for v in values])) for k in value}
        elif isinstance(value, str) or None in values:
            average[key] = value if isinstance(value, str) else None
        else:
            average[key] = float(np.mean(values))
    return average


def distance(draws):
    """How far the estimate lies from the test score, in standard errors of their difference."""
    if any(each["estimate"] is None for each in draws):
        return None
    gaps = [each["estimate"] - each["nll"] for each in draws]
    if len(gaps) > 1:
        return float(np.mean(gaps) / (np.std(gaps, ddof=1) / math.sqrt(len(gaps))))
    return gaps[0] / math.hypot(draws[0]["estimate_se"], draws[0]["test_se"])


def row(data_set, arguments, cache):
    paths = many_sets.files(data_set, arguments.data)
    X, y, X_test, y_test = many_sets.load(paths[0])
    shape = f"{len(y):,} x {X.shape[1]}, {int(max(y.max(), y_test.max())) + 1:,}; {len(y_test):,}"
    shape += f"; {len(paths)} draws" if len(paths) > 1 else ""
    found = dict(
        name=data_set.name, shape=shape, rows=len(y) * len(paths), test_rows=len(y_test) * len(paths), peers={})
    for column in PEERS:
        draws = []
        for path in paths:
            draws.append(peer(data_set, path, column, arguments, cache))
            if "skipped" in draws[-1]:
                break
        found["peers"][column] = draws[-1] if "skipped" in draws[-1] else mean(draws)
    if not arguments.peers_only:
        draws = [default(path, arguments) for path in paths]
        found["default"] = mean(draws) | dict(distance=distance(draws))
    print(json.dumps(found), flush=True)
    return found


def ratio(found):
    """The default's NLL over the lowest of its peers."""
    known = [each["nll"] for each in found["peers"].values() if "nll" in each]
    return found["default"]["nll"] / min(known) if known else None


def uncovered(found):
    """Levels whose coverage is more than 2.5 binomial standard errors below, by the rows fitted and tested."""
    inverse_rows = 1 / found["rows"] + 1 / found["test_rows"]
    error = lambda level: math.sqrt(level * (1 - level) * inverse_rows)
    return [level for level, share in found["default"]["coverage"].items() if share < level - 2.5 * error(level)]


def section(rows, arguments):
    cell = lambda s: f"{s['nll']:.4f} / {s['ece']:.3f} / {s['acc']:.3f}" if "nll" in s else "–"
    lines = [
        "## Many classes, many rows, repeated rows", "",
        "Made by `make quality` (`Benchmarks/quality_many.py`; the data are in `many_sets.py`, the peers in"
        f" `quality_peers.py`) on {datetime.date.today()}, scikit-learn {sklearn.__version__}, {os.cpu_count()} processors."
        " Each cell: NLL in nats / ECE, 20 bins of equal width / accuracy on the test rows. *estimate*: what the fit"
        " itself says of its NLL on new rows ± its standard error, and in brackets how far that is from the test score"
        " in standard errors of the difference. Seconds and the largest memory are of the whole process, on a machine"
        " that may have had other work. *by hand*: scikit-learn on standardised features, a path of L2 strengths and one"
        " temperature chosen on a tenth of the rows, all rows fitted. *LogisticRegressionCV*: 10 values, 3 folds, by"
        " log loss, at most 300 iterations. *best*: the default's NLL over the lowest of the peers; 1.01 and less counts"
        " as reached. *coverage*: of conformal sets (LAC) at .90 / .95 / .99.", "",
        "| data (rows x features, classes; test rows) | default | estimate | s | MB | " + " | ".join(PEERS)
        + " | best | coverage |",
        "|---" * (len(PEERS) + 7) + "|"]
    missed, far, short, skipped = [], [], [], []
    for each in rows:
        own, best = each["default"], ratio(each)
        if best and best > 1.01:
            missed.append(f"{each['name']} ({best:.3f})")
        if own["distance"] is not None and abs(own["distance"]) > 2.5:
            far.append(f"{each['name']} ({own['distance']:+.1f})")
        skipped += [f"{each['name']}, {column}: {found['skipped']}"
                    for column, found in each["peers"].items() if "skipped" in found]
        if uncovered(each):
            short.append(f"{each['name']} ({', '.join(map(str, uncovered(each)))})")
        estimate = "–" if own["estimate"] is None else (
            f"{own['estimate']:.4f} ± {own['estimate_se']:.4f} ({own['distance']:+.1f})")
        mark = "–" if best is None else f"**{best:.3f}**" if best > 1.01 else f"{best:.3f}"
        coverage = " / ".join(f"{own['coverage'][level]:.3f}" for level in sorted(own["coverage"])) or "–"
        lines.append(
            f"| {each['name']} ({each['shape']}) | {cell(own)} | {estimate} | {own['seconds']:.1f}"
            f" | {own['peak'] / 1e6:.0f} | " + " | ".join(cell(each["peers"][c]) for c in PEERS)
            + f" | {mark} | {coverage} |")
    listed = lambda names: "; ".join(names) if names else "none"
    lines += [
        "",
        f"- NLL more than 1 % above the best peer: {listed(missed)} (of {len(rows)} rows).",
        f"- Estimate and test more than 2.5 standard errors apart: {listed(far)}.",
        f"- Conformal sets that cover less than their level by over 2.5 binomial standard errors: {listed(short)}.",
        f"- Not run: {listed(skipped)}."]
    missing = [name for name, given in (
        ("WordNet supersenses (`SUPERSENSES=FILE`)", arguments.supersenses),
        ("movie reviews (`MOVIE_REVIEWS=FILE`)", arguments.movie_reviews)) if not given]
    if missing:
        lines.append(f"- No file was named for: {'; '.join(missing)}.")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finetune", help="the built bllarse-finetune")
    parser.add_argument("--cache", required=True, help="a JSON file that keeps the peers' scores")
    parser.add_argument("--supersenses", help="a feature file of WordNet glosses")
    parser.add_argument("--movie-reviews", help="a feature file of the movie reviews")
    parser.add_argument("--laplace-python", help="a Python that has laplace-torch and torch")
    parser.add_argument("--data", default="Benchmarks/.data", help="where the drawn data are kept")
    parser.add_argument("--only", help="names that contain this text; writes no table")
    parser.add_argument("--peers-only", action="store_true", help="fill the cache, fit nothing of our own")
    parser.add_argument("--no-peers", action="store_true", help="take peers from the cache alone")
    parser.add_argument("--minutes", type=float, default=60, help="the most that one peer may take on one file")
    parser.add_argument("--output", default="Benchmarks/QUALITY.md")
    arguments = parser.parse_args()
    cache = quality_run.Cache(arguments.cache)
    rows = [
        row(each, arguments, cache) for each in many_sets.data_sets(arguments.supersenses, arguments.movie_reviews)
        if not arguments.only or arguments.only in each.name]
    if not arguments.only and not arguments.peers_only:
        quality_run.replace_section(
            arguments.output, BEGIN, END, section(rows, arguments), before="<!-- heads: begin -->")
        print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
