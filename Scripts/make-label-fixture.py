#!/usr/bin/env python3
"""Makes Fixtures/metrics/labels.safetensors: log-odds of labels, the labels that rows have, and scores.

    pip install numpy scikit-learn safetensors
    Scripts/make-label-fixture.py Fixtures/metrics/labels.safetensors
"""
import sys

import numpy as np
from safetensors.numpy import save_file
from sklearn import metrics

random = np.random.RandomState(4)
rows, count = 90, 6
truth = 2 * random.randn(rows, count) - np.array([0, 1, 2, 3, -1, 0])
labels = (random.rand(rows, count) < 1 / (1 + np.exp(-truth))).astype(np.int32)
labels[:3] = [[0] * count, [1] * count, [0, 1, 0, 1, 0, 1]]
# Steps of a half: some are equal, some exactly 0.
odds = (np.round(2 * (truth + random.randn(rows, count))) / 2).astype(np.float32)
odds[0, 0], odds[1, 1] = 60, -60
p = 1 / (1 + np.exp(-odds.astype(np.float64)))
predicted = (odds > 0).astype(int)
some = (labels.sum(1) > 0) & (labels.sum(1) < count)
bins = np.minimum((p * 20).astype(int), 19)
scores = {
    "nll": np.mean(np.logaddexp(0, np.where(labels == 1, -1, 1) * odds.astype(np.float64))),
    "brier": 2 * np.mean((p - labels) ** 2),
    "ece": sum(
        abs((p - labels)[bins == b].sum()) for b in range(20)) / p.size,
    "hamming_loss": metrics.hamming_loss(labels, predicted),
    "subset_acc": metrics.accuracy_score(labels, predicted),
    "micro_f1": metrics.f1_score(labels, predicted, average="micro"),
    "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
    "map": metrics.average_precision_score(labels, odds, average="macro"),
    "macro_auroc": metrics.roc_auc_score(labels, odds, average="macro"),
    "lrap": metrics.label_ranking_average_precision_score(labels[some], odds[some]),
}
each = {
    "label_f1": metrics.f1_score(labels, predicted, average=None),
    "label_average_precision": metrics.average_precision_score(labels, odds, average=None),
    "label_auroc": metrics.roc_auc_score(labels, odds, average=None),
}
save_file(
    {"log_odds": odds, "labels": labels}
    | {name: np.array([value], dtype=np.float64) for name, value in scores.items()}
    | {name: np.array(values, dtype=np.float64) for name, values in each.items()}, sys.argv[1])
