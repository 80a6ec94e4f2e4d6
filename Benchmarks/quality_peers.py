"""What others do with a feature file, scored on its test split: a process of its own, one JSON line.

    python quality_peers.py by-hand FILE [--strengths C,C,... --iterations N]
    python quality_peers.py cv|cv-standardised|kronecker FILE [--iterations N]

by-hand is what a careful person does with scikit-learn: standardise, fit a path of strengths from strong to weak to
nine tenths of the rows, fit one temperature to each on the last tenth, take the best there, fit all rows.
kronecker is laplace-torch (it needs torch): a linear layer on standardised features, its prior precision by the
marginal likelihood in four rounds with the fit of the weights, Kronecker-factored posterior, probit link.
"""

import argparse
import json
import time
import warnings

import numpy as np

import many_sets
import quality

PATH = [10.0**power for power in np.arange(-5, 3.01, 0.5)]


def standardised(X, X_test):
    mean, deviation = X.mean(0, dtype=np.float64), X.std(0, dtype=np.float64)
    scale = np.where(deviation > 0, deviation, 1)
    return tuple(((part - mean) / scale).astype(np.float32) for part in (X, X_test))


def log_softmax(z):
    shifted = z - z.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def logits(model, X, classes):
    """The linear predictor of every class; a class without rows has none."""
    z = model.decision_function(X).astype(np.float64)
    if z.ndim == 1:
        z = np.c_[np.zeros_like(z), z]
    full = np.full((len(X), classes), -50.0)
    full[:, model.classes_] = z
    return full


def by_hand(X, y, X_test, classes, arguments):
    from scipy.optimize import minimize_scalar
    from sklearn.linear_model import LogisticRegression

    X, X_test = standardised(X, X_test)
    held = np.zeros(len(y), bool)
    held[np.random.default_rng(0).permutation(len(y))[: len(y) // 10]] = True
    fit = lambda c, rows: LogisticRegression(C=c, max_iter=arguments.iterations, tol=1e-5).fit(X[rows], y[rows])
    best, worse = None, 0
    for strength in [float(c) for c in arguments.strengths.split(",")] if arguments.strengths else PATH:
        z, labels = logits(fit(strength, ~held), X[held], classes), y[held]
        nll = lambda b: -log_softmax(z * np.exp(b))[np.arange(len(labels)), labels].mean()
        temperature = minimize_scalar(nll, bounds=(-2, 4), method="bounded")
        if best is None or temperature.fun < best[0]:
            best, worse = (temperature.fun, strength, float(np.exp(temperature.x))), 0
        else:
            worse += 1
        if worse == 3:
            break
    z = logits(fit(best[1], slice(None)), X_test, classes)
    return np.exp(log_softmax(z * best[2])), dict(C=best[1], inverse_temperature=best[2])


def cross_validated(X, y, X_test, classes, arguments, scale):
    from sklearn.linear_model import LogisticRegressionCV

    if scale:
        X, X_test = standardised(X, X_test)
    model = LogisticRegressionCV(
        Cs=10, cv=3, max_iter=arguments.iterations, scoring="neg_log_loss", use_legacy_attributes=False).fit(X, y)
    probabilities = np.zeros((len(X_test), classes))
    probabilities[:, model.classes_] = model.predict_proba(X_test)
    return probabilities, dict(C=float(np.ravel(model.C_)[0]))


def kronecker(X, y, X_test, classes, arguments):
    import torch
    from laplace import Laplace

    torch.manual_seed(0)
    X, X_test = (torch.from_numpy(part) for part in standardised(X, X_test))
    y = torch.from_numpy(y)
    model = torch.nn.Linear(X.shape[1], classes)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    rows = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=2048)
    precision = torch.tensor(1.0)
    for _ in range(4):
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=arguments.iterations, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            squares = sum((p**2).sum() for p in model.parameters())
            loss = torch.nn.functional.cross_entropy(model(X), y) + 0.5 * precision * squares / len(y)
            loss.backward()
            return loss

        optimizer.step(closure)
        posterior = Laplace(
            model, "classification", subset_of_weights="all", hessian_structure="kron", prior_precision=precision)
        posterior.fit(rows)
        posterior.optimize_prior_precision(method="marglik", pred_type="glm", link_approx="probit")
        precision = posterior.prior_precision.detach().mean()
    parts = [posterior(part, pred_type="glm", link_approx="probit").detach() for part in X_test.split(500)]
    return torch.cat(parts).numpy().astype(np.float64), dict(prior_precision=float(precision))


METHODS = {
    "by-hand": by_hand,
    "cv": lambda *a: cross_validated(*a, scale=False),
    "cv-standardised": lambda *a: cross_validated(*a, scale=True),
    "kronecker": kronecker,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("features")
    parser.add_argument("--strengths", help="inverse prior precisions of the fit by hand")
    parser.add_argument("--iterations", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    X, y, X_test, y_test = many_sets.load(arguments.features)
    classes = int(max(y.max(), y_test.max())) + 1
    start = time.perf_counter()
    probabilities, found = METHODS[arguments.method](X, y, X_test, classes, arguments)
    found["seconds"] = time.perf_counter() - start
    print(json.dumps(quality.scores(probabilities, y_test) | found))


if __name__ == "__main__":
    main()
