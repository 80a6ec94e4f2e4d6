#!/usr/bin/env python3
"""Bayesian linear regression next to scikit-learn: negative log density, CRPS, coverage and seconds.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install scikit-learn safetensors
    .venv-peers/bin/python peers_regression.py --sentiment movie_reviews_minilm.safetensors
    .venv-peers/bin/python peers_regression.py --sentiment … --program ../.build/release/bllarse-finetune

Data: the diabetes table of scikit-learn (442 x 10; five random halves), and the sentiment scores of movie reviews on
MiniLM features (`X_train`, `X_test`, `sentiment_train`, `sentiment_test`). Features are standardised by the training
rows for everyone. NLL and CRPS are of the predictive distributions, in nats and in the targets' unit.

`scoreboard` returns rows that a script can write as a table; `compare` scores any predictive distributions. With
`--program` our command line is run on the same rows: it is given a feature file whose targets are `y_train`, and its
predictions are read from the arrays named in `PREDICTION_KEYS`.
"""
import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.special import beta

PREDICTION_KEYS = {"location": "predicted", "scale": "scale", "freedom": "degrees_of_freedom"}


def crps(location, scale, freedom, y):
    """Closed forms: Gneiting and Raftery 2007 (Gaussian); Jordan, Krueger and Lerch 2019 (Student-t, freedom > 1)."""
    z = (y - location) / scale
    if np.isinf(freedom):
        return scale * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    spread = 2 * np.sqrt(freedom) / (freedom - 1) * np.exp(
        np.log(beta(0.5, freedom - 0.5)) - 2 * np.log(beta(0.5, freedom / 2)))
    d = stats.t(freedom)
    return scale * (z * (2 * d.cdf(z) - 1) + 2 * d.pdf(z) * (freedom + z**2) / (freedom - 1) - spread)


def compare(location, scale, freedom, y, level=0.9):
    """Scores of predictive distributions, one for each of the rows `y`."""
    d = stats.norm if np.isinf(freedom) else stats.t(freedom)
    half = d.ppf(0.5 + level / 2) * scale
    return {
        "rmse": float(np.sqrt(np.mean((y - location) ** 2))),
        "nll": float(-np.mean(d.logpdf((y - location) / scale) - np.log(scale))),
        "crps": float(np.mean(crps(location, scale, freedom, y))),
        f"coverage{level}": float(np.mean(np.abs(y - location) <= half)),
        f"width{level}": float(np.mean(2 * half)),
    }


def peers(data, relevance_iterations):
    """BayesianRidge and ARDRegression, with their defaults but for the number of iterations."""
    from sklearn.linear_model import ARDRegression, BayesianRidge

    (x, y), (new, _) = data
    for name, model in (("BayesianRidge", BayesianRidge()),
                        ("ARDRegression", ARDRegression(max_iter=relevance_iterations))):
        start = time.perf_counter()
        location, scale = model.fit(x, y).predict(new, return_std=True)
        yield name, (location, scale, np.inf), time.perf_counter() - start


def ours(data, program, options=()):
    """Our command line: fits in a directory of its own, predicts, and returns what `compare` takes."""
    from safetensors.numpy import load_file, save_file

    (x, y), (new, truth) = data
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        save_file({"X_train": x.astype(np.float32), "y_train": y.astype(np.float32),
                   "X_test": new.astype(np.float32), "y_test": truth.astype(np.float32)},
                  folder / "features.safetensors")
        start = time.perf_counter()
        subprocess.run([program, "--task", "regression", "--features", folder / "features.safetensors", "--output",
                        folder / "out", *options], check=True, capture_output=True)
        seconds = time.perf_counter() - start
        subprocess.run([program, "predict", "--head", folder / "out" / "head.safetensors", "--features",
                        folder / "features.safetensors", "--split", "test", "--out",
                        folder / "predictions.safetensors"], check=True, capture_output=True)
        arrays = load_file(folder / "predictions.safetensors")
        location, scale, freedom = (np.ravel(arrays[PREDICTION_KEYS[k]]).astype(float)
                                    for k in ("location", "scale", "freedom"))
        yield " ".join(("bllarse", *options)), (location, scale, float(freedom[0])), seconds


