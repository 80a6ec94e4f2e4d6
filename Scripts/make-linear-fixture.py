#!/usr/bin/env python3
"""Makes Fixtures/linear/reference.safetensors: optima and evidence of the classical heads.

    python3 Scripts/make-linear-fixture.py Fixtures/linear/reference.safetensors      (numpy, scipy, safetensors)

Everything is computed in double precision and otherwise than the package does it: softmax regression by full
Newton steps on all (D + 1)·K weights, ridge regression and its evidence from the N x N covariance of the targets,
both on features that are centred but neither scaled nor taken to another space.
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import minimize_scalar

BIAS_PRECISION = 1e-6  # what fixes the common shift of the biases


def softmax(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def objective(X, Y, W, precision):
    logits = X @ W
    top = logits.max(1, keepdims=True)
    log = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    return (Y * log).sum() - 0.5 * (precision[:, None] * W**2).sum()


def softmax_optimum(X, Y, precision):
    """The maximum of the penalised log-likelihood, by damped Newton steps."""
    D, K = X.shape[1], Y.shape[1]
    W = np.zeros((D, K))
    for _ in range(200):
        P = softmax(X @ W)
        gradient = X.T @ (Y - P) - precision[:, None] * W
        hessian = np.zeros((D, K, D, K))
        for a in range(K):
            for b in range(K):
                h = P[:, a] * ((a == b) - P[:, b])
                hessian[:, a, :, b] = (X * h[:, None]).T @ X
        hessian = hessian.reshape(D * K, D * K) + np.diag(np.repeat(precision, K))
        step = np.linalg.solve(hessian, gradient.ravel()).reshape(D, K)
        t, here = 1.0, objective(X, Y, W, precision)
        while t > 1e-9 and objective(X, Y, W + t * step, precision) < here:
            t /= 2
        W = W + t * step
        if np.abs(step).max() < 1e-13:
            break
    return W


def precisions(D, penalty):
    return np.append(np.full(D, penalty), BIAS_PRECISION)


def softmax_evidence(X, Y, log_penalty):
    """Laplace's evidence with the precision B ⊗ A + Λ₀, from the determinants of its two centred factors.

    A is Xᵀdiag(h/h̄)X with h the traces of the rows' curvatures between the logits, B the mean of these; the one
    direction of B in which all logits shift alike is left out.
    """
    N, D, K = len(X), X.shape[1] - 1, Y.shape[1]
    penalty = np.exp(log_penalty)
    precision = precisions(D, penalty)
    W = softmax_optimum(X, Y, precision)
    P = softmax(X @ W)
    B = np.mean([np.diag(p) - np.outer(p, p) for p in P], axis=0)
    h = 1 - (P**2).sum(1)
    h = h / h.mean()
    rows = X[:, :D] - (h[:, None] * X[:, :D]).sum(0) / N
    A = (rows * h[:, None]).T @ rows
    value = objective(X, Y, W, precision)
    for b in np.linalg.eigvalsh(B)[1:]:
        value -= 0.5 * (np.linalg.slogdet(np.eye(D) + A * b / penalty)[1] + np.log1p(N * b / BIAS_PRECISION))
    return value


def ridge_evidence(X, Y, log_penalty):
    """log p(Y | λ) with the noise variance profiled out, from the covariance of the rows."""
    N, K = Y.shape
    covariance = np.eye(N) + X @ X.T / np.exp(log_penalty)
    rest = np.trace(Y.T @ np.linalg.solve(covariance, Y))
    return -0.5 * K * np.linalg.slogdet(covariance)[1] - 0.5 * K * (N - 1) * np.log(rest)


def maximum(evidence, grid):
    """The penalty with the best evidence and its evidence, from the logarithms of penalties."""
    best = grid[np.argmax([evidence(t) for t in grid])]
    found = minimize_scalar(
        lambda t: -evidence(t), bounds=(best - 0.5, best + 0.5), method="bounded", options={"xatol": 1e-10})
    return np.array([np.exp(found.x), -found.fun])


def case(rng, N, D, K, strength, constant=None, offset=0.0):
    W = rng.normal(size=(D, K)) * strength / np.sqrt(D)
    X = rng.normal(size=(2 * N, D))
    y = (X @ W + rng.gumbel(size=(2 * N, K))).argmax(1)
    y[:K] = np.arange(K)
    X = X + offset * rng.normal(size=D)
    if constant is not None:
        X = np.hstack([X, np.full((2 * N, 1), constant)])
    return X, y


def main():
    rng = np.random.default_rng(19)
    out = {}
    for name, N, D, constant, offset in [
        ("tall", 200, 12, 63.73, 5.0), ("below", 25, 24, None, 2.0), ("above", 25, 26, None, 2.0),
        ("wide", 30, 90, None, 3.0)]:
        K, penalty = 3, 4.0
        X, y = case(rng, N, D, K, 3.0, constant, offset)
        train, mean = X[:N], X[:N].mean(0)
        Y = np.eye(K)[y[:N]]
        centred, ones = train - mean, np.ones((N, 1))
        design, test = np.hstack([centred, ones]), np.hstack([X[N:] - mean, ones])
        D = X.shape[1]

        W = softmax_optimum(design, Y, precisions(D, penalty))
        out[f"{name}.softmax.weights"] = W[:D]
        out[f"{name}.softmax.log_probabilities"] = np.log(softmax(test @ W))
        out[f"{name}.softmax.evidence"] = maximum(
            lambda t: softmax_evidence(design, Y, t), np.arange(-6, 10, 0.5))

        targets = Y - Y.mean(0)
        gram = centred @ centred.T
        slopes = centred.T @ np.linalg.solve(gram + penalty * np.eye(N), targets)
        out[f"{name}.ridge.weights"] = slopes
        out[f"{name}.ridge.evidence"] = maximum(
            lambda t: ridge_evidence(centred, targets, t), np.arange(-13, 20, 0.25))
        out[f"{name}.X_train"], out[f"{name}.y_train"] = train, y[:N].astype(np.int32)
        out[f"{name}.X_test"] = X[N:]
        print(name, out[f"{name}.softmax.evidence"], out[f"{name}.ridge.evidence"])
    save_file({key: np.ascontiguousarray(value) for key, value in out.items()}, sys.argv[1])


main()
