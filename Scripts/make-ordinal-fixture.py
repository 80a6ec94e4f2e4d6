#!/usr/bin/env python3
"""Makes Fixtures/ordinal: ordered probit regression by mpmath, statsmodels and scipy.

    python3 Scripts/make-ordinal-fixture.py Fixtures/ordinal    (numpy, scipy, mpmath, statsmodels, safetensors)

intervals.csv: a standard normal variable between two bounds, by mpmath with 60 digits: log P, the density over P at the
bounds, and the distances of the mean from them. reference.safetensors: rows of five ordered classes in three features,
with weights; the unpenalised fit by statsmodels' OrderedModel; the penalised one by scipy (trust region, with the
log likelihood in terms of scipy's log_ndtr) under a given precision, without and with row weights;
two classes by a probit regression of statsmodels; and the evidence of
a tiny problem, one feature and three classes, by numerical integration over the weight and both cutpoints.
"""

import sys
from pathlib import Path

import mpmath as mp
import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import minimize
from scipy.special import log_ndtr

OUT = Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)
mp.mp.dps = 60
LAMBDA = 0.7


# 1. Intervals.
def interval(lower, width):
    """The numbers of ]lower, lower + width], exactly."""
    l, u = mp.mpf(lower), mp.mpf(lower) + mp.mpf(width)
    tail = lambda x: mp.erfc(x / mp.sqrt(2)) / 2
    density = lambda x: mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)
    with mp.workdps(120):
        # By the tail in which the interval lies.
        p = tail(l) - tail(u) if l + u >= 0 else tail(-u) - tail(-l)
        mean = (density(l) - density(u)) / p
        row = [mp.log(p), density(u) / p, density(l) / p, u - mean, mean - l]
    return row


def write_intervals():
    places = [-40, -39.5, -20, -8.3, -5, -2.5, -1.2, -1, -0.5, -0.1, -1e-9, 0, 0.3, 0.9, 1, 2, 2.1, 5, 9, 20, 39, 40]
    widths = [1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.0249, 0.1, 0.5, 0.99, 1, 1.01, 2, 5, 10, 40, 80]
    lines = ["lower,width,log_probability,upper_pull,lower_pull,to_upper,from_lower"]
    for a in places:
        for d in widths:
            # The bounds as doubles, and the width that lies between them in exact arithmetic.
            row = interval(a, d)
            lines.append(",".join([repr(float(a)), repr(float(d))] + [mp.nstr(x, 20) for x in row]))
    (OUT / "intervals.csv").write_text("\n".join(lines) + "\n")


# 2. Fits.
def log_difference(u, l):
    """log(Phi(u) - Phi(l)), by the tail in which the interval lies."""
    flip = (u + l) > 0
    a, b = np.where(flip, -l, u), np.where(flip, -u, l)
    la, lb = log_ndtr(a), log_ndtr(b)
    return la + np.log1p(-np.exp(lb - la))


def log_likelihood(w, b, X, y, weights=None):
    f = X @ w
    edges = np.concatenate([[-np.inf], b, [np.inf]])
    terms = log_difference(edges[y + 1] - f, edges[y] - f)
    return terms.sum() if weights is None else (weights * terms).sum()


def scaled(X, weights=None):
    mean = np.average(X, axis=0, weights=weights)
    return (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))


