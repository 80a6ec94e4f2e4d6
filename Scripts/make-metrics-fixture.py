#!/usr/bin/env python3
"""Makes Fixtures/metrics/reference.safetensors: predictions and their scores.

    pip install numpy scikit-learn safetensors
    Scripts/make-metrics-fixture.py Fixtures/metrics/reference.safetensors

Scores that scikit-learn has come from scikit-learn; the others are written out here with plain loops,
independently of the Swift code.
"""
import math
import sys

import numpy as np
from safetensors.numpy import save_file
from sklearn import metrics


def equal_width(p, correct, bins):
    index = np.minimum(np.floor(p * bins).astype(int), bins - 1)
    gaps, weights = [], []
    for b in range(bins):
        mask = index == b
        if mask.any():
            gaps.append(abs(correct[mask].mean() - p[mask].mean()))
            weights.append(mask.mean())
    gaps, weights = np.array(gaps), np.array(weights)
    return np.array([(gaps * weights).sum(), gaps.max(), math.sqrt((gaps**2 * weights).sum())])


def shared_correctness(confidence, correct):
    """Rows of equal confidence count with their mean correctness."""
    return np.array([correct[confidence == c].mean() for c in confidence])


def equal_mass(confidence, correct, bins):
    order = np.argsort(confidence, kind="stable")
    conf, corr = confidence[order], shared_correctness(confidence, correct)[order]
    n, total = len(conf), 0.0
    for b in range(bins):
        part = slice(b * n // bins, (b + 1) * n // bins)
        total += abs((corr[part] - conf[part]).sum())
    return total / n


def kolmogorov_smirnov(confidence, correct):
    return max(
        abs((confidence - correct)[confidence <= c].sum()) / len(confidence)
        for c in np.unique(confidence)
    )


def selective_risk(confidence, correct):
    corr = shared_correctness(confidence, correct)[np.argsort(-confidence, kind="stable")]
    n = len(corr)
    aurc = sum((1 - corr[:j]).mean() for j in range(1, n + 1)) / n
    r = 1 - correct.mean()
    return np.array([aurc, aurc - (r + (1 - r) * math.log(1 - r))])


def conformal(method, level, p_cal, y_cal, p_test, y_test):
    def scores(p):
        if method == "lac":
            return 1 - p
        out = np.zeros_like(p)
        for i, row in enumerate(p):
            cumulated = 0.0
            for k in sorted(range(len(row)), key=lambda k: (-row[k], k)):
                cumulated += row[k]
                out[i, k] = cumulated
        return out

    s = np.sort(scores(p_cal)[np.arange(len(y_cal)), y_cal])
    rank = math.ceil((len(s) + 1) * level - 1e-9)
    threshold = s[rank - 1] if rank <= len(s) else math.inf
    sets = scores(p_test) <= threshold
    return np.array(
        [threshold, sets[np.arange(len(y_test)), y_test].mean(), sets.sum(1).mean(),
         (sets.sum(1) == 0).mean()])


def main(target):
    rng = np.random.default_rng(7)
    n, classes = 600, 5
    logits = rng.normal(size=(n, classes)) * 2
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([rng.choice(classes, p=row) for row in true]).astype(np.int32)
    logits = logits * 1.6 + 0.3 * rng.normal(size=logits.shape)  # over-confident
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    # A third of the rows is coarse, so that confidences and ranks are tied.
    p = np.exp(log_p)
    for i in range(0, n, 3):
        row = np.round(p[i] * 8)
        p[i] = (row + 0.0625) / (row + 0.0625).sum()
    log_p = np.log(p)

    confidence, correct = p.max(1), (p.argmax(1) == y).astype(float)
    onehot = np.eye(classes)[y]
    inside, outside = 1 - confidence, rng.beta(2, 3, size=250)
    outside = np.concatenate([outside, inside[:50]])  # ties between the two
    ood = np.concatenate([np.zeros(n), np.ones(len(outside))])
    score = np.concatenate([inside, outside])
    fpr, tpr, _ = metrics.roc_curve(ood, score, drop_intermediate=False)
    classwise = [equal_width(p[:, k], (y == k).astype(float), 20)[0] for k in range(classes)]
    classwise_maximum = max(
        equal_width(p[:, k], (y == k).astype(float), 20)[1] for k in range(classes))
    half = n // 2

    tensors = {
        "log_probabilities": log_p,
        "labels": y,
        "ood_scores": outside,
        "accuracy": metrics.accuracy_score(y, p.argmax(1)),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, p.argmax(1)),
        "confusion": metrics.confusion_matrix(y, p.argmax(1)).astype(np.float64),
        "recall": metrics.recall_score(y, p.argmax(1), average=None),
        "precision": metrics.precision_score(y, p.argmax(1), average=None),
        "nll": metrics.log_loss(y, p, labels=range(classes)),
        "brier": ((p - onehot) ** 2).sum(1).mean(),
        "top_k": np.array(
            [((p > p[np.arange(n), y][:, None]).sum(1)
              + ((p == p[np.arange(n), y][:, None]) & (np.arange(classes) < y[:, None])).sum(1)
              < k).mean() for k in range(1, classes + 1)]),
        "ece_20": equal_width(confidence, correct, 20),
        "ece_15": equal_width(confidence, correct, 15),
        "equal_mass_20": equal_mass(confidence, correct, 20),
        "equal_mass_7": equal_mass(confidence, correct, 7),
        "classwise_20": np.array([np.mean(classwise), classwise_maximum]),
        "kolmogorov_smirnov": kolmogorov_smirnov(confidence, correct),
        "selective_risk": selective_risk(confidence, correct),
        "ood": np.array(
            [metrics.roc_auc_score(ood, score), fpr[np.argmax(tpr >= 0.95)],
             metrics.average_precision_score(ood, score),
             metrics.average_precision_score(1 - ood, -score)]),
    }
    for method in ("lac", "aps"):
        for level in (0.8, 0.9, 0.95):
            tensors[f"{method}_{round(level * 100)}"] = conformal(
                method, level, p[:half], y[:half], p[half:], y[half:])
    save_file(
        {name: np.ascontiguousarray(value, dtype=None if name == "labels" else np.float64)
         for name, value in tensors.items()}, target)


if __name__ == "__main__":
    main(sys.argv[1])
