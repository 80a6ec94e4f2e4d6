#!/usr/bin/env python3
"""Makes Fixtures/soft/reference.safetensors: optima of linear heads for class probabilities.

    python3 Scripts/make-soft-fixture.py Fixtures/soft/reference.safetensors      (numpy, scipy, safetensors)

Softmax regression is the minimum that SciPy's L-BFGS finds of the expected loss itself, -Σ_n Σ_k T_nk log p_nk with
targets T, (1 - s)·Y + s/K, and a penalty; ridge regression is solved for the targets Y.
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

PENALTY = 3.0
SMOOTHING = 0.15


def optimum(X, T):
    """(D + 1) x K weights, the bias last and free."""
    design = np.column_stack([X, np.ones(len(X))])
    shape = (design.shape[1], T.shape[1])
    strength = np.append(np.full(X.shape[1], PENALTY), 0.0)[:, None]

    def loss(flat):
        W = flat.reshape(shape)
        logs = log_softmax(design @ W, axis=1)
        value = -(T * logs).sum() + 0.5 * (strength * W**2).sum()
        return value, (design.T @ (np.exp(logs) - T) + strength * W).ravel()

    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B",
                     options={"maxiter": 10000, "maxfun": 100000, "ftol": 1e-16, "gtol": 1e-9, "maxcor": 50})
    return found.x.reshape(shape)


def ridge(X, Y):
    means = X.mean(0)
    centred = X - means
    W = np.linalg.solve(centred.T @ centred + PENALTY * np.eye(X.shape[1]), centred.T @ (Y - Y.mean(0)))
    return np.vstack([W, Y.mean(0) - means @ W])


def main(path):
    generator = np.random.default_rng(11)
    rows, columns, classes = 80, 5, 4
    X = (generator.normal(size=(rows, columns)) * [1, 2, 0.5, 1, 3] + [0, 1, -2, 0, 4]).astype(np.float32)
    teacher = generator.normal(size=(columns, classes))
    Y = softmax(X @ teacher + generator.normal(size=(rows, classes)), axis=1)
    Y[:10] = np.eye(classes)[generator.integers(classes, size=10)]  # some are certain
    Y[10:20] = generator.multinomial(3, Y[10:20]) / 3  # and some are votes
    Y = Y.astype(np.float32)
    exact = Y.astype(float) / Y.astype(float).sum(1, keepdims=True)
    design = np.column_stack([X.astype(float), np.ones(rows)])
    smoothed = (1 - SMOOTHING) * exact + SMOOTHING / classes
    tensors = {"X_train": X, "y_train": Y, "X_test": X, "y_test": Y}
    for name, W in [("softmax", optimum(X.astype(float), exact)),
                    ("smoothed", optimum(X.astype(float), smoothed)), ("ridge", ridge(X.astype(float), exact))]:
        tensors[name] = log_softmax(design @ W, axis=1)
    logs = tensors["softmax"]
    p = np.exp(logs)
    best = p.argmax(1)
    confidence = p.max(1)
    hit = exact[np.arange(rows), best]
    bins = np.minimum((confidence * 20).astype(int), 19)
    ece = sum(abs((confidence - hit)[bins == b].sum()) for b in range(20)) / rows
    tensors["scores"] = np.array([(best == exact.argmax(1)).mean(), -(exact * logs).sum() / rows, ece,
                                  ((p - exact) ** 2).sum(1).mean()])
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)


main(sys.argv[1])
