#!/usr/bin/env python3
"""Makes Fixtures/laplace/reference.safetensors: what laplace-torch finds at the weights of a small softmax layer; and
layer.npz beside it, the first of its layers as a network's arrays.

    pip install torch laplace-torch safetensors
    Scripts/make-laplace-fixture.py Fixtures/laplace/reference.safetensors

Two layers, of four classes and of two, trained by a few steps of weight decay and not to the optimum; for the structures
full, kron and diag and two prior precisions the log evidence, for the first precision the covariances of the logits of new rows
and the predictions by every link. Double precision throughout; Monte Carlo from 200,000 draws. Independent of the Swift code.
"""
import sys

import numpy as np
import torch
from laplace import Laplace
from safetensors.numpy import save_file
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_dtype(torch.float64)
PRECISIONS = [0.7, 6.0]


def layer(rows, features, classes, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, features)) * np.linspace(0.5, 2, features) + 0.4
    true = random.normal(size=(features, classes))
    y = np.array([random.choice(classes, p=p / p.sum()) for p in np.exp(x @ true)])
    new = random.normal(size=(12, features)) * 2
    x, new, y = torch.tensor(x), torch.tensor(new), torch.tensor(y)
    model = torch.nn.Sequential(torch.nn.Linear(features, classes))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=6)

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(model(x), y, reduction="sum")
        value = value + 0.5 * PRECISIONS[0] * sum((p**2).sum() for p in model.parameters())
        value.backward()
        return value

    optimizer.step(loss)
    return model, x, y, new


def main(path):
    arrays = {"precisions": np.array(PRECISIONS)}
    for name, (rows, features, classes, seed) in {
        "four": (60, 3, 4, 1), "two": (40, 3, 2, 2)
    }.items():
        model, x, y, new = layer(rows, features, classes, seed)
        arrays |= {
            f"{name}.x": x.numpy(), f"{name}.y": y.numpy().astype(np.int32), f"{name}.new": new.numpy(),
            f"{name}.weight": model[0].weight.detach().numpy().copy(),
            f"{name}.bias": model[0].bias.detach().numpy().copy(),
        }
        loader = DataLoader(TensorDataset(x, y), batch_size=16)
        for structure in ["full", "kron", "diag"]:
            laplace = Laplace(
                model, "classification", subset_of_weights="all", hessian_structure=structure)
            laplace.fit(loader)
            key = f"{name}.{structure}."
            arrays[key + "evidence"] = np.array([
                laplace.log_marginal_likelihood(torch.tensor([p])).item() for p in PRECISIONS])
            laplace.prior_precision = torch.tensor([PRECISIONS[0]])
            means, covariances = laplace._glm_predictive_distribution(new)
            arrays[key + "covariance"] = covariances.detach().numpy()
            arrays[f"{name}.means"] = means.detach().numpy()
            for link in ["probit", "bridge", "bridge_norm", "mc"]:
                torch.manual_seed(3)
                found = laplace(new, link_approx=link, n_samples=200_000 if link == "mc" else 100)
                arrays[key + link] = found.detach().numpy()
    np.savez_compressed(
        path.rpartition("/")[0] + "/layer.npz", **{
            "fc.weight": arrays["four.weight"], "fc.bias": arrays["four.bias"],
            "conv.weight": np.zeros((2, 3, 3), np.float32), "norm.weight": np.ones(3, np.float32)})
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


if __name__ == "__main__":
    main(sys.argv[1])
