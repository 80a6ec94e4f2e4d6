#!/usr/bin/env python3
"""Makes Fixtures/calibration/reference.safetensors: predictions, and the maps that suit held-out rows best.

    pip install numpy scipy safetensors
    Scripts/make-calibration-fixture.py Fixtures/calibration/reference.safetensors

The optima come from SciPy's general minimisers, on objectives written out here; the temperatures after a few
Newton steps from plain loops. Independent of the Swift code.
"""
import sys

import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

random = np.random.default_rng(20261126)


def sample(rows, classes, spread, sharpness):
    """Log-probabilities, and labels from the same logits at another sharpness."""
    logits = random.normal(size=(rows, classes)) * spread + 0.3 * np.arange(classes)
    chances = softmax(sharpness * logits, axis=1)
    labels = np.array([random.choice(classes, p=p) for p in chances])
    return log_softmax(logits, axis=1), labels


def nll(logits, labels):
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].sum()


def temperature(logs, labels):
    """The minimum of the negative log-likelihood and beta - 1 - log(beta), over log(beta)."""
    def objective(s):
        return nll(np.exp(s) * logs, labels) + np.exp(s) - 1 - s

    found = minimize_scalar(objective, bracket=(-1, 1), method="brent", options={"xtol": 1e-14})
    return np.exp(found.x), found.fun


def vector(logs, labels):
    """Factors 1 + a of beta * logs, and shifts b, with half the square of each added."""
    beta, _ = temperature(logs, labels)
    classes = logs.shape[1]

    def objective(p):
        mapped = (1 + p[:classes]) * beta * logs + p[classes:]
        return nll(mapped, labels) + 0.5 * (p**2).sum()

    def gradient(p):
        mapped = (1 + p[:classes]) * beta * logs + p[classes:]
        residual = softmax(mapped, axis=1)
        residual[np.arange(len(labels)), labels] -= 1
        return np.concatenate([(residual * beta * logs).sum(0), residual.sum(0)]) + p

    found = minimize(
        objective, np.zeros(2 * classes), jac=gradient, method="BFGS", options={"gtol": 1e-9})
    p = found.x
    return beta * (1 + p[:classes]), p[classes:], found.fun


def newton(logits, labels, steps):
    """Inverse temperatures after 0, 1, ... steps on the mean cross-entropy, from 1."""
    beta, path = 1.0, [1.0]
    for _ in range(steps):
        g = h = 0.0
        for row, label in zip(logits, labels):
            p = softmax(beta * row)
            mean = (p * row).sum()
            g += mean - row[label]
            h += (p * row**2).sum() - mean**2
        beta -= (g / len(labels)) / (h / len(labels) + 1e-8)
        beta = min(max(beta, 0.01), 100.0)
        path.append(beta)
    return path


tensors = {}
cases = [
    ("overconfident", 200, 5, 3.0, 0.4), ("underconfident", 150, 3, 0.3, 6.0),
    ("right", 400, 4, 2.0, 1.0), ("few", 12, 6, 2.0, 0.7),
]
for name, rows, classes, spread, sharpness in cases:
    logs, labels = sample(rows, classes, spread, sharpness)
    tensors[f"{name}.log_probabilities"] = logs
    tensors[f"{name}.labels"] = labels.astype(np.int32)
    beta, value = temperature(logs, labels)
    tensors[f"{name}.temperature"] = np.array([beta, value])
    scales, shifts, value = vector(logs, labels)
    tensors[f"{name}.scales"], tensors[f"{name}.shifts"] = scales, shifts
    tensors[f"{name}.vector"] = np.array([value])
    tensors[f"{name}.newton"] = np.array(newton(logs, labels, 8))

# Separable: every label is the most probable class, or the least.
logs = log_softmax(random.normal(size=(100, 3)) * 0.5, axis=1)
for name, labels in [("all_right", logs.argmax(1)), ("all_wrong", logs.argmin(1))]:
    tensors[f"{name}.log_probabilities"] = logs
    tensors[f"{name}.labels"] = labels.astype(np.int32)
    tensors[f"{name}.temperature"] = np.array(temperature(logs, labels))
    print(name, tensors[f"{name}.temperature"])

save_file(tensors, sys.argv[1])
