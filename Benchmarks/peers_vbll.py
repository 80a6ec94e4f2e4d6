"""Compares VBLL heads with those that the authors' package (vbll 0.4.9, torch) trains.

    python Benchmarks/peers_vbll.py --executable bllarse-finetune digits=FILE reviews=FILE …

FILE is a feature file with X_train, y_train, X_test, y_test, or `features` and `labels`, of which the
first two thirds of the rows in a fixed random order are trained on. Both get the same rows, priors and
weight of the regularisation, and both bounds are evaluated by vbll's own code, in single precision as
it trains, in nats of all rows.

vbll multiplies every row of a batch by a copy of the covariances' roots of its own, which takes hours for 1,000
epochs of 384 columns. Its seconds are those of its own code, of EPOCHS_TIMED epochs, times the number of epochs; the
epochs themselves are trained with the same sums written as one product (see `one_product`), whose seconds are told, too.
"""

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from vbll.layers.classification import DiscClassification
from vbll.utils.distributions import DenseNormal, Normal

# Epochs of vbll's optimiser by the form of the covariance. A batch of its dense head takes rows·K·D² numbers.
EPOCHS = {"dense": 1000, "diagonal": 30}
EPOCHS_TIMED = 2
BATCH_SIZE = 128
RATE = 1e-2


def rows(path):
    """Training and test rows."""
    file = load_file(path)
    if "X_train" in file:
        return tuple(file[name] for name in ("X_train", "y_train", "X_test", "y_test"))
    order = np.random.RandomState(0).permutation(len(file["labels"]))
    x, y = file["features"][order], file["labels"][order]
    cut = 2 * len(y) // 3
    return x[:cut], y[:cut], x[cut:], y[cut:]


def scores(probabilities, labels):
    """Accuracy, mean negative log-likelihood and calibration error of 20 bins of equal width."""
    p = probabilities / probabilities.sum(1, keepdims=True)
    confidence, right = p.max(1), p.argmax(1) == labels
    place = np.minimum((confidence * 20).astype(int), 19)
    ece = sum(abs(right[place == b].sum() - confidence[place == b].sum()) for b in range(20))
    nll = -np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-38)).mean()
    return {"acc": right.mean(), "nll": nll, "ece": ece / len(labels)}


@contextlib.contextmanager
def one_product():
    """vbll's variances b'Sb of all rows b and classes by one product instead of one for each, its weights formed once a batch
    instead of three times, and arguments of distributions not checked."""
    own = {kind: kind.covariance_weighted_inner_prod for kind in (DenseNormal, Normal)}

    def diagonal(self, b, reduce_dim=True):
        # Variances (K, D), rows (N, 1, D, 1).
        if b.dim() != 4 or b.shape[1] != 1 or self.scale.dim() != 2:
            return own[Normal](self, b, reduce_dim)
        sums = b[:, 0, :, 0].square() @ self.var.T
        return sums if reduce_dim else sums.unsqueeze(-1)

    def dense(self, b, reduce_dim=True):
        # Roots (K, D, D), rows (N, 1, D, 1).
        if b.dim() != 4 or b.shape[1] != 1 or self.scale_tril.dim() != 3:
            return own[DenseNormal](self, b, reduce_dim)
        roots = self.scale_tril
        count, size, _ = roots.shape
        wide = roots.permute(1, 0, 2).reshape(size, count * size)
        squares = (b[:, 0, :, 0] @ wide).reshape(-1, count, size).square().sum(-1)
        return squares if reduce_dim else squares.unsqueeze(-1)

    def forward(self, x):
        with contextlib.suppress(AttributeError):
            del self.W
        weights = type(self).W(self)
        self.W = lambda: weights
        return own_forward(self, x)

    own_forward = DiscClassification.forward
    DenseNormal.covariance_weighted_inner_prod = dense
    Normal.covariance_weighted_inner_prod = diagonal
    DiscClassification.forward = forward
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(True)
        DiscClassification.forward = own_forward
        for kind, method in own.items():
            kind.covariance_weighted_inner_prod = method


