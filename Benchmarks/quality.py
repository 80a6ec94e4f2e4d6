"""The default, reference settings and scikit-learn on the same data, in one run.

Writes a table with one row a data set: negative log-likelihood, calibration error (20 bins of equal width)
and accuracy on rows that nothing was fitted to, and the seconds of the fit.
"""

import argparse
import datetime
import hashlib
import os
import platform
import tempfile
import time
import warnings

import numpy as np
import sklearn
from safetensors.numpy import save_file
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import quality_run
import quality_sets

# What is compared.


def scores(probabilities, labels, bins=20):
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = (predicted == labels).astype(float) - confidence
    ece = sum(abs(gaps[index == bin].sum()) for bin in range(bins)) / len(labels)
    own = probabilities[np.arange(len(labels)), labels]
    return dict(
        nll=float(-np.log(np.maximum(own, 1e-300)).mean()), ece=float(ece),
        acc=float((predicted == labels).mean()))


def package(program, data, classes, options):
    X, y, X_test, y_test = data
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "features.safetensors")
        save_file(
            {
                "X_train": np.ascontiguousarray(X, np.float32), "y_train": y.astype(np.int32),
                "X_test": np.ascontiguousarray(X_test, np.float32), "y_test": y_test.astype(np.int32),
            }, path, metadata={"num_classes": str(classes)})
        result = quality_run.whole_process(program, path, options)
    return dict(
        nll=result["test"]["nll"], ece=result["test"]["ece"], acc=result["test"]["acc"],
        seconds=result["seconds"]["fit"], said=dict(chosen=result.get("chosen"), estimate=result.get("estimate")))


def peer(model, data, classes):
    X, y, X_test, y_test = data
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    probabilities = np.zeros((len(X_test), classes))
    probabilities[:, model.classes_] = model.predict_proba(X_test)
    return scores(probabilities, y_test) | dict(seconds=seconds)


REFERENCE = [
    "--loss-fn", "IBProbit", "--parity", "--update", "cavi", "--num-update-iters", "64", "--epochs", "1",
    "--forgetting-rate", "0"]


def logistic_cv():
    return LogisticRegressionCV(
        Cs=np.logspace(-4, 2, 7), cv=5, scoring="neg_log_loss", max_iter=2000, use_legacy_attributes=False)


def calibrated():
    return CalibratedClassifierCV(LogisticRegression(max_iter=2000))


METHODS = {
    "default": lambda program, data, classes: package(program, data, classes, []),
    "reference": lambda program, data, classes: package(program, data, classes, REFERENCE),
    "LogisticRegressionCV": lambda program, data, classes: peer(logistic_cv(), data, classes),
    "CalibratedClassifierCV": lambda program, data, classes: peer(calibrated(), data, classes),
    "LogisticRegressionCV, scaled": lambda program, data, classes: peer(
        make_pipeline(StandardScaler(), logistic_cv()), data, classes),
    "CalibratedClassifierCV, scaled": lambda program, data, classes: peer(
        make_pipeline(StandardScaler(), calibrated()), data, classes),
}
RAW = ["reference", "LogisticRegressionCV", "CalibratedClassifierCV"]


def chosen(result):
    """What the fit says of itself: what it chose, and what it expects on new rows."""
    number = lambda value: f"{value:.4g}" if isinstance(value, float) else str(value)
    parts = [
        f"{key.replace('_', ' ')} {number(value)}" for key, value in (result["chosen"] or {}).items()
        if isinstance(value, (int, float, str)) and not isinstance(value, bool)]
    estimate = result["estimate"]
    if estimate:
        parts.append(
            f"estimate NLL {estimate['nll']:.4f} ± {estimate['nll_se']:.4f}, ECE {estimate['ece']:.4f}")
    return "; ".join(parts)


def scored(cache, name, method, run, program, data, classes):
    """The scores of a method; those of peers come from the cache if they are of the same data."""
    if cache is None or method in ("default", "reference"):
        return run(program, data, classes)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in data)).hexdigest()[:16]
    key = f"{name}, {method}, {digest}, {sklearn.__version__}"
    known = cache.read().get(key)
    if not known:
        known = run(program, data, classes)
        cache.add(key, known)
    return known


BEGIN, END = "<!-- made by quality.py -->", "<!-- end of what quality.py makes -->"


def mean(scores):
    """The means of the scores of several splits; what the fit says of itself is of the first."""
    if not all(scores):
        return None
    return {
        key: np.mean([s[key] for s in scores]) if key != "said" else value
        for key, value in scores[0].items()}


