"""Kinds of data for the survey: each a function of a seed that makes X_train, y_train, X_test, y_test.

Kinds come in pairs of one family. The first of a pair is for development in even families and held out
in odd ones, so that the halves are divided by position before anything is measured.
"""

import numpy as np
import sklearn.datasets as datasets

TEST = 2000


def draw(seed):
    return np.random.default_rng(1000 + seed)


def cut(X, y, count):
    return X[:count], y[:count], X[count:], y[count:]


def shuffled(X, y, count, seed):
    order = draw(seed).permutation(len(y))
    return cut(X[order], y[order], count)


def softmax_labels(generator, logits):
    return (logits + generator.gumbel(size=logits.shape)).argmax(1)


def blobs(classes, columns, distance, rows):
    def make(seed):
        g = draw(seed)
        centres = g.standard_normal((classes, columns)) * distance / np.sqrt(2 * columns)
        y = np.r_[np.arange(rows) % classes, g.integers(0, classes, TEST)]
        return cut(centres[y] + g.standard_normal((len(y), columns)), y, rows)
    return make


def genes(rows, columns, classes, informative, effect):
    """Log expression in modules of correlated genes; some modules differ between the classes."""
    def make(seed):
        g = draw(seed)
        y = g.integers(0, classes, rows + 1000)
        y[:2 * classes] = np.arange(2 * classes) % classes
        modules = columns // 20
        activity = g.standard_normal((len(y), modules))
        activity[:, :informative] += effect * g.standard_normal((classes, informative))[y]
        level, noise = g.gamma(2, 2, columns), g.gamma(3, 0.25, columns)
        X = level + 0.6 * np.repeat(activity, 20, 1)[:, :columns] * g.standard_normal(columns)
        X = X + noise * g.standard_normal(X.shape)
        return cut(X, y, rows)
    return make


def digits(classes=None, rows=500, features=None, count=0, scale=1.0):
    def make(seed):
        X, y = datasets.load_digits(return_X_y=True)
        if classes is not None:
            kept = np.isin(y, classes)
            X, y = X[kept], np.searchsorted(classes, y[kept])
        if features:
            g = draw(seed + 50)
            weights, phase = g.standard_normal((64, count)) / 30 * scale, g.standard_normal(count)
            X = features(X @ weights + phase)
        return shuffled(X, y, rows, seed)
    return make


relu = lambda z: np.maximum(z, 0)


def copied(make, times):
    def copies(seed):
        X, y, X_test, y_test = make(seed)
        return np.repeat(X, times, 0), np.repeat(y, times), X_test, y_test
    return copies


def resampled(make, rows):
    def sample(seed):
        X, y, X_test, y_test = make(seed)
        index = draw(seed + 7).integers(0, len(y), rows)
        return X[index], y[index], X_test, y_test
    return sample


def linear(rows, columns, classes, strength, distribution=None, transform=None, link="gumbel", active=None):
    """Labels from a linear model of features drawn from a distribution."""
    def make(seed):
        g = draw(seed)
        shape = (rows + TEST, columns)
        Z = g.standard_normal(shape) if distribution is None else distribution(g, shape)
        W = g.standard_normal((columns, classes)) * strength / np.sqrt(active or columns)
        if active:
            W[active:] = 0
        F = Z @ W
        noise = {
            "gumbel": lambda: g.gumbel(size=F.shape), "normal": lambda: g.standard_normal(F.shape),
            "cauchy": lambda: 0.5 * g.standard_cauchy(F.shape)}[link]()
        X = transform(Z, g) if transform else Z
        return cut(X, (F + noise).argmax(1), rows)
    return make


def imbalance(rows, shares, columns, distance):
    def make(seed):
        g = draw(seed)
        y = g.choice(len(shares), rows + 4 * TEST, p=np.array(shares) / np.sum(shares))
        y[:2 * len(shares)] = np.arange(2 * len(shares)) % len(shares)
        centres = g.standard_normal((len(shares), columns)) * distance / np.sqrt(2 * columns)
        return cut(centres[y] + g.standard_normal((len(y), columns)), y, rows)
    return make