def optimum(X, y, k, precision, weights=None):
    """Weights and cutpoints; the latter by the first and the logarithms of the differences."""
    d = X.shape[1]

    def split(theta):
        w, c = theta[:d], theta[d:]
        return w, np.cumsum(np.concatenate([c[:1], np.exp(c[1:])]))

    def loss(theta):
        w, b = split(theta)
        return -(log_likelihood(w, b, X, y, weights) - 0.5 * precision * w @ w)

    def gradient(theta, h=1e-5):
        g = np.empty_like(theta)
        for j in range(len(theta)):
            e = np.zeros_like(theta)
            e[j] = h
            # Fourth order.
            g[j] = (8 * (loss(theta + e) - loss(theta - e)) - (loss(theta + 2 * e) - loss(theta - 2 * e))) / (12 * h)
        return g

    def hessian(theta, h=1e-4):
        H = np.array([(gradient(theta + h * e) - gradient(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])
        return 0.5 * (H + H.T)

    theta = np.concatenate([np.zeros(d), [-1.0], np.full(k - 2, np.log(0.5))])
    theta = minimize(loss, theta, jac=gradient, method="BFGS", options={"gtol": 1e-7}).x
    for _ in range(4):
        theta = theta - np.linalg.solve(hessian(theta), gradient(theta))
    w, b = split(theta)
    return w, b, -loss(theta)


def main():
    write_intervals()
    from statsmodels.discrete.discrete_model import Probit
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    rng = np.random.default_rng(5)
    n, k = 240, 5
    X = (rng.normal(size=(n, 3)) * [1, 3, 0.2] + [0, 5, -1]).astype(np.float32)
    latent = scaled(X.astype(float)) @ [1.1, -0.6, 0.3] + rng.normal(size=n)
    y = np.searchsorted([-1.6, -0.4, 0.3, 1.5], latent).astype(np.int32)
    weights = rng.integers(0, 4, size=n).astype(float)
    new = (rng.normal(size=(20, 3)) * [1, 3, 0.2] + [0, 5, -1]).astype(np.float32)
    Z = scaled(X.astype(float))
    fixture = {"X": X, "y": y, "row_weights": weights, "precision": np.array([LAMBDA]), "X_new": new}

    model = OrderedModel(y, Z, distr="probit").fit(method="bfgs", disp=False, gtol=1e-9, maxiter=1000)
    fixture["unpenalised_weights"] = model.params[:3]
    fixture["unpenalised_cutpoints"] = model.model.transform_threshold_params(model.params)[1:-1]
    fixture["unpenalised_log_likelihood"] = np.array([model.llf])

    w, b, value = optimum(Z, y, k, LAMBDA)
    fixture |= {"weights": w, "cutpoints": b, "objective": np.array([value])}
    S = scaled(X.astype(float), weights)
    w, b, value = optimum(S, y, k, LAMBDA, weights)
    fixture |= {"weighted_weights": w, "weighted_cutpoints": b, "weighted_objective": np.array([value])}

    two = (y >= 2).astype(np.int32)
    probit = Probit(two, np.column_stack([Z, np.ones(n)])).fit(method="newton", disp=False, tol=1e-14)
    fixture["probit"] = probit.params

    # A tiny problem: one feature, three classes.
    x = rng.normal(size=30).astype(np.float32)
    t = np.searchsorted([-0.5, 0.6], x + rng.normal(size=30)).astype(np.int32)
    fixture |= {"tiny_X": x[:, None], "tiny_y": t}
    z = scaled(x[:, None].astype(float))
    precisions = [0.3, 1.0, 4.0]
    evidences = []
    for precision in precisions:
        _, _, top = optimum(z, t, 3, precision)

        def density(width, low, w):
            value = log_likelihood(np.array([w]), np.array([low, low + width]), z, t) - 0.5 * precision * w * w
            return np.exp(value - top)

        nodes, node_weights = np.polynomial.legendre.leggauss(40)
        total = 0.0
        for box in [((-2.5, 4.5), (-3.5, 2.0), (1e-9, 5.0))]:
            grids = [(a + (c - a) * 0.5 * (nodes + 1), 0.5 * (c - a) * node_weights) for a, c in box]
            for w0, ww in zip(*grids[0]):
                for l0, wl in zip(*grids[1]):
                    total += ww * wl * sum(wd * density(d0, l0, w0) for d0, wd in zip(*grids[2]))
        evidences.append(top + np.log(total) + 0.5 * np.log(precision / (2 * np.pi)))
    fixture |= {"tiny_precisions": np.array(precisions), "tiny_log_evidences": np.array(evidences)}
    save_file({name: np.ascontiguousarray(value) for name, value in fixture.items()}, OUT / "reference.safetensors")
    for name in ("weights", "cutpoints", "objective", "unpenalised_weights", "probit", "tiny_log_evidences"):
        print(name, fixture[name])


main()