def objective(head, features, labels):
    """vbll's bound in nats of all rows."""
    with torch.no_grad():
        total = 0.0
        # The regularisation is in every batch's loss; 1/N of it, and all of it once.
        loss = head(features[:1]).train_loss_fn(labels[:1])
        rest = -loss - head.softmax_bound(features[:1], labels[:1]).mean()
        for start in range(0, len(labels), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            total += float(head.softmax_bound(features[part], labels[part]).double().sum())
        return total + len(labels) * float(rest)


def trained(parameterization, features, labels, classes, epochs):
    """A head that Adam has trained, and the seconds that it took."""
    torch.manual_seed(0)
    count = len(labels)
    head = DiscClassification(features.shape[1], classes, 1 / count, parameterization)
    optimizer = torch.optim.Adam(head.parameters(), lr=RATE)
    start = time.perf_counter()
    for _ in range(epochs):
        for batch in torch.randperm(count).split(BATCH_SIZE):
            optimizer.zero_grad()
            head(features[batch]).train_loss_fn(labels[batch]).backward()
            optimizer.step()
    return head, time.perf_counter() - start


def predicted(head, features):
    """The mean of vbll's 20 draws."""
    torch.manual_seed(1)
    with torch.no_grad():
        return np.concatenate([head.predictive(part).numpy() for part in features.split(BATCH_SIZE)])


def loaded(path, parameterization, features, classes, count):
    """Our stored head as one of vbll."""
    file = load_file(path)
    head = DiscClassification(features, classes, 1 / count, parameterization)
    with torch.no_grad():
        head.W_mean.copy_(torch.from_numpy(file["mean"].T.copy()))
        head.noise_logdiag.copy_(0.5 * torch.log(torch.from_numpy(file["noise_variances"])))
        if parameterization == "diagonal":
            head.W_logdiag.copy_(0.5 * torch.log(torch.from_numpy(file["variances"].T.copy())))
        else:
            for k, packed in enumerate(file["factors"]):
                lower = np.zeros((features, features))
                lower[np.tril_indices(features)] = packed
                inverse = np.linalg.inv(lower)
                root = np.linalg.cholesky(inverse.T @ inverse)
                head.W_logdiag[k] = torch.from_numpy(np.log(np.diag(root)))
                head.W_offdiag[k] = torch.from_numpy(root)
    return head


def compare(name, path, parameterization, executable, epochs=None):
    """A line of results for one set of rows and one form of the covariance."""
    x, y, x_test, y_test = rows(path)
    x, x_test = (np.nan_to_num(a.astype(np.float32), posinf=0, neginf=0) for a in (x, x_test))
    y, y_test = y.astype(np.int64), y_test.astype(np.int64)
    classes = int(max(y.max(), y_test.max())) + 1
    features, labels = torch.from_numpy(x), torch.from_numpy(y)
    epochs = epochs or EPOCHS[parameterization]
    timed = min(EPOCHS_TIMED, epochs)
    seconds = trained(parameterization, features, labels, classes, timed)[1] * epochs / timed
    with one_product():
        head, seconds_product = trained(parameterization, features, labels, classes, epochs)
        del head.W
    theirs = {
        "bound": objective(head, features, labels), "seconds": seconds,
        "seconds of one product": seconds_product,
        **scores(predicted(head, torch.from_numpy(x_test)).astype(float), y_test)}
    with tempfile.TemporaryDirectory() as folder:
        file, output = os.path.join(folder, "rows.safetensors"), os.path.join(folder, "out")
        save_file({"X_train": x, "y_train": y.astype(np.int32), "X_test": x_test,
                   "y_test": y_test.astype(np.int32)}, file)
        subprocess.run(
            [executable, "--features", file, "--head", "VBLL", "--parameterization",
             parameterization, "--output", output], check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        with open(os.path.join(output, "result.json"), encoding="utf-8") as stream:
            result = json.load(stream)
        own = loaded(os.path.join(output, "head.safetensors"), parameterization, x.shape[1],
                     classes, len(y))
    ours = {
        "bound": objective(own, features, labels), "seconds": result["seconds"]["fit"],
        **{key: result["test"][key] for key in ("acc", "nll", "ece")},
        "nll of 20 draws": scores(
            predicted(own, torch.from_numpy(x_test)).astype(float), y_test)["nll"]}
    return {"rows": name, "parameterization": parameterization, "vbll": theirs, "bllarse": ours}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executable", default="bllarse-finetune")
    parser.add_argument("--parameterization", nargs="+", default=["dense", "diagonal"])
    parser.add_argument("--epochs", type=int, help="of vbll's optimiser (default: 1000, diagonal 30)")
    parser.add_argument("sets", nargs="+", metavar="NAME=FILE")
    arguments = parser.parse_args()
    for item in arguments.sets:
        name, path = item.split("=", 1)
        for parameterization in arguments.parameterization:
            line = compare(name, path, parameterization, arguments.executable, arguments.epochs)
            for who in ("vbll", "bllarse"):
                print(line["rows"], parameterization, who, " ".join(
                    f"{key} {value:.4f}" for key, value in line[who].items()), flush=True)


if __name__ == "__main__":
    main()
