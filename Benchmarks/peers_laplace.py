#!/usr/bin/env python3
"""bllarse-finetune laplace next to laplace-torch, at the same weights and the same prior precision.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install torch laplace-torch scipy safetensors
    .venv-peers/bin/python peers_laplace.py FEATURES.safetensors STRUCTURE [FEATURES STRUCTURE …]
        [--program bllarse-finetune] [--precision 1] [--threads 2]

FEATURES has X_train, y_train, X_test, y_test, or features and labels, of which the last 500 rows are the test rows. STRUCTURE is
full, kron, diag, or several with commas. A softmax layer is fitted by L-BFGS under weight decay of the precision on weights and biases;
both programs then put a Gaussian around it. A row of the table: the log evidence of both, the largest difference of two predicted
probabilities of test rows by link, NLL and ECE of the probit link, and the seconds of both for posterior and predictions by
that link (laplace-torch's without its imports; ours is the whole process, files read and written).

`rows` gives the same as dictionaries.
"""
import argparse
import json
import subprocess
import tempfile
import time
import warnings

import numpy as np

LINKS = ["probit", "bridge", "bridge-norm", "mc"]
SAMPLES = 1000


def load(path):
    from safetensors.numpy import load_file

    file = load_file(path)
    if "X_train" in file:
        x, y, new, labels = (file[name] for name in ["X_train", "y_train", "X_test", "y_test"])
    else:
        x, new = file["features"][:-500], file["features"][-500:]
        y, labels = file["labels"][:-500], file["labels"][-500:]
    return (x.astype(np.float32), y.astype(np.int64), new.astype(np.float32), labels.astype(np.int64))