def text(rows, vocabulary, classes, weighting, concentration, length):
    """Words drawn from the topics of documents; classes differ in their topics."""
    def make(seed):
        g = draw(seed)
        topics = g.dirichlet(np.full(vocabulary, 0.05), 20)
        profile = g.dirichlet(np.full(20, concentration), classes)
        y = g.integers(0, classes, rows + 1000)
        counts = np.empty((len(y), vocabulary))
        for i, label in enumerate(y):
            mixture = g.dirichlet(20 * profile[label] + 0.02)
            counts[i] = g.multinomial(g.poisson(length) + 5, mixture @ topics)
        if weighting == "binary":
            X = (counts > 0).astype(float)
        elif weighting == "counts":
            X = counts
        else:
            seen = (counts[:rows] > 0).sum(0)
            X = np.log1p(counts) * (np.log((1 + rows) / (1 + seen)) + 1)
            X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
        return cut(X, y, rows)
    return make


def noisy(make, share, test=True, to=None):
    """A share of labels replaced: in training and test rows, or in training rows only."""
    def change(seed):
        X, y, X_test, y_test = make(seed)
        g = draw(seed + 11)
        classes = y.max() + 1
        def flip(labels):
            rows = g.random(len(labels)) < share
            if to is not None:
                rows &= labels != to
            other = to if to is not None else (labels + g.integers(1, classes, len(labels))) % classes
            return np.where(rows, other, labels)
        return X, flip(y), X_test, flip(y_test) if test else y_test
    return change


def planar(shape, rows, count, features, noise):
    def make(seed):
        X, y = shape(rows + TEST, noise=noise, random_state=seed)
        g = draw(seed)
        return cut(features(X @ (2 * g.standard_normal((2, count))) + 6.28 * g.random(count)), y, rows)
    return make


def categories(rows, variables, levels, classes, numeric=0):
    def make(seed):
        g = draw(seed)
        codes = g.integers(0, levels, (rows + TEST, variables))
        X = np.concatenate([np.eye(levels)[codes[:, j]] for j in range(variables)], 1)
        X = np.concatenate([X, g.standard_normal((len(X), numeric))], 1)
        F = X @ g.standard_normal((X.shape[1], classes))
        return cut(X, softmax_labels(g, F), rows)
    return make


def clusters(rows, columns, classes, informative, per_class, flip):
    def make(seed):
        X, y = datasets.make_classification(
            rows + TEST, columns, n_informative=informative, n_redundant=columns // 10, n_classes=classes,
            n_clusters_per_class=per_class, flip_y=flip, random_state=seed)
        return cut(X, y, rows)
    return make


def exclusive_or(rows, columns):
    """Two classes by the sign of a product, with all products of two features."""
    def make(seed):
        g = draw(seed)
        Z = g.standard_normal((rows + TEST, columns))
        i, j = np.triu_indices(columns)
        return cut(np.c_[Z, Z[:, i] * Z[:, j]], (3 * Z[:, 0] * Z[:, 1] + g.logistic(size=len(Z)) > 0) * 1, rows)
    return make


def ordinal(rows, columns, levels):
    def make(seed):
        g = draw(seed)
        X = g.standard_normal((rows + TEST, columns))
        f = X @ g.standard_normal(columns) / np.sqrt(columns) * 2 + 0.5 * g.logistic(size=len(X))
        return cut(X, np.digitize(f, np.quantile(f, np.arange(1, levels) / levels)), rows)
    return make


def bundled(load, rows, transform=None):
    def make(seed):
        X, y = load(return_X_y=True)
        return shuffled(transform(X) if transform else X, y, rows, seed)
    return make


def diabetes(rows, levels, degree=1):
    def make(seed):
        X, y = datasets.load_diabetes(return_X_y=True)
        y = np.digitize(y, np.quantile(y, np.arange(1, levels) / levels))
        return shuffled(powers(X * 20, degree), y, rows, seed)
    return make


def powers(X, degree):
    parts, last = [X], [(X[:, j], j) for j in range(X.shape[1])]
    for _ in range(degree - 1):
        last = [(value * X[:, k], k) for value, j in last for k in range(j, X.shape[1])]
        parts.append(np.stack([value for value, _ in last], 1))
    return np.concatenate(parts, 1)


