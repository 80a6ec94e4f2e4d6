"""The data of QUALITY.md's table "Many classes, many rows": drawn here, or read from files that the caller names.

    python many_sets.py FOLDER NAME     writes one set (all with NAME = all) and prints its files, one a line

A set is one feature file or several draws of the same law; every test split is of the law of its training split.
"""

import os
import sys
from dataclasses import dataclass, field
from typing import Callable

import numpy as np
from safetensors.numpy import load_file, save_file

import quality_sets


@dataclass
class DataSet:
    """A row of the table: what it is called, what makes its draws, and what is known about its peers."""

    name: str
    draws: list[Callable]
    path: str = ""  # a file that is there already
    strengths: list[float] = field(default_factory=list)  # of the fit by hand, instead of the whole path
    iterations: int = 1000  # of the fit by hand
    skipped: dict[str, str] = field(default_factory=dict)  # a peer, and why it is not run

    @property
    def slug(self):
        return "".join(c if c.isalnum() else "-" for c in self.name.lower().replace(",", ""))


def embeddings(rows, features, classes, separation, cut=None):
    """Class means, 256 correlated factors with falling scales, and noise: what a backbone's features look like."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(classes, features)).astype(np.float32) * separation / np.sqrt(features)
    basis = np.linalg.qr(generator.normal(size=(features, min(features, 256))))[0].astype(np.float32)
    scales = np.arange(1, basis.shape[1] + 1, dtype=np.float32) ** -0.5

    def draw(count):
        labels = generator.integers(0, classes, count).astype(np.int32)
        x = np.empty((count, features), np.float32)
        for start in range(0, count, 20_000):
            part = slice(start, min(count, start + 20_000))
            size = part.stop - part.start
            factors = generator.normal(size=(size, basis.shape[1])).astype(np.float32) * scales
            noise = generator.normal(size=(size, features)).astype(np.float32)
            x[part] = 4 * means[labels[part]] + 3 * factors @ basis.T + 0.5 * noise
        return x, labels

    X, y = draw(rows)
    return X[:cut], y[:cut], *draw(min(rows // 5, 10_000))


def pool(flipped=0, copies=0):
    """One of two classes comes from a pool of 60 items that repeat; `flipped` of its labels are wrong, and a tenth
    of the other class's rows has `copies` more copies, in both splits."""
    generator = np.random.default_rng(0)
    items = generator.normal(size=(60, 20)) * 0.9 + 0.15

    def draw(count):
        y = generator.integers(0, 2, count).astype(np.int32)
        x = generator.normal(size=(count, 20))
        x[y == 1] = items[generator.integers(0, 60, (y == 1).sum())]
        return x.astype(np.float32), y

    def repeat(x, y):
        rows = np.flatnonzero(y == 0)[::10]
        return np.r_[x, np.repeat(x[rows], copies, 0)], np.r_[y, np.repeat(y[rows], copies)]

    train, test = draw(1000), draw(4000)
    train[1][np.flatnonzero(train[1] == 1)[:flipped]] = 0
    return *repeat(*train), *repeat(*test)


def minority_repeated():
    """12 positives a thousand, repeated until both classes have as many rows; the test rows are half and half."""
    generator = np.random.default_rng(4)
    centre = generator.normal(size=10)
    centre *= 2 / np.linalg.norm(centre)
    y = (np.arange(3000) < 36).astype(np.int32)
    y_test = (np.arange(8000) < 4000).astype(np.int32)
    draw = lambda labels: (generator.normal(size=(len(labels), 10)) + labels[:, None] * centre).astype(np.float32)
    X, X_test = draw(y), draw(y_test)
    rows = np.r_[np.arange(36, 3000), np.resize(np.arange(36), 3000 - 36)]
    return X[rows], y[rows], X_test, y_test


def few_rows(seed):
    """100 rows of 16 features in 10 classes: ten rows a class."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(10, 16)) * 0.5

    def draw(count):
        y = generator.integers(0, 10, count).astype(np.int32)
        return (centres[y] + generator.normal(size=(count, 16))).astype(np.float32), y

    X, y = draw(100)
    y[:10] = np.arange(10)  # no class is without rows
    X[:10] = (centres + generator.normal(size=(10, 16))).astype(np.float32)
    return X, y, *draw(4000)


def data_sets(supersenses=None, movie_reviews=None):
    """All rows of the table; those whose file was not named are left out."""
    ten = lambda cut=None: embeddings(50_000, 512, 10, 0.35, cut)
    hours = "thirty fits: not run"
    sets = [
        DataSet("embeddings, 10 classes", [ten]),
        DataSet("embeddings, 100 classes", [lambda: embeddings(50_000, 512, 100, 0.5)],
                strengths=[1e-3, 3e-3, 1e-2], skipped={"laplace-torch, Kronecker": "over ten minutes"}),
        DataSet("embeddings, 1,000 classes", [lambda: embeddings(100_000, 384, 1000, 0.7)],
                strengths=[1e-3, 3e-3], iterations=150, skipped={
                    "LogisticRegressionCV": hours, "LogisticRegressionCV, standardised": hours,
                    "laplace-torch, Kronecker": "over ten minutes"}),
    ]
    if supersenses:
        sets.append(DataSet("WordNet supersenses", [], path=supersenses, strengths=[0.01, 0.02, 0.04]))
    if movie_reviews:
        sets.append(DataSet("movie reviews", [], path=movie_reviews))
    return sets + [
        DataSet("digits, backbone features", [quality_sets.digits_features]),
        DataSet("pool of repeated items", [pool]),
        DataSet("pool, one label flipped", [lambda: pool(flipped=1)]),
        DataSet("pool, repeats in both classes", [lambda: pool(copies=5)]),
        DataSet("embeddings, first 2,500 rows", [lambda: ten(2500)]),
        DataSet("embeddings, first 2,501 rows", [lambda: ten(2501)]),
        DataSet("minority repeated to balance", [minority_repeated]),
        DataSet("10 classes, 100 rows", [lambda seed=seed: few_rows(seed) for seed in range(20)]),
    ]


def files(data_set, folder):
    """The feature files of a set's draws, written where they are not there yet."""
    if data_set.path:
        return [data_set.path]
    os.makedirs(folder, exist_ok=True)
    paths = []
    for index, draw in enumerate(data_set.draws):
        path = os.path.join(folder, f"{data_set.slug}-{index}.safetensors")
        if not os.path.exists(path):
            X, y, X_test, y_test = draw()
            save_file({
                "X_train": np.ascontiguousarray(X, np.float32), "y_train": y.astype(np.int32),
                "X_test": np.ascontiguousarray(X_test, np.float32), "y_test": y_test.astype(np.int32)}, path + ".new")
            os.replace(path + ".new", path)
        paths.append(path)
    return paths


def load(path):
    """X_train, y_train, X_test, y_test of a feature file, features as Float32."""
    file = load_file(path)
    return tuple(
        file[name].astype(np.float32 if name[0] == "X" else int) for name in ("X_train", "y_train", "X_test", "y_test"))


if __name__ == "__main__":
    for each in data_sets():
        if sys.argv[2] in ("all", each.name):
            print(*files(each, sys.argv[1]), sep="\n")
