"""The data of QUALITY.md's first table: functions that return X_train, y_train, X_test, y_test."""

import numpy as np
import sklearn.datasets as datasets
from safetensors.numpy import load_file

DIGITS = "Sources/BllarseCore/Resources/digits/digits.safetensors"
DIGITS_FEATURES = "Fixtures/digits/digits_backbone_features_expected.safetensors"


def split(X, y, share=0.3, seed=0):
    order = np.random.default_rng(seed).permutation(len(y))
    count = int(len(y) * (1 - share))
    train, test = order[:count], order[count:]
    return X[train], y[train], X[test], y[test]


def first(X, y, count):
    return X[:count], y[:count], X[count:], y[count:]


def flipped(data, share, seed=1):
    """A share of the training labels replaced by another class; test labels stay clean."""
    X, y, X_test, y_test = data
    generator = np.random.default_rng(seed)
    classes = int(y.max()) + 1
    y = y.copy()
    rows = generator.random(len(y)) < share
    y[rows] = (y[rows] + generator.integers(1, classes, rows.sum())) % classes
    return X, y, X_test, y_test


def digits_pixels():
    file = load_file(DIGITS)
    flat = lambda name: file[name].reshape(-1, 64).astype(np.float64)
    return flat("train_images"), file["train_labels"], flat("test_images"), file["test_labels"]


def digits_features():
    order = load_file(DIGITS)["order"]
    file = load_file(DIGITS_FEATURES)
    features, labels = file["features"].astype(np.float64)[order], file["labels"][order]
    return first(features, labels, 1297)


def softmax_model(train, test, columns, classes, strength, seed, X=None):
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((train + test, columns)) if X is None else X
    weights = generator.standard_normal((columns, classes)) * strength / np.sqrt(columns)
    y = (X @ weights + generator.gumbel(size=(train + test, classes))).argmax(1)
    return first(X, y, train)


def many_features_four_classes():
    X, y = datasets.make_classification(
        2200, 1000, n_informative=20, n_redundant=50, n_classes=4, n_clusters_per_class=1, class_sep=2,
        random_state=3)
    return first(X, y, 200)


def hundred_classes():
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((100, 64))
    y = generator.integers(0, 100, 8000)
    return first(centres[y] * 0.6 + generator.standard_normal((8000, 64)), y, 5000)


def imbalance():
    generator = np.random.default_rng(0)
    y = generator.choice(5, 8000, p=[0.9, 0.05, 0.03, 0.015, 0.005])
    centres = generator.standard_normal((5, 20))
    return first(centres[y] * 0.8 + generator.standard_normal((8000, 20)), y, 3000)


def imbalance_two():
    generator = np.random.default_rng(2)
    y = (generator.random(8000) < 0.01).astype(int)
    centres = generator.standard_normal((2, 20))
    return first(centres[y] * 0.5 + generator.standard_normal((8000, 20)), y, 3000)


def correlated():
    generator = np.random.default_rng(0)
    latent = generator.standard_normal((4500, 10))
    X = latent @ generator.standard_normal((10, 100)) + 0.1 * generator.standard_normal((4500, 100))
    weights = generator.standard_normal((10, 3)) * 0.8
    y = (latent @ weights + generator.gumbel(size=(4500, 3))).argmax(1)
    return first(X, y, 1500)


def autoregressive():
    generator = np.random.default_rng(1)
    X = np.empty((4000, 200))
    X[:, 0] = generator.standard_normal(4000)
    for column in range(1, 200):
        noise = generator.standard_normal(4000)
        X[:, column] = 0.98 * X[:, column - 1] + np.sqrt(1 - 0.98**2) * noise
    return softmax_model(1000, 3000, 200, 2, 3, 5, X)


def random_cosines(seed=0):
    X, y = datasets.make_moons(3000, noise=0.25, random_state=seed)
    generator = np.random.default_rng(seed)
    weights, phases = generator.standard_normal((2, 100)) * 2, generator.random(100) * 6.28
    return first(np.sqrt(2 / 100) * np.cos(X @ weights + phases), y, 500)


SPLITS = 10


def repeated(make):
    """Several splits of a small set, or several draws of a small generated one: cells are their means."""
    return [lambda seed=seed: make(seed) for seed in range(SPLITS)]


def data_sets(movie_reviews):
    """Names and what makes the data: a function, or a list of functions whose scores are averaged."""
    sets = {}
    if movie_reviews:
        def movie():
            file = load_file(movie_reviews)
            return tuple(
                file[name].astype(np.float64) if name[0] == "X" else file[name]
                for name in ("X_train", "y_train", "X_test", "y_test"))
        sets["movie reviews, sentence embeddings"] = movie
    sets |= {
        "digits, backbone features": digits_features,
        "digits, pixels": digits_pixels,
        "wine": repeated(lambda seed: split(*datasets.load_wine(return_X_y=True), seed=seed)),
        "breast cancer": repeated(
            lambda seed: split(*datasets.load_breast_cancer(return_X_y=True), seed=seed)),
        "iris, half": repeated(lambda seed: split(*datasets.load_iris(return_X_y=True), 0.5, seed)),
        "many features, few rows": lambda: softmax_model(200, 2000, 1000, 2, 5, 0),
        "many features, few rows, 4 classes": many_features_four_classes,
        "100 classes": hundred_classes,
        "imbalance 90:5:3:1.5:0.5": imbalance,
        "imbalance 99:1": imbalance_two,
        "correlated features, rank 10": correlated,
        "correlated features, neighbours .98": autoregressive,
        "random cosines of two moons": repeated(random_cosines),
        "digits pixels, 20 % of labels flipped": lambda: flipped(digits_pixels(), 0.2),
        "digits features, 20 % of labels flipped": lambda: flipped(digits_features(), 0.2),
    }
    return sets