def layer(x, y, classes, precision):
    """Weights (K, D) and biases of the most probable softmax layer."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    design = np.hstack([x, np.ones((len(x), 1))]).astype(np.float64)
    onehot = np.eye(classes)[y]

    def objective(theta):
        w = theta.reshape(classes, -1)
        logs = log_softmax(design @ w.T, axis=1)
        value = -(logs * onehot).sum() + 0.5 * precision * (w**2).sum()
        return value, ((np.exp(logs) - onehot).T @ design + precision * w).ravel()

    found = minimize(
        objective, np.zeros(classes * design.shape[1]), jac=True, method="L-BFGS-B",
        options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-4})
    w = found.x.reshape(classes, -1).astype(np.float32)
    return w[:, :-1].copy(), w[:, -1].copy()


def scores(p, labels, bins=20):
    confidence, hit = p.max(1), p.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    ece = sum(
        abs(hit[place == b].mean() - confidence[place == b].mean()) * (place == b).mean()
        for b in range(bins) if (place == b).any())
    return float(-np.log(p[np.arange(len(labels)), labels]).mean()), float(ece)


def with_laplace_torch(x, y, new, weight, bias, structure, precision, threads):
    import torch
    from laplace import Laplace
    from laplace.curvature import BackPackGGN
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(threads)
    model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], len(bias)))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(weight))
        model[0].bias.copy_(torch.tensor(bias))
    loader = DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=512)
    start = time.perf_counter()
    # Diagonals by its default backend form the Jacobians of all rows, which takes an hour for 41 classes.
    backend = {"backend": BackPackGGN} if structure == "diag" else {}
    laplace = Laplace(
        model, "classification", subset_of_weights="all", hessian_structure=structure,
        prior_precision=precision, **backend)
    laplace.fit(loader)
    evidence = float(laplace.log_marginal_likelihood())
    fitted = time.perf_counter() - start

    def predict(link):
        # Blocks: a Jacobian of all rows takes rows x classes x parameters numbers.
        size = max(1, int(2e8 / (4 * len(bias) * len(bias) * (x.shape[1] + 1))))
        return np.concatenate([
            laplace(torch.tensor(new[i:i + size]), link_approx=link.replace("-", "_"), n_samples=SAMPLES)
            .detach().numpy() for i in range(0, len(new), size)])

    start = time.perf_counter()
    predicted = {"probit": predict("probit")}
    seconds = fitted + time.perf_counter() - start
    for link in LINKS[1:]:
        torch.manual_seed(1)
        predicted[link] = predict(link)
    return evidence, predicted, seconds


def with_bllarse(program, x, y, new, labels, weight, bias, structure, precision, threads):
    from safetensors.numpy import load_file, save_file

    with tempfile.TemporaryDirectory() as place:
        save_file(
            {"X_train": x, "y_train": y.astype(np.int32), "X_test": new, "y_test": labels.astype(np.int32)},
            place + "/features.safetensors")
        save_file({"weight": weight, "bias": bias}, place + "/layer.safetensors")
        predicted = {}
        for link in LINKS:
            out = f"{place}/{link}"
            words = [
                program, "laplace", "--features", place + "/features.safetensors", "--weights",
                place + "/layer.safetensors", "--posterior", structure, "--prior", str(precision), "--link", link,
                "--threads", str(threads), "--output", out]
            if link == "mc":
                words += ["--link-samples", str(SAMPLES)]
            start = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True)
            if link == "probit":
                seconds = time.perf_counter() - start
            subprocess.run(
                [program, "predict", "--head", out + "/head.safetensors", "--features",
                 place + "/features.safetensors", "--out", out + ".safetensors"],
                check=True, capture_output=True)
            predicted[link] = load_file(out + ".safetensors")["probabilities"]
        with open(place + "/probit/result.json") as file:
            result = json.load(file)
    return result["recipe"], predicted, seconds


def rows(path, structures, program="bllarse-finetune", precision=1.0, threads=2):
    """A dictionary for each structure."""
    warnings.filterwarnings("ignore")
    x, y, new, labels = load(path)
    classes = int(max(y.max(), labels.max())) + 1
    weight, bias = layer(x, y, classes, precision)
    for structure in structures:
        evidence, theirs, their_seconds = with_laplace_torch(
            x, y, new, weight, bias, structure, precision, threads)
        recipe, ours, our_seconds = with_bllarse(
            program, x, y, new, labels, weight, bias, structure, precision, threads)
        row = {
            "data": path.rpartition("/")[2].partition(".")[0], "rows": len(x), "features": x.shape[1],
            "classes": classes, "structure": structure, "evidence": recipe["log_evidence"],
            "evidence_torch": evidence, "newton_decrement": recipe["distance"]["newton_decrement"],
            "seconds": our_seconds, "seconds_torch": their_seconds,
        }
        for link in LINKS:
            row["difference_" + link] = float(np.abs(ours[link] - theirs[link]).max())
        row["nll"], row["ece"] = scores(ours["probit"], labels)
        row["nll_torch"], row["ece_torch"] = scores(theirs["probit"], labels)
        yield row


HEADING = (
    "| data | posterior | log evidence: bllarse | laplace-torch | largest difference: probit | bridge | bridge-norm | mc "
    "| NLL, ECE: bllarse | laplace-torch | seconds: bllarse | laplace-torch |\n|" + "---|" * 12)


def line(row):
    return (
        f"| {row['data']} | {row['structure']} | {row['evidence']:.4f} | {row['evidence_torch']:.4f} | "
        + " | ".join(f"{row['difference_' + link]:.1e}" for link in LINKS)
        + f" | {row['nll']:.4f}, {row['ece']:.4f} | {row['nll_torch']:.4f}, {row['ece_torch']:.4f} | "
        f"{row['seconds']:.2f} | {row['seconds_torch']:.2f} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="+", metavar="FEATURES STRUCTURE")
    parser.add_argument("--program", default="bllarse-finetune")
    parser.add_argument("--precision", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(HEADING)
    for path, structures in zip(arguments.sets[::2], arguments.sets[1::2]):
        for row in rows(
            path, structures.split(","), arguments.program, arguments.precision, arguments.threads):
            print(line(row), flush=True)


if __name__ == "__main__":
    main()