def quadrics(rows, classes, columns, squares):
    """Normal classes with covariances of their own, with or without squares among the features."""
    def make(seed):
        g = draw(seed)
        y = g.integers(0, classes, rows + TEST)
        shapes = g.standard_normal((classes, columns, columns)) / np.sqrt(columns)
        X = np.einsum("nij,nj->ni", shapes[y], g.standard_normal((len(y), columns)))
        X = X + 0.5 * g.standard_normal((classes, columns))[y]
        return cut(powers(X, 2) if squares else X, y, rows)
    return make


def layer(rows, classes, width, activation, depth):
    """Labels of one random network, features of another."""
    def make(seed):
        g = draw(seed)
        X = g.standard_normal((rows + TEST, 10))
        hidden = np.tanh(X @ g.standard_normal((10, 30)) / 2)
        y = softmax_labels(g, hidden @ g.standard_normal((30, classes)) * 1.2)
        for _ in range(depth):
            X = activation(X @ g.standard_normal((X.shape[1], width)) * np.sqrt(2 / X.shape[1]))
        return cut(X, y, rows)
    return make


def unit(rows, columns, classes, spread):
    """Vectors of length one around directions of the classes, like sentence embeddings."""
    def make(seed):
        g = draw(seed)
        y = g.integers(0, classes, rows + TEST)
        spectrum = np.arange(1, columns + 1) ** -0.5
        X = spectrum * g.standard_normal((len(y), columns)) * spread
        X = X + spectrum * g.standard_normal((classes, columns))[y] + 0.5 * spectrum * g.standard_normal(columns)
        return cut(X / np.linalg.norm(X, axis=1, keepdims=True), y, rows)
    return make


def outlying(make, share, labels):
    def change(seed):
        X, y, X_test, y_test = make(seed)
        g = draw(seed + 13)
        def spoil(X, y):
            rows = g.random(len(y)) < share
            X = np.where(rows[:, None], X * (1 + 20 * g.random((len(y), 1))), X)
            return X, np.where(rows, g.integers(0, y.max() + 1, len(y)), y) if labels else y
        return *spoil(X, y), *spoil(X_test, y_test)
    return change


def digits_merged(rows, merge, columns=slice(None)):
    """Digits with labels merged, of some pixels."""
    def make(seed):
        X, y = datasets.load_digits(return_X_y=True)
        return shuffled(X[:, columns], merge(y), rows, seed)
    return make


def scaled_wildly(X, g):
    return X * 10 ** g.uniform(-3, 3, X.shape[1]) + 10 ** g.uniform(-3, 3, X.shape[1])


def with_constants(X, g):
    return np.c_[X, np.full((len(X), 3), [0, 1, 1e6]), X[:, :2]]


def missing_class(make):
    def change(seed):
        X, y, X_test, y_test = make(seed)
        kept, kept_test = y != 1, y_test != 1
        return X[kept], y[kept], X_test[kept_test], y_test[kept_test]
    return change


def normal_pairs(g, shape):
    """Equally correlated features."""
    return 0.8 * g.standard_normal((shape[0], 1)) + 0.6 * g.standard_normal(shape)


def low_rank(g, shape):
    return g.standard_normal((shape[0], 5)) @ g.standard_normal((5, shape[1])) + 0.05 * g.standard_normal(shape)


log_normal = lambda Z, g: np.exp(1.5 * Z)
student = lambda g, shape: g.standard_t(2, shape)
likert = lambda Z, g: np.clip(np.round(1.2 * Z + 3), 1, 5)
bits = lambda Z, g: (Z > 0.8).astype(float)
pareto = lambda Z, g: np.sign(Z) * (np.exp(np.abs(Z) * 1.2) - 1)
cauchy_columns = lambda Z, g: np.c_[Z, g.standard_cauchy((len(Z), 10))]