def differences(data, program):
    """The largest differences of weights, and of log evidence, from those of scikit-learn at the same hyperpriors, tolerance
    1e-12 and no pruning, both relative: rows {model, weights, evidence}."""
    from safetensors.numpy import load_file, save_file
    from sklearn.linear_model import ARDRegression, BayesianRidge

    (x, y), (new, truth) = data
    x, new = x.astype(np.float32), new.astype(np.float32)
    models = {
        "bayesian-ridge": BayesianRidge(tol=1e-12, max_iter=10000, compute_score=True),
        "ard": ARDRegression(tol=1e-12, max_iter=10000, threshold_lambda=np.finfo(float).max, compute_score=True),
    }
    for prior, model in models.items():
        model.fit(x.astype(float), y)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            save_file({"X_train": x, "y_train": y, "X_test": new, "y_test": truth}, folder / "f.safetensors")
            subprocess.run([program, "--task", "regression", "--features", folder / "f.safetensors", "--prior", prior,
                            "--scaling", "none", "--output", folder / "out"], check=True, capture_output=True)
            head = load_file(folder / "out" / "head.safetensors")
            evidence = json.loads((folder / "out" / "result.json").read_text())["elbo"]
        basis = [head["basis0." + k] for k in ("scales", "eigenvalues", "vectors")]
        inside = basis[2] @ (basis[0] * head["cross_scatter"][:, 0])
        weights = basis[0] * (basis[2].T @ (inside / (basis[1] + head["precisions"][0])))
        score = model.scores_[-1]
        # ARDRegression leaves the constant of the Gaussian density out, BayesianRidge does not.
        if prior == "ard":
            score -= 0.5 * len(y) * np.log(2 * np.pi)
        yield {
            "model": prior,
            "weights": float(np.abs(weights - model.coef_).max() / np.abs(model.coef_).max()),
            "evidence": float(abs(evidence - score) / abs(score)),
        }


def standardised(x, y, new, truth):
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation == 0] = 1
    return ((x - mean) / deviation, y), ((new - mean) / deviation, truth)


def diabetes():
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[:221], order[221:]
        yield standardised(x[train], y[train], x[test], y[test])


def sentiment(path):
    from safetensors.numpy import load_file

    f = load_file(path)
    x, new = (f[k].astype(np.float64) for k in ("X_train", "X_test"))
    y, truth = (f[k].astype(np.float64) for k in ("sentiment_train", "sentiment_test"))
    yield standardised(x, y, new, truth)


def scoreboard(sets, program=None, relevance_iterations=300):
    """A list of rows: data, model, mean scores over the splits, mean seconds of a fit with its predictions."""
    rows = []
    for name, splits in sets.items():
        found = {}
        for data in splits:
            results = list(peers(data, relevance_iterations))
            if program:
                results += list(ours(data, program))
                for prior in ("bayesian-ridge", "ard", "variational"):
                    results += list(ours(data, program, ("--prior", prior)))
            for model, predictions, seconds in results:
                found.setdefault(model, []).append(compare(*predictions, data[1][1]) | {"seconds": seconds})
        for model, scores in found.items():
            rows.append({"data": name, "model": model} | {k: float(np.mean([s[k] for s in scores])) for k in scores[0]})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sentiment", help="the movie reviews on MiniLM features (safetensors)")
    parser.add_argument("--program", help="bllarse-finetune, to be run on the same rows")
    parser.add_argument("--relevance-iterations", type=int, default=300)
    arguments = parser.parse_args()
    sets = {"diabetes": diabetes()}
    if arguments.sentiment:
        sets["sentiment"] = sentiment(arguments.sentiment)
    for row in scoreboard(sets, arguments.program, arguments.relevance_iterations):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
