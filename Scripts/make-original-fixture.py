#!/usr/bin/env python3
"""Makes Fixtures/original: what the Python package logs of three fits, written out here with plain loops.

    pip install numpy scipy
    Scripts/make-original-fixture.py Fixtures/original

features.npz holds a train, a test and two validation splits; expected.json holds, for each fit and epoch,
`loss`, `acc`, `nll`, `ece` in the sense of the Python package, and for the last epoch our own nll and ece
of the test split (`test_nll`, `test_ece`). Every epoch is one batch of all rows, so that no order of rows
matters; the probit head's iterations run until the start of the iterations does not matter.
"""
import json
import math
import pathlib
import sys

import numpy as np
from scipy.stats import norm

CLASSES, COLUMNS, BINS = 3, 6, 20


def make_split(rng, centres, rows):
    labels = rng.integers(0, CLASSES, rows)
    features = centres[labels] + 1.6 * rng.standard_normal((rows, COLUMNS))
    return features.astype(np.float32), labels.astype(np.int32)


def log_softmax(logits):
    top = logits - logits.max(axis=1, keepdims=True)
    return top - np.log(np.exp(top).sum(axis=1, keepdims=True))


def calibration_error(log_probabilities, labels):
    """Bins of equal width over the confidence; a confidence on an edge belongs to the upper bin."""
    gaps = {}
    for row, label in zip(log_probabilities, labels):
        best = int(np.argmax(row))
        confidence = math.exp(row[best])
        index = min(int(confidence * BINS), BINS - 1)
        gaps[index] = gaps.get(index, 0.0) + confidence - (best == label)
    return sum(abs(gap) for gap in gaps.values()) / len(labels)


def accuracy(logits, labels):
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def one_hot(labels):
    return np.eye(CLASSES)[labels]


def smoothed(logits, labels, smoothing):
    targets = (1 - smoothing) * one_hot(labels) + smoothing / CLASSES
    return -(targets * log_softmax(logits)).sum(axis=1)


def half_square(logits, labels):
    return 0.5 * ((logits - one_hot(labels)) ** 2).mean(axis=1)


def with_bias(features):
    return np.hstack([features.astype(np.float64), np.ones((len(features), 1))])


def linear(data, loss, gradient, epochs, rate):
    """Adam on all rows; the loss of an epoch is the one before its step."""
    design, labels = with_bias(data["train"][0]), data["train"][1]
    weights = np.zeros((COLUMNS + 1, CLASSES))
    first = np.zeros_like(weights)
    second = np.zeros_like(weights)
    records = []
    for step in range(1, epochs + 1):
        logits = design @ weights
        before = float(loss(logits, labels).mean())
        slope = design.T @ gradient(logits, labels) / len(labels)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        direction = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        weights = weights - rate * direction
        test, test_labels = with_bias(data["test"][0]) @ weights, data["test"][1]
        logs = log_softmax(test)
        records.append({
            "loss": before,
            "acc": accuracy(test, test_labels),
            "nll": float(loss(test, test_labels).mean()),
            "ece": calibration_error(logs, test_labels),
            "test_nll": float(-np.mean(logs[np.arange(len(test_labels)), test_labels])),
            "test_ece": calibration_error(logs, test_labels),
        })
    return records


def layer_norm(features):
    x = features.astype(np.float64)
    centred = x - x.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return np.hstack([scaled, np.ones((len(x), 1))])


def log_cdf(x):
    """The approximate logarithm of the normal distribution function."""
    z = 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return -np.logaddexp(0, -z)


def mixture(arguments, labels):
    """Losses of the equal mixture of marginals and conditionals, and the logits of the conditionals."""
    rows = np.arange(len(labels))
    conditional = log_cdf(arguments) - log_cdf(-arguments)
    marginals, conditionals = log_softmax(log_cdf(arguments)), log_softmax(conditional)
    both = np.logaddexp(marginals, conditionals) - math.log(2)
    return -both[rows, labels], conditional, both


def probit_batch(design, labels, start, iterations):
    """The natural mean of a batch that is fitted alone under a standard normal prior."""
    covariance = np.linalg.inv(np.eye(design.shape[1]) + design.T @ design)
    hot = one_hot(labels) > 0
    natural = start
    for _ in range(iterations):
        mean = design @ (covariance @ natural)
        sign = np.where(hot, 1.0, -1.0)
        mills = np.exp(norm.logpdf(mean) - norm.logcdf(sign * mean))
        updated = design.T @ (mean + sign * mills)
        if np.abs(updated - natural).max() < 1e-12:
            return updated
        natural = updated
    return natural


def probit(data, epochs, iterations, forgetting):
    design, labels = layer_norm(data["train"][0]), data["train"][1]
    size = design.shape[1]
    rng = np.random.default_rng(5)
    ends = [
        probit_batch(design, labels, start, iterations)
        for start in (np.zeros((size, CLASSES)), rng.standard_normal((size, CLASSES)))
    ]
    assert np.abs(ends[0] - ends[1]).max() < 1e-6, "the start matters: more iterations"
    precision, natural = np.eye(size), np.zeros((size, CLASSES))
    records = []
    for _ in range(epochs):
        precision = (1 - forgetting) * (precision - np.eye(size)) + np.eye(size) + design.T @ design
        natural = ends[0] + (1 - forgetting) * natural
        weights = np.linalg.solve(precision, natural)
        test_labels = data["test"][1]
        losses, conditional, both = mixture(layer_norm(data["test"][0]) @ weights, test_labels)
        records.append({
            "loss": float(mixture(design @ weights, labels)[0].mean()),
            "acc": accuracy(conditional, test_labels),
            "nll": float(losses.mean()),
            "ece": calibration_error(log_softmax(conditional), test_labels),
            "test_nll": float(losses.mean()),
            "test_ece": calibration_error(both, test_labels),
        })
    return records


def main(target):
    target = pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20)
    centres = rng.standard_normal((CLASSES, COLUMNS))
    data = {name: make_split(rng, centres, rows) for name, rows in [
        ("train", 90), ("test", 60), ("val_m", 50), ("val_mm", 40)]}
    arrays = {}
    for name, (features, labels) in data.items():
        arrays["X_" + name], arrays["y_" + name] = features, labels
    np.savez(target / "features.npz", **arrays)

    smoothing = 0.2
    expected = {
        "CrossEntropy": linear(
            data, lambda m, y: smoothed(m, y, smoothing),
            lambda m, y: np.exp(log_softmax(m)) - (1 - smoothing) * one_hot(y) - smoothing / CLASSES,
            epochs=4, rate=0.2),
        "MSE": linear(
            data, half_square, lambda m, y: (m - one_hot(y)) / CLASSES, epochs=4, rate=0.05),
        "IBProbit": probit(data, epochs=3, iterations=600, forgetting=0.3),
    }
    text = json.dumps(expected, indent=1)
    (target / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