FAMILIES = [
    [("separable blobs (40 x 10, 2)", blobs(2, 10, 10, 40)), ("separable blobs (60 x 5, 3)", blobs(3, 5, 9, 60))],
    [("nearly separable (200 x 20, 2)", blobs(2, 20, 5, 200)), ("separable blobs (400 x 20, 2)", blobs(2, 20, 9, 400))],
    [("genes (60 x 2000, 2)", genes(60, 2000, 2, 5, 0.8)), ("genes (80 x 1000, 3)", genes(80, 1000, 3, 4, 1.0))],
    [("genes, strong (40 x 500, 2)", genes(40, 500, 2, 6, 1.5)), ("genes, weak (100 x 3000, 2)", genes(100, 3000, 2, 3, 0.5))],
    [("digits, ReLU (600 x 2048, 10)", digits(rows=600, features=relu, count=2048)), ("digits, cosines (600 x 1024, 10)", digits(rows=600, features=np.cos, count=1024))],
    [("digits 3 and 8 (60 x 64, 2)", digits([3, 8], 60)), ("digits 1 and 7 (40 x 64, 2)", digits([1, 7], 40))],
    [("rows five times (500 x 10, 2)", copied(linear(100, 10, 2, 3), 5)), ("rows three times (450 x 20, 3)", copied(linear(150, 20, 3, 3), 3))],
    [("digits twice (600 x 64, 10)", copied(digits(rows=300), 2)), ("resampled rows (300 x 10, 2)", resampled(linear(300, 10, 2, 2.5), 300))],
    [("log-normal (300 x 20, 2)", linear(300, 20, 2, 3, transform=log_normal)), ("log-normal (600 x 20, 3)", linear(600, 20, 3, 2.5, transform=log_normal))],
    [("Student features (500 x 15, 3)", linear(500, 15, 3, 2, distribution=student)), ("Pareto (400 x 15, 2)", linear(400, 15, 2, 3, transform=pareto))],
    [("50 classes, 6 rows each (300 x 20, 50)", blobs(50, 20, 7, 300)), ("20 classes, 10 rows each (200 x 30, 20)", blobs(20, 30, 6, 200))],
    [("imbalance 1:500 (3000 x 10, 2)", imbalance(3000, [500, 1], 10, 4)), ("imbalance 1:100 (1000 x 10, 2)", imbalance(1000, [100, 1], 10, 4))],
    [("imbalance 96:3:1 (1500 x 15, 3)", imbalance(1500, [96, 3, 1], 15, 3.5)), ("Zipf classes (1000 x 20, 10)", imbalance(1000, 1 / np.arange(1, 11), 20, 4))],
    [("tf-idf (400 x 1000, 4)", text(400, 1000, 4, "tfidf", 0.3, 60)), ("tf-idf (300 x 600, 2)", text(300, 600, 2, "tfidf", 0.5, 40))],
    [("word counts (500 x 500, 3)", text(500, 500, 3, "counts", 0.4, 50)), ("word presence (400 x 800, 2)", text(400, 800, 2, "binary", 0.5, 40))],
    [("10 % label noise (500 x 15, 2)", noisy(blobs(2, 15, 5, 500), 0.1)), ("30 % training noise (600 x 15, 3)", noisy(blobs(3, 15, 6, 600), 0.3, test=False))],
    [("20 % label noise (1000 x 20, 6)", noisy(blobs(6, 20, 6, 1000), 0.2)), ("one-sided noise (500 x 15, 2)", noisy(blobs(2, 15, 6, 500), 0.15, to=0))],
    [("moons, cosines (300 x 80, 2)", planar(datasets.make_moons, 300, 80, np.cos, 0.25)), ("circles, ReLU (300 x 80, 2)", planar(datasets.make_circles, 300, 80, relu, 0.12))],
    [("one-hot (500 x 60, 2)", categories(500, 10, 6, 2)), ("one-hot and numbers (600 x 55, 3)", categories(600, 10, 5, 3, 5))],
    [("bits (300 x 40, 2)", linear(300, 40, 2, 3, transform=bits)), ("Likert (400 x 25, 2)", linear(400, 25, 2, 3, transform=likert))],
    [("equal correlations (300 x 60, 2)", linear(300, 60, 2, 3, distribution=normal_pairs)), ("rank 5 (300 x 60, 3)", linear(300, 60, 3, 8, distribution=low_rank))],
    [("two clusters a class (500 x 30, 3)", clusters(500, 30, 3, 10, 2, 0.02)), ("products (400 x 65, 2)", exclusive_or(400, 10))],
    [("ordinal, 5 levels (800 x 10, 5)", ordinal(800, 10, 5)), ("ordinal, 3 levels (90 x 8, 3)", ordinal(90, 8, 3))],
    [("wine (40 x 13, 3)", bundled(datasets.load_wine, 40)), ("wine (89 x 13, 3)", bundled(datasets.load_wine, 89))],
    [("breast cancer (100 x 30, 2)", bundled(datasets.load_breast_cancer, 100)), ("breast cancer (285 x 30, 2)", bundled(datasets.load_breast_cancer, 285))],
    [("iris (30 x 4, 3)", bundled(datasets.load_iris, 30)), ("iris (100 x 4, 3)", bundled(datasets.load_iris, 100))],
    [("digits (200 x 64, 10)", digits(rows=200)), ("digits (500 x 64, 10)", digits(rows=500))],
    [("diabetes, halves (300 x 10, 2)", diabetes(300, 2)), ("diabetes, thirds (300 x 10, 3)", diabetes(300, 3))],
    [("scales 1e-3 to 1e3 (400 x 20, 2)", linear(400, 20, 2, 3, transform=scaled_wildly)), ("scales 1e-3 to 1e3 (400 x 20, 4)", linear(400, 20, 4, 3, transform=scaled_wildly))],
    [("constant and double columns (300 x 25, 2)", linear(300, 20, 2, 3, transform=with_constants)), ("a class without rows (300 x 10, 4)", missing_class(blobs(4, 10, 5, 400)))],
    [("no signal (200 x 30, 2)", linear(200, 30, 2, 0)), ("no signal (300 x 30, 5)", linear(300, 30, 5, 0))],
    [("weak signal (4000 x 50, 2)", linear(4000, 50, 2, 0.5)), ("strong signal (4000 x 20, 2)", linear(4000, 20, 2, 6))],
    [("quadrics with squares (600 x 54, 4)", quadrics(600, 4, 9, True)), ("quadrics (600 x 9, 4)", quadrics(600, 4, 9, False))],
    [("tanh layer (800 x 64, 4)", layer(800, 4, 64, np.tanh, 1)), ("three ReLU layers (800 x 256, 4)", layer(800, 4, 256, relu, 3))],
    [("unit vectors (200 x 384, 2)", unit(200, 384, 2, 1.2)), ("unit vectors (500 x 256, 10)", unit(500, 256, 10, 1.0))],
    [("outlying rows (300 x 15, 2)", outlying(linear(300, 15, 2, 3), 0.03, False)), ("outlying rows, random labels (400 x 15, 3)", outlying(linear(400, 15, 3, 3), 0.05, True))],
    [("iris, cubes (75 x 34, 3)", bundled(datasets.load_iris, 75, lambda X: powers(X, 3))), ("diabetes, squares (300 x 65, 2)", diabetes(300, 2, 2))],
    [("few rows (20 x 5, 2)", linear(20, 5, 2, 3)), ("few rows (30 x 20, 2)", linear(30, 20, 2, 3))],
    [("sparse weights (200 x 100, 2)", linear(200, 100, 2, 4, active=5)), ("dense weights (200 x 100, 2)", linear(200, 100, 2, 4))],
    [("probit labels (300 x 15, 2)", linear(300, 15, 2, 3, link="normal")), ("Cauchy labels (500 x 15, 2)", linear(500, 15, 2, 4, link="cauchy"))],
    [("digits, odd or even (400 x 64, 2)", digits_merged(400, lambda y: y % 2)), ("digits, upper half (300 x 32, 10)", digits_merged(300, lambda y: y, slice(32)))],
    [("Cauchy columns (400 x 25, 2)", linear(400, 15, 2, 3, transform=cauchy_columns)), ("logistic labels (150 x 8, 2)", linear(150, 8, 2, 4))],
]


def movie_reviews(path, rows):
    from safetensors.numpy import load_file
    def make(seed):
        file = load_file(path)
        index = draw(seed).permutation(len(file["y_train"]))[:rows]
        return (file["X_train"][index].astype(float), file["y_train"][index],
                file["X_test"].astype(float), file["y_test"])
    return make


def kinds(movie=None):
    """(name, half, make) of all kinds."""
    families = list(FAMILIES)
    if movie:
        families.append([
            ("movie reviews (100 x 384, 2)", movie_reviews(movie, 100)),
            ("movie reviews (600 x 384, 2)", movie_reviews(movie, 600))])
    return [
        (name, "development" if (index + position) % 2 == 0 else "held out", make)
        for index, family in enumerate(families) for position, (name, make) in enumerate(family)]