def write(path, rows, missing_movie):
    cell = lambda s: f"{s['nll']:.4f} / {s['ece']:.3f} / {s['acc']:.3f} / {s['seconds']:.2f}" if s else "failed"
    lines = [
        "# Quality of the default",
        "",
        "Made by `make quality` (`MOVIE_REVIEWS=FILE` for the first row). Each cell: negative log-likelihood"
        " in nats / ECE, 20 bins of equal width / accuracy on the test rows / seconds of the fit.",
        "",
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} processors, scikit-learn"
        f" {sklearn.__version__}. *default*: `bllarse-finetune --features FILE`, no other option."
        " *reference*: `" + " ".join(REFERENCE) + "`. scikit-learn: `LogisticRegressionCV` (Cs 1e-4 to 1e2,"
        " 5 folds, log loss) and `CalibratedClassifierCV(LogisticRegression())`, on the features as they are"
        " and after a `StandardScaler`;"
        " their BLAS has one thread, which is quicker on problems this small. Seconds are of one fit on a"
        " machine that may have had other work.",
        "",
        "*best*: the default's NLL over the lowest of the reference and the two scikit-learn models on the"
        " features as they are; in brackets over the lowest of all five. 1.01 and less counts as reached.",
        "",
        "| data (rows x features, classes) | " + " | ".join(METHODS) + " | best |",
        "|---" * (len(METHODS) + 2) + "|",
    ]
    misses, misses_scaled = [], []
    for name, shape, results in rows:
        own = results["default"]
        ratio = lambda names: own["nll"] / min(results[n]["nll"] for n in names if results[n])
        raw, every = ratio(RAW), ratio([n for n in METHODS if n != "default"])
        if raw > 1.01:
            misses.append(f"{name} ({raw:.3f})")
        if every > 1.01:
            misses_scaled.append(f"{name} ({every:.3f})")
        mark = lambda value: f"**{value:.3f}**" if value > 1.01 else f"{value:.3f}"
        lines.append(
            f"| {name} ({shape}) | " + " | ".join(cell(results[m]) for m in METHODS)
            + f" | {mark(raw)} ({mark(every)}) |")
    reached = len(rows) - len(misses)
    lines += [
        "",
        f"The default has the lowest NLL of the first four columns, or is within 1 % of it, in {reached} of"
        f" {len(rows)} rows." + (f" It misses: {'; '.join(misses)}." if misses else ""),
        f"Against all columns it misses {len(misses_scaled)}"
        + (f": {'; '.join(misses_scaled)}." if misses_scaled else "."),
        "",
        "How far to trust this: on the small sets (wine, breast cancer, iris, two moons) one split more or less moves"
        f" every column by tens of per cent: these rows are means over {quality_sets.SPLITS} splits or draws, the others"
        " are one split. With flipped training labels and clean test labels an ECE above .1 is right: the head reports"
        " the noise that it was trained on.",
        "",
        "## What was chosen",
        "",
        "| data | what the fit says of itself; of several splits the first |",
        "|---|---|",
    ]
    for name, _, results in rows:
        lines.append(f"| {name} | {chosen(results['default']['said'])} |")
    if missing_movie:
        lines += ["", "The row of the movie reviews is missing: `MOVIE_REVIEWS` named no file."]
    quality_run.replace_section(path, BEGIN, END, "\n".join(lines))
    return misses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finetune", required=True, help="the built bllarse-finetune")
    parser.add_argument("--movie-reviews", help="a feature file with the movie reviews")
    parser.add_argument("--only", help="names of data sets that contain this text; writes no table")
    parser.add_argument("--methods", help="methods whose names contain this text; writes no table")
    parser.add_argument("--cache", help="a JSON file that keeps the peers' scores")
    parser.add_argument("--output", default="Benchmarks/QUALITY.md")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    cache = quality_run.Cache(arguments.cache) if arguments.cache else None
    rows = []
    for name, make in quality_sets.data_sets(arguments.movie_reviews).items():
        if arguments.only and arguments.only not in name:
            continue
        splits = [each() for each in (make if isinstance(make, list) else [make])]
        data = splits[0]
        classes = int(max(max(each[1].max(), each[3].max()) for each in splits)) + 1
        results = {}
        for method, run in METHODS.items():
            if arguments.methods and arguments.methods not in method:
                continue
            try:
                results[method] = mean([
                    scored(cache, name, method, run, arguments.finetune, each, classes) for each in splits])
            except (RuntimeError, ValueError) as error:
                print(f"{name}, {method}: {error}", flush=True)
                results[method] = None
        summary = {m: round(r["nll"], 4) if r else None for m, r in results.items()}
        print(name, summary, f"{(results.get('default') or {}).get('seconds', float('nan')):.2f} s", flush=True)
        shape = f"{len(data[1])} x {data[0].shape[1]}, {classes}"
        if len(splits) > 1:
            shape += f"; {len(splits)} splits"
        rows.append((name, shape, results))
    if not arguments.only and not arguments.methods:
        misses = write(arguments.output, rows, arguments.movie_reviews is None)
        print(f"written to {arguments.output}; rows that miss: {misses or 'none'}")


if __name__ == "__main__":
    main()
