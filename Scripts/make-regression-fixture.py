#!/usr/bin/env python3
"""Makes Fixtures/regression/reference.safetensors: Bayesian linear regression by scikit-learn and scipy.

    python3 Scripts/make-regression-fixture.py Fixtures/regression/reference.safetensors
                                                    (numpy, scipy, scikit-learn, safetensors, torch, vbll)

The data are the diabetes table of Efron, Hastie, Johnstone and Tibshirani (2004) as scikit-learn ships it (442
rows, 10 features), rounded to single precision, with a second target made of it. Evidence and predictions of the
normal-gamma model come from scipy's multivariate t density of the N - 1 contrasts of the targets, and from the
explicit (D + 1) x (D + 1) normal equations with a column of ones: not by the centred statistics that the package
uses.
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_t
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ARDRegression, BayesianRidge

SHAPE, RATE, PRECISION = 1.5, 0.7, 0.03


def contrasts(n):
    """An orthonormal basis of what is orthogonal to a vector of ones, n x (n - 1)."""
    q, _ = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))
    return q[:, 1:]


def log_evidence(X, y, precision):
    n = len(y)
    Q = contrasts(n)
    Z = Q.T @ X
    shape = RATE / SHAPE * (np.eye(n - 1) + Z @ Z.T / precision)
    return multivariate_t(np.zeros(n - 1), shape, df=2 * SHAPE).logpdf(Q.T @ y) - 0.5 * np.log(n)


def conjugate(X, y, precision, new):
    """Location, scale and degrees of freedom at new rows, with a flat prior of the intercept."""
    n, d = X.shape
    B = np.column_stack([np.ones(n), X])
    A = B.T @ B + np.diag([0.0] + [precision] * d)
    m = np.linalg.solve(A, B.T @ y)
    a = SHAPE + 0.5 * (n - 1)
    b = RATE + 0.5 * (((y - B @ m) ** 2).sum() + precision * (m[1:] ** 2).sum())
    C = np.column_stack([np.ones(len(new)), new])
    scale = np.sqrt(b / a * (1 + np.einsum("ij,ij->i", C, np.linalg.solve(A, C.T).T)))
    return m, C @ m, scale, 2 * a


def variational(X, y):
    """The regression layer of vbll, trained by L-BFGS to its optimum: N times its bound, weights, noise deviation."""
    import torch
    import vbll

    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    X, y = (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()
    layer = vbll.Regression(X.shape[1], 1, 1 / len(y), parameterization="dense").double()
    inputs, targets = torch.tensor(X), torch.tensor(y)[:, None]
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=3000, tolerance_grad=1e-13, tolerance_change=1e-18,
                                  line_search_fn="strong_wolfe", history_size=50)

    def closure():
        optimizer.zero_grad()
        loss = layer(inputs).train_loss_fn(targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    bound = -len(y) * layer(inputs).train_loss_fn(targets).item()
    return np.concatenate([[bound], layer.W_mean.detach().numpy()[0], np.exp(layer.noise_logdiag.detach().numpy())])


def main():
    X, y = load_diabetes(return_X_y=True)
    X32 = X.astype(np.float32)
    X = X32.astype(float)
    generator = np.random.default_rng(5)
    second = 40 * np.sin(30 * X[:, 2]) + generator.normal(0, 5, len(y))
    Y = np.column_stack([y, second]).astype(np.float32).astype(float)
    weights = generator.integers(0, 4, len(y)).astype(float)
    out = {"features": X32, "targets": Y.astype(np.float32), "row_weights": weights}

    def ridge(name, X, y, w=None):
        model = BayesianRidge(max_iter=5000, tol=1e-12, compute_score=True).fit(X, y, sample_weight=w)
        std = model.predict(X[:5], return_std=True)[1]
        out[name + ".coef"] = model.coef_
        out[name + ".numbers"] = np.array(
            [model.intercept_, model.alpha_, model.lambda_, model.scores_[-1], model.n_iter_])
        out[name + ".std"] = std

    ridge("ridge0", X, Y[:, 0])
    ridge("ridge1", X, Y[:, 1])
    ridge("weighted", X, Y[:, 0], weights)
    wide = np.column_stack([X[:25]] + [X[25 * k:25 * k + 25] for k in range(1, 5)])
    ridge("wide", wide, Y[:25, 0])

    for t in range(2):
        model = ARDRegression(max_iter=20000, tol=1e-12, threshold_lambda=1e300, compute_score=True)
        model.fit(X, Y[:, t])
        out[f"relevance{t}.coef"] = model.coef_
        out[f"relevance{t}.lambda"] = model.lambda_
        out[f"relevance{t}.numbers"] = np.array(
            [model.intercept_, model.alpha_, model.scores_[-1] - 0.5 * len(y) * np.log(2 * np.pi),
             model.n_iter_])
        out[f"relevance{t}.std"] = model.predict(X[:5], return_std=True)[1]

    new = np.vstack([X[:4], 3 * X[4:6]])
    out["conjugate.new"] = new
    for t in range(2):
        m, location, scale, freedom = conjugate(X, Y[:, t], PRECISION, new)
        out[f"conjugate{t}.mean"] = m
        out[f"conjugate{t}.location"], out[f"conjugate{t}.scale"] = location, scale
        best = minimize_scalar(lambda u: -log_evidence(X, Y[:, t], np.exp(u)), (-6, -2), tol=1e-10)
        out[f"conjugate{t}.numbers"] = np.array(
            [freedom, log_evidence(X, Y[:, t], PRECISION), np.exp(best.x), -best.fun])
    wide_evidence = log_evidence(wide, Y[:25, 0], PRECISION)
    _, location, scale, freedom = conjugate(wide, Y[:25, 0], PRECISION, 2 * wide[:3])
    out["wide.conjugate"] = np.concatenate([[wide_evidence, freedom], location, scale])
    out["variational"] = variational(X, Y[:, 0])
    out["constants"] = np.array([SHAPE, RATE, PRECISION])
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, sys.argv[1])
    for k, v in out.items():
        if "numbers" in k:
            print(k, v)


main()
